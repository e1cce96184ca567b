"""What in an output folder is raydepth's: the names that runs may write, listed before they are.

Only listed files are ever replaced, moved or deleted; everything else there is somebody's.
"""

import hashlib
import json
import re
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from raydepth.errors import JobError
from raydepth.output.clip_names import is_name
from raydepth.output.clip_videos import ENDING, RECORD, VIDEOS, video_name
from raydepth.output.folder import MARKER, NAMES, OutputFolder
from raydepth.output.layers import INDEX, LAYERS, layers_name
from raydepth.output.plan import GONE, SEGMENTS, Part
from raydepth.output.plates import plate_name
from raydepth.output.record import BENCHMARK, CALIBRATIONS, ENVIRONMENT, JOB, OBJECT, read_job
from raydepth.output.references import reference_names
from raydepth.output.settings import Output
from raydepth.output.shards import FRAMES, IMAGES, PICTURES, shard_name
from raydepth.output.things import THINGS, things_name

REPORT = (
    "report/report.json",
    "report/index.html",
    "report/pictures",
    "report/figures",
)
LOGS = "logs"
"""Folder of the runs' logs."""

_OF_CLIP = (FRAMES, IMAGES, LAYERS, VIDEOS)
"""Folders whose next level is a clip: what a source's results are in. It is called by its video id
in ``frames/`` and by its name (``output.clip_names``) in the others."""

_ID = "[0-9a-f]{16}"
_KINDS = "|".join(name.split("_")[0] for name in PICTURES)
_MEMBER = re.compile(
    rf"((?:{GONE})?{IMAGES}/[^/]+/\d{{6,}})_(?:{_KINDS})\.(?:png|jpg)"
    rf"|((?:{GONE})?{LAYERS}/[^/]+/\d{{6,}})/(?:\d\d_[^/]+\.png|composite\.png|{INDEX})"
    r"|(report/pictures)/\d\d_[a-z_]+\.jpg"
    r"|(report/figures)/(?:distribution|spread|curves|seconds)_[a-z0-9_]+\.png"
    rf"|({THINGS}/{_ID}(?:\.\d+)?)-(?:frames|\d{{6,}})\.parquet"
    rf"|({LOGS})/\d{{8}}T\d{{6}}Z-\d+-[0-9a-f]{{6}}\.log"
)
_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{32}\.tmp")


def entry(name: str) -> str:
    """The entry of the list that a file of this name stands under.

    A frame's pictures and the files of an exported frame have one together, and so have the files
    of a shot's things, the report's pictures and its figures. Every other file has its own name.
    """
    found = _MEMBER.fullmatch(name)
    return next(filter(None, found.groups())) if found else name


def planned_entries(
    parts: Iterable[Part],
    output: Output,
    clips: Mapping[str, str],
    *,
    measures_clips: bool,
    cuts_object: bool,
    tracks_things: bool = False,
) -> set[str]:
    """Entries of everything that a run may write.

    Args:
        parts: all parts of the job.
        output: the job's section.
        clips: name by video id (``output.clip_names``).
        measures_clips: whether it keeps plates or reference frames.
        cuts_object: whether it keeps the object that it has cut out.
        tracks_things: whether it keeps masks of things.
    """
    planned = {JOB, ENVIRONMENT, CALIBRATIONS, BENCHMARK, SEGMENTS, LOGS, *REPORT}
    if cuts_object:
        planned.add(OBJECT)
    videos, shots = set(), set()
    for part in parts:
        video = part.segment.video
        videos.add(video)
        shots.add(part.shot_id)
        planned.add(shard_name(part.name))
        if tracks_things:
            planned.add(things_name(part.shot_id))
        indices = part.segment.frame_index[part.start : part.stop].tolist()
        if output.images in ("png", "both"):
            planned |= {f"{IMAGES}/{clips[video]}/{index:06d}" for index in indices}
        if output.layers:
            planned |= {layers_name(clips[video], index) for index in indices}
    for video in videos:
        if output.video:
            planned |= {RECORD, video_name(clips[video])}
    for shot in shots if measures_clips else ():
        planned |= {plate_name(shot), *reference_names(shot)}
    return planned


@dataclass(frozen=True)
class Listed:
    """What the runs of a folder have listed.

    Attributes:
        entries: see entry().
        jobs: SHA-256 of the ``job.yaml`` that was last written, and of the one before, should the
            run have died between.
        clips: by video id, what the files of each clip are called (``output.clip_names``), of
            clips too whose sources are gone.
    """

    entries: frozenset[str] = frozenset()
    jobs: tuple[str, ...] = ()
    clips: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: OutputFolder) -> "Listed":
        """The folder's list; empty where no run has written anything yet.

        Raises:
            JobError: it is damaged.
        """
        try:
            tree = json.loads(zlib.decompress(folder.read(NAMES)))
            names, jobs = tree["names"], tree["jobs"]
            if not all(isinstance(text, str) for text in [*names, *jobs]):
                raise ValueError("it holds other things than names")
            clips = tree["clips"] if "clips" in tree else _called_by_id(names)
            if not all(re.fullmatch(_ID, video) and is_name(clips[video]) for video in clips):
                raise ValueError("its clips have other names than raydepth gives")
        except FileNotFoundError:
            return cls()
        except (zlib.error, ValueError, TypeError, KeyError, RecursionError) as error:
            raise JobError(
                f"output.path: {folder.uri}/{NAMES} is damaged ({' '.join(str(error).split())}), "
                "so which files there are raydepth's is not known; put it back or name another "
                "folder"
            ) from error
        return cls(frozenset(names), tuple(jobs), dict(clips))

    def write(self, folder: OutputFolder) -> None:
        """Keeps the list; raises OSError."""
        tree = {"version": 1, "jobs": self.jobs, "clips": dict(self.clips)}
        tree["names"] = sorted(self.entries)
        folder.write(NAMES, zlib.compress(json.dumps(tree).encode()))

    def with_run(
        self,
        folder: OutputFolder,
        planned: Collection[str],
        job: bytes,
        clips: Mapping[str, str],
    ) -> "Listed":
        """The list with what a run may write, how it calls its clips, and with the ``job.yaml``
        that it will write.
        """
        there = [digest(folder.read(JOB))] if self.jobs and folder.exists(JOB) else []
        entries = self.entries | frozenset(planned)
        return Listed(entries, (*there, digest(job)), {**self.clips, **clips})

    def holds(self, name: str) -> bool:
        """Whether a file of this name is raydepth's."""
        return entry(name) in self.entries


def _called_by_id(names: Iterable[str]) -> dict[str, str]:
    """The clips of a list that is older than their names: their outputs go by the video id."""
    return {
        parts[1]: parts[1]
        for name in names
        if len(parts := name.removeprefix(GONE).split("/")) == 3 and parts[0] == FRAMES
    }


def digest(data: bytes) -> str:
    """What tells whether ``job.yaml`` is as it was written."""
    return hashlib.sha256(data).hexdigest()


def refuse_foreign(folder: OutputFolder, listed: Listed, planned: Collection[str]) -> None:
    """Looks for files of somebody's at names that a run would write; changes nothing.

    Raises:
        JobError: there is one; or ``job.yaml`` is another than raydepth wrote.
    """
    found = list(_present(folder, set(planned) - listed.entries))
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise JobError(
            f"output.path: in {folder.uri} this run would write {', '.join(found[:3])}{more}, "
            "which is there and was not written by raydepth; move it away or name another folder"
        )
    if listed.jobs and folder.exists(JOB) and digest(folder.read(JOB)) not in listed.jobs:
        try:
            read_job(folder)
        except JobError:  # what is damaged is nobody's job file
            return
        raise JobError(
            f"output.path: {folder.uri}/{JOB}, raydepth's record of the job, was changed since it "
            "was written; put it back as it was, or move it away (a job file of yours belongs "
            "elsewhere) and name another folder or set output.overwrite"
        )


def _present(folder: OutputFolder, entries: set[str]) -> Iterator[str]:
    """Names of files and folders that are in the way of these entries.

    Only folders are listed that may hold them.
    """
    if not entries:
        return
    parents = {
        str(parent) for name in entries for parent in PurePosixPath(name).parents if parent.parts
    }
    several = {name for name in entries if _has_members_below(name)}

    def look(below: str) -> Iterator[str]:
        for name, is_folder in sorted(folder.entries(below).items()):
            if is_folder and (name in parents or name in several):
                yield from look(name)
            elif name in parents or entry(name) in entries:
                yield name

    yield from look("")


def _has_members_below(name: str) -> bool:
    """Whether an entry stands for files in a folder of that name."""
    return name in (*REPORT[2:], LOGS) or name.removeprefix(GONE).startswith(f"{LAYERS}/")


def clear_results(folder: OutputFolder, listed: Listed) -> None:
    """Deletes what earlier runs have written, file by file (``output.overwrite``).

    Raises:
        OSError: the storage fails.
    """
    folder.delete(existing(folder, listed))


def existing(folder: OutputFolder, listed: Listed, below: str = "") -> list[str]:
    """Names of the listed files that there are, all or those below a subfolder."""
    names = [name for name in listed.entries if name.startswith(below)]
    tops = {name.split("/")[0] for name in names if "/" in name}
    single = [name for name in names if "/" not in name and folder.exists(name)]
    return single + [
        name
        for top in sorted(tops)
        for name in folder.files(top)
        if name.startswith(below) and listed.holds(name)
    ]


def delete_temporaries(folder: OutputFolder, listed: Listed) -> None:
    """Removes temporary files of killed writers; only under the lock.

    Object storage has none.
    """
    if not folder.is_local:
        return
    tops = {name.split("/")[0] for name in listed.entries if "/" in name}
    hidden = [name for name, is_folder in folder.entries("").items() if not is_folder]
    for top in sorted(tops):
        hidden += folder.files(top, hidden=True)
    own = listed.entries | {MARKER, NAMES}
    folder.delete([name for name in hidden if (of := _temporary_of(name)) and entry(of) in own])


def _temporary_of(name: str) -> str | None:
    path = PurePosixPath(name)
    found = _TEMPORARY.fullmatch(path.name)
    return str(path.with_name(found[1])) if found else None


@dataclass(frozen=True)
class Moves:
    """Results that change places because their sources went away, or came back.

    Attributes:
        away: names that go below ``gone/``, from the sources that the job no longer has.
        back: names that come back from there.
    """

    away: tuple[str, ...]
    back: tuple[str, ...]

    @classmethod
    def find(cls, folder: OutputFolder, listed: Listed, clips: Mapping[str, str]) -> "Moves":
        """Compares the results that there are with the job's sources.

        Args:
            folder, listed: the output folder, whose results are gone on with.
            clips: name by video id of the job's sources, of all their frames.
        """
        called = {area: frozenset(clips.values()) for area in _OF_CLIP}
        called[FRAMES] = frozenset(clips)

        def below(place: str, wanted: bool) -> tuple[str, ...]:
            return tuple(
                name.removeprefix(place)
                for area in _OF_CLIP
                for child, is_folder in folder.entries(place + area).items()
                if (PurePosixPath(child).name.removesuffix(ENDING) in called[area]) == wanted
                for name in (folder.files(child) if is_folder else [child])
                if listed.holds(name)
            )

        return cls(below("", False), below(GONE, True))

    @property
    def new_entries(self) -> set[str]:
        """Entries of what is moved away, where it comes to lie."""
        return {entry(GONE + name) for name in self.away}

    def make(self, folder: OutputFolder) -> None:
        """Moves the files; where that is cut short, the next run goes on with it."""
        folder.move(self.away, "", GONE)
        folder.move(self.back, GONE, "")


def prune(folder: OutputFolder) -> int:
    """Deletes the results of sources that the job no longer has; returns how many files.

    Raises:
        JobError: another run holds the folder, or it is not raydepth's.
    """
    if not folder.check_ours():
        raise JobError(f"{folder.uri}: no raydepth run has started there")
    with folder.lock():
        names = existing(folder, Listed.read(folder), GONE)
        folder.delete(names)
    return len(names)
