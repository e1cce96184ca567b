"""What the fault tests share: a clip, a job that takes seconds, and the result of its undisturbed
run.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.stages import StandIn
from raydepth.job import Job
from raydepth.run import pipeline
from raydepth.run.pipeline import run
from tests.support.clips import write_clip
from tests.support.runs import small_job

FRAMES = 80


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", frames=FRAMES)


@pytest.fixture(scope="session")
def job(clip: Path) -> Callable[..., Job]:
    """``job(out, a__b=value)``: ten parts of eight frames; of the pictures, only the edit is kept."""

    def make(out: Path, **fields) -> Job:
        return small_job(clip, out, output__keep=["edited"], **fields)

    return make


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Runs in this process have stand-ins for workers."""
    monkeypatch.setattr(pipeline, "Worker", StandIn)
    return monkeypatch


@pytest.fixture(scope="session")
def undisturbed(job: Callable[..., Job], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run that nothing happened to."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "Worker", StandIn)
        assert run(job(out), echo=lambda line: None).frames["done"] == FRAMES
    return out
