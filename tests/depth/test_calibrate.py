"""One convention: larger = nearer, one scale for a clip."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raydepth.depth.calibrate import Calibration, calibrate, to_inverse


def test_larger_is_nearer_for_every_kind():
    near_then_far = {"disparity_rel": [9.0, 1.0], "depth_m": [0.5, 8.0], "depth_rel": [0.1, 0.9]}
    for kind, raw in near_then_far.items():
        near, far = to_inverse(np.array(raw, np.float32), kind)
        assert near > far


def test_to_inverse_values():
    assert to_inverse(np.array([2.0, 0.0, -1.0]), "depth_m") == pytest.approx([0.5, 1000.0, 1000.0])
    assert to_inverse(np.array([3.0]), "disparity_rel").tolist() == [3.0]
    assert to_inverse(np.array([3.0]), "depth_rel").tolist() == [-3.0]
    assert np.isnan(to_inverse(np.array([np.nan]), "depth_m")).all()


def test_one_range_for_all_sampled_frames_and_none_clipped():
    near, far = np.full((10, 10), 1.0, np.float32), np.full((10, 10), 4.0, np.float32)
    calibration = calibrate([near, far], estimator="m", kind="depth_m")
    assert (calibration.lo, calibration.hi) == (0.25, 1.0)
    assert calibration.normalise(np.array([4.0, 1.0, 0.5])).tolist() == [
        0.0,
        1.0,
        pytest.approx(7 / 3),
    ]
    assert calibration.normalise(np.array([100.0]))[0] < 0


def test_a_few_outliers_do_not_set_the_range():
    raw = np.linspace(1, 2, 10_000, dtype=np.float32).reshape(100, 100)
    raw[0, :50] = 1e6
    calibration = calibrate([raw], estimator="m", kind="disparity_rel")
    assert 1.0 < calibration.lo < 1.05 and 1.95 < calibration.hi < 2.01


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0, 1e6, 1e-9])
def test_a_constant_map_is_legal(value):
    calibration = calibrate(
        [np.full((4, 4), value, np.float32)], estimator="m", kind="disparity_rel"
    )
    assert calibration.hi > calibration.lo
    assert np.allclose(calibration.normalise(np.full((4, 4), value, np.float32)), 0.5, atol=1e-3)


def test_pixels_that_are_not_finite_have_no_say():
    raw = np.array([[1.0, 2.0, np.nan, np.inf]], np.float32)
    assert calibrate([raw], estimator="m", kind="disparity_rel").hi <= 2
    with pytest.raises(ValueError, match="no finite depth in 1 sampled"):
        calibrate([raw[:, 2:]], estimator="m", kind="disparity_rel")


@settings(max_examples=30, deadline=None)
@given(st.floats(0.2, 50), st.floats(0.05, 3), st.floats(0.01, 2))
def test_metres_come_back(metres, lo, width):
    calibration = Calibration("m", "depth_m", lo, lo + width)
    inv_depth = calibration.normalise(np.array([metres]))
    assert calibration.metres(inv_depth)[0] == pytest.approx(metres, rel=1e-3)
    assert calibration.raw_inverse(inv_depth)[0] == pytest.approx(1 / metres, rel=1e-3)


def test_metres_beyond_the_horizon_and_without_metric_depth():
    assert Calibration("m", "depth_m", 0.1, 1.0).metres(np.array([-5.0]))[0] == np.inf
    with pytest.raises(ValueError, match="dpt gives disparity_rel"):
        Calibration("dpt", "disparity_rel", 0, 1).metres(0.5)
