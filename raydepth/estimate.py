"""``raydepth plan``: what a job will take, before it runs; figures that are not known are said to be unknown."""

from typing import Any

from raydepth.edits.build import check_edit
from raydepth.featglac.lanes import count_lanes
from raydepth.job import Job
from raydepth.models import check_models, form_of
from raydepth.pipeline import find_segments
from raydepth.store.folder import OutputFolder
from raydepth.store.plan import cut_parts
from raydepth.store.record import read_benchmark

T4_LANES_PER_S = 14.0
"""SD 1.5 U-Net lanes a second on a T4 in float16 at 512 x 512, whatever the batch (method.md, section 5)."""
T4_OTHER_S = 0.25
"""VAE encode and decode, depth and fill of a frame on a T4: method.md's 3.6 TFLOP and what the rest adds; not measured here."""
MEMORY_FROM = "the diffusion models' code run on shapes, not confirmed on a GPU; depth model, CUDA context and workspaces come on top"
SD_PIXELS = 512 * 512

BITS_PER_PIXEL = {"rgb": 12.0, "edited": 12.0, "background": 12.0, "depth": 11.0, "near": 0.2}
"""Bits of a stored picture per pixel: the largest of the test data's clips (rgb at 512 pixels: 6.2, 8.9 and 12.2)."""


def estimate(job: Job, *, address: str | None = None) -> dict[str, Any]:
    """Frames, segments, seconds per frame, hours and disk of a job, and whether its machine can schedule it.

    Seconds per frame come from ``benchmark.json`` of an earlier run into the same folder where there is one, else from the
    T4 anchor for Stable-Diffusion-class models on GPUs, else they are unknown (None).

    Raises:
        JobError: as ``raydepth run`` would.
    """
    check_models(job)
    check_edit(job.edit, job.layers)
    segments, unreadable = find_segments(job)
    parts = cut_parts(
        segments,
        batch=job.run.batch,
        shard_frames=job.output.shard_frames,
        limit=job.input.limit,
        full_size=job.output.size == "source",
    )
    frames = sum(part.frames for part in parts)
    pixels = parts[0].segment.height * parts[0].segment.width
    lanes = count_lanes(job.compose, layers=2 if job.edit.kind == "recompose" else 1, frames=1)
    seconds, source = _seconds_per_frame(job, lanes, pixels)
    stored = sum(BITS_PER_PIXEL[kind] for kind in job.output.keep) / 8 * pixels * frames
    copies = {"parquet": 1, "png": 1, "both": 2, "none": 0}[job.output.images]
    import ray

    from raydepth import cluster
    from raydepth.memory import job_memory

    memory = job_memory(job, parts[0].segment.height, parts[0].segment.width)
    resources = cluster.connect(job.run, address)
    cluster.preflight(job.run, resources)
    ray.shutdown()
    return {
        "frames": frames,
        "videos": len({part.segment.video for part in parts}),
        "unreadable_sources": len(unreadable),
        "segments": len({(part.segment.video, part.segment.index) for part in parts}),
        "shards": len(parts),
        "working_size": f"{parts[0].segment.width}x{parts[0].segment.height}",
        "unet_lanes_per_frame": lanes,
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


def _seconds_per_frame(job: Job, lanes: int, pixels: int) -> tuple[float | None, str]:
    """Worker seconds per frame, and where the figure comes from."""
    folder = OutputFolder.at(job.output.path)
    measured = read_benchmark(folder).get("worker_seconds_per_frame")
    if measured is not None:
        return measured, f"measured by an earlier run in {folder.uri}"
    if (
        job.run.gpus_per_worker
        and form_of(job.compose.model) == "hub"
        and job.compose.method.startswith("featglac")
    ):
        scale = pixels / SD_PIXELS
        return round(
            scale * (lanes / T4_LANES_PER_S + T4_OTHER_S), 2
        ), "estimated for SD 1.5 on a T4 in float16"
    return None, "unknown: run once with --limit 32 into the same folder, then plan again"
