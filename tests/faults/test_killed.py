"""Processes of a run killed from outside; every run that follows ends in the bytes of an
undisturbed one, and a user's files in the folder are as they were.
"""

import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from raydepth.job import Job
from raydepth.output.folder import NAMES
from raydepth.run.pipeline import run
from tests.faults.processes import kill_and_outlive, shards, start, wait_for, worker
from tests.support.runs import differing, results, small_job

SLOW = "tests.faults.editors:Slow"

JobMaker = Callable[..., Job]

MINE = ("notes.txt", "videos/mine.mp4", "images/mine.png", "report/figures/mine.png", ".x.tmp")
"""Files that a user puts into an output folder, once it is one."""


def keep_mine(out: Path) -> dict[Path, str]:
    """Puts the user's files into a folder that a run has taken; gives what each must hold."""
    if not (out / NAMES).exists():
        return {}
    files = {out / name: name for name in MINE}
    for file, text in files.items():
        file.parent.mkdir(exist_ok=True)
        if not file.exists():
            file.write_text(text)
    return files


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(4, marks=pytest.mark.timeout(200)),
        pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)
def test_the_driver_at_random_moments(job: JobMaker, undisturbed: Path, tmp_path: Path, kills: int):
    """One folder, killed again and again, at any time from the program's start to its end."""
    rng = random.Random(kills)
    out, finished, kept = tmp_path / "out0", 0, 0
    for _ in range(kills):
        mine = keep_mine(out)
        process = start(job(out), tmp_path, editor=SLOW)
        try:
            process.wait(rng.uniform(0.5, 11))
        except subprocess.TimeoutExpired:
            before = shards(out)
            kill_and_outlive(process)
            assert shards(out) >= max(before, kept), "a shard was lost"
            kept = shards(out)
        else:
            assert process.returncode == 0
            assert not differing(out, undisturbed)
            finished, kept = finished + 1, 0
            out = tmp_path / f"out{finished}"
        assert {file: file.read_text() for file in mine} == mine
    mine = keep_mine(out)
    process = start(job(out), tmp_path, editor=SLOW)
    assert process.wait(100) == 0, (tmp_path / "log").read_text()
    assert not differing(out, undisturbed)
    assert {file: file.read_text() for file in mine} == mine
    assert set(out.rglob("*.tmp")) <= mine.keys()
    assert finished < kills, "every run ended before it was killed"


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_what_was_done_before_the_driver_was_killed_is_not_done_again(
    job: JobMaker, undisturbed: Path, tmp_path: Path
):
    out = tmp_path / "out"
    process = start(job(out), tmp_path, editor=SLOW)
    wait_for(lambda: shards(out) >= 3)
    kill_and_outlive(process)
    kept = {path: path.stat().st_mtime_ns for path in out.glob("frames/*/[!.]*.parquet")}
    assert 3 <= len(kept) < 10, "it was killed too late to test anything"
    assert start(job(out), tmp_path, editor=SLOW).wait(100) == 0
    assert not differing(out, undisturbed)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in kept.items())


@pytest.mark.timeout(120)
@pytest.mark.parametrize("title", ["ray::MapWorker(MapBatches(Slow", "FlatMap(Decoder"])
def test_a_worker_and_a_decode_task(job: JobMaker, undisturbed: Path, tmp_path: Path, title: str):
    out = tmp_path / "out"
    process = start(job(out), tmp_path, editor=SLOW)
    victims: list[psutil.Process] = []

    def struck() -> bool:
        if (shards(out) >= 2 or "Decoder" in title) and (victim := worker(process, title)):
            victim.kill()
            victims.append(victim)
        return bool(victims)

    wait_for(struck)
    assert process.wait(100) == 0
    assert not differing(out, undisturbed)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["SIGINT", pytest.param("SIGTERM", marks=pytest.mark.slow)])
def test_a_polite_end_finishes_what_is_in_flight(
    job: JobMaker, undisturbed: Path, tmp_path: Path, name: str
):
    out = tmp_path / "out"
    process = start(job(out), tmp_path, editor=SLOW)
    wait_for(lambda: shards(out) >= 1)
    process.send_signal(signal.Signals[name])
    began = time.monotonic()
    assert process.wait(60) == 1
    assert time.monotonic() - began < 20
    assert "finishing what is in flight" in (tmp_path / "log").read_text()
    assert 0 < results(out).num_rows < 80
    assert start(job(out), tmp_path, editor=SLOW).wait(100) == 0
    assert not differing(out, undisturbed)


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_the_driver_of_real_models(clip: Path, tmp_path: Path):
    """The same with diffusion on every frame: noise does not depend on where a run began."""

    def real(out: Path) -> Job:
        inject = {"compose__method": "featglac-kv", "compose__steps": 10, "compose__strength": 0.3}
        return small_job(
            clip, out, **inject, output__shard_frames=4, output__keep=["edited"], input__limit=24
        )

    assert run(real(tmp_path / "undisturbed"), echo=lambda line: None).frames["done"] == 24
    out = tmp_path / "out"
    process = start(real(out), tmp_path, editor=None)
    wait_for(lambda: shards(out) >= 2)
    kill_and_outlive(process)
    assert 2 <= shards(out) < 6, "it was killed too late to test anything"
    assert start(real(out), tmp_path, editor=None).wait(200) == 0
    assert not differing(out, tmp_path / "undisturbed")
