"""The stage: its columns, notes, error rows, and frames that don't depend on their batch."""

import numpy as np
import pytest

from raydepth.layers.fill.registry import load_filler
from raydepth.layers.settings import Layers
from raydepth.layers.stack import decompose
from raydepth.layers.stage import LayerStage
from tests.depth.tiny import batch, frames
from tests.layers.test_stack import scene


def stage(planes=(0.7, 0.4), **layers) -> LayerStage:
    settings = Layers(**layers)
    return LayerStage(settings, {"v": planes}, load_filler(settings.fill))


@pytest.fixture
def columns():
    return batch(frames(3, 40, 56), inv_depth=np.stack([scene(seed) for seed in range(3)]))


@pytest.mark.parametrize("feather", [0.0, 0.2])
def test_columns(columns, feather):
    out = stage(feather=feather)(columns)
    assert out["alphas"].shape == (3, 3, 40, 56) and out["alphas"].dtype == np.float32
    assert np.array_equal(out["near"], 1 - out["alphas"][:, -1])
    assert out["threshold"].dtype == np.float32 and np.allclose(out["threshold"], [[0.7, 0.4]] * 3)
    assert out["hole"].dtype == bool and (out["hole"] >= (out["near"] > 0)).all()
    assert np.array_equal(out["background"][~out["hole"]], columns["rgb"][~out["hole"]])
    assert (out["far_inv_depth"] < np.float32(0.4)).all()
    assert out["seconds_layers"].dtype == out["seconds_fill"].dtype == np.float32
    assert (out["seconds_layers"] > 0).all() and (out["seconds_fill"] > 0).all()
    assert np.array_equal(decompose(out).flatten(), columns["rgb"])
    assert "alphas" not in columns, "the batch given is left as it was"


def test_a_frame_does_not_depend_on_its_batch(columns):
    whole = stage()(columns)
    for row in range(3):
        alone = stage()({name: column[row : row + 1] for name, column in columns.items()})
        for name in ("alphas", "near", "hole", "background", "far_inv_depth", "note"):
            assert np.array_equal(alone[name][0], whole[name][row]), name


def test_empty_and_full_near_layers_are_noted(columns):
    columns["inv_depth"][0], columns["inv_depth"][1] = 0.1, 0.9
    columns["note"][0] = "depth repeated in float32"
    out = stage(planes=(0.4,))(columns)
    assert list(out["note"]) == [
        "depth repeated in float32; empty near layer", "full near layer: nothing behind it is "
                                                       "visible", "",
    ]  # fmt: skip
    assert not out["hole"][0].any() and out["hole"][1].all()
    assert np.array_equal(out["background"][:2], columns["rgb"][:2])
    assert (
        np.isfinite(out["far_inv_depth"]).all() and (out["far_inv_depth"] < np.float32(0.4)).all()
    )
    assert np.array_equal(decompose(out).flatten(), columns["rgb"])
    assert list(columns["note"]) == ["depth repeated in float32", "", ""]


def test_error_rows_are_zeros_and_cost_nothing(columns):
    columns["status"][1] = "error"
    for column in columns.values():
        column.setflags(write=False)
    out = stage()(columns)
    for name in ("alphas", "near", "hole", "background", "far_inv_depth", "seconds_fill"):
        assert not out[name][1].any(), name
        assert out[name][[0, 2]].any(), name


def test_a_clip_without_planes_has_error_rows_only(columns):
    columns["status"][:] = "error"
    out = LayerStage(Layers(), {}, load_filler(Layers().fill))(columns)
    assert out["alphas"].shape == (3, 2, 40, 56) and np.isnan(out["threshold"]).all()


def test_the_edge_filter_can_be_switched_off(columns):
    columns["inv_depth"][:] = np.linspace(0, 1, 56, dtype=np.float32) ** 8
    filtered, plain = (
        stage(planes=(0.5,), edge_filter=value, min_area=0)(columns)["near"]
        for value in (True, False)
    )
    assert np.array_equal(plain, (columns["inv_depth"] >= 0.5).astype(np.float32))
    assert not np.array_equal(plain, filtered)


def test_within_a_box_only(columns):
    """What is near outside it belongs to the far layer, in colour and in depth."""
    free, boxed = (
        stage(fill={"dilate": 0})(columns),
        stage(fill={"dilate": 0}, within=[0.25, 0.2, 0.75, 0.9])(columns),
    )
    inside = np.zeros((40, 56), bool)
    inside[8:36, 14:42] = True
    assert np.array_equal(boxed["alphas"][..., inside], free["alphas"][..., inside])
    assert (boxed["alphas"][:, -1, ~inside] == 1).all() and not boxed["hole"][:, ~inside].any()
    assert np.array_equal(boxed["hole"], free["hole"] & inside) and boxed["hole"].any()
    plain = stage(fill={"dilate": 0}, within=[0.25, 0.2, 0.75, 0.9], edge_filter=False)(columns)
    assert np.array_equal(plain["far_inv_depth"][:, ~inside], columns["inv_depth"][:, ~inside])
    assert np.array_equal(decompose(boxed).flatten(), columns["rgb"])
    everything = stage(within=[0, 0, 1, 1])(columns)
    for name in ("alphas", "hole", "background", "far_inv_depth"):
        assert np.array_equal(everything[name], stage()(columns)[name]), name
