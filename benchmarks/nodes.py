"""Throughput of 1, 2 and 4 nodes of a Ray cluster simulated on this machine, with a GPU stage that sleeps half a second a frame.

    python -m benchmarks.nodes           about eight minutes

What is measured is everything but the models: decoding, scheduling, moving frames between nodes, shards and ledger. Whole
runs are timed, start and end included. Prints the ratios; benchmarks/results/nodes.json keeps them.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

from benchmarks.memory import write_4k
from benchmarks.stages import NoCalibrator, StandInEditor, sleeping
from raydepth import pipeline
from raydepth.job import parse_job
from raydepth.store.record import environment
from raydepth.worker import Step

STORE = 200_000_000


class HalfSecond(StandInEditor):
    """What a frame takes on a small GPU."""

    @staticmethod
    def step() -> Step:
        return sleeping(0.5)


def measure(nodes: int, clip: Path, out: Path) -> float:
    """Seconds of a whole run on so many nodes of one CPU and one logical GPU, beside a head node that only decodes."""
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 0, "object_store_memory": STORE}
    )
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=STORE)
        job = parse_job(
            {
                "schema_version": 1,
                "input": {"paths": [str(clip)], "size": 256},
                "output": {"path": str(out), "keep": ["edited"], "shard_frames": 8},
                "run": {"workers": nodes, "gpus_per_worker": 1, "logical_gpus": nodes, "batch": 4},
            }
        )
        began = time.monotonic()
        outcome = pipeline.run(job, address=cluster.address, say=lambda line: None)
        seconds = time.monotonic() - began
    finally:
        ray.shutdown()
        cluster.shutdown()
    if outcome.frames["done"] != outcome.frames["total"]:
        raise SystemExit(f"frames are missing: {outcome.frames}")
    return seconds


def main() -> None:
    """Measures and stores."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=480)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 4])
    arguments = parser.parse_args()
    pipeline.__dict__.update(Editor=HalfSecond, ClipCalibrator=NoCalibrator)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        clip = Path(scratch, "clip.mp4")
        write_4k(clip, arguments.frames)
        for nodes in arguments.nodes:
            seconds = measure(nodes, clip, Path(scratch, f"out{nodes}"))
            ratio = rows[0]["seconds"] / seconds if rows else 1.0
            rows.append({"nodes": nodes, "seconds": round(seconds, 1), "ratio": round(ratio, 2)})
            print(rows[-1], flush=True)
    result = {"frames": arguments.frames, "rows": rows, "environment": environment()}
    file = Path(__file__).parent / "results" / "nodes.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
