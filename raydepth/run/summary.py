"""Step 8: the shards fold into ``benchmark.json`` and ``report/``; also what ``raydepth report
OUT`` rebuilds them with.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raydepth.evaluate.fold import Fold, fold, row_columns
from raydepth.output import record
from raydepth.output.clip_videos import VIDEOS, ClipVideo, recorded_videos
from raydepth.output.folder import OutputFolder
from raydepth.output.layers import LAYERS
from raydepth.output.ledger import status
from raydepth.output.names import Listed
from raydepth.output.plan import notes_of, read_plan
from raydepth.output.shards import (
    FRAMES,
    IMAGES,
    PICTURES,
    ClipShards,
    image_name,
    read_shards,
)
from raydepth.output.shots import shot_rows
from raydepth.report.build import Summary, build_report, write_page
from raydepth.report.numbers import stages

_MODEL_STEPS = ("depth", "fill", "compose")
"""Steps whose time is models at work: what the speed of light is made of."""


@dataclass
class Report:
    """A report that is written, and can be again when it has more to say."""

    folder: OutputFolder
    rows: pa.Table
    tree: dict[str, Any]
    benchmark: dict[str, Any]
    """Empty where this run edited nothing."""

    @property
    def page(self) -> str:
        """Where ``index.html`` is."""
        folder = self.folder
        return f"{folder.root if folder.is_local else folder.uri}/report/index.html"

    def add_videos(self, videos: Sequence[ClipVideo]) -> None:
        """Says in the page what became of the edited videos, and counts their bytes."""
        self.tree["edited_videos"] = _edited_videos(videos)
        job_yaml = self.folder.read(record.JOB).decode()
        write_page(self.tree, self.rows, job_yaml, self.folder.write)
        if self.benchmark:
            self.benchmark["bytes"] = _bytes(self.folder)
            _write_benchmark(self.folder, self.benchmark)


def summarise(
    folder: OutputFolder,
    *,
    seconds: float,
    edited: int,
    restarts: int,
    videos: Sequence[ClipVideo] = (),
) -> Report:
    """Writes ``benchmark.json`` (unless this run edited nothing) and the report.

    Args:
        folder: the output of a run.
        seconds: wall-clock seconds of this run, without those of its videos.
        edited: frames that this run edited, or failed to.
        restarts: worker processes that died and were replaced.
        videos: with ``output.video``, what is known of every clip's so far.
    """
    rows, folded = _read(folder)
    figures: dict[str, Any] = {}
    if edited:
        figures = _benchmark(folder, folded, seconds=seconds, edited=edited, restarts=restarts)
        _write_benchmark(folder, figures)
    return _report(folder, rows, folded, figures, videos)


def rebuild(folder: OutputFolder) -> str:
    """Builds the report again from what is in the folder; returns where the page is.

    Raises:
        FileNotFoundError: no run has started.
        JobError: the folder is not raydepth's, or its records are gone or damaged.
    """
    plan = read_plan(folder)
    folder.check_ours()
    rows, folded = _read(folder)
    videos = recorded_videos(folder, plan, Listed.read(folder).clips)
    asked = record.read_job(folder).get("output", {}).get("video")
    return _report(folder, rows, folded, {}, videos if asked else ()).page


def _read(folder: OutputFolder) -> tuple[pa.Table, Fold]:
    """The small columns of all planned rows, and their fold, in one pass over the shards; damaged
    ones count as missing.
    """
    planned = read_plan(folder)["frame_id"].combine_chunks()
    tables = []
    for table in read_shards(folder, damaged=[]):
        rows = table.filter(pc.is_in(table["frame_id"], planned))
        if rows.num_rows:
            wanted = set(row_columns(table.column_names))
            tables.append(rows.select([name for name in table.column_names if name in wanted]))
    if not tables:
        return pa.table({"frame_id": pa.array([], pa.string())}), fold([])
    return pa.concat_tables(tables, promote_options="default"), fold(tables)


def _benchmark(
    folder: OutputFolder, folded: Fold, *, seconds: float, edited: int, restarts: int
) -> dict[str, Any]:
    job = record.read_job(folder)
    per_stage = {
        name: statistics.mean
        for name, statistics in stages(folded.overall).items()
        if statistics.count
    }
    models = sum(per_stage.get(name, 0.0) for name in _MODEL_STEPS)
    in_worker = sum(value for name, value in per_stage.items() if name != "decode")
    light = job["run"]["workers"] / models if models else None
    rate = edited / seconds
    return {
        "frames_edited": edited,
        "wall_seconds": seconds,
        "frames_per_second": rate,
        "seconds_per_frame_per_stage": per_stage,
        "worker_seconds_per_frame": in_worker,
        "speed_of_light_frames_per_second": light,
        "share_of_speed_of_light": rate / light if light else None,
        "bytes": _bytes(folder),
        "restarts": restarts,
        "workers": job["run"]["workers"],
        "measured_for": record.costs(job),
        "environment": record.read_environment(folder),
    }


def _bytes(folder: OutputFolder) -> int:
    """Of all that the run has made."""
    return sum(
        size for below in (FRAMES, IMAGES, LAYERS, VIDEOS) for size in folder.files(below).values()
    )


def _write_benchmark(folder: OutputFolder, figures: dict[str, Any]) -> None:
    folder.write(record.BENCHMARK, json.dumps(figures, indent=2).encode())


def _edited_videos(videos: Sequence[ClipVideo]) -> list[dict[str, Any]]:
    """The rows of ``report.json``; no file where there is none that is as it should be."""
    return [
        {
            "video": clip.video,
            "path": clip.path,
            "file": clip.file if clip.outcome and clip.size is not None else None,
            "outcome": clip.outcome or "not written yet: the next run writes it",
            "failed": clip.failed,
        }
        for clip in videos
    ]


def _report(
    folder: OutputFolder,
    rows: pa.Table,
    folded: Fold,
    figures: dict[str, Any],
    videos: Sequence[ClipVideo],
) -> Report:
    record.read_job(folder)  # the report says nothing of frames whose job is not known
    benchmark = record.read_benchmark(folder)
    environment = record.read_environment(folder)
    state, plan = status(folder), read_plan(folder)
    summary: Summary = {
        "name": folder.root.rsplit("/", 1)[-1],
        "frames": state["frames"],
        "errors": state["errors"],
        "unreadable": state["unreadable"],
        "gone": state["gone"],
        "verdict": state["verdict"],
        "notes": [{"path": n.path, "text": n.text} for n in notes_of(plan)],
        "shots": shot_rows(plan, record.read_calibrations(folder)),
        "frames_per_s": benchmark.get("frames_per_second"),
        "wall_s": benchmark.get("wall_seconds"),
        "speed_of_light": benchmark.get("speed_of_light_frames_per_second"),
        "machine": {
            name: environment[name] for name in ("platform", "machine", "cpus", "memory_bytes")
        },
        "versions": {
            "raydepth": environment["raydepth"],
            "python": environment["python"],
            **environment["packages"],
        },
        "job_yaml": folder.read(record.JOB).decode(),
    }
    if videos:
        summary["edited_videos"] = _edited_videos(videos)
    tree = build_report(
        statistics=folded,
        per_frame_columns=rows,
        read_pictures=lambda frames: _pictures(folder, frames),
        summary=summary,
        write=folder.write,
    )
    return Report(folder, rows, tree, figures)


def _pictures(folder: OutputFolder, frames: list[str]) -> dict[str, dict[str, bytes]]:
    """Frame id -> kind -> encoded picture, from the shards, or from PNG files where shards hold
    none.
    """
    plan = read_plan(folder)
    plan = plan.filter(pc.is_in(plan["frame_id"], pa.array(frames, pa.string())))
    wanted: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in plan.to_pylist():
        wanted[f"{row['video']}/{row['segment']:06d}-{row['part']:04d}"].append(row)
    found: dict[str, dict[str, bytes]] = {}
    clips: dict[str, ClipShards] = {}
    names = Listed.read(folder).clips
    for part, planned in wanted.items():
        video = planned[0]["video"]
        shards = clips.setdefault(video, ClipShards(folder, video))
        done = shards.done(part, [row["frame_id"] for row in planned], PICTURES)
        for row in planned:
            if row["frame_id"] not in done:
                continue
            pictures = found.setdefault(row["frame_id"], {})
            for column in PICTURES:
                kind = column.split("_")[0]
                file = image_name(names.get(video, video), row["frame_index"], kind)
                data = done[row["frame_id"]].get(column) or (
                    folder.read(file) if folder.exists(file) else None
                )
                if data:
                    pictures[kind] = data
    return found
