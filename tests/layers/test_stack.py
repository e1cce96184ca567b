"""Layers: exact partitions, nested masks without islands, recomposition bit for bit."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raydepth.layers.stack import Layer, LayerStack, alpha_masks, decompose, filter_edges, visible


def scene(seed: int, height: int = 40, width: int = 56) -> np.ndarray:
    """Inverse depth float32 [H,W] with slopes, steps and specks."""
    rng = np.random.default_rng(seed)
    depth = cv2.resize(
        rng.random((5, 6), dtype=np.float32), (width, height), interpolation=cv2.INTER_CUBIC
    )
    for _ in range(4):
        y, x = rng.integers(0, height - 8), rng.integers(0, width - 8)
        depth[y : y + rng.integers(1, 20), x : x + rng.integers(1, 20)] += rng.uniform(-0.6, 0.6)
    specks = rng.random(depth.shape) < 0.02
    depth[specks] = rng.random(int(specks.sum()), dtype=np.float32)
    return depth.astype(np.float32)


PLANES = st.lists(st.floats(-0.2, 1.2), min_size=1, max_size=4, unique=True).map(
    lambda p: sorted(p, reverse=True)
)
FEATHER = st.one_of(st.just(0.0), st.floats(0.001, 0.3))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), PLANES, FEATHER, st.sampled_from([0, 1, 8, 64, 5000]))
def test_alphas_are_an_exact_partition(seed, planes, feather, min_area):
    alphas = alpha_masks(scene(seed), planes, feather=feather, min_area=min_area)
    assert alphas.shape == (len(planes) + 1, 40, 56) and alphas.dtype == np.float32
    assert alphas.min() >= 0
    for order in (alphas, alphas[::-1]):  # exact in any order
        total = np.zeros((40, 56), np.float32)
        for alpha in order:
            total += alpha
        assert (total == 1).all()
    if feather == 0:
        assert set(np.unique(alphas)) <= {0, 1}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), PLANES, FEATHER, st.sampled_from([0, 16, 64]))
def test_recomposition_is_the_frame(seed, planes, feather, min_area):
    rng = np.random.default_rng(seed)
    rgb = rng.integers(0, 256, (1, 40, 56, 3), dtype=np.uint8)
    inv_depth = scene(seed)[None]
    stack = decompose({
        "rgb": rgb,
        "alphas": alpha_masks(inv_depth[0], planes, feather=feather, min_area=min_area)[None],
        "background": rng.integers(0, 256, rgb.shape, dtype=np.uint8),
        "inv_depth": inv_depth,
        "far_inv_depth": inv_depth - 1,
    })  # fmt: skip
    assert len(stack.layers) == len(planes) + 1 and stack.layers[-1].name == "far"
    assert (stack.layers[-1].alpha == 1).all()
    assert np.array_equal(stack.flatten(), rgb)
    weights = stack.weights()
    assert weights.dtype == np.float32 and np.allclose(weights.sum(0), 1, atol=1e-6)
    assert np.allclose(stack.flatten_depth(), inv_depth, atol=1e-5)


def test_intervals_are_half_open_and_nearest_comes_first():
    inv_depth = np.array([[0.0, 0.3, 0.5, 0.7, 0.9]], np.float32)
    near, middle, far = alpha_masks(inv_depth, (0.7, 0.3))
    assert near.tolist() == [[0, 0, 0, 1, 1]]
    assert middle.tolist() == [[0, 1, 1, 0, 0]]
    assert far.tolist() == [[1, 0, 0, 0, 0]]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), PLANES, st.integers(2, 80))
def test_no_islands_and_no_pin_holes_are_left(seed, planes, min_area):
    inv_depth = scene(seed)
    nearer = np.cumsum(alpha_masks(inv_depth, planes, min_area=min_area), axis=0)[:-1]
    for mask in nearer:
        for value, connectivity in ((1, 8), (0, 4)):
            if mask.any() and not mask.all():
                part = (mask == value).astype(np.uint8)
                _, _, stats, _ = cv2.connectedComponentsWithStats(part, connectivity=connectivity)
                assert stats[1:, cv2.CC_STAT_AREA].min() >= min_area


def test_islands_go_and_large_things_stay_to_the_pixel():
    inv_depth = np.zeros((40, 40), np.float32)
    inv_depth[10:30, 10:30] = 0.9  # the thing
    inv_depth[15:18, 15:18] = 0.1  # a pin-hole in it
    inv_depth[2:5, 2:5] = 0.9  # an island
    near, _ = alpha_masks(inv_depth, (0.5,), min_area=10)
    expected = np.zeros((40, 40), np.float32)
    expected[10:30, 10:30] = 1
    assert np.array_equal(near, expected)
    assert alpha_masks(inv_depth, (0.5,), min_area=9)[0].sum() == 400 - 9 + 9


def test_a_feather_is_logistic_as_wide_as_asked_and_ends():
    inv_depth = np.linspace(0, 1, 1001, dtype=np.float32)[None]
    near = alpha_masks(inv_depth, (0.5,), feather=0.2)[0, 0]
    assert (near[inv_depth[0] < 0.399] == 0).all() and (near[inv_depth[0] > 0.601] == 1).all()
    assert near[500] == 0.5 and (np.diff(near) >= 0).all()
    assert np.allclose(near + near[::-1], 1, atol=1e-4)
    inside = (near > 0) & (near < 1)
    logit = np.log((0.98 * near[inside] + 0.01) / (1 - 0.98 * near[inside] - 0.01))
    assert np.allclose(logit, (inv_depth[0, inside] - 0.5) * 2 * np.log(99) / 0.2, atol=0.02)


def test_a_removed_island_takes_its_soft_skirt_with_it():
    y, x = np.mgrid[:40, :60]
    island = 0.7 - 0.05 * np.hypot(y - 10, x - 10)  # a cone: 0.5 at a radius of 4
    inv_depth = np.maximum(island, np.where(x > 40, 0.9, 0.0)).astype(np.float32)
    assert alpha_masks(inv_depth, (0.5,), feather=0.3)[0, 10, 10] > 0.9
    near = alpha_masks(inv_depth, (0.5,), feather=0.3, min_area=64)[0]
    assert (near[:, :38] == 0).all() and (near[:, 41:] == 1).all()
    hole = alpha_masks(1 - inv_depth, (0.5,), feather=0.3, min_area=64)[0]
    assert (hole[:, :38] == 1).all()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_empty_and_full_masks_are_legal(value):
    for min_area in (0, 10_000):
        near, far = alpha_masks(np.full((8, 9), value, np.float32), (0.5,), min_area=min_area)
        assert (near == value).all() or (min_area and (near == 0).all())
        assert np.array_equal(far, 1 - near)


def test_visible_is_the_rule_of_the_method():
    scene_depth = np.array([0.2, 0.5, 0.8], np.float32)
    seen = visible(np.array([1.0, 0.5, 1.0], np.float32), 0.5, scene_depth)
    assert seen.tolist() == [1.0, 0.5, 0.0] and seen.dtype == np.float32


def test_over_with_soft_layers():
    shape = (1, 2, 2)
    layer = lambda name, colour, alpha, depth: Layer(  # noqa: E731
        name,
        np.full((*shape, 3), colour, np.uint8),
        np.full(shape, alpha, np.float32),
        np.full(shape, depth, np.float32),
    )
    stack = LayerStack(
        [layer("a", 100, 0.5, 1.0), layer("b", 200, 0.5, 0.5), layer("c", 0, 1.0, 0.0)]
    )
    assert stack.weights()[:, 0, 0, 0].tolist() == [0.5, 0.25, 0.25]
    assert (stack.flatten() == 100).all() and np.allclose(stack.flatten_depth(), 0.625)


def test_edges_become_steps_and_nothing_else_changes():
    """A step smeared over five pixels becomes one step; slopes and flat parts stay as they are."""
    inv_depth = np.zeros((30, 60), np.float32) + np.linspace(0, 0.3, 60, dtype=np.float32)
    inv_depth[:, 30:] += 0.5
    clean = inv_depth.copy()
    for i, x in enumerate(range(28, 33)):
        inv_depth[:, x] = clean[:, 27] + (clean[:, 33] - clean[:, 27]) * (i + 1) / 6
    sharp = filter_edges(inv_depth)
    assert np.array_equal(sharp[:, :26], inv_depth[:, :26]) and np.array_equal(
        sharp[:, 35:], inv_depth[:, 35:]
    )
    steps = np.abs(np.diff(sharp, axis=1)) > 0.1
    assert (steps.sum(axis=1) == 1).all(), "one clean step a row"
    between = (sharp > clean[:, 27].max() + 0.05) & (sharp < clean[:, 33].min() - 0.05)
    assert not between.any()
    assert np.abs(filter_edges(clean) - clean).max() < 0.03, "a clean step keeps its place"


def test_edge_filter_keeps_thin_things_and_odd_sizes():
    for shape in ((1, 1), (1, 9), (3, 5), (6, 6)):
        inv_depth = np.random.default_rng(0).random(shape, dtype=np.float32)
        sharp = filter_edges(inv_depth)
        assert sharp.shape == shape and np.isfinite(sharp).all()
        assert np.isin(sharp, inv_depth).all()
