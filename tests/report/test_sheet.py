"""The contact sheet: everything that it is given is on it, at a width that a phone shows."""

from dataclasses import replace

import numpy as np
import pytest

from raydepth.report.sheet import Mark, Outline, Sheet, draw, in_metres

RESULT, FILLED = (10, 200, 30), (200, 20, 160)


def sheet_of(height: int, width: int) -> Sheet:
    x = np.tile(np.arange(width), (height, 1))
    near = (x < width // 2).astype(np.float32)
    flat = np.ones((height, width, 3), np.uint8)
    return Sheet(
        title="clip.mp4",
        rgb=flat * 90,
        inv_depth=(1 - x / width).astype(np.float32),
        planes=[0.5],
        alphas=np.stack([near, 1 - near]),
        layer_names=["near", "far"],
        hole=near > 0,
        background=flat * np.array(FILLED, np.uint8),
        edited=flat * np.array(RESULT, np.uint8),
        region=near,
    )


def has(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((picture == np.array(colour)).all(axis=-1).sum())


@pytest.mark.parametrize(("height", "width"), [(72, 128), (128, 72), (1, 3), (600, 1200)])
def test_pictures_of_all_shapes_fit(height: int, width: int):
    drawn = draw(sheet_of(height, width))
    assert drawn.shape[1] == 1600
    assert drawn.dtype == np.uint8
    panel = 1600 / (2 if width >= height else 3)
    assert has(drawn, RESULT) > 0.6 * panel * panel * height / width


def test_marks_things_and_words_are_drawn():
    plain = sheet_of(72, 128)
    alpha = np.zeros((72, 128), np.float32)
    alpha[20:50, 70:110] = 1
    full = replace(
        plain,
        marks=[Mark(0.5, 0.5, "A", (1, 2, 253))],
        things=[Outline("dog", alpha)],
        lines=["a line " * 60],
        values=["A  0.5,0.5: inverse depth 0.500"],
        metres=lambda value: 1 / max(value, 0.1),
    )
    before, after = draw(plain), draw(full)
    assert after.shape[0] > before.shape[0] + 60  # three lines of words
    assert has(after, (1, 2, 253)) > 60
    assert has(before, (1, 2, 253)) == 0
    assert has(after, (64, 224, 196)) > has(before, (64, 224, 196))
    assert not np.array_equal(draw(replace(plain, grid=False)), before)


def test_distances_are_said_as_people_say_them():
    assert [in_metres(value) for value in (1.234, 12.34, float("inf"))] == ["1.23 m", "12 m", "far"]
