"""Baselines: paste is the composite; Poisson takes any mask and keeps the source outside it."""

import numpy as np
import pytest

from raydepth.compose.baselines import poisson
from raydepth.compose.registry import load_compositor


def test_paste_is_the_composite(make_compose, make_plan):
    plan, source, seeds = make_plan(soft=True)
    compositor = load_compositor(make_compose(method="paste"), device="cpu", dtype="float32")
    assert np.array_equal(compositor(plan, source, seeds), plan.stack.flatten())
    assert compositor.notes == ["", ""] and not compositor.failed.any()
    assert compositor.round_trip(source) is None


@pytest.mark.parametrize("method", ["paste", "poisson"])
def test_pixels_outside_the_region_are_the_sources(make_compose, make_plan, method):
    plan, source, seeds = make_plan()
    compositor = load_compositor(
        make_compose(method=method, paste_back=True), device="cpu", dtype="float32"
    )
    edited = compositor(plan, source, seeds)
    assert np.array_equal(edited[plan.region == 0], source[plan.region == 0])
    plan.region[:] = 0
    assert np.array_equal(compositor(plan, source, seeds), source)


def smooth(height=48, width=64):
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 3, columns * 2, rows + columns], -1).astype(np.uint8)


MASKS = {
    "inside": np.s_[10:30, 20:50],
    "odd": np.s_[11:22, 5:18],
    "corner": np.s_[:15, :20],
    "bottom right": np.s_[30:, 40:],
    "right border": np.s_[5:40, 63:],
    "pixel": np.s_[7:8, 9:10],
    "line": np.s_[3:4, :],
    "full": np.s_[:, :],
}


@pytest.mark.parametrize("mask", MASKS)
def test_poisson_of_equal_gradients_changes_nothing(mask):
    inside = np.zeros((48, 64), bool)
    inside[MASKS[mask]] = True
    source = smooth()
    # A composite that is brighter by a constant has the source's gradients, so its clone is the
    # source; but where the region touches the picture's border the composite's own colours are the
    # boundary condition.
    result = poisson(
        np.where(inside[..., None], source + 20, source).astype(np.uint8), source, inside
    )
    assert result.shape == source.shape
    assert np.array_equal(result[~inside], source[~inside])
    if mask in ("inside", "odd", "pixel"):
        assert np.abs(result.astype(int) - source).max() <= 2
    if mask == "full":
        assert np.abs(result.astype(int) - (source + 20)).max() <= 2


def test_poisson_keeps_its_place():
    source, inside = smooth(), np.zeros((48, 64), bool)
    inside[9:30, 13:44] = True
    composite = source.copy()
    composite[18:21, 30:33] = 255
    result = poisson(composite, source, inside).astype(int)
    bright = np.argwhere(result.sum(-1) - source.sum(-1, dtype=int) > 200)
    assert np.abs(bright.mean(0) - (19, 31)).max() < 0.51


def test_poisson_of_an_empty_mask_is_the_source():
    source = smooth()
    assert np.array_equal(poisson(255 - source, source, np.zeros((48, 64), bool)), source)
