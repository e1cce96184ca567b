"""Throughput of 1, 2 and 4 nodes of a Ray cluster simulated on this machine, with a GPU stage that
sleeps half a second a frame.

    python -m benchmarks.nodes           about eight minutes

What is measured is everything but the models: decoding, scheduling, moving frames between nodes,
shards and ledger. Two times are taken: of whole runs, start and report included, and from the first
frame that a worker took up to the last shard. Prints the ratios; benchmarks/results/nodes.json
keeps them.
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
from benchmarks.stages import StandIn, sleeping
from raydepth.job import parse_job
from raydepth.output.record import environment
from raydepth.run import pipeline
from raydepth.run.editor import Step

STORE = 200_000_000


class HalfSecond(StandIn):
    """What a frame takes on a small GPU."""

    @staticmethod
    def step() -> Step:
        return sleeping(STAGE_S)


STAGE_S = 0.5
SHARD_FRAMES = 8


def measure(nodes: int, clip: Path, out: Path) -> tuple[float, float]:
    """Seconds on so many nodes of one CPU and one logical GPU, beside a head node that only
    decodes: the whole run, its stream.
    """
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 2, "num_gpus": 0, "object_store_memory": STORE},
    )
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=STORE)
        job = parse_job(
            {
                "schema_version": 1,
                "input": {"paths": [str(clip)], "size": 256},
                "output": {"path": str(out), "keep": ["edited"], "shard_frames": SHARD_FRAMES},
                "run": {"workers": nodes, "gpus_per_worker": 1, "logical_gpus": nodes, "batch": 4},
            }
        )
        began = time.monotonic()
        outcome = pipeline.run(job, address=cluster.address, echo=lambda line: None)
        seconds = time.monotonic() - began
    finally:
        ray.shutdown()
        cluster.shutdown()
    if outcome.frames["done"] != outcome.frames["total"]:
        raise SystemExit(f"frames are missing: {outcome.frames}")
    written = [path.stat().st_mtime for path in out.glob("frames/*/*.parquet")]
    return seconds, max(written) - min(written) + SHARD_FRAMES * STAGE_S


def main() -> None:
    """Measures and stores."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=480)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 4])
    arguments = parser.parse_args()
    pipeline.__dict__.update(Worker=HalfSecond)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        clip = Path(scratch, "clip.mp4")
        write_4k(clip, arguments.frames)
        for nodes in arguments.nodes:
            whole, stream = measure(nodes, clip, Path(scratch, f"out{nodes}"))
            row = {"nodes": nodes, "run_s": round(whole, 1), "stream_s": round(stream, 1)}
            first = rows[0] if rows else row
            row |= {"run_ratio": round(first["run_s"] / whole, 2)}
            row |= {"stream_ratio": round(first["stream_s"] / stream, 2)}
            rows.append(row)
            print(rows[-1], flush=True)
    result = {"frames": arguments.frames, "rows": rows, "environment": environment()}
    file = Path(__file__).parent / "results" / "nodes.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
