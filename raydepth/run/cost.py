"""What a frame of a job costs in U-Net lanes and seconds, and the refusal of jobs that their
deadline has no room for.
"""

import math
from collections.abc import Sequence

from raydepth.compose.registry import COMPOSITORS, count_evaluations
from raydepth.edits.registry import EDITS
from raydepth.errors import JobError
from raydepth.job import Job
from raydepth.layers.fill.registry import FILLERS
from raydepth.output.folder import OutputFolder
from raydepth.output.plan import Part
from raydepth.output.record import benchmark_differs, read_benchmark

T4_LANES_PER_S = 14.0
"""SD 1.5 U-Net lanes a second on a T4 in float16 at 512 x 512, whatever the batch.

See raydepth/README.md, "Cost in U-Net evaluations".
"""
T4_OTHER_S = 0.25
"""VAE encode and decode (3.6 TFLOP), depth and fill of a frame on a T4; not measured here."""
SD_PIXELS = 512 * 512


def lanes_per_frame(job: Job) -> int:
    """U-Net lanes of a frame, forward and backward, those of its hole's filling included.

    At most so many, where layers of ``edit.kind: planes`` show equal pictures.
    """
    fill = job.layers.fill
    edit = EDITS.of(job.edit)
    references = edit.references(job.edit) + edit.matted_references * job.compose.matte_edges
    composed = count_evaluations(job.compose, references)
    return composed + FILLERS.of(fill).evaluations(fill, job.diffusion)


def mean_pixels(parts: Sequence[Part]) -> float:
    """Pixels of a frame at working resolution, on average over all frames of these parts."""
    pixels = sum(part.frames * part.segment.height * part.segment.width for part in parts)
    return pixels / max(sum(part.frames for part in parts), 1)


def seconds_per_frame(job: Job, pixels: float) -> tuple[float | None, str]:
    """Worker seconds per frame, None where not known, and where the figure comes from.

    An earlier run's figure counts where its job was the same in all that costs time.

    Args:
        job: the resolved job.
        pixels: of a frame at working resolution, on average.
    """
    folder = OutputFolder.at(job.output.path)
    measured = read_benchmark(folder).get("worker_seconds_per_frame", 0)
    others = benchmark_differs(folder, job.tree()) if measured > 0 else []
    if measured > 0 and not others:
        return measured, f"measured by an earlier run in {folder.uri}"
    left_out = f"; what was measured in {folder.uri} is another job's: {', '.join(others)}"
    left_out = left_out if others else ""
    models = COMPOSITORS.of(job.compose).models(job.compose)
    from_hub = any(model.role == "diffusion" and model.form == "hub" for model in models)
    if job.run.gpus_per_worker and from_hub:
        seconds = pixels / SD_PIXELS * (lanes_per_frame(job) / T4_LANES_PER_S + T4_OTHER_S)
        return round(seconds, 2), f"estimated for SD 1.5 on a T4 in float16{left_out}"
    first = "unknown: run once with --limit 32 into the same folder, then plan again"
    return None, first + left_out


def check_deadline(job: Job, frames: int, pixels: float) -> None:
    """Refuses a job of a slow method that is known to take longer than ``run.max_hours``.

    Methods that are fast enough for whole clips are not refused: their runs stop at the deadline
    and go on in the next one.

    Args:
        job: the resolved job.
        frames: still to do.
        pixels: of a frame at working resolution, on average.

    Raises:
        JobError: names the hours, the deadline and the ``compose.every`` that fits.
    """
    deadline = job.run.max_hours
    faster = COMPOSITORS.of(job.compose).faster
    if not faster or deadline is None:
        return
    seconds, source = seconds_per_frame(job, pixels)
    hours = (seconds or 0.0) * frames / job.run.workers / 3600
    if hours <= deadline:
        return
    room = int(frames * deadline / hours)
    every = math.ceil(frames * job.compose.every / room) if room else 0
    sampled = (
        f"set compose.every: {every} to edit every {every}th frame only, "
        if room
        else "not one frame fits; "
    )
    raise JobError(
        f"compose.method: {job.compose.method} would take {hours:.2f} h for {frames} frames on "
        f"{job.run.workers} workers ({seconds} s a frame, {source}), but run.max_hours is "
        f"{deadline:g}; {sampled}{faster}, or raise run.max_hours (where the estimate is wrong for "
        "your machine, a run with --limit into the same folder measures it)"
    )
