"""A worker's loop without Ray: failing frames cost themselves, and a part that keeps dying is taken
apart.
"""

import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from raydepth.batch import Batch
from raydepth.output.folder import OutputFolder
from raydepth.output.plan import Part
from raydepth.output.shards import read_shard, shard_name
from raydepth.run.editor import PartEditor, Together, edit_batch, edit_pieces
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
    def two_alike(batch: Batch) -> Batch:
        if len(batch["status"]) > 1:
            raise ValueError("cannot do two")
        return batch

    batch = edit_batch([two_alike], batch_of(3))
    assert set(batch["status"]) == {"error"}
    assert "smaller run.batch" in batch["error_message"][0]


def fits(frames: int, batches: list[int], error: Exception | None = None):
    """A step for which memory holds so many frames; notes the sizes that it is given."""

    def step(batch: Batch) -> Batch:
        batches.append(len(batch["status"]))
        if len(batch["status"]) > frames:
            raise error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return batch

    return step


def test_a_batch_that_memory_does_not_hold_is_halved_for_good():
    together, seen = Together(8), []
    steps = [fits(3, seen), double]
    pieces = list(edit_pieces(steps, batch_of(7), together))
    assert seen == [7, 3, 3, 1] and together.frames == 3
    assert [piece["batch"].tolist() for piece in pieces] == [[3] * 3, [3] * 3, [1]]
    assert np.concatenate([piece["frame_index"] for piece in pieces]).tolist() == list(range(7))
    for piece in pieces:
        assert set(piece["status"]) == {"ok"} and (piece["edited"] == 14).all()
        assert set(piece["note"]) == {"out of memory with 7 frames at a time: edited 3 at a time"}
    seen.clear()
    (*_, last) = edit_pieces(steps, batch_of(8), together)
    assert seen == [3, 3, 2] and set(last["note"]) == {""}


def test_a_failing_frame_is_found_in_a_batch_that_is_halved():
    seen: list[int] = []
    pieces = list(edit_pieces([fits(4, seen), raise_on(1)], batch_of(8), Together(8)))
    status = np.concatenate([piece["status"] for piece in pieces])
    assert status.tolist() == ["ok", "error", *["ok"] * 6]
    assert pieces[0]["error_type"][1] == "ValueError"


def test_a_frame_that_memory_does_not_hold_alone_is_an_error_that_says_so():
    pieces = list(edit_pieces([fits(0, [])], batch_of(3), Together(8)))
    assert {str(piece["error_type"][0]) for piece in pieces} == {"OutOfMemoryError"}
    assert "a smaller input.size" in pieces[0]["error_message"][0]


def test_what_a_failed_batch_held_is_free_before_the_next_is_tried():
    """An exception keeps its traceback's frames, and those their tensors."""
    held: list[weakref.ref] = []

    def step(batch: Batch) -> Batch:
        assert all(reference() is None for reference in held), "memory of the failed try is held"
        tensor = torch.zeros(3)
        held.append(weakref.ref(tensor))
        if len(batch["status"]) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return batch

    assert len(list(edit_pieces([step], batch_of(4), Together(4)))) == 4
    assert len(held) == 6


def test_an_error_that_poisons_the_process_is_no_frame_s():
    def step(batch: Batch) -> Batch:
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    batch = batch_of(4)
    with pytest.raises(torch.AcceleratorError):
        list(edit_pieces([step], batch, Together(4)))
    assert set(batch["status"]) == {"ok"}


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
    """A frame that kills even alone is set aside; a part that dies only in batches is edited frame
    by frame.
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
    assert failed == ([2] if alone else [])
    assert [row["batch"] for row in rows] == ([4, 4, 4, 4, 2, 2] if alone else [1] * 6)
    if alone:
        assert rows[2]["error_type"] == "WorkerCrashed"
        assert rows[2]["attempts"] == job.run.attempts
    else:
        note = "edited alone: the worker process died 3 times on its part"
        assert {row["note"] for row in rows} == {note}
    assert tracker.snapshot().restarts == deaths == 3
