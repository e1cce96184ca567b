"""Things as layers: exact partitions, recomposition bit for bit, holes that are theirs alone."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raydepth.layers.fill.registry import load_filler
from raydepth.layers.fill.settings import OpenCVFill
from raydepth.layers.settings import Layers
from raydepth.layers.stack import decompose
from raydepth.layers.stage import NOT_IN_FRAME, LayerStage
from raydepth.layers.things.layering import Layering, mattes
from tests.depth.tiny import batch, frames
from tests.layers.test_stack import PLANES, scene
from tests.support.scenes import thing_columns

SHAPE = 40, 56


def soft(seed: int) -> np.ndarray:
    """A matte float32 with soft values of any kind, whole and empty parts."""
    rng = np.random.default_rng(seed)
    return np.clip(scene(seed, *SHAPE) * 2 - rng.uniform(0, 1), 0, 1).astype(np.float32)


def cut(things, layering, planes=(0.6, 0.3), dilate=2, seed=0, **layers):
    columns = batch(frames(1, *SHAPE), inv_depth=scene(seed)[None]) | thing_columns(1, things)
    fill = OpenCVFill(dilate=dilate)
    return LayerStage(Layers(fill=fill, **layers), {"v": planes}, load_filler(fill), layering)(
        columns
    )


DEPTHS = st.lists(
    st.one_of(st.floats(0, 1), st.just(0.5), st.just(float("nan"))), min_size=3, max_size=3
)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9999), DEPTHS, PLANES, st.sampled_from([0.0, 0.2]), st.booleans())
def test_layers_sum_to_exactly_one_and_recompose_the_frame(seed, depths, planes, feather, lift):
    things = {name: (soft(seed + i), depths[i]) for i, name in enumerate("abc")}
    asked = Layering(lifts=("c", "a")) if lift else Layering(beside=True, removes=("b",))
    out = cut(things, asked, tuple(planes), feather=feather, seed=seed)
    names = ["c", "a", "far"] if lift else ["a", "b", "c"]
    assert list(out["alpha_names"][0][: len(names)]) == names
    assert out["alphas"].min() >= 0
    for order in (out["alphas"][0], out["alphas"][0, ::-1]):
        total = np.zeros(SHAPE, np.float32)
        for alpha in order:
            total += alpha
        assert (total == 1).all()
    stack = decompose(out)
    assert [layer.name for layer in stack.layers] == list(out["alpha_names"][0])
    assert np.array_equal(stack.flatten(), out["rgb"])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 9999), DEPTHS)
def test_shares_do_not_depend_on_the_order_of_names(seed, depths):
    things = [(name, (soft(seed + i), depths[i])) for i, name in enumerate("abc")]
    expected = mattes(thing_columns(1, dict(things)), 0, "abc")
    for order in itertools.permutations(things):
        assert np.array_equal(mattes(thing_columns(1, dict(order)), 0, "abc"), expected)
    assert np.array_equal(mattes(thing_columns(1, dict(things)), 0, "cba"), expected[::-1])


def test_of_two_things_that_overlap_the_nearer_has_what_both_claim():
    matte = np.full(SHAPE, 0.75, np.float32)
    columns = thing_columns(1, {"back": (matte, 0.2), "front": (matte, 0.6)})
    back, front = mattes(columns, 0, ["back", "front"])
    assert (front == 0.75).all() and (back == 0.25).all()


def square(y: int, x: int, side: int = 10) -> np.ndarray:
    found = np.zeros(SHAPE, np.float32)
    found[y : y + side, x : x + side] = 1
    return found


def test_lifted_things_alone_are_near_and_the_hole_is_theirs():
    things = {"dog": (square(5, 5), 0.8), "cat": (square(20, 30), 0.4), "cup": (square(25, 5), 0.9)}
    out = cut(things, Layering(("dog", "cat"), ("dog", "cat"), removes=("dog", "cat")))
    both = np.maximum(square(5, 5), square(20, 30))
    assert np.array_equal(out["near"][0], both) and out["alphas"].shape[1] == 3
    assert np.allclose(out["threshold"], [[0.4]])
    assert out["hole"][0][both > 0].all() and out["hole"].sum() < 2.2 * both.sum()
    assert not out["hole"][0, 25:, :20].any()
    outside = ~out["hole"][0]
    assert np.array_equal(out["background"][0][outside], out["rgb"][0][outside])
    inside = out["far_inv_depth"][0][~outside]
    around = out["far_inv_depth"][0][outside]
    assert inside.min() >= around.min() and inside.max() <= around.max()


def test_nothing_is_filled_from_a_nearer_thing_that_stays():
    rgb = np.full((1, *SHAPE, 3), 90, np.uint8)
    rgb[0, 10:20, 20:30] = (255, 0, 0)  # beside the hole
    columns = batch(rgb, inv_depth=np.full((1, *SHAPE), 0.1, np.float32))
    fill = OpenCVFill(dilate=2)

    def filled(depth):
        things = {"dog": (square(10, 10), 0.5), "red": (square(10, 20), depth)}
        stage = LayerStage(
            Layers(fill=fill), {"v": (0.3,)}, load_filler(fill), Layering(("dog",), ("dog",))
        )
        return stage(columns | thing_columns(1, things))

    nearer, farther = filled(0.9), filled(0.2)
    hole = square(10, 10) > 0
    assert (nearer["background"][0][hole][:, 0] < 100).all()
    assert (farther["background"][0][hole][:, 0] > 150).any()
    assert np.array_equal(nearer["background"][0, 10:20, 24:30], rgb[0, 10:20, 24:30])


def test_by_name_the_hole_is_what_is_removed_and_all_near_layers_where_nothing_is():
    things = {"dog": (square(5, 5), 0.8), "cup": (square(25, 5), 0.9)}
    dog, near, none = (
        cut(things, Layering(beside=True, removes=names)) for names in (("dog",), ("near2",), ())
    )
    assert dog["hole"][0][square(5, 5) > 0].all() and dog["hole"].sum() < 200
    between = dog["alphas"][0, 2:4].sum(axis=0) > 0
    assert near["hole"][0][between].all() and not near["hole"][0, 8:12, 8:12].all()
    assert none["hole"][0][between | (square(5, 5) > 0) | (square(25, 5) > 0)].all()


@pytest.mark.parametrize("state, note", [("hidden", NOT_IN_FRAME.format("dog")), ("lost", "")])
def test_a_thing_that_is_not_there_leaves_no_hole(state, note):
    things = {"dog": (np.zeros(SHAPE, np.float32), 0.8, state)}
    out = cut(things, Layering(("dog",), ("dog",), removes=("dog",)))
    assert not out["near"].any() and not out["hole"].any() and out["note"][0] == note
    assert np.isfinite(out["threshold"]).all()


def test_things_that_no_edit_speaks_of_change_nothing():
    with_things = cut({"dog": (square(5, 5), 0.8)}, Layering())
    columns = batch(frames(1, *SHAPE), inv_depth=scene(0)[None])
    fill = OpenCVFill(dilate=2)
    plain = LayerStage(Layers(fill=fill), {"v": (0.6, 0.3)}, load_filler(fill))(columns)
    for name, column in plain.items():
        if not name.startswith("seconds"):
            assert np.array_equal(column, with_things[name]), name
    assert "alpha_names" not in with_things
