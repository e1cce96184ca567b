"""The pass that calibrates clips, on a real Ray: by the workers that edit, which may die or be
stopped at it.
"""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.stages import StandIn
from raydepth.job import Job
from raydepth.output.folder import OutputFolder
from raydepth.output.record import CALIBRATIONS, read_calibrations
from raydepth.run import pipeline
from raydepth.run.pipeline import run
from tests.faults import editors
from tests.faults.processes import shards, start, wait_for
from tests.support.clips import write_clip
from tests.support.runs import differing, results, small_job

pytestmark = pytest.mark.timeout(280)


def quiet(line: str) -> None:
    """Progress goes nowhere."""


@pytest.fixture
def roles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "roles"
    folder.mkdir()
    monkeypatch.setenv("RAYDEPTH_TEST_ROLES", str(folder))
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("two")
    return [str(write_clip(folder / f"clip{n}.mp4", frames=n)) for n in (10, 12)]


@pytest.fixture(scope="module")
def plain(clips: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of an undisturbed run of real workers."""
    out = tmp_path_factory.mktemp("plain") / "out"
    assert run(small_job(clips, out), echo=quiet).frames["done"] == 22
    return out


def calibrations(out: Path) -> bytes:
    return (out / CALIBRATIONS).read_bytes()


@pytest.mark.parametrize("decode", ["stream", "in_actor"])
def test_every_worker_loads_its_models_once(
    clips: list[str], plain: Path, roles: Path, tmp_path: Path, monkeypatch, decode: str
):
    monkeypatch.setattr(pipeline, "Worker", editors.Counted)
    out = tmp_path / "out"
    assert run(small_job(clips, out, run__decode=decode), echo=quiet).frames["done"] == 22
    assert len(list(roles.glob("load*"))) == 1
    assert calibrations(out) == calibrations(plain)
    assert not differing(out, plain)


@pytest.mark.parametrize("deaths", [1, 9])
def test_a_worker_that_dies_while_it_calibrates(
    clips: list[str], plain: Path, roles: Path, tmp_path: Path, monkeypatch, deaths: int
):
    """It is replaced, and measures again; a clip that keeps killing workers has no scale."""
    monkeypatch.setattr(pipeline, "Worker", editors.DiesCalibrating)
    (roles / "deaths").write_text(str(deaths))
    out = tmp_path / "out"
    outcome = run(small_job(clips[:1], out, run__attempts=2), echo=quiet)
    assert json.loads((out / "benchmark.json").read_text())["restarts"] == min(deaths, 2)
    if deaths == 1:
        assert outcome.frames["done"] == 10
        (video,) = read_calibrations(OutputFolder.at(str(out)))
        expected = read_calibrations(OutputFolder.at(str(plain)))[video]
        assert read_calibrations(OutputFolder.at(str(out)))[video] == expected
    else:
        assert outcome.errors == {"NotCalibrated": 10}
        assert not (out / CALIBRATIONS).exists()


def test_a_stop_keeps_the_calibrations_that_are_whole(
    clips: list[str], roles: Path, tmp_path: Path
):
    out = tmp_path / "out"
    job = small_job(clips, out, output__keep=["edited"])
    process = start(job, tmp_path, editor="tests.faults.editors:CalibratesOne")
    wait_for(lambda: (roles / "two").exists())
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert process.wait(60) == 1
    assert time.monotonic() - began < 30
    assert shards(out) == 0
    assert len(read_calibrations(OutputFolder.at(str(out)))) == 1
    assert start(job, tmp_path).wait(100) == 0
    assert results(out).num_rows == 22
    assert len(read_calibrations(OutputFolder.at(str(out)))) == 2


def test_several_workers_and_several_clips(
    clips: list[str], tmp_path: Path, stand_ins: pytest.MonkeyPatch, job: Callable[..., Job]
):
    """More workers than clips, more clips than workers, and a pool that begins with fewer."""
    kept = {"output__keep": ["edited"], "run__gpus_per_worker": 1}
    outs = []
    for workers, least, videos in ((1, 1, clips), (3, 3, clips), (2, 1, clips)):
        outs.append(tmp_path / f"out{workers}{least}")
        fields = kept | {"run__workers": workers, "run__logical_gpus": workers}
        fields |= {"run__min_workers": least}
        assert run(small_job(videos, outs[-1], **fields), echo=quiet).frames["done"] == 22
    assert all(calibrations(out) == calibrations(outs[0]) for out in outs)
    assert all(not differing(out, outs[0]) for out in outs)
    assert pipeline.Worker is StandIn
