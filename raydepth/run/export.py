"""``raydepth export``: pictures and videos of a run from its shards; nothing is edited again."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from raydepth.errors import JobError
from raydepth.files.text import printable
from raydepth.frames.find import find_segments
from raydepth.job import Job, parse_job
from raydepth.output import record
from raydepth.output.clip_videos import RECORD, clip_videos, video_name
from raydepth.output.folder import OutputFolder
from raydepth.output.names import Listed, delete_temporaries, entry, refuse_foreign
from raydepth.output.pictures import Format, file_name, pictures_not_held, write_pictures
from raydepth.output.plan import SEGMENTS, Part, cut_parts, read_plan
from raydepth.output.video import write_videos
from raydepth.run.cpus import available_cpus
from raydepth.run.ending import MOST_VIDEOS

KINDS = ("edited", "depth", "near", "background", "rgb")
EXPORT = "export.json"
"""In a folder of an export: whose it is."""


@dataclass(frozen=True)
class Asked:
    """What is to be made."""

    images: Format | None = None
    """None: no pictures."""
    video: bool = False
    crf: int | None = None
    """None: as the run's job says."""
    keep: Collection[str] = ()
    """Kinds of pictures; empty: as the run's job says."""


def export(out: str, asked: Asked, *, to: str | None, echo: Callable[[str], None]) -> int:
    """Makes ``images/`` and ``videos/`` from the shards of a run; what is there already is left.

    Args:
        out: the output folder of a run.
        asked: what is to be made. In ``out`` itself the recorded job says so from then on.
        to: a folder of its own for it; None: ``out``.
        echo: gets a line on every clip.

    Returns:
        How many videos could not be written.

    Raises:
        JobError: it cannot be had from the shards, or one of the folders is another's; nothing was
            changed.
        OSError: the storage fails.
    """
    for kind in asked.keep:
        if kind not in KINDS:
            raise JobError(f"--keep {kind}: expected {', '.join(KINDS)}")
    folder = OutputFolder.at(out)
    plan = _plan_of(folder)
    job = parse_job(record.read_job(folder))
    names = Listed.read(folder).clips
    keep = list(asked.keep) or list(job.output.keep)
    _check_pictures(folder, names, ["edited"] * asked.video, files=True)
    if asked.images:
        _check_pictures(folder, names, keep, files=asked.images == "png" and to is None)
    parts = _parts_of(job, plan) if asked.video else []
    wanted = _entries(plan, names, keep, asked)
    crf = job.output.crf if asked.crf is None else asked.crf
    target = OutputFolder.at(to) if to is not None else folder
    after = _job_after(job, keep, crf, asked)
    with _taken(folder, target, wanted, after):
        if asked.images:
            into = write_pictures(folder, names, keep, form=asked.images, into=target)
            _say(into, echo)
        if not asked.video:
            return 0
        workers = min(MOST_VIDEOS, available_cpus())
        _say(write_videos(folder, parts, names, crf=crf, into=target, workers=workers), echo)
        return sum(clip.failed for clip in clip_videos(folder, parts, names, crf=crf, into=target))


def _say(lines: Any, echo: Callable[[str], None]) -> None:
    with closing(lines):
        for line in lines:
            echo(printable(line))


def _plan_of(folder: OutputFolder) -> pa.Table:
    try:
        if folder.check_ours():
            return read_plan(folder)
    except FileNotFoundError:
        pass
    raise JobError(f"{folder.uri}: no raydepth run has started there (no {SEGMENTS})")


def _check_pictures(
    folder: OutputFolder, names: Mapping[str, str], keep: Sequence[str], *, files: bool
) -> None:
    lost = pictures_not_held(folder, names, keep, files=files)
    if lost:
        kinds = ", ".join(f"{kind} of {count} frames" for kind, count in lost.items())
        raise JobError(
            f"export: the shards in {folder.uri} do not hold {kinds} (see output.images and "
            f"output.keep in its {record.JOB}); --keep names others, or run the job into another "
            "folder"
        )


def _parts_of(job: Job, plan: pa.Table) -> list[Part]:
    """The parts of the plan's clips, whose sources give the videos their times and sound."""
    parts = cut_parts(
        find_segments(job.input, job.compose.every).segments,
        batch=job.run.batch,
        shard_frames=job.output.shard_frames,
        limit=job.input.limit,
        limit_per_video=job.input.limit_per_video,
        full_size=job.output.size == "source",
    )
    found = {part.segment.video for part in parts}
    clips = dict(zip(plan["video"].to_pylist(), plan["path"].to_pylist(), strict=True))
    gone = [path for video, path in clips.items() if video is not None and video not in found]
    if gone:
        raise JobError(
            f"export --video: {gone[0]} is not what it was when it was edited, or is not there; "
            "videos take their times and their sound from their sources"
        )
    return [part for part in parts if part.segment.video in clips]


def _entries(
    plan: pa.Table, names: Mapping[str, str], keep: Sequence[str], asked: Asked
) -> frozenset[str]:
    """Entries (``output.names``) of what may be written."""
    wanted: set[str] = set()
    for video, index in zip(
        plan["video"].to_pylist(), plan["frame_index"].to_pylist(), strict=True
    ):
        clip = names.get(video, video)
        if video is not None and asked.images:
            wanted |= {entry(file_name(clip, index, kind, asked.images)) for kind in keep}
        if video is not None and asked.video:
            wanted |= {RECORD, video_name(clip)}
    return frozenset(wanted)


def _job_after(job: Job, keep: Sequence[str], crf: int, asked: Asked) -> Job:
    """The run's job as it reads where the export is made in its own folder."""
    output = job.output.model_dump()
    if asked.video:
        output |= {"video": True, "crf": crf}
    if asked.images == "png" and output["images"] == "parquet":
        output["images"] = "both"
    return parse_job(job.tree() | {"output": output})


@contextmanager
def _taken(
    folder: OutputFolder, target: OutputFolder, wanted: frozenset[str], job: Job
) -> Iterator[None]:
    """Takes the folder that is written to, and lists what may be written there."""
    whose = json.dumps({"from": folder.location, "of": record.results_digest(folder)}).encode()
    own = target.location == folder.location
    if not own and target.exists(SEGMENTS):
        raise JobError(
            f"--to {target.uri}: a run writes there; name a new or empty folder, or leave --to out "
            "to export into the run's own"
        )
    with target.taken():
        listed = Listed.read(target)
        if not own and target.exists(EXPORT) and target.read(EXPORT) != whose:
            raise JobError(
                f"--to {target.uri}: it holds the export of another run, or of what was there "
                "before; name a new or empty folder"
            )
        planned = wanted if own else wanted | {EXPORT}
        refuse_foreign(target, listed, planned)
        job_yaml = record.job_yaml(job.tree()).encode()
        clips = Listed.read(folder).clips
        if own:
            listed = listed.with_run(target, planned, job_yaml, clips)
        else:
            listed = replace(listed, entries=listed.entries | planned, clips=clips)
        listed.write(target)
        delete_temporaries(target, listed)
        target.write(*((record.JOB, job_yaml) if own else (EXPORT, whose)))
        yield
