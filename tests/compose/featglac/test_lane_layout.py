"""Lanes: equal pictures are encoded once, and every frame finds its layers."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from raydepth.compose.featglac.lanes import lay_out


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 3)] * 4, st.integers(0, 1)), min_size=1, max_size=5))
def test_every_lane_shows_its_picture(frames):
    numbers = np.array(frames)
    source, start, near, far = (
        np.tile(numbers[:, i, None, None, None], (1, 2, 3, 3)).astype(np.uint8) for i in range(4)
    )
    seeds = numbers[:, 4].astype(np.int64)
    lanes = lay_out(source, start, [near, far], seeds)
    assert len(lanes.pictures) == len(np.unique(numbers[:, :4]))
    assert np.array_equal(lanes.pictures[lanes.source], source)
    assert np.array_equal(lanes.pictures[lanes.start], start)
    for k, layer in enumerate([near, far]):
        assert np.array_equal(lanes.pictures[lanes.reference_picture[lanes.layer_rows[k]]], layer)
        assert np.array_equal(seeds[lanes.reference_frame[lanes.layer_rows[k]]], seeds)
    assert len(lanes.reference_picture) == len(
        {(p, s) for *_, near, far, s in frames for p in (near, far)}
    )


def test_recompose_encodes_the_frame_once(make_plan):
    plan, source, seeds = make_plan(frames=3, planes=2)
    plan.stack.layers[-1].rgb[:] = np.where(plan.region[..., None] > 0, 7, source)
    lanes = lay_out(source, plan.stack.flatten(), [layer.rgb for layer in plan.stack.layers], seeds)
    assert len(lanes.pictures) == 6 and len(lanes.reference_picture) == 6
