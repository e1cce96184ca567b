"""``raydepth plan``: what a job will take, before it runs; figures that are not known are said to
be unknown.
"""

import math
from typing import Any

from raydepth.edits.registry import check_edit
from raydepth.frames.find import find_segments, note_lines
from raydepth.job import Job
from raydepth.output.folder import OutputFolder
from raydepth.output.plan import cut_parts
from raydepth.output.shots import shots_in_words
from raydepth.run.check import check_depth_files, check_models
from raydepth.run.check_things import check_things
from raydepth.run.cost import check_deadline, lanes_per_frame, mean_pixels, seconds_per_frame
from raydepth.run.placing import preflight

MEMORY_FROM = (
    "the diffusion models' code run on shapes, not confirmed on a GPU; depth model, CUDA context "
    "and workspaces come on top"
)

BITS_PER_PIXEL = {"rgb": 12.0, "edited": 12.0, "background": 12.0, "depth": 11.0, "near": 0.2}
"""Bits of a stored picture per pixel: the largest of the test data's clips (rgb at 512 pixels: 6.2,
8.9 and 12.2)."""


def estimate(job: Job, *, address: str | None = None) -> dict[str, Any]:
    """Frames, shots, segments, seconds per frame, hours and disk of a job, and whether its machine
    can schedule it.

    Videos count with their own sizes, and memory is that of the largest. Seconds per frame come
    from ``benchmark.json`` of an earlier run of such a job into the same folder where there is one,
    else from the T4 anchor for Stable-Diffusion-class models on GPUs, else they are unknown (None).

    Raises:
        JobError: as ``raydepth run`` would.
    """
    check_models(job)
    check_edit(job.edit, job.layers)
    OutputFolder.at(job.output.path).check_ours()
    found = find_segments(job.input, job.compose.every)
    notes = [*found.notes, *check_things(job, found.segments)]
    check_depth_files(job, found.segments)
    parts = cut_parts(
        found.segments,
        batch=job.run.batch,
        shard_frames=job.output.shard_frames,
        limit=job.input.limit,
        limit_per_video=job.input.limit_per_video,
        full_size=job.output.size == "source",
    )
    frames = sum(part.frames for part in parts)
    sizes = sorted({(part.segment.height, part.segment.width) for part in parts}, key=math.prod)
    pixels = mean_pixels(parts)
    check_deadline(job, frames, pixels)
    seconds, source = seconds_per_frame(job, pixels)
    kept = sum(part.frames * math.prod(part.segment.size(job.output.size)) for part in parts)
    stored = sum(BITS_PER_PIXEL[kind] for kind in job.output.keep) / 8 * kept
    copies = {"parquet": 1, "png": 1, "both": 2, "none": 0}[job.output.images]
    from raydepth.run import cluster
    from raydepth.run.memory import job_memory

    memory = job_memory(job, *sizes[-1])
    resources = cluster.connect(job.run, address)
    preflight(job.run, resources)
    cluster.disconnect()
    return {
        "frames": frames,
        "videos": len({part.segment.video for part in parts}),
        "unreadable_sources": len(found.unreadable),
        "notes": note_lines(notes),
        "segments": len({(part.segment.video, part.segment.index) for part in parts}),
        "shots": len({part.shot_id for part in parts}),
        "shots_at": shots_in_words(parts),
        "shards": len(parts),
        "working_size": _in_words(sizes),
        "unet_lanes_per_frame": lanes_per_frame(job),
        "seconds_per_frame": seconds,
        "seconds_per_frame_from": source,
        "hours": None if seconds is None else round(seconds * frames / job.run.workers / 3600, 2),
        "model_memory_gb": memory and memory["peak"],
        "model_memory_from": MEMORY_FROM if memory else "no diffusion model",
        "model_memory_parts_gb": memory,
        "disk_gb": round(stored * copies / 1e9, 3),
        "cpus_available": resources.cpus,
        "gpus_available": resources.gpus,
    }


def _in_words(sizes: list[tuple[int, int]]) -> str:
    """WIDTHxHEIGHT; of several sizes, the smallest and the largest."""
    ends = dict.fromkeys((sizes[0], sizes[-1]))
    return " to ".join(f"{width}x{height}" for height, width in ends)
