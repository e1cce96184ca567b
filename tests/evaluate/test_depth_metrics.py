"""Depth metrics against cases worked out by hand, and the alignments against what they must undo."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raydepth.evaluate import depth as d

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
TRUTH = np.array([[1.0, 2.0], [4.0, np.nan]], np.float32)
ESTIMATE = np.array([[1.0, 3.0], [2.0, 7.0]], np.float32)
VALID = np.array([[True, True], [True, False]])


def scene(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.5, 8.0, (12, 16)).astype(np.float32)


def test_hand_computed() -> None:
    assert d.rmse(ESTIMATE, TRUTH, VALID) == pytest.approx(math.sqrt((0 + 1 + 4) / 3))
    assert d.abs_rel(ESTIMATE, TRUTH, VALID) == pytest.approx((0 + 0.5 + 0.5) / 3)
    # ratios 1, 1.5, 2; 1.25^2 = 1.5625, 1.25^3 = 1.953
    assert d.delta(ESTIMATE, TRUTH, VALID, 1) == pytest.approx(1 / 3)
    assert d.delta(ESTIMATE, TRUTH, VALID, 2) == pytest.approx(2 / 3)
    assert d.delta(ESTIMATE, TRUTH, VALID, 3) == pytest.approx(2 / 3)
    logs = [0.0, math.log(1.5), math.log(0.5)]
    expected = 100 * math.sqrt(sum(x * x for x in logs) / 3 - (sum(logs) / 3) ** 2)
    assert d.silog(ESTIMATE, TRUTH, VALID) == pytest.approx(expected)


def test_delta_is_strict_at_its_border() -> None:
    one = np.ones((1, 1))
    assert d.delta(1.25 * one, one, one > 0) == 0.0
    assert d.delta(1.2499 * one, one, one > 0) == 1.0


def test_silog_ignores_scale() -> None:
    truth = scene(0)
    assert d.silog(3.7 * truth.astype(np.float64), truth, truth > 0) == pytest.approx(0.0, abs=1e-4)


def test_no_reading_counts_nowhere() -> None:
    truth = np.array([[np.nan, 0.0, -1.0, np.inf, 2.0, 2.0]], np.float32)
    estimate = np.array([[1.0, 1.0, 1.0, 1.0, np.nan, 1.0]], np.float32)
    assert d.readings(estimate, truth).tolist() == [[False, False, False, False, False, True]]
    nothing = np.zeros((2, 2), bool)
    for metric in (d.rmse, d.abs_rel, d.delta, d.silog):
        assert math.isnan(metric(ESTIMATE, TRUTH, nothing))


def test_metric_depth_is_left_alone() -> None:
    aligned = d.align(ESTIMATE, TRUTH, "depth_m")
    assert (aligned.scale, aligned.shift) == (1.0, 0.0)
    assert np.array_equal(aligned.depth, ESTIMATE)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.floats(0.05, 20), st.floats(-5, 5))
def test_alignment_undoes_scale_and_shift(seed: int, scale: float, shift: float) -> None:
    truth = scene(seed).astype(np.float64)
    disparity = d.align((1 / truth - shift) / scale, truth, "disparity_rel")
    np.testing.assert_allclose(disparity.depth, truth, rtol=1e-6)
    assert (disparity.scale, disparity.shift) == pytest.approx((scale, shift), abs=1e-6)
    depth = d.align((truth - shift) / scale, truth, "depth_rel")
    np.testing.assert_allclose(depth.depth, truth, rtol=1e-6)


def test_alignment_is_least_squares_over_readings_only() -> None:
    truth = scene(1)
    truth[:3] = np.nan
    estimate = scene(2)
    valid = d.readings(estimate, truth)
    design = np.stack([estimate[valid].astype(np.float64), np.ones(valid.sum())], axis=1)
    (scale, shift), *_ = np.linalg.lstsq(design, 1 / truth[valid].astype(np.float64), rcond=None)
    aligned = d.align(estimate, truth, "disparity_rel")
    assert (aligned.scale, aligned.shift) == pytest.approx((scale, shift))


def test_aligned_depth_stays_in_the_range_of_the_readings_or_the_one_given() -> None:
    truth = scene(3)
    estimate = np.random.default_rng(4).normal(0, 1, truth.shape).astype(np.float32)
    estimate[0, 0] = 1e4  # would give a negative disparity far away from it
    aligned = d.align(estimate, truth, "disparity_rel").depth
    assert truth.min() <= aligned.min() and aligned.max() <= truth.max() + 1e-6
    given_range = d.align(estimate, truth, "disparity_rel", depth_range=(1.0, 2.0)).depth
    assert given_range.min() >= 1.0 and given_range.max() <= 2.0


def test_a_constant_map_becomes_the_mean_reading() -> None:
    truth = scene(5)
    aligned = d.align(np.full_like(truth, 0.1), truth, "depth_rel")
    assert aligned.scale == 0.0
    np.testing.assert_allclose(aligned.depth, truth.mean(), rtol=1e-6)


def test_too_few_readings_are_not_measured() -> None:
    truth = np.full((3, 3), np.nan, np.float32)
    truth[1, 1] = 2.0
    aligned = d.align(np.ones((3, 3), np.float32), truth, "disparity_rel")
    assert math.isnan(aligned.scale) and np.isnan(aligned.depth).all()


def test_order_of_pairs() -> None:
    truth = np.array([[1.0, 2.0, 2.05, 4.0]])
    near_is_large = np.array([[9.0, 5.0, 6.0, 7.0]])
    pairs = np.array([[0, 1], [1, 0], [1, 2], [1, 3]])  # right, right, no clear order, wrong
    assert d.order_accuracy(near_is_large, truth, pairs) == pytest.approx(2 / 3)
    assert math.isnan(d.order_accuracy(near_is_large, truth, pairs[2:3]))
    assert math.isnan(d.order_accuracy(near_is_large, truth, np.zeros((0, 2), np.int64)))


def test_order_needs_no_scale_and_ties_are_wrong() -> None:
    truth = scene(6)
    pairs = d.sample_pairs(truth > 0, 500, seed=0)
    assert d.order_accuracy(5 / truth - 3, truth, pairs) == 1.0
    assert d.order_accuracy(truth, truth, pairs) == 0.0
    assert d.order_accuracy(np.zeros_like(truth), truth, pairs) == 0.0


def test_pairs_are_drawn_from_valid_pixels_by_seed() -> None:
    valid = np.zeros((5, 6), bool)
    valid[2, 1:4] = True
    pairs = d.sample_pairs(valid, 50, seed=7)
    assert pairs.shape == (50, 2) and set(pairs.ravel()) <= set(np.flatnonzero(valid))
    assert np.array_equal(pairs, d.sample_pairs(valid, 50, seed=7))
    assert d.sample_pairs(np.zeros((2, 2), bool), 5, seed=0).shape == (0, 2)


@pytest.mark.skipif(not DATA.is_dir(), reason="real data lies beside the checkout")
def test_fastdepth_prediction_on_nyu_has_its_known_errors() -> None:
    truth, estimate = (
        np.load(DATA / "rgbd" / "nyu" / f"{name}.npy").squeeze() for name in ("depth", "pred")
    )
    valid = d.readings(estimate, truth)
    assert d.abs_rel(estimate, truth, valid) == pytest.approx(0.1405, abs=1e-4)
    assert d.delta(estimate, truth, valid, 1) == pytest.approx(0.777, abs=5e-4)
