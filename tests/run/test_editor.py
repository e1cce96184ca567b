"""A worker's loop without Ray: failing frames cost themselves, and a part that keeps dying is taken
apart.
"""

from pathlib import Path

import numpy as np
import pytest

from raydepth.batch import Batch
from raydepth.output.folder import OutputFolder
from raydepth.output.plan import Part
from raydepth.output.shards import read_shard, shard_name
from raydepth.run.editor import PartEditor, edit_batch
from raydepth.run.tracker import Tracker
from tests.support.runs import small_job


def batch_of(frames: int, start: int = 0) -> Batch:
    indices = np.arange(start, start + frames)
    text = {
        name: np.array([""] * frames, object) for name in ("error_type", "error_message", "note")
    }
    return {
        "frame_id": np.array([f"v:{i}" for i in indices], object),
        "video": np.array(["v"] * frames, object),
        "path": np.array(["v.mp4"] * frames, object),
        "frame_index": indices,
        "time_s": indices / 25,
        "rgb": np.full((frames, 4, 4, 3), 7, np.uint8),
        "status": np.array(["ok"] * frames, object),
        **text,
    }


def double(batch: Batch) -> Batch:
    return batch | {"edited": batch["rgb"] * 2}


def raise_on(*frames: int):
    def step(batch: Batch) -> Batch:
        bad = np.isin(batch["frame_index"], frames) & (
            batch["rgb"].reshape(len(batch["rgb"]), -1) > 0
        ).any(1)
        if bad.any():
            raise ValueError("cannot do this one")
        return batch

    return step


def test_frames_that_raise_become_error_rows_and_the_others_keep_their_results():
    batch = edit_batch([raise_on(1, 4), double], batch_of(6))
    assert batch["status"].tolist() == ["ok", "error", "ok", "ok", "error", "ok"]
    assert batch["error_type"][1] == "ValueError"
    assert batch["error_message"][4] == "cannot do this one"
    assert (batch["edited"][[0, 2, 3, 5]] == 14).all()


def test_a_batch_that_fails_only_as_a_whole_says_so():
    def too_big(batch: Batch) -> Batch:
        if len(batch["status"]) > 1:
            raise MemoryError("out of memory")
        return batch

    batch = edit_batch([too_big], batch_of(3))
    assert set(batch["status"]) == {"error"}
    assert "smaller run.batch" in batch["error_message"][0]


def test_a_batch_without_a_good_frame_is_not_run():
    batch = batch_of(2)
    batch["status"][:] = "error"
    assert edit_batch([raise_on(0)], batch) is batch


class _Died(BaseException):
    """Stands for the death of the process: nothing catches it."""


@pytest.fixture
def part() -> Part:
    from fractions import Fraction

    from raydepth.frames.segments import Segment

    frames = np.arange(6)
    segment = Segment(
        video="v", path="v.mp4", kind="video", index=0, height=4, width=4, orientation=(0, 0, 0, 0),
        time_base=Fraction(1, 25), stream=0, frame_index=frames, pts=frames, time_s=frames / 25,
        seek_pts=frames[:1], seek_index=frames[:1],
    )  # fmt: skip
    return Part(segment, 0, 0, 6)


@pytest.mark.parametrize("alone", [True, False])
def test_a_part_that_keeps_dying_is_taken_apart(tmp_path: Path, part: Part, alone: bool):
    """A frame that kills even alone is set aside; a part that dies only in batches is given up, and
    both end.
    """

    def die(batch: Batch) -> Batch:
        good = batch["rgb"].reshape(len(batch["rgb"]), -1).any(1)
        if (good & (batch["frame_index"] == 2)).any() if alone else good.sum() > 1:
            raise _Died
        return batch

    job, tracker = small_job(tmp_path / "none.mp4", tmp_path, output__keep=[]), Tracker()
    deaths = 0
    while True:
        editor = PartEditor(job, None, [die], OutputFolder.at(str(tmp_path)), tracker)
        try:
            editor(part, [batch_of(4), batch_of(2, start=4)], {})
            break
        except _Died:
            deaths += 1
            assert deaths < 10, "it never ends"
    rows = read_shard(OutputFolder.at(str(tmp_path)), shard_name(part.name)).to_pylist()
    failed = [row["frame_index"] for row in rows if row["status"] == "error"]
    assert failed == ([2] if alone else [0, 1, 2, 3, 4, 5])
    assert {row["error_type"] for row in rows if row["status"] == "error"} == {"WorkerCrashed"}
    assert {row["attempts"] for row in rows if row["status"] == "error"} == {job.run.attempts}
    assert tracker.snapshot().restarts == deaths == 3
