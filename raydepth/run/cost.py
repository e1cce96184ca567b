"""What a frame of a job costs in U-Net lanes and seconds, and the refusal of jobs that their
deadline has no room for.
"""

import math

from raydepth.compose.registry import COMPOSITORS, count_evaluations
from raydepth.edits.registry import EDITS
from raydepth.errors import JobError
from raydepth.job import Job
from raydepth.layers.fill.registry import FILLERS
from raydepth.output.folder import OutputFolder
from raydepth.output.record import read_benchmark

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
    composed = count_evaluations(job.compose, EDITS.of(job.edit).references(job.edit))
    return composed + FILLERS.of(fill).evaluations(fill, job.diffusion)


def seconds_per_frame(job: Job, pixels: int) -> tuple[float | None, str]:
    """Worker seconds per frame, None where not known, and where the figure comes from.

    Args:
        job: the resolved job.
        pixels: of a frame at working resolution.
    """
    folder = OutputFolder.at(job.output.path)
    measured = read_benchmark(folder).get("worker_seconds_per_frame")
    if measured is not None:
        return measured, f"measured by an earlier run in {folder.uri}"
    models = COMPOSITORS.of(job.compose).models(job.compose)
    from_hub = any(model.role == "diffusion" and model.form == "hub" for model in models)
    if job.run.gpus_per_worker and from_hub:
        seconds = pixels / SD_PIXELS * (lanes_per_frame(job) / T4_LANES_PER_S + T4_OTHER_S)
        return round(seconds, 2), "estimated for SD 1.5 on a T4 in float16"
    return None, "unknown: run once with --limit 32 into the same folder, then plan again"


def check_deadline(job: Job, frames: int, pixels: int) -> None:
    """Refuses a job of a slow method that is known to take longer than ``run.max_hours``.

    Methods that are fast enough for whole clips are not refused: their runs stop at the deadline
    and go on in the next one.

    Args:
        job: the resolved job.
        frames: still to do.
        pixels: of a frame at working resolution.

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
