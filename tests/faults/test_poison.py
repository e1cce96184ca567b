"""Frames that raise, kill their worker, eat its memory, kill or hang the decoder: each costs
itself, is named, and the job ends.
"""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import psutil
import pyarrow.compute as pc
import pytest

from raydepth.frames.decode import batches
from raydepth.job import Job
from raydepth.output.shards import shard_name
from raydepth.run import decoder as decoding
from raydepth.run import pipeline
from raydepth.run.pipeline import run
from tests.faults import editors
from tests.faults.conftest import FRAMES
from tests.faults.editors import POISON
from tests.support.runs import differing, results

pytestmark = pytest.mark.timeout(280)

JobMaker = Callable[..., Job]


def quiet(line: str) -> None:
    """Progress goes nowhere."""


def check_others(out: Path, undisturbed: Path, error_type: str) -> dict:
    """All frames but the poisoned one equal the undisturbed run's; returns the poisoned row."""
    table, expected = results(out), results(undisturbed)
    assert table["frame_index"].to_pylist() == list(range(FRAMES))
    rows = np.array([i for i in range(FRAMES) if i != POISON])
    columns = [name for name in expected.column_names if name != "attempts"]
    assert table.take(rows).select(columns).equals(expected.take(rows).select(columns))
    row = table.to_pylist()[POISON]
    assert (row["status"], row["error_type"]) == ("error", error_type)
    return row


def test_a_raising_frame_is_tried_again_by_later_runs_up_to_the_limit(
    job: JobMaker, undisturbed: Path, tmp_path: Path, stand_ins: pytest.MonkeyPatch
):
    out = tmp_path / "out"
    stand_ins.setattr(pipeline, "Worker", editors.Poisoned)
    for attempt in (1, 2, 2):  # the third run leaves it in quarantine
        outcome = run(job(out, run__attempts=2), echo=quiet)
        assert outcome.frames == {"total": FRAMES, "done": FRAMES - 1, "failed": 1, "missing": 0}
        assert outcome.errors == {"ZeroDivisionError": 1}
        assert check_others(out, undisturbed, "ZeroDivisionError")["attempts"] == attempt
    shard = out / shard_name(f"{results(out)['video'][0]}/000000-0001")
    stamp = shard.stat().st_mtime_ns
    run(job(out, run__attempts=2), echo=quiet)
    assert shard.stat().st_mtime_ns == stamp
    # A limit raised, or a cause removed, and it is done.
    stand_ins.setattr(pipeline, "Worker", editors.StandIn)
    assert run(job(out, run__attempts=3), echo=quiet).frames["done"] == FRAMES


def test_a_retry_that_fails_everywhere_costs_no_good_frame_whatever_its_batch(
    job: JobMaker, undisturbed: Path, tmp_path: Path, stand_ins: pytest.MonkeyPatch
):
    out = tmp_path / "out"
    stand_ins.setattr(pipeline, "Worker", editors.Poisoned)
    run(job(out, run__attempts=5), echo=quiet)
    stand_ins.setattr(pipeline, "Worker", editors.Broken)
    # Batches of three cut other parts: of nine frames.
    outcome = run(job(out, run__attempts=5, run__batch=3), echo=quiet)
    assert outcome.frames == {"total": FRAMES, "done": FRAMES - 1, "failed": 1, "missing": 0}
    table = results(out)
    table = table.filter(pc.or_(pc.equal(table["status"], "ok"), pc.equal(table["attempts"], 2)))
    expected = results(undisturbed)
    others = np.delete(np.arange(FRAMES), POISON)
    assert table["frame_index"].to_pylist() == list(range(FRAMES))
    assert table.take(others).equals(expected.take(others).select(table.column_names))
    stand_ins.setattr(pipeline, "Worker", editors.StandIn)
    outcome = run(job(out, run__attempts=5, run__batch=3, output__video=True), echo=quiet)
    assert outcome.frames == {"total": FRAMES, "done": FRAMES, "failed": 0, "missing": 0}
    rows = [row for row in results(out).to_pylist() if row["status"] == "ok"]
    assert len(rows) == FRAMES
    assert [row["batch"] for row in rows] == [4] * POISON + [3] + [4] * (FRAMES - POISON - 1)
    (video,) = (out / "videos").glob("*.mp4")
    with av.open(str(video)) as file:
        assert sum(1 for _ in file.decode(video=0)) == FRAMES


def test_a_worker_that_loses_its_device_is_replaced_and_its_part_is_done(
    job: JobMaker, undisturbed: Path, tmp_path: Path, stand_ins: pytest.MonkeyPatch
):
    stand_ins.setenv("RAYDEPTH_TEST_ROLES", str(tmp_path))
    stand_ins.setattr(pipeline, "Worker", editors.LosesDevice)
    outcome = run(job(tmp_path / "out"), echo=quiet)
    assert outcome.frames["done"] == FRAMES
    assert differing(tmp_path / "out", undisturbed) == []
    assert json.loads((tmp_path / "out/benchmark.json").read_text())["restarts"] == 1


@pytest.mark.parametrize(
    ("editor", "decode"),
    [
        ("Killed", "in_actor"),
        ("Segfaulting", "stream"),
        pytest.param("Killed", "stream", marks=pytest.mark.slow),
    ],
)
def test_a_frame_that_kills_its_worker_is_found_and_quarantined(
    job: JobMaker,
    undisturbed: Path,
    tmp_path: Path,
    stand_ins: pytest.MonkeyPatch,
    editor: str,
    decode: str,
):
    out = tmp_path / "out"
    stand_ins.setattr(pipeline, "Worker", getattr(editors, editor))
    outcome = run(job(out, run__decode=decode), echo=quiet)
    assert outcome.frames == {"total": FRAMES, "done": FRAMES - 1, "failed": 1, "missing": 0}
    row = check_others(out, undisturbed, "WorkerCrashed")
    assert row["attempts"] == 2
    assert "died" in row["error_message"]


def test_a_frame_that_takes_all_memory(
    job: JobMaker, undisturbed: Path, tmp_path: Path, stand_ins: pytest.MonkeyPatch
):
    """Ray ends a process when the machine's memory runs out; here at 5 GB more than is taken now,
    with room for other tests.
    """
    memory = psutil.virtual_memory()
    if memory.available < 7e9:
        pytest.skip("needs 7 GB of free memory")
    threshold = (memory.total - memory.available + 5e9) / memory.total
    stand_ins.setenv("RAY_memory_usage_threshold", f"{threshold:.4f}")
    stand_ins.setenv("RAY_memory_monitor_refresh_ms", "50")
    out = tmp_path / "out"
    stand_ins.setattr(pipeline, "Worker", editors.Greedy)
    outcome = run(job(out), echo=quiet)
    assert outcome.frames == {"total": FRAMES, "done": FRAMES - 1, "failed": 1, "missing": 0}
    check_others(out, undisturbed, "WorkerCrashed")


class DyingDecoder(pipeline.Decoder):
    """A decode task whose process dies on one part, as of a bug in a codec."""

    def parts(self, parts):
        for part, decoded in super().parts(parts):
            if part.number == 1 and decoded[0]["status"][0] == "ok":
                self._progress.at(f"decode {parts[0].name}", part.name)
                os.kill(os.getpid(), signal.SIGKILL)
            yield part, decoded


def endless(segment, size, *, lost=None):
    """Decoding that never comes back on frames 12 to 15, as from a dead network mount."""
    for batch in batches(segment, size, lost=lost):
        if lost is None and 12 in batch["frame_index"]:
            time.sleep(1000)
        yield batch


class HangingDecoder(pipeline.Decoder):
    def parts(self, parts):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(decoding, "batches", endless)
            yield from super().parts(parts)


@pytest.mark.parametrize(
    ("decoder", "error_type"), [(DyingDecoder, "DecoderCrashed"), (HangingDecoder, "DecodeTimeout")]
)
def test_frames_that_kill_or_hang_the_decoder_are_set_aside(
    job: JobMaker,
    undisturbed: Path,
    tmp_path: Path,
    stand_ins: pytest.MonkeyPatch,
    decoder: type,
    error_type: str,
):
    out = tmp_path / "out"
    stand_ins.setattr(pipeline, "Decoder", decoder)
    outcome = run(job(out, run__decode_timeout_s=2.0), echo=quiet)
    assert outcome.frames == {"total": FRAMES, "done": FRAMES - 8, "failed": 8, "missing": 0}
    assert outcome.errors == {error_type: 8}
    table, expected = results(out), results(undisturbed)
    columns = [name for name in expected.column_names if name != "attempts"]
    others = np.r_[0:8, 16:FRAMES]
    assert table.take(others).select(columns).equals(expected.take(others).select(columns))
    assert "died" in table["error_message"][8].as_py()
