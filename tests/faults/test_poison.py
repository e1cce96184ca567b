"""A frame that raises, and a frame that kills its worker: each costs itself, is named, and the job ends."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from raydepth import pipeline
from raydepth.columns import Batch
from raydepth.pipeline import run
from raydepth.store.shards import shard_name
from tests.clips import write_clip
from tests.runs import results, small_job

pytestmark = pytest.mark.timeout(280)

POISON = 9


class RaisingEditor(pipeline.Editor):
    """A worker whose first step raises on one frame."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self._edit._steps.insert(0, self.poisoned)

    @staticmethod
    def poisoned(batch: Batch) -> Batch:
        if (batch["rgb"][batch["frame_index"] == POISON] > 0).any():
            raise ZeroDivisionError("poison")
        return batch


class DyingEditor(RaisingEditor):
    """A worker whose process dies on one frame, as of a segmentation fault."""

    @staticmethod
    def poisoned(batch: Batch) -> Batch:
        if (batch["rgb"][batch["frame_index"] == POISON] > 0).any():
            os.kill(os.getpid(), signal.SIGKILL)
        return batch


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", frames=20)


@pytest.fixture(scope="module")
def undisturbed(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    run(small_job(clip, out), say=lambda line: None)
    return out


def check_others(out: Path, undisturbed: Path, error_type: str) -> dict:
    """All frames but the poisoned one equal the undisturbed run's; returns the poisoned row."""
    table, expected = results(out), results(undisturbed)
    assert table["frame_index"].to_pylist() == list(range(20))
    rows = np.array([i for i in range(20) if i != POISON])
    columns = [name for name in expected.column_names if name != "attempts"]
    assert table.take(rows).select(columns).equals(expected.take(rows).select(columns))
    row = table.to_pylist()[POISON]
    assert (row["status"], row["error_type"]) == ("error", error_type)
    return row


def test_a_raising_frame_is_tried_again_by_later_runs_up_to_the_limit(
    clip: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "out"
    monkeypatch.setattr(pipeline, "Editor", RaisingEditor)
    for attempt in (1, 2, 2):  # the third run leaves it in quarantine
        outcome = run(small_job(clip, out, run__attempts=2), say=lambda line: None)
        assert outcome.frames == {"total": 20, "done": 19, "failed": 1, "missing": 0}
        assert outcome.errors == {"ZeroDivisionError": 1}
        assert check_others(out, undisturbed, "ZeroDivisionError")["attempts"] == attempt
    shard = out / shard_name(f"{results(out)['video'][0]}/000000-0001")
    stamp = shard.stat().st_mtime_ns
    run(small_job(clip, out, run__attempts=2), say=lambda line: None)
    assert shard.stat().st_mtime_ns == stamp
    # A limit raised, or a cause removed, and it is done.
    monkeypatch.undo()
    assert run(small_job(clip, out, run__attempts=3), say=lambda line: None).frames["done"] == 20


@pytest.mark.parametrize("decode", ["stream", "in_actor"])
def test_a_frame_that_kills_its_worker_is_found_and_quarantined(
    clip: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decode: str
):
    out = tmp_path / "out"
    monkeypatch.setattr(pipeline, "Editor", DyingEditor)
    outcome = run(small_job(clip, out, run__decode=decode), say=lambda line: None)
    assert outcome.frames == {"total": 20, "done": 19, "failed": 1, "missing": 0}
    row = check_others(out, undisturbed, "WorkerCrashed")
    assert row["attempts"] == 2
    assert "died" in row["error_message"]


class DyingDecoder(pipeline.Decoder):
    """A decode task whose process dies on one part, as of a bug in a codec."""

    def parts(self, parts):
        for part, decoded in super().parts(parts):
            if part.number == 1 and decoded[0]["status"][0] == "ok":
                self._progress.at(f"decode {parts[0].name}", part.name)
                os.kill(os.getpid(), signal.SIGKILL)
            yield part, decoded


def test_frames_that_kill_the_decoder_are_set_aside(
    clip: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "out"
    monkeypatch.setattr(pipeline, "Decoder", DyingDecoder)
    outcome = run(small_job(clip, out), say=lambda line: None)
    assert outcome.frames == {"total": 20, "done": 12, "failed": 8, "missing": 0}
    assert outcome.errors == {"DecoderCrashed": 8}
    table = results(out)
    assert table.slice(0, 8).equals(results(undisturbed).slice(0, 8))
    assert "died" in table["error_message"][8].as_py()
