"""Planes: every form of layers.at on scenes whose right answer is known, and on real depth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raydepth.depth.calibrate import Calibration, calibrate
from raydepth.errors import JobError
from raydepth.layers.planes import auto_plane, plane_behind_box, plane_behind_point, resolve_planes
from raydepth.layers.settings import AtBox, AtMetres, AtPoint, AtQuantile

METRIC = Calibration("m", "depth_m", 0.1, 1.1)


def room(seed: int = 0) -> np.ndarray:
    """A wall at 0.15, a person at 0.5 in columns 30-50, a cup at 0.9 in [60:80, 70:90]."""
    depth = np.full((100, 120), 0.15, np.float32)
    depth[20:, 30:50] = 0.5
    depth[60:80, 70:90] = 0.9
    return depth + np.random.default_rng(seed).normal(0, 0.01, depth.shape).astype(np.float32)


def test_values_quantiles_and_metres():
    frames = [np.linspace(0, 1, 101, dtype=np.float32)[None]]
    planes = resolve_planes(
        [0.3, AtQuantile(quantile=0.9), AtMetres(metres=2.0)], frames, frames[0], METRIC
    )
    assert planes == pytest.approx((0.9, 0.4, 0.3), abs=1e-6)


def test_planes_are_descending_and_distinct():
    frames = [room()]
    planes = resolve_planes([0.2, 0.7, 0.7004, 0.2, 0.5], frames, frames[0], METRIC)
    assert planes == (0.7004, 0.5, 0.2)


def test_metres_need_a_metric_model():
    disparity = Calibration("dpt-large", "disparity_rel", 0, 1)
    with pytest.raises(
        JobError,
        match=r"layers.at: metres needs a metric depth model; dpt-large gives disparity_rel",
    ):
        resolve_planes([AtMetres(metres=1.0)], [room()], room(), disparity)


def test_metres_of_a_scene():
    metres = np.full((10, 10), 4.0, np.float32)
    metres[:5] = 1.0
    calibration = calibrate([metres], estimator="m", kind="depth_m")
    (plane,) = resolve_planes([AtMetres(metres=2.5)], [metres], metres, calibration)
    assert np.array_equal(calibration.normalise(metres) >= plane, metres <= 2.5)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.05, 0.4), st.floats(0.6, 0.95), st.floats(0.1, 0.9), st.integers(0, 1000))
def test_auto_separates_two_depths(far, near, share, seed):
    rng = np.random.default_rng(seed)
    values = np.where(rng.random(20_000) < share, near, far) + rng.normal(0, 0.02, 20_000)
    assert far + 0.03 < auto_plane(values.astype(np.float32)) < near - 0.03


def test_auto_cuts_the_gap_not_the_slope():
    """A far wall and a long ground slope: Otsu's middle lies on the slope, the gap lies between the
    two.
    """
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0.08, 0.02, 30_000), rng.uniform(0.3, 1.0, 50_000)])
    assert 0.15 < auto_plane(values) < 0.3


def test_auto_without_a_gap_is_otsus():
    values = np.random.default_rng(0).uniform(0, 1, 100_000)
    assert auto_plane(values) == pytest.approx(0.5, abs=0.03)


def test_auto_of_two_exact_values_and_of_one():
    assert 0.2 < auto_plane(np.repeat([0.0, 1.0], [3000, 1000])) < 0.8
    assert auto_plane(np.full(100, 0.5)) == 0.5


def test_a_point_takes_the_thing_there_and_what_is_nearer():
    depth = room()
    person = plane_behind_point(depth, 40 / 120, 0.5)
    assert 0.2 < person < 0.45
    cup = plane_behind_point(depth, 80 / 120, 0.7)
    assert 0.55 < cup < 0.85
    assert plane_behind_point(depth, 1.0, 1.0) < 0.13, "the wall itself, at the picture's corner"


def test_a_box_takes_the_thing_in_it():
    depth = room()
    assert 0.2 < plane_behind_box(depth, 28 / 120, 0.15, 52 / 120, 1.0) < 0.45
    assert 0.3 < plane_behind_box(depth, 68 / 120, 0.58, 92 / 120, 0.82) < 0.85
    # The wall beside the cup: nearer things in the box don't decide.
    assert plane_behind_box(depth, 0.5, 0.3, 0.75, 0.95) < 0.88
    assert plane_behind_box(depth, 0.99, 0.0, 1.0, 0.01) < 0.2


def test_boxes_and_points_come_through_the_job():
    depth = room()
    box = [28 / 120, 0.15, 52 / 120, 1.0]
    planes = resolve_planes(
        [AtBox(box=box), AtPoint(point=[80 / 120, 0.7]), "auto"], [depth], depth, METRIC
    )
    assert len(planes) == 3 and planes[0] == plane_behind_point(depth, 80 / 120, 0.7)
    assert plane_behind_box(depth, *box) in planes


def test_a_real_stereo_scene():
    """Middlebury's motorcycle with its measured disparity: it is kept, the wall dropped."""
    skimage_data = pytest.importorskip("skimage.data")
    try:
        _, _, disparity = skimage_data.stereo_motorcycle()
    except Exception as error:  # whatever the downloader raises without a network
        pytest.skip(f"stereo_motorcycle is not here: {error}")
    disparity = np.where(np.isfinite(disparity), disparity, 0)[::4, ::4].astype(np.float32)
    calibration = calibrate([disparity], estimator="stereo", kind="disparity_rel")
    inv_depth = calibration.normalise(disparity)
    near = inv_depth >= plane_behind_point(inv_depth, 0.45, 0.6)
    assert near[75, 83] and near[75, 37] and near[90, 150], "engine and both wheels"
    assert not near[10, 25] and not near[20, 140], "wall and shelf"
