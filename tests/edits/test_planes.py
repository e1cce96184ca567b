"""Edit planes: each layer kept, removed, replaced or graded."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from raydepth.compose.baselines import Paste
from raydepth.edits.planes import KEPT, NOT_THERE, MergedPlanes, PlanesBuilder, graded
from raydepth.edits.settings import Grade, Planes
from raydepth.errors import JobError
from raydepth.job import parse_job

DARK = {"grade": {"exposure": -1.0}}


def edited(entries, batch):
    plan = PlanesBuilder(Planes.model_validate({"kind": "planes", "layers": entries}), 2)(batch)
    rgb = batch["rgb"]
    return plan, Paste(keep_source=True)(plan, rgb, np.zeros(len(rgb), np.int64))


@pytest.mark.parametrize("feather", [0.0, 0.3])
def test_keeping_every_layer_is_the_frame_bit_for_bit(scene, make_batch, feather):
    rgb, depth = scene()
    batch = make_batch(rgb, depth, [0.7, 0.4, 0.2], feather=feather)
    plan, result = edited(["keep"] * 4, batch)
    assert np.array_equal(plan.stack.flatten(), rgb) and np.array_equal(result, rgb)
    assert (
        len(plan.stack.layers) == 4 and not plan.region.any() and plan.notes == {0: KEPT, 1: KEPT}
    )


def test_a_removed_layer_shows_what_is_behind_it(scene, make_batch):
    rgb, depth = scene()
    batch = make_batch(rgb, depth, [0.7, 0.3])
    plan, result = edited(["remove", "keep", "keep"], batch)
    post = depth == np.float32(0.9)
    assert np.array_equal(plan.stack.flatten()[post], batch["background"][post])
    assert np.abs(result[post].astype(int) - rgb[post].astype(int)).mean() > 20
    outside = plan.region == 0
    assert np.array_equal(result[outside], rgb[outside])
    kept = batch["alphas"][:, 1] == 1
    assert np.array_equal(plan.stack.flatten()[kept], rgb[kept])


def test_a_layer_is_replaced_by_a_picture(scene, make_batch, tmp_path):
    Image.fromarray(np.full((20, 20, 3), (9, 99, 199), np.uint8)).save(tmp_path / "blue.png")
    rgb, depth = scene()
    batch = make_batch(rgb, depth, [0.7])
    plan, _ = edited(["keep", {"replace": str(tmp_path / "blue.png")}], batch)
    far = batch["alphas"][:, 1] == 1
    assert (plan.stack.flatten()[far] == (9, 99, 199)).all()
    assert np.array_equal(plan.stack.flatten()[~far], rgb[~far])
    with pytest.raises(JobError, match=r"edit.layers.1.replace"):
        edited(["keep", {"replace": "/none.png"}], batch)


def test_a_layer_is_graded_and_its_neighbours_are_not(scene, make_batch):
    rgb, depth = scene()
    batch = make_batch(rgb, depth, [0.7, 0.3])
    _, result = edited(["keep", DARK, "keep"], batch)
    middle = batch["alphas"][:, 1] == 1
    assert np.array_equal(result[~middle], rgb[~middle])
    assert (result[middle] < rgb[middle]).all()


@pytest.mark.parametrize("at", [[5.0, 3.0], [-3.0, -5.0]])
def test_planes_outside_the_range_leave_empty_layers(scene, make_batch, at):
    rgb, depth = scene()
    batch = make_batch(rgb, depth, at)
    full = 2 if at[0] > 0 else 0
    for k in range(3):
        plan, result = edited(["keep"] * k + [DARK] + ["keep"] * (2 - k), batch)
        assert np.array_equal(result, rgb) == (k != full)
        assert plan.notes == ({} if k == full else {0: NOT_THERE, 1: NOT_THERE})


@settings(max_examples=30, deadline=None)
@given(entries=st.lists(st.sampled_from(["keep", "remove", DARK]), min_size=2, max_size=4))
def test_any_entries_give_a_stack_whose_weights_sum_to_one(entries):
    if entries[-1] == "remove":
        entries[-1] = "keep"
    rng = np.random.default_rng(len(entries))
    shares = rng.multinomial(4, np.ones(len(entries)) / len(entries), (2, 16, 20)) / np.float32(4)
    shares = np.moveaxis(shares.astype(np.float32), -1, 1)
    rgb, background = rng.integers(0, 256, (2, 2, 16, 20, 3), np.uint8)
    hole = shares[:, -1] < 1
    batch = {
        "rgb": rgb,
        "alphas": shares,
        "hole": hole,
        "inv_depth": rng.random((2, 16, 20), np.float32),
        "background": np.where(hole[..., None], background, rgb),
        "far_inv_depth": np.zeros((2, 16, 20), np.float32),
        "status": np.array(["ok"] * 2, object),
        "threshold": np.zeros((2, len(entries) - 1), np.float32),
    }
    plan, result = edited(entries, batch)
    assert np.abs(plan.stack.weights().sum(axis=0) - 1).max() < 1e-6
    assert np.array_equal(result[plan.region == 0], rgb[plan.region == 0])
    assert plan.region.any() == any(
        e != "keep" and shares[:, k].any() for k, e in enumerate(entries)
    )


def test_grades():
    ramp = np.arange(256, dtype=np.uint8)[:, None].repeat(3, 1)
    assert graded(ramp, Grade()) is ramp
    assert np.array_equal(
        graded(ramp, Grade(exposure=-0.0, saturation=0.0)), ramp
    )  # grey stays grey, to the bit
    for exposure, tint in itertools.product((-1.0, 1.0), ("#ffffff", "#ff8000")):
        again = graded(ramp, Grade(exposure=exposure, tint=tint)).astype(int)
        assert (np.diff(again, axis=0) >= 0).all()
    assert (graded(ramp, Grade(tint="#ff0000"))[:, 1:] == 0).all()
    red = np.array([[200, 30, 30]], np.uint8)
    assert np.ptp(graded(red, Grade(saturation=0.0))) == 0
    assert np.ptp(graded(red, Grade(saturation=1.5)).astype(int)) > np.ptp(red.astype(int))


def test_entries_and_planes_must_match(scene, make_batch):
    tree = {"schema_version": 1, "input": {"paths": ["a"]}, "output": {"path": "b"}}
    with pytest.raises(JobError, match=r"3 entries, but layers\.at has 1 planes"):
        parse_job(tree | {"edit": {"kind": "planes", "layers": ["keep"] * 3}})
    with pytest.raises(JobError, match="farthest layer cannot be removed"):
        parse_job(tree | {"edit": {"kind": "planes", "layers": ["keep", "remove"]}})
    with pytest.raises(MergedPlanes, match="fall together"):
        edited(["keep"] * 3, make_batch(*scene(), [0.5]))
