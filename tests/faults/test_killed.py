"""kill -9 of the driver, of a worker and of a decode task; then a resume, whose result equals an undisturbed run's."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import yaml

from raydepth.job import Job
from raydepth.pipeline import run
from tests.clips import write_clip
from tests.runs import differing, results, small_job

pytestmark = pytest.mark.timeout(290)


def slow_job(clip: Path, out: Path) -> Job:
    """Long enough to be killed in the middle: diffusion on every frame, small parts."""
    return small_job(
        clip,
        out,
        compose__method="featglac-kv",
        compose__steps=20,
        output__shard_frames=4,
        output__keep=["edited"],
        input__size=96,
    )


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", frames=40)


@pytest.fixture(scope="module")
def undisturbed(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    assert run(slow_job(clip, out), say=lambda line: None).frames["done"] == 40
    return out


def start(job: Job, folder: Path) -> subprocess.Popen:
    file = folder / "job.yaml"
    file.write_text(yaml.safe_dump(job.model_dump(mode="json")))
    log = open(folder / "log", "a")  # noqa: SIM115 (belongs to the process)
    return subprocess.Popen([sys.executable, "-m", "raydepth", "run", str(file)], stdout=log, stderr=log)


def shards(out: Path) -> int:
    return len(list(out.glob("frames/*/[!.]*.parquet")))


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def worker(process: subprocess.Popen, title: str) -> psutil.Process | None:
    """The Ray worker of a run whose title holds these words, while it is at work."""
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if title in " ".join(child.cmdline()):
                return child
        except psutil.Error:
            continue
    return None


def test_the_driver(clip: Path, undisturbed: Path, tmp_path: Path):
    out = tmp_path / "out"
    process = start(slow_job(clip, out), tmp_path)
    wait_for(lambda: shards(out) >= 2)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    left = shards(out)
    assert 2 <= left < 10, "it was killed too late to test anything"
    kept = {path: path.stat().st_mtime_ns for path in out.glob("frames/*/[!.]*.parquet")}
    process = start(slow_job(clip, out), tmp_path)
    assert process.wait(200) == 0
    assert not differing(out, undisturbed)
    # Exactly what was missing was redone.
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in kept.items())
    assert not list(out.rglob("*.tmp"))


def test_a_worker(clip: Path, undisturbed: Path, tmp_path: Path):
    out = tmp_path / "out"
    process = start(slow_job(clip, out), tmp_path)
    wait_for(lambda: shards(out) >= 2)
    victim = worker(process, "ray::MapWorker(MapBatches(Editor")
    assert victim is not None
    victim.kill()
    assert process.wait(200) == 0
    assert "1 restarts" in (tmp_path / "log").read_text()
    assert not differing(out, undisturbed)


def test_a_decode_task(clip: Path, undisturbed: Path, tmp_path: Path):
    out = tmp_path / "out"
    process = start(slow_job(clip, out), tmp_path)
    found: list[psutil.Process] = []

    def decoding() -> bool:
        if victim := worker(process, "FlatMap(Decoder"):
            victim.kill()
            found.append(victim)
        return bool(found)

    wait_for(decoding)
    assert process.wait(200) == 0
    assert not differing(out, undisturbed)


def test_ctrl_c_finishes_what_is_in_flight(clip: Path, undisturbed: Path, tmp_path: Path):
    out = tmp_path / "out"
    process = start(slow_job(clip, out), tmp_path)
    wait_for(lambda: shards(out) >= 1)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(120) == 1
    assert "finishing what is in flight" in (tmp_path / "log").read_text()
    assert 0 < results(out).num_rows < 40
    assert run(slow_job(clip, out), say=lambda line: None).frames["done"] == 40
    assert not differing(out, undisturbed)
