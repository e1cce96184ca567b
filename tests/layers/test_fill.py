"""Fillers change nothing outside the hole; the far depth under it comes from the far side only."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raydepth.errors import JobError
from raydepth.layers.fill.hole import far_depth, fill_hole
from raydepth.layers.fill.registry import load_filler
from raydepth.layers.fill.settings import OnnxFill, OpenCVFill
from tests.depth.tiny import frames, onnx_model
from tests.layers.test_stack import scene


def ramp(height: int = 60, width: int = 90) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 2, y * 3, x + y], -1).astype(np.uint8)


def disc(height: int, width: int, radius: float) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return (np.hypot(y - height / 2, x - width / 2) < radius).astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 12), st.floats(-0.2, 1.2))
def test_pixels_outside_the_hole_are_the_frames_own(seed, dilate, plane):
    rgb = frames(1, 40, 56, seed)[0]
    near = (scene(seed) >= plane).astype(np.float32)
    vandal = lambda rgb, hole: 255 - rgb  # noqa: E731
    background, hole = fill_hole(vandal, rgb, near, dilate)
    assert hole.dtype == bool and (hole >= (near > 0)).all()
    assert np.array_equal(background[~hole], rgb[~hole])
    if not hole.all():
        assert np.array_equal(background[hole], 255 - rgb[hole])


@pytest.mark.parametrize("method", ["telea", "navier-stokes"])
@pytest.mark.parametrize("size", [(60, 90), (300, 450)])
def test_opencv_fillers_continue_a_ramp(method, size):
    """Small holes at full resolution, large ones coarse to fine."""
    rgb = np.repeat(np.repeat(ramp(), size[0] // 60, 0), size[1] // 90, 1)
    near = disc(*size, 0.28 * size[0])
    background, hole = fill_hole(load_filler(OpenCVFill(method=method)), rgb, near, 2)
    assert np.array_equal(background[~hole], rgb[~hole])
    assert np.abs(background[hole].astype(int) - rgb[hole]).mean() < 12
    swapped = rgb.copy()
    swapped[hole] = 255 - swapped[hole]
    assert np.array_equal(
        fill_hole(load_filler(OpenCVFill(method=method)), swapped, near, 2)[0], background
    ), "no look inside"


def test_the_hole_is_the_near_mask_dilated_by_an_ellipse():
    near = np.zeros((41, 41), np.float32)
    near[20, 20] = 0.01
    _, hole = fill_hole(lambda rgb, hole: rgb, np.zeros((41, 41, 3), np.uint8), near, 8)
    y, x = np.nonzero(hole)
    radius = np.hypot(y - 20, x - 20)
    assert radius.max() <= 8.5 and hole[12, 20] and hole[20, 28] and not hole[13, 13]


def test_empty_and_full_holes_are_skipped():
    def fail(rgb, hole):
        raise AssertionError("nothing to fill")

    rgb = ramp()
    for value in (0, 1):
        background, hole = fill_hole(fail, rgb, np.full((60, 90), value, np.float32), 8)
        assert np.array_equal(background, rgb) and (hole == value).all()


def test_dilation_does_not_swallow_the_last_known_pixels():
    near = np.ones((20, 30), np.float32)
    near[:, :3] = 0
    background, hole = fill_hole(lambda rgb, hole: rgb * 0, ramp(20, 30), near, 8)
    assert np.array_equal(hole, near > 0) and (background[hole] == 0).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(-0.3, 1.3), st.integers(0, 6))
def test_far_depth_is_never_nearer_than_the_plane(seed, plane, dilate):
    inv_depth = scene(seed)
    near = (inv_depth >= np.float32(plane)).astype(np.float32)
    _, hole = fill_hole(lambda rgb, hole: rgb, np.zeros((40, 56, 3), np.uint8), near, dilate)
    far = far_depth(inv_depth, hole, plane)
    assert far.dtype == np.float32 and np.isfinite(far).all() and (far < np.float32(plane)).all()
    assert np.array_equal(far[~hole], inv_depth[~hole])
    if not hole.all():
        assert far.min() >= inv_depth[~hole].min() and far.max() <= inv_depth[~hole].max()


def test_far_depth_continues_a_slope_under_the_hole():
    wall = np.linspace(0.1, 0.4, 120, dtype=np.float32)[None].repeat(80, 0)
    near = disc(80, 120, 20)
    far = far_depth(np.where(near > 0, np.float32(0.9), wall), near > 0, 0.6)
    assert np.abs(far - wall).max() < 0.02
    step = np.abs(np.diff(far, axis=1)).max()
    assert step < 0.02, "no seam at the hole's edge"


def test_far_depth_does_not_see_near_pixels_outside_the_hole():
    """Islands that min_area gave to the far layer are nearer than the plane: not the far side's."""
    inv_depth = np.full((30, 30), 0.2, np.float32)
    inv_depth[4:7, 4:7] = 0.9
    far = far_depth(inv_depth, np.zeros((30, 30), bool), 0.5)
    assert np.allclose(far, 0.2)


def test_migan_fills_a_real_frame(data):
    pytest.importorskip("onnxruntime")
    rgb = np.rint(np.load(data / "rgbd/nyu/rgb.npy") * 255).astype(np.uint8)
    filler = load_filler(
        OnnxFill(method="onnx", model=str(data / "weights/migan_pipeline_v2.onnx"))
    )
    near = disc(224, 224, 30)
    background, hole = fill_hole(filler, rgb, near, 4)
    assert np.array_equal(background[~hole], rgb[~hole])
    marked = rgb.copy()
    marked[hole] = [255, 0, 255]
    assert np.array_equal(fill_hole(filler, marked, near, 4)[0], background), (
        "the hole's colours have no say"
    )
    assert np.abs(background[hole].mean(0) - [255, 0, 255]).max() > 60


@pytest.mark.parametrize("shape", [("h", "w"), (48, 64)])
@pytest.mark.parametrize("scale", [1.0, 255.0])
def test_float_models_get_unit_colours_and_one_for_hole(tmp_path, shape, scale):
    pytest.importorskip("onnxruntime")
    # Answers the picture, and half of it in the hole: (1 - mask / 2) * picture * scale.
    nodes = [
        ("Mul", ["mask", "half"], "dim", {}), ("Sub", ["one", "dim"], "keep", {}),
        ("Mul", ["image", "keep"], "unit", {}), ("Mul", ["unit", "scale"], "out", {}),
    ]  # fmt: skip
    inputs = {"image": [1, 3, *shape], "mask": [1, 1, *shape]}
    constants = {"half": 0.5, "one": 1.0, "scale": scale}
    path = onnx_model(
        tmp_path / "f.onnx", nodes, inputs, "out", [1, 3, *shape], constants=constants
    )
    rgb = np.full((60, 90, 3), 200, np.uint8)
    background, hole = fill_hole(
        load_filler(OnnxFill(method="onnx", model=path)), rgb, disc(60, 90, 15), 0
    )
    assert (background[~hole] == 200).all()
    inner = background[disc(60, 90, 11) > 0]
    # Telea, which fills roughly first, is off by two levels even on one colour.
    assert (np.abs(inner.astype(int) - 100) <= 2).all()


def test_a_model_that_takes_only_multiples_of_8(tmp_path):
    pytest.importorskip("onnxruntime")
    nodes = [
        ("SpaceToDepth", ["image"], "cells", {"blocksize": 8}),
        ("DepthToSpace", ["cells"], "same", {"blocksize": 8}),
        ("Mul", ["mask", "half"], "dim", {}), ("Sub", ["one", "dim"], "keep", {}),
        ("Mul", ["same", "keep"], "out", {}),
    ]  # fmt: skip
    inputs = {"image": [1, 3, "h", "w"], "mask": [1, 1, "h", "w"]}
    constants = {"half": 0.5, "one": 1.0}
    file = tmp_path / "eight.onnx"
    path = onnx_model(file, nodes, inputs, "out", [1, 3, "h", "w"], constants=constants)
    filler = load_filler(OnnxFill(method="onnx", model=path))
    rgb = np.full((61, 90, 3), 200, np.uint8)
    background, hole = fill_hole(filler, rgb, disc(61, 90, 15), 0)
    assert (background[~hole] == 200).all()
    assert (np.abs(background[disc(61, 90, 11) > 0].astype(int) - 100) <= 2).all()


def test_wrong_models_are_refused(tmp_path):
    pytest.importorskip("onnxruntime")
    one = onnx_model(
        tmp_path / "one.onnx",
        [("Neg", ["image"], "out", {})],
        {"image": [1, 3, "h", "w"]},
        "out",
        [1, 3, "h", "w"],
    )
    with pytest.raises(
        JobError, match=r"fill.model: .*expected two inputs.*got image tensor\(float\)"
    ):
        load_filler(OnnxFill(method="onnx", model=one))
    add = [
        ("ReduceMean", ["image"], "grey", {"axes": [1], "keepdims": 1}),
        ("Add", ["grey", "mask"], "out", {}),
    ]
    inputs = {"image": [1, 3, "h", "w"], "mask": [1, 1, "h", "w"]}
    grey = onnx_model(tmp_path / "grey.onnx", add, inputs, "out", [1, 1, "h", "w"])
    with pytest.raises(
        JobError,
        match=r"one picture as output; got the output out tensor\(float\) \[1, 1, 'h', 'w'\]",
    ):
        load_filler(OnnxFill(method="onnx", model=grey))
    with pytest.raises(JobError, match=r"layers.fill.model: no file gone.onnx"):
        load_filler(OnnxFill(method="onnx", model="gone.onnx"))
