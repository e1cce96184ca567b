"""Edits of things from mask files, from the job to the pictures: removed, kept, behind, by name."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from raydepth.job import Job
from tests.support.clips import write_clip
from tests.support.runs import edit_first_part, small_job

FRAMES = 8


@pytest.fixture
def asked(tmp_path: Path, make_object):
    """A job about the bright box of a clip, whose masks lie beside it; not in frame 5."""
    clip = write_clip(tmp_path / "in" / "a.mp4", frames=FRAMES)
    (tmp_path / "in" / "masks").mkdir()
    for index in range(FRAMES):
        mask = np.zeros((96, 128), np.uint8)
        if index != 5:
            mask[32:-8, 4 + 2 * index : 36 + 2 * index] = 255
        cv2.imwrite(str(tmp_path / "in" / "masks" / f"{index:06d}.png"), mask)
    masks = str(tmp_path / "in" / "masks" / "{frame_index:06d}.png")

    def make(**edit) -> Job:
        if edit["kind"] == "insert":
            edit |= {"object": make_object(), "anchor": "picture"}
        return small_job(
            clip,
            tmp_path / "out",
            edit=edit,
            layers__things=[{"name": "box", "masks": masks}],
            input__size=96,
            evaluate__reestimate_every=0,
            output__keep=["edited", "rgb"],
        )

    return make


def pictures(row: dict) -> tuple[np.ndarray, np.ndarray]:
    """The frame and the result, RGB, as int."""
    rgb, edited = (
        cv2.imdecode(np.frombuffer(row[kind], np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)
        for kind in ("rgb_png", "edited_png")
    )
    return rgb, edited


def inside(index: int) -> np.ndarray:
    """The middle of the box in a frame, bool [H,W]; nothing of it in frame 5."""
    mask = np.zeros((96, 128), bool)
    if index != 5:
        mask[36:-12, 8 + 2 * index : 32 + 2 * index] = True
    return mask


def test_steps_of_a_run_remove_a_thing(asked):
    rows = edit_first_part(asked(kind="remove", things=["box"]))
    assert len(rows) == FRAMES and all(row["status"] == "ok" for row in rows)
    for row in rows:
        frame, edited = pictures(row)
        if row["frame_index"] == 5:
            assert np.array_equal(frame, edited) and "not in this frame: box" in row["note"]
            continue
        there = inside(row["frame_index"])
        assert (edited[there][:, 0] - edited[there][:, 2] < 60).mean() > 0.9
        assert (frame[there][:, 0] - frame[there][:, 2] > 60).mean() > 0.9
        assert np.array_equal(edited[:20], frame[:20])


@pytest.mark.parametrize(
    "edit",
    [
        {"kind": "background", "source": "#0000ff", "keep": ["box"]},
        {"kind": "insert", "at": {"behind": "box"}, "box": [0.0, 0.1, 0.6, 0.95]},
        {"kind": "planes", "layers": {"box": {"grade": {"exposure": -1.0}}}},
    ],
)
def test_steps_of_a_run_keep_a_thing_cover_with_it_and_grade_it(asked, edit):
    rows = edit_first_part(asked(**edit))
    assert len(rows) == FRAMES and all(row["status"] == "ok" for row in rows)
    for row in rows:
        frame, edited = pictures(row)
        there, index = inside(row["frame_index"]), row["frame_index"]
        corner = edited[:8, -8:] - frame[:8, -8:]
        if edit["kind"] == "planes":
            assert (edited[there] < frame[there]).all()
            assert not corner.any() and not (edited[:20] != frame[:20]).any()
            continue
        assert np.array_equal(edited[there], frame[there])
        if edit["kind"] == "background":
            assert (edited[:8, -8:] == (0, 0, 255)).all()
        else:
            changed = (edited != frame).any(axis=-1)
            assert changed.any() and not corner.any(), index
