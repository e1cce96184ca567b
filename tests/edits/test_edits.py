"""Edits: each builds a layer stack and a region, nothing else."""

import numpy as np
import pytest

from raydepth.edits import recompose, remove
from raydepth.edits.plan import EditPlan


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    rgb, background = rng.integers(0, 256, (2, 3, 20, 30, 3), np.uint8)
    near = np.zeros((3, 20, 30), np.float32)
    near[:, 5:12, 8:20] = 1
    near[1] *= 0.5
    hole = np.zeros(near.shape, bool)
    hole[:, 3:14, 6:22] = True
    background = np.where(hole[..., None], background, rgb)
    return {
        "rgb": rgb, "background": background, "alphas": np.stack([near, 1 - near], 1), "hole": hole,
        "inv_depth": near + 0.2, "far_inv_depth": np.full(near.shape, 0.2, np.float32),
    }  # fmt: skip


def test_recompose_asks_for_the_frame(batch):
    plan = recompose.build(batch)
    assert np.array_equal(plan.stack.flatten(), batch["rgb"])
    assert len(plan.stack.layers) == 2
    assert plan.region.dtype == np.float32 and np.array_equal(plan.region, batch["hole"])


def test_remove_asks_for_what_lies_behind(batch):
    plan = remove.build(batch)
    assert np.array_equal(plan.stack.flatten(), batch["background"])
    assert np.array_equal(plan.stack.flatten_depth(), batch["far_inv_depth"])
    outside = plan.region == 0
    assert np.array_equal(plan.stack.flatten()[outside], batch["rgb"][outside])
    assert np.array_equal(plan.stack.weights(), np.ones((1, 3, 20, 30), np.float32))


@pytest.mark.parametrize("edit", [recompose.build, remove.build])
def test_taking_frames_of_a_plan_is_planning_those_frames(batch, edit):
    rows = np.array([2, 0])
    taken = edit(batch).take(rows)
    alone = edit({name: column[rows] for name, column in batch.items()})
    assert isinstance(taken, EditPlan)
    assert np.array_equal(taken.region, alone.region)
    for one, other in zip(taken.stack.layers, alone.stack.layers, strict=True):
        assert one.name == other.name
        assert all(
            np.array_equal(getattr(one, part), getattr(other, part))
            for part in ("rgb", "alpha", "inv_depth")
        )
