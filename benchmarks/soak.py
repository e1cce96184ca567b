"""25,000 frames of a 4K video with a stand-in for the models, real decoding, shards and report,
while workers are killed at random.

    python -m benchmarks.soak            a quarter of an hour on two cores
    python -m benchmarks.soak --frames 2500 --kill-every 20

Two workers on two logical GPUs sleep 20 ms a frame. Memory of every process of the run is sampled
(USS: what ending it would free), every one to two --kill-every seconds a worker gets SIGKILL, and
at the end the shards prove that every frame is there exactly once, with the pixels of its own
index. Prints the figures; benchmarks/results/soak.json and soak.png keep them.
"""

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import yaml

from benchmarks.memory import GOP, write_4k
from benchmarks.stages import StandIn, sleeping
from raydepth import cli
from raydepth.output.folder import OutputFolder
from raydepth.output.ledger import status
from raydepth.output.record import environment
from raydepth.run import pipeline
from raydepth.run.editor import Step

SAMPLE_S = 2.0
SETTLING_S = 60.0
"""Slopes are fitted behind this much of a process's life."""
LONG_S = 120.0
"""And only for processes of which so much is left then; of shorter ones a slope says nothing."""


class Sleeper(StandIn):
    """20 ms a frame."""

    @staticmethod
    def step() -> Step:
        return sleeping(0.02)


@dataclass
class Life:
    """One process: seconds since the start of the run, finished frames by then, and USS in MB, a
    sample each.
    """

    role: str
    seconds: list[float] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    uss_mb: list[float] = field(default_factory=list)

    def slope(self) -> float | None:
        """MB per 1,000 frames by least squares; None where there is too little to fit."""
        seconds = np.array(self.seconds) - self.seconds[0]
        late = seconds >= SETTLING_S
        late &= np.array(self.frames) < self.frames[-1]  # the report at the end is not the stream
        frames = np.array(self.frames)[late]
        if seconds[-1] - SETTLING_S < LONG_S or np.ptp(frames) == 0:
            return None
        return float(np.polyfit(frames / 1000, np.array(self.uss_mb)[late], 1)[0])


def role_of(process: psutil.Process, driver: int) -> str:
    """What a process of the run is; empty for what ends before one can ask."""
    try:
        title = " ".join(process.cmdline())
    except psutil.Error:
        return ""
    if process.pid == driver:
        return "driver"
    named = {
        "raylet/raylet": "raylet",
        "gcs_server": "gcs",
        "MapBatches(Sleeper": "worker",
        "Decoder": "decoder",
        "Tracker": "tracker",
    }
    return next((role for part, role in named.items() if part in title), "ray helpers")


class Watcher:
    """Samples the run's processes and kills workers, until it is told to stop."""

    def __init__(
        self, process: subprocess.Popen, out: Path, kill_every: float, spill: Path
    ) -> None:
        self.lives: dict[tuple[int, float], Life] = {}
        self.kills = self.peak_spilled = 0
        self.total_mb: list[tuple[float, float]] = []
        self._process, self._out, self._kill_every, self._spill = process, out, kill_every, spill

    def watch(self) -> None:
        """Returns when the run has ended."""
        rng = random.Random(0)
        began = time.monotonic()
        next_kill = began + self._kill_every
        while self._process.poll() is None:
            now = time.monotonic()
            members = self._sample(now - began)
            if now >= next_kill and (victims := [p for p, role in members if role == "worker"]):
                rng.choice(victims).kill()
                self.kills += 1
                next_kill = now + rng.uniform(1, 2) * self._kill_every
            time.sleep(SAMPLE_S)

    def _sample(self, seconds: float) -> list[tuple[psutil.Process, str]]:
        done = sum(1 for _ in self._out.glob("frames/*/[!.]*.parquet")) * 32
        members, total = [], 0.0
        try:
            root = psutil.Process(self._process.pid)
            family = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []
        for process in family:
            if not (role := role_of(process, self._process.pid)):
                continue
            try:
                memory = process.memory_full_info()
                life = self.lives.setdefault((process.pid, process.create_time()), Life(role))
            except psutil.Error:
                continue
            if life.role == "ray helpers":  # a worker before it is told what it will be
                life.role = role
            life.seconds.append(seconds)
            life.frames.append(done)
            life.uss_mb.append(memory.uss / 1e6)
            total += memory.pss / 1e6
            members.append((process, role))
        self.total_mb.append((seconds, total))
        self.peak_spilled = max(self.peak_spilled, _spilled(self._spill))
        return members


def _spilled(session: Path) -> int:
    """Bytes that Ray has on disk at this moment because its object store was full."""
    total = 0
    for file in session.rglob("ray_spilled_objects*/*"):
        with contextlib.suppress(FileNotFoundError):  # read back and deleted meanwhile
            total += file.stat().st_size
    return total


def exactly_once(out: Path, frames: int) -> dict[str, Any]:
    """Counts rows, and frames whose pixels are not those of their index (the clip repeats itself
    every GOP frames).
    """
    levels: dict[int, set[float]] = defaultdict(set)
    indices: list[int] = []
    for path in out.glob("frames/*/*.parquet"):
        for row in pq.read_table(
            path, columns=["frame_index", "status", "rmse_mean_level"]
        ).to_pylist():
            if row["status"] == "ok":
                indices.append(row["frame_index"])
                levels[row["frame_index"] % GOP].add(row["rmse_mean_level"])
    return {
        "rows": len(indices),
        "distinct": len(set(indices)),
        "missing": frames - len(set(indices)),
        "wrong_pixels": sum(len(found) != 1 for found in levels.values()),
        "distinct_pictures": len({level for found in levels.values() for level in found}),
    }


def plot(watcher: Watcher, file: Path) -> None:
    """Memory over time, a line a process, and all of them together."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    query_groups = ("driver", "worker", "decoder", "raylet", "gcs", "tracker")
    colours = {role: f"C{i}" for i, role in enumerate(query_groups)}
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(9, 6), sharex=True, height_ratios=(2, 1))
    for life in watcher.lives.values():
        if life.role in colours:
            label = life.role if life.role not in upper.get_legend_handles_labels()[1] else None
            upper.plot(
                np.array(life.seconds) / 60,
                life.uss_mb,
                color=colours[life.role],
                label=label,
                lw=1,
            )
    upper.set_ylabel("MB of one process (USS)")
    upper.legend(frameon=False, ncols=3)
    seconds, total = np.array(watcher.total_mb).T
    lower.plot(seconds / 60, total, color="black", lw=1)
    lower.set_ylim(0)
    lower.set_xlabel("minutes")
    lower.set_ylabel("MB of all (PSS)")
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def soak(frames: int, kill_every: float, scratch: Path) -> tuple[dict[str, Any], Watcher]:
    """Runs it and returns the figures."""
    clip, out, log = scratch / "clip.mp4", scratch / "out", scratch / "log"
    print(f"writing {frames} 4K frames ...", flush=True)
    write_4k(clip, frames)
    job = {
        "schema_version": 1,
        "input": {"paths": [str(clip)], "size": 128},
        "output": {"path": str(out), "keep": ["edited"]},
        "run": {"workers": 2, "gpus_per_worker": 1, "logical_gpus": 2, "object_store_gb": 0.4},
    }
    file = scratch / "job.yaml"
    file.write_text(yaml.safe_dump(job))
    temporary = scratch / "ray"
    environ = os.environ | {"RAY_TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"}
    temporary.mkdir()
    began = time.monotonic()
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.soak", "--worker", str(file)],
            stdout=stream,
            stderr=stream,
            env=environ,
            cwd=Path(__file__).parents[1],
        )
        watcher = Watcher(process, out, kill_every, temporary)
        thread = threading.Thread(target=watcher.watch)
        thread.start()
        code = process.wait()
        thread.join()
    seconds = time.monotonic() - began
    if code:
        raise SystemExit(f"the run ended with {code}:\n{log.read_text()[-3000:]}")
    slopes: dict[str, list[float]] = defaultdict(list)
    for life in watcher.lives.values():
        if (slope := life.slope()) is not None:
            slopes[life.role].append(slope)
    state = status(OutputFolder.at(str(out)))
    result = {
        "frames": frames,
        "clip_gb": round(clip.stat().st_size / 1e9, 2),
        "seconds": round(seconds, 1),
        "frames_per_second": round(frames / seconds, 2),
        "workers_killed": watcher.kills,
        "restarts_counted": json.loads((out / "benchmark.json").read_text())["restarts"],
        "peak_mb_of_all": round(max(total for _, total in watcher.total_mb)),
        "peak_mb_of_one": {
            role: round(
                max(max(life.uss_mb) for life in watcher.lives.values() if life.role == role)
            )
            for role in sorted({life.role for life in watcher.lives.values()})
        },
        "slope_mb_per_1000_frames": {
            role: {"processes": len(found), "worst": round(max(found), 3)}
            for role, found in sorted(slopes.items())
        },
        "peak_spilled_bytes": watcher.peak_spilled,
        "shards": state["shards"],
        "mean_shard_kb": round(state["bytes"] / state["shards"] / 1e3, 1),
        "exactly_once": exactly_once(out, frames),
        "status": state["frames"],
        "environment": environment(),
    }
    return result, watcher


def main() -> None:
    """Measures and stores; with --worker it is the measured program."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=25_000)
    parser.add_argument("--kill-every", type=float, default=60.0, help="seconds; 0: never")
    parser.add_argument("--worker", metavar="JOB", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        pipeline.__dict__.update(Worker=Sleeper)
        sys.argv = ["raydepth", "run", arguments.worker]
        cli.main()
    with tempfile.TemporaryDirectory() as scratch:
        result, watcher = soak(
            arguments.frames, arguments.kill_every or float("inf"), Path(scratch)
        )
        print(
            json.dumps(
                {name: value for name, value in result.items() if name != "environment"}, indent=2
            )
        )
        folder = Path(__file__).parent / "results"
        folder.mkdir(exist_ok=True)
        (folder / "soak.json").write_text(json.dumps(result, indent=2))
        plot(watcher, folder / "soak.png")
    once = result["exactly_once"]
    sound = once["rows"] == once["distinct"] == arguments.frames and not once["wrong_pixels"]
    raise SystemExit(0 if sound else "frames were lost, doubled or shifted")


if __name__ == "__main__":
    main()
