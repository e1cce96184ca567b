"""Seconds per image of every step, for FeatGLaC and for the baselines.

One worker without Ray edits one clip.

    python -m benchmarks.seconds_per_image                       the shipped clip, builtin models
    python -m benchmarks.seconds_per_image --clip CLIP --frames 16 --size 256

Each method goes through the same decoded frames in the same process, so their ratios mean something
on a shared machine where the seconds alone do not. Prints a table and keeps it in
benchmarks/results/seconds_per_image.json.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from raydepth.frames.decode import batches
from raydepth.frames.find import find_segments
from raydepth.job import Job, parse_job
from raydepth.output.record import environment
from raydepth.run.calibrator import ClipCalibrator
from raydepth.run.editor import edit_batch
from raydepth.run.load import load_worker
from raydepth.run.pipeline import build_steps
from raydepth.run.tracker import Attempt, Tracker

METHODS: dict[str, dict[str, Any]] = {
    "paste": {"method": "paste"},
    "poisson": {"method": "poisson"},
    "featglac-kv mosaic": {"method": "featglac-kv", "inject": {"mode": "mosaic"}},
    "featglac-kv concat": {"method": "featglac-kv", "inject": {"mode": "concat"}},
    "featglac-kv replace": {"method": "featglac-kv", "inject": {"mode": "replace"}},
    "plain img2img (weight 0)": {"method": "featglac-kv", "inject": {"weight": 0.0}},
}


def main() -> None:
    """Measures and stores."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clip", default="jobs/clips/demo.mp4")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    rows: dict[str, dict[str, float]] = {name: {} for name in METHODS}
    for _ in range(
        arguments.repeats
    ):  # interleaved, so that a busy neighbour meets all methods alike
        for name, compose in METHODS.items():
            job = parse_job(
                {
                    "schema_version": 1,
                    "input": {
                        "paths": [arguments.clip],
                        "limit": arguments.frames,
                        "size": arguments.size,
                    },
                    "compose": {"steps": 10, "strength": 0.5, **compose},
                    "output": {"path": "unused"},
                    "evaluate": {"reestimate_every": 0},
                }
            )
            for stage, seconds in measure(job, arguments.frames, arguments.batch).items():
                rows[name][stage] = min(rows[name].get(stage, np.inf), seconds)
    stages = sorted({stage for row in rows.values() for stage in row})
    print(
        f"{'seconds per image':26}"
        + "".join(f"{stage:>10}" for stage in stages)
        + f"{'all':>10}{'x paste':>10}"
    )
    for name, row in rows.items():
        total = sum(row.values())
        print(
            f"{name:26}"
            + "".join(f"{row[s]:10.4f}" for s in stages)
            + f"{total:10.4f}{total / sum(rows['paste'].values()):10.1f}"
        )
    file = Path(__file__).parent / "results" / "seconds_per_image.json"
    file.parent.mkdir(exist_ok=True)
    settings = vars(arguments)
    file.write_text(
        json.dumps(
            {"settings": settings, "seconds_per_image": rows, "environment": environment()},
            indent=2,
        )
    )


def measure(job: Job, frames: int, batch: int) -> dict[str, float]:
    """Mean seconds per frame of each step over one clip's first frames; models are warmed up on the
    first batch.
    """
    segments = find_segments(job.input, job.compose.every).segments
    models = load_worker(job, device="cpu", dtype="float32")
    clip = ClipCalibrator(job, models, Tracker())(segments, Attempt(1, False, {}))
    if clip is None:
        raise SystemExit(f"{segments[0].path}: no depth on the sampled frames")
    steps = build_steps(job, models, segments[0].video, clip)
    decoded = list(batches(segments[0].take(slice(0, frames)), batch))
    edit_batch(steps, decoded[0])
    edited = [edit_batch(steps, one) for one in decoded]
    names = [name for name in edited[0] if name.startswith("seconds_")]
    return {
        name.removeprefix("seconds_"): float(np.mean([one[name].mean() for one in edited]))
        for name in names
    }


if __name__ == "__main__":
    main()
