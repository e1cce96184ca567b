"""Flow-warped error on exact cases: what moves whole costs only interpolation, what is added is
measured, hidden pixels don't count.
"""

from itertools import pairwise

import cv2
import numpy as np
import pytest

from raydepth.evaluate.flicker import expected_error, flow_warped_error, in_region, warp_step

SIZE = 96


def texture(seed=0, size=SIZE + 32, soft=3.0):
    rough = np.random.default_rng(seed).integers(0, 256, (size, size, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(rough, (0, 0), soft)
    return ((smooth - smooth.min()) / np.ptp(smooth) * 200 + 20).astype(np.uint8)


def moving(dx, dy, count=4, picture=None):
    """Windows of a texture that go on by whole pixels."""
    picture = texture() if picture is None else picture
    return np.stack(
        [
            picture[16 + k * dy : 16 + k * dy + SIZE, 16 + k * dx : 16 + k * dx + SIZE]
            for k in range(count)
        ]
    )


def whole(clip):
    steps = [warp_step(*pair) for pair in pairwise(clip)]
    everywhere = np.ones(clip.shape[1:3], bool)
    return steps, [in_region(step, everywhere, everywhere) for step in steps]


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (3, 0), (-2, 4)])
def test_a_moved_texture_has_the_error_of_interpolation_only(dx, dy):
    clip = moving(dx, dy)
    steps, counted = whole(clip)
    assert flow_warped_error(steps, counted) <= (0.0 if dx == dy == 0 else 0.8)
    assert np.mean(counted) > 0.85
    unmoved = np.abs(np.diff(clip.astype(np.float32), axis=0)).mean()
    assert dx == dy == 0 or unmoved > 8  # without the warp


def test_flicker_is_measured_as_large_as_it_is():
    still = moving(0, 0)
    brighter = still + np.array([0, 6, 0, 6], np.uint8)[:, None, None, None]
    steps, counted = whole(brighter)
    assert flow_warped_error(steps, counted) == pytest.approx(6, abs=0.3)
    noise = np.random.default_rng(1).normal(0, 4, still.shape)
    steps, counted = whole((still + noise).clip(0, 255).round().astype(np.uint8))
    assert flow_warped_error(steps, counted) == pytest.approx(
        4 * 2 / np.sqrt(np.pi), rel=0.12
    )  # of a difference of two


def test_only_the_region_of_both_frames_counts():
    clip = moving(0, 0, count=2)
    clip[1, :, : SIZE // 2] += 10
    step = warp_step(clip[0], clip[1])
    left = np.zeros((SIZE, SIZE), bool)
    left[:, : SIZE // 2 - 8] = True
    right = left[:, ::-1].copy()
    assert flow_warped_error([step], [in_region(step, left, left)]) == pytest.approx(10, abs=0.5)
    assert flow_warped_error([step], [in_region(step, right, right)]) < 0.5
    assert not in_region(step, left, right).any()
    assert np.isnan(flow_warped_error([step], [in_region(step, left, right)]))


def test_what_was_hidden_before_does_not_count():
    """A textured box moves by 12 pixels: the strip that it uncovers has no counterpart."""
    behind, box = texture(2)[:SIZE, :SIZE], texture(3)[:40, :40]
    frames = [behind.copy(), behind.copy()]
    frames[0][28:68, 20:60], frames[1][28:68, 32:72] = box, box
    step = warp_step(*frames)
    uncovered = np.zeros((SIZE, SIZE), bool)
    uncovered[32:64, 22:30] = True
    assert step.seen[uncovered].mean() < 0.35
    assert step.seen[~uncovered].mean() > 0.8


def test_the_expected_error_is_the_references_for_as_steep_a_picture():
    clip = (
        (moving(0, 0) + np.random.default_rng(4).normal(0, 3, (4, SIZE, SIZE, 3)))
        .clip(0, 255)
        .astype(np.uint8)
    )
    steps, counted = whole(clip)
    assert expected_error(steps, counted, steps) == pytest.approx(flow_warped_error(steps, counted))
    # A plain wall has little error, and an object before it is not held against the wall.
    rough = texture(5, size=SIZE, soft=1.0)
    half = np.full((SIZE, SIZE, 3), 128, np.uint8)
    half[:, SIZE // 2 :] = rough[:, SIZE // 2 :]
    shifts = [
        cv2.warpAffine(half, np.float64([[1, 0, 0.5 * k], [0, 1, 0]]), (SIZE, SIZE))
        for k in range(4)
    ]
    steps, counted = whole(np.stack(shifts))
    wall, object_ = np.zeros((2, SIZE, SIZE), bool)
    wall[:, 8 : SIZE // 2 - 8], object_[:, SIZE // 2 + 8 : -8] = True, True
    on_wall, on_object = (
        expected_error(steps, [seen & part for seen in counted], steps) for part in (wall, object_)
    )
    assert on_wall < 0.5 * on_object
    assert np.isnan(expected_error(steps, [np.zeros_like(wall)] * 3, steps))
