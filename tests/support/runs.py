"""Running jobs in tests: a small job tree, and what of a run's shards must be equal between runs."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raydepth.frames.probe import probe
from raydepth.frames.segments import Segment, plan_segments
from raydepth.job import Job, parse_job
from raydepth.output.folder import OutputFolder
from raydepth.output.plan import cut_parts
from raydepth.output.record import ClipCalibration
from raydepth.output.shards import FRAMES, read_shard, shard_name
from raydepth.run.calibrator import ClipCalibrator
from raydepth.run.decoder import Decoder
from raydepth.run.editor import PartEditor, Step
from raydepth.run.load import load_worker
from raydepth.run.pipeline import build_steps
from raydepth.run.tracker import Attempt, Tracker


def small_job(clip: Path | list[str], out: Path, **fields: Any) -> Job:
    """A job that takes seconds: builtin depth, pasted layers, 64 pixels, parts of 8 frames;
    ``a__b=value`` sets fields.
    """
    tree: dict[str, Any] = {
        "schema_version": 1,
        "input": {"paths": clip if isinstance(clip, list) else [str(clip)], "size": 64},
        "depth": {"calibration_frames": 2},
        "compose": {"method": "paste"},
        "output": {"path": str(out), "shard_frames": 8},
        "run": {"batch": 4, "threads": 1, "stall_minutes": 2.0},
        "evaluate": {"reestimate_every": 4},
    }
    for field, value in fields.items():
        *parents, last = field.split("__")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return parse_job(tree)


def calibrate_here(job: Job, segments: list[Segment]) -> ClipCalibration | None:
    """A clip's calibration, measured as a worker does it, without Ray."""
    models = load_worker(job, device="cpu", dtype="float32")
    return ClipCalibrator(job, models, Tracker())(segments, Attempt(1, False, {}))


def steps_here(job: Job, video: str, clip: ClipCalibration | None) -> list[Step]:
    """What a worker takes a clip's micro-batches through, without Ray."""
    return build_steps(job, load_worker(job, device="cpu", dtype="float32"), video, clip)


def edit_first_part(job: Job) -> list[dict[str, Any]]:
    """The rows of a job's first part, calibrated, decoded, edited and written as a worker does it,
    without Ray.
    """
    segments = plan_segments(probe(job.input.paths[0]), size=job.input.size)
    full_size = job.output.size == "source"
    parts = cut_parts(
        segments, batch=job.run.batch, shard_frames=8, limit=None, full_size=full_size
    )
    tracker, folder = Tracker(), OutputFolder.at(job.output.path)
    clip = calibrate_here(job, segments)
    editor = PartEditor(job, clip, steps_here(job, segments[0].video, clip), folder, tracker)
    part, decoded = next(Decoder(job, tracker).parts(parts[:1]))
    editor(part, decoded, {})
    return read_shard(folder, shard_name(part.name), pictures=True).to_pylist()


def results(out: Path) -> pa.Table:
    """All rows of a run, sorted by video and frame, without what may differ between equal runs:
    timings.
    """
    folder = OutputFolder.at(str(out))
    tables = [read_shard(folder, name, pictures=True) for name in folder.files(FRAMES)]
    table = pa.concat_tables(tables, promote_options="default")
    keep = [name for name in table.column_names if not name.startswith("seconds_")]
    table = table.select(keep).sort_by([("path", "ascending"), ("frame_index", "ascending")])
    for i, field in enumerate(table.schema):
        if pa.types.is_floating(field.type):  # NaN, not measured, equals nothing; null does
            known = pc.if_else(pc.is_nan(table[i]), pa.scalar(None, field.type), table[i])
            table = table.set_column(i, field.name, known)
    return table.combine_chunks()


def differing(a: Path, b: Path) -> list[str]:
    """Names of the columns in which two runs' results differ; empty where they are equal to the
    bit.
    """
    left, right = results(a), results(b)
    if left.num_rows != right.num_rows or left.column_names != right.column_names:
        return [
            f"{left.num_rows} rows, {right.num_rows} rows",
            *set(left.column_names) ^ set(right.column_names),
        ]
    return [name for name in left.column_names if not left[name].equals(right[name])]
