"""Edits of things: what covers what, what is removed and kept, and frames without a thing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raydepth.compose.baselines import Paste
from raydepth.edits.insert import InsertBuilder
from raydepth.edits.missing import left_without
from raydepth.edits.registry import fix_edit, layering, load_edit
from raydepth.edits.settings import Background, Insert, Planes, Remove
from raydepth.layers.settings import Layers
from raydepth.layers.things.layering import Layering
from tests.layers.test_stack import scene as rough
from tests.support.scenes import SCALE

PLAIN = Layers(edge_filter=False, min_area=0)
SIZE = 72, 96


def box(y0, x0, y1, x1) -> np.ndarray:
    mask = np.zeros(SIZE, np.float32)
    mask[y0:y1, x0:x1] = 1
    return mask


WOMAN = box(20, 30, 70, 48)


def pasted(plan, batch):
    return Paste(keep_source=True)(plan, batch["rgb"], np.zeros(len(batch["rgb"]), np.int64))


@pytest.fixture
def inserted(make_object, make_batch):
    """Plan, result and batch of an object beside things."""
    picture = make_object()

    def make(rgb, depth, things, layers=PLAIN, **fields):
        edit = Insert.model_validate(
            {"kind": "insert", "object": picture, "anchor": "picture", "height": 0.5} | fields
        )
        first = {name: float(np.ravel(thing[1])[0]) for name, thing in things.items()}
        clip = fix_edit(edit, list(depth[:1]), rgb[0], SCALE, list, first)
        batch = make_batch(rgb, depth, things=things, layering=layering(edit))
        plan = InsertBuilder(edit, layers, {"v": (SCALE, clip)})(batch)
        return plan, pasted(plan, batch), batch

    return make


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999), depth=st.floats(-0.5, 1.5), soft=st.booleans())
def test_behind_a_thing_it_is_covered_by_all_of_it_and_by_nothing_farther(
    seed, depth, soft, tmp_path_factory
):
    import cv2
    from PIL import Image

    from raydepth.layers.fill.registry import load_filler
    from raydepth.layers.stage import LayerStage
    from tests.depth.tiny import batch as columns_of
    from tests.support.scenes import thing_columns

    path = tmp_path_factory.getbasetemp() / "object.png"
    if not path.exists():
        Image.fromarray(np.full((40, 30, 4), (240, 140, 20, 255), np.uint8)).save(path)
    matte = cv2.GaussianBlur(WOMAN, (0, 0), 1.5) if soft else WOMAN
    inv_depth = rough(seed, *SIZE)[None]
    rgb = np.random.default_rng(seed).integers(0, 256, (1, *SIZE, 3), np.uint8)
    other = box(0, 60, 72, 70)
    columns = columns_of(rgb, inv_depth=inv_depth) | thing_columns(
        1, {"woman": (matte, depth), "post": (other, depth + 0.2)}
    )
    columns["pts"] = np.zeros(1, np.int64)
    batch = LayerStage(PLAIN, {"v": (0.5,)}, load_filler(PLAIN.fill))(columns)
    edit = Insert.model_validate({
        "kind": "insert", "object": str(path), "at": {"behind": "woman"}, "anchor": "picture",
        "box": [0.2, 0.2, 0.9, 0.9],
    })  # fmt: skip
    clip = fix_edit(edit, [inv_depth[0]], rgb[0], SCALE, list, {"woman": depth})
    stack = InsertBuilder(edit, PLAIN, {"v": (SCALE, clip)})(batch).stack
    shown = stack.weights()[1][0]
    there = stack.layers[1].alpha[0] > 0.99
    assert (there & (WOMAN > 0)).any() and (there & (matte == 0)).any()
    assert not shown[matte == 1].any() and not shown[other == 1].any()
    farther = (inv_depth[0] <= np.float32(depth)) & (matte == 0) & (other == 0) & there
    assert (shown[farther] == stack.layers[1].alpha[0][farther]).all()
    edge = (matte > 0) & (matte < 1) & (other == 0) & there & (inv_depth[0] <= np.float32(depth))
    assert np.allclose(shown[edge], 1 - matte[edge], atol=1e-3)


def test_before_a_thing_it_is_never_covered_by_it(scene, inserted):
    rgb, depth = scene()
    plan, _, _ = inserted(
        rgb, depth, {"woman": (WOMAN, 0.95)}, at={"front": "woman"}, point=[0.4, 0.9]
    )
    alpha, shown = plan.stack.layers[1].alpha, plan.stack.weights()[1]
    assert (alpha[:, WOMAN > 0] > 0).any()
    assert np.array_equal(shown[:, WOMAN > 0], alpha[:, WOMAN > 0])
    assert np.allclose(plan.stack.layers[1].inv_depth[alpha > 0], 0.96)


def test_it_goes_with_the_things_depth_frame_by_frame(scene, inserted):
    """Between the thing and the wall depth wavers; the object stays between them."""
    rgb, depth = scene(3)
    depths = np.array([0.5, 0.7, 0.3], np.float32)
    depth[:, WOMAN > 0] = depths[:, None]
    plan, edited, _ = inserted(
        rgb, depth, {"woman": (WOMAN, depths)}, at={"behind": "woman"}, point=[0.4, 0.6]
    )
    alpha, shown = plan.stack.layers[1].alpha, plan.stack.weights()[1]
    for row, own in enumerate(depths):
        assert np.allclose(plan.stack.layers[1].inv_depth[row][alpha[row] > 0], own - 0.01)
        seen = alpha[row] * (WOMAN == 0)
        assert np.array_equal(shown[row], seen) and seen.any()
        assert np.array_equal(edited[row][WOMAN > 0], rgb[row][WOMAN > 0])


def test_a_halo_of_smeared_depth_around_the_thing_covers_nothing(scene, inserted):
    rgb, depth = scene()
    depth[:] = 0.1
    depth[:, 17:73, 27:51] = 0.9  # the estimate is three pixels larger than the thing
    plan, _, _ = inserted(
        rgb, depth, {"woman": (WOMAN, 0.8)}, at={"behind": "woman"}, box=[0.2, 0.3, 0.7, 0.9],
        height=None,
    )  # fmt: skip
    alpha, shown = plan.stack.layers[1].alpha, plan.stack.weights()[1]
    assert np.array_equal(shown, alpha * (WOMAN == 0))


@pytest.mark.parametrize("own, covers", [(0.6, True), (0.4, False)])
def test_for_any_object_a_thing_is_all_before_it_or_all_behind(scene, inserted, own, covers):
    rgb, depth = scene()
    depth[:, WOMAN > 0] = 0.1
    depth[:, 40:70, 30:48] = 0.9  # half of the thing is said to be nearer, half to be farther
    plan, _, _ = inserted(rgb, depth, {"woman": (WOMAN, own)}, at=0.5, point=[0.4, 0.8])
    alpha, shown = plan.stack.layers[1].alpha, plan.stack.weights()[1]
    body = (alpha > 0) & (WOMAN > 0)
    assert body.any() and np.array_equal(shown[body], alpha[body] * (not covers))


def test_what_it_stands_on_does_not_cover_it(scene, inserted):
    rgb, depth = scene()
    table = box(45, 10, 72, 60)
    plan, _, _ = inserted(rgb, depth, {"table": (table, 0.99)}, point=[0.4, 0.75])
    assert np.array_equal(plan.stack.weights()[1], plan.stack.layers[1].alpha)


def test_removing_a_thing_changes_its_hole_alone(scene, make_batch):
    rgb, depth = scene()
    edit = Remove(kind="remove", things=["woman"])
    batch = make_batch(rgb, depth, things={"woman": (WOMAN, 0.5)}, layering=layering(edit))
    plan = load_edit(edit, PLAIN, {})(batch)
    edited = pasted(plan, batch)
    assert np.array_equal(plan.region > 0, batch["hole"])
    assert np.array_equal(edited[~batch["hole"]], rgb[~batch["hole"]])
    assert (edited[:, WOMAN > 0] != rgb[:, WOMAN > 0]).any(axis=-1).mean() > 0.9
    assert batch["hole"].mean() < 1.5 * WOMAN.mean()


def test_kept_things_stand_before_the_new_scene_without_the_old_ones_colour(scene, make_batch):
    import cv2

    rgb, depth = scene()
    matte = np.round(cv2.GaussianBlur(WOMAN, (0, 0), 1.2) * 64) / 64
    own, old = np.float32((200, 40, 40)), np.float32((20, 220, 20))
    rgb[:] = np.rint(matte[..., None] * own + (1 - matte[..., None]) * old)
    edit = Background(kind="background", source="#0000ff", keep=["woman"])
    batch = make_batch(rgb, depth, things={"woman": (matte, 0.5)}, layering=layering(edit))
    edited = pasted(load_edit(edit, PLAIN, {})(batch), batch)
    assert (edited[:, matte == 0] == (0, 0, 255)).all()
    assert np.array_equal(edited[:, matte == 1], rgb[:, matte == 1])
    true = matte[..., None] * own + (1 - matte[..., None]) * np.float32((0, 0, 255))
    assert np.abs(edited[0] - true).max() < 12


def layers_of(entries, rgb, depth, make_batch, things, at=None):
    edit = Planes.model_validate({"kind": "planes", "layers": entries})
    batch = make_batch(rgb, depth, at, things=things, layering=layering(edit))
    plan = load_edit(edit, PLAIN, {})(batch)
    return plan, pasted(plan, batch), batch


def test_layers_by_name(scene, make_batch):
    rgb, depth = scene()
    dog = box(60, 5, 70, 20)  # on the floor's nearest part
    things = {"woman": (WOMAN, 0.4), "dog": (dog, 0.6)}
    dark = {"grade": {"exposure": -1.0}}
    plan, edited, batch = layers_of({"woman": dark}, rgb, depth, make_batch, things, [0.5])
    assert [layer.name for layer in plan.stack.layers] == ["woman", "dog", "near", "far"]
    assert np.array_equal(edited[:, WOMAN == 0], rgb[:, WOMAN == 0])
    assert (edited[:, WOMAN > 0] < rgb[:, WOMAN > 0]).all()
    # What is near between the planes stays, and so does what nobody named.
    plan, edited, batch = layers_of({"dog": "remove"}, rgb, depth, make_batch, things, [0.5])
    hole = batch["hole"]
    assert hole[:, dog > 0].all() and not hole[:, WOMAN > 0].any()
    assert np.array_equal(edited[~hole], rgb[~hole])
    assert np.array_equal(plan.stack.flatten()[hole], batch["background"][hole])
    plan, edited, batch = layers_of({"near": "remove"}, rgb, depth, make_batch, things, [0.5])
    post = depth == np.float32(0.9)
    assert (edited[post] != rgb[post]).any(axis=-1).mean() > 0.9
    assert np.array_equal(plan.stack.flatten()[:, WOMAN > 0], rgb[:, WOMAN > 0])


def test_a_hole_in_near_ground_is_near_ground_when_the_rest_is_replaced(
    scene, make_batch, tmp_path
):
    from PIL import Image

    Image.fromarray(np.full((9, 9, 3), (0, 0, 255), np.uint8)).save(tmp_path / "wall.png")
    rgb, depth = scene()
    dog = box(60, 5, 70, 20)
    entries = {"dog": "remove", "far": {"replace": str(tmp_path / "wall.png")}}
    plan, _, batch = layers_of(entries, rgb, depth, make_batch, {"dog": (dog, 0.6)}, [0.3])
    assert (depth[:, dog > 0] > 0.3).all()
    assert np.array_equal(plan.stack.flatten()[:, dog > 0], batch["background"][:, dog > 0])
    far = batch["alphas"][:, -1] == 1
    assert (plan.stack.flatten()[far] == (0, 0, 255)).all()


@settings(max_examples=30, deadline=None)
@given(
    entries=st.fixed_dictionaries(
        {},
        optional={
            name: st.sampled_from(["keep", "remove", {"grade": {"exposure": -1.0}}])
            for name in ("a", "b", "near1", "near2")
        },
    ).filter(bool),
    seed=st.integers(0, 99),
)
def test_any_entries_by_name_give_whole_pictures(entries, seed):
    from raydepth.layers.fill.registry import load_filler
    from raydepth.layers.stage import LayerStage
    from tests.depth.tiny import batch as columns_of
    from tests.support.scenes import thing_columns

    rng = np.random.default_rng(seed)
    rgb = rng.integers(0, 256, (1, *SIZE, 3), np.uint8)
    alphas = np.round(rng.random((2, *SIZE)) * 4).astype(np.float32) / 4 * (rng.random(SIZE) > 0.5)
    things = {"a": (alphas[0], 0.5), "b": (alphas[1], 0.7)}
    edit = Planes.model_validate({"kind": "planes", "layers": entries})
    columns = columns_of(rgb, inv_depth=rough(seed, *SIZE)[None]) | thing_columns(1, things)
    batch = LayerStage(PLAIN, {"v": (0.6, 0.3)}, load_filler(PLAIN.fill), layering(edit))(columns)
    plan = load_edit(edit, PLAIN, {})(batch)
    assert np.abs(plan.stack.weights().sum(axis=0) - 1).max() < 1e-6
    assert np.array_equal(pasted(plan, batch)[plan.region == 0], rgb[plan.region == 0])
    if set(map(str, entries.values())) == {"keep"}:
        assert np.array_equal(plan.stack.flatten(), rgb) and not plan.region.any()


@pytest.mark.parametrize("state", ["lost", "absent"])
@pytest.mark.parametrize(
    "edit",
    [
        Remove(kind="remove", things=["dog"]),
        Background(kind="background", source="#0000ff", keep=["woman", "dog"]),
        Planes.model_validate({"kind": "planes", "layers": {"dog": "remove", "near": "remove"}}),
    ],
)
def test_a_frame_without_a_thing_that_the_edit_needs_is_left_alone(scene, make_batch, edit, state):
    rgb, depth = scene(3)
    alphas = np.stack([WOMAN, WOMAN * 0, WOMAN])
    things = {
        "woman": (WOMAN, 0.4),
        "dog": (alphas, [0.6, np.nan, 0.6], ["seen", state, "seen"]),
    }
    batch = make_batch(rgb, depth, things=things, layering=layering(edit))
    plan = load_edit(edit, PLAIN, {})(batch)
    edited = pasted(plan, batch)
    assert np.array_equal(edited[1], rgb[1]) and not plan.region[1].any()
    assert np.array_equal(plan.stack.flatten()[1], rgb[1])
    assert np.allclose(plan.stack.flatten_depth()[1], depth[1])
    assert plan.notes[1].startswith("dog is ") and "left as it is" in plan.notes[1]
    assert batch["note"][1] == ""
    for row in (0, 2):
        assert plan.region[row].any() and row not in plan.notes
        assert (edited[row] != rgb[row]).any()


def test_an_object_is_left_out_where_its_thing_is_lost_and_stays_where_it_is_hidden(
    scene, inserted
):
    rgb, depth = scene(3)
    alphas = np.stack([WOMAN, WOMAN * 0, WOMAN * 0])
    things = {"woman": (alphas, [0.5, np.nan, 0.5], ["seen", "lost", "hidden"])}
    plan, _, batch = inserted(rgb, depth, things, at={"behind": "woman"}, point=[0.4, 0.6])
    plan = left_without(lambda _: plan, ["woman"])(batch)
    edited = pasted(plan, batch)
    assert np.array_equal(edited[1], rgb[1]) and "woman is lost" in plan.notes[1]
    assert (edited[2] != rgb[2]).any() and 2 not in plan.notes
    assert np.array_equal(plan.stack.weights()[1][2], plan.stack.layers[1].alpha[2])


def test_what_edits_make_of_things():
    keep = Background(kind="background", source="#0000ff", keep=["b", "a", "b"])
    assert layering(keep) == Layering(("b", "a"), ("b", "a"))
    remove = Remove(kind="remove", things=["a"])
    assert layering(remove) == Layering(("a",), ("a",), removes=("a",), shadow=True)
    named = Planes.model_validate({"kind": "planes", "layers": {"a": "remove", "near": "keep"}})
    assert layering(named) == Layering(("a",), beside=True, removes=("a",))
    assert layering(Remove(kind="remove")) == Layering()
