"""Metrics against the true edit: hand-computed cases, and what must not change them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import deltaE_cie76, rgb2lab

from raydepth.evaluate.truth import (
    edge_jumps,
    inner_ring,
    lab_gap,
    lab_shift,
    occlusion_correctness,
    score,
    seam_error,
)

HALF = np.zeros((16, 20), bool)
HALF[:, 10:] = True


def picture(seed: int, low: int = 0, high: int = 256) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, (*HALF.shape, 3), dtype=np.uint8)


def step(height: int) -> np.ndarray:
    return np.where(HALF[..., None], 100 + height, 100).astype(np.uint8).repeat(3, axis=2)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_the_truth_itself_is_perfect(seed: int) -> None:
    truth, visible = picture(seed), np.random.default_rng(seed).random(HALF.shape) < 0.5
    scores = score(truth, truth, visible=visible, given=truth, occlusion=math.nan)
    assert scores[:6:2] == (0, 0, 0) and scores.ssim == 1 and scores.lab_shift == 0
    assert scores.background_rmse == 0


def test_a_seam_is_as_high_as_its_step() -> None:
    assert seam_error(step(37), step(0), HALF) == 37
    assert seam_error(step(0), step(37), HALF) == 37  # an edge washed out is as wrong
    assert edge_jumps(step(37), HALF).tolist() == [37.0] * 16


def test_a_slope_is_no_seam_and_offsets_do_not_matter() -> None:
    slope = np.tile(np.arange(20, dtype=np.uint8)[None, :, None] * 5, (16, 1, 3))
    assert not edge_jumps(slope, HALF).any()
    assert seam_error(picture(1, 0, 200) + np.uint8(55), picture(1, 0, 200), HALF) == 0


def test_edges_in_rows_and_columns_count_alike() -> None:
    one, other = picture(2), picture(3)
    turned = [x.swapaxes(0, 1) for x in (one, other, HALF)]
    assert seam_error(one, other, HALF) == pytest.approx(seam_error(*turned))


def test_a_thin_mask_has_no_jump_to_measure() -> None:
    line = np.zeros_like(HALF)
    line[:, 10] = True
    assert math.isnan(seam_error(step(3), step(0), line))


def test_the_colour_gap_is_skimages_delta_e() -> None:
    one, other, ring = picture(4), picture(5), inner_ring(HALF)
    expected = deltaE_cie76(rgb2lab(one), rgb2lab(other))[ring].mean()
    assert lab_gap(one, other, ring) == pytest.approx(expected, abs=1e-9)


def test_a_constant_offset_gives_exactly_that_gap() -> None:
    grey = np.full((*HALF.shape, 3), 119, np.uint8)  # L* is 50.03; of 120 it is 50.43
    gap = lab_gap(grey + np.uint8(1), grey, HALF)
    expected = deltaE_cie76(*(rgb2lab(np.full((1, 1, 3), v, np.uint8)) for v in (119, 120))).item()
    assert gap == pytest.approx(expected, abs=1e-9)
    assert lab_shift(grey + np.uint8(1), grey, HALF) == pytest.approx(gap, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_grain_shifts_no_mean_but_opens_a_gap(seed: int) -> None:
    truth = np.full((*HALF.shape, 3), 128, np.uint8)
    grain = (picture(seed, 118, 139)).astype(np.uint8)
    assert lab_shift(grain, truth, HALF) <= lab_gap(grain, truth, HALF) + 1e-4
    assert lab_gap(grain, truth, HALF) > 1


def test_the_ring_lies_inside_and_ignores_the_border() -> None:
    ring = inner_ring(HALF, 3)
    assert ring.sum() == 3 * 16 and ring[:, 10:13].all()
    assert not inner_ring(np.ones_like(HALF)).any()


def test_only_pixels_in_the_ring_count() -> None:
    truth, edited, ring = picture(6), picture(6), inner_ring(HALF)
    edited[~ring] = 0
    assert lab_gap(edited, truth, ring) == 0


def test_background_is_what_the_truth_leaves_alone() -> None:
    given, truth = step(0), step(50)
    truth[0, :5] = 7  # a shadow that the true edit casts is none of the background
    edited = truth.copy()
    edited[1, 0] = 110
    scores = score(edited, truth, visible=HALF, given=given, occlusion=math.nan)
    assert scores.background_rmse == pytest.approx(math.sqrt(100 / (16 * 10 - 5)))


def test_occlusion_counts_right_pixels_of_the_box() -> None:
    shown, hidden = np.full((4, 5, 3), 200, np.uint8), np.full((4, 5, 3), 50, np.uint8)
    hidden[0] = 190  # looks like the object: cannot be told
    visible, box = np.zeros((4, 5), bool), np.zeros((4, 5), bool)
    visible[:, :2] = True
    box[:, :4] = True
    edited = np.where(visible[..., None], shown, hidden)
    sight = {"shown": shown, "hidden": hidden, "visible": visible, "box": box}
    assert occlusion_correctness(edited, **sight) == 1
    edited[1, 2] = 180  # one of the 12 that count shows the object before what hides it
    assert occlusion_correctness(edited, **sight) == pytest.approx(11 / 12)
    assert math.isnan(occlusion_correctness(edited, **sight | {"box": np.zeros_like(box)}))


def test_nothing_visible_is_not_measured() -> None:
    none = np.zeros_like(HALF)
    scores = score(picture(7), picture(8), visible=none, given=picture(8), occlusion=math.nan)
    assert math.isnan(scores.lab_gap) and math.isnan(scores.lab_shift) and math.isnan(scores.seam)
    assert scores.rmse == scores.background_rmse
