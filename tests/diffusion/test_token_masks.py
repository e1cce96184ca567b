"""Token masks: shares, opacities and query groups on any grid."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raydepth.diffusion.token_masks import VISIBLE, opacities, pool, query_groups, token_grids

small = settings(max_examples=25, deadline=None)


@st.composite
def layer_weights(draw):
    """float32 [K,N,H,W] summing to 1 over K: hard, soft, or with layers that are nowhere."""
    layers, height, width = (
        draw(st.integers(1, 4)),
        draw(st.integers(3, 40)),
        draw(st.integers(3, 40)),
    )
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    logits = torch.randn(layers, 2, height, width, generator=generator) * draw(
        st.sampled_from([1.0, 60.0, 1000.0])
    )
    return logits.softmax(0)


@small
@given(layer_weights(), st.integers(1, 9), st.integers(1, 9))
def test_shares_sum_to_one_and_painting_gives_them_back(weights, height, width):
    tokens = pool(weights, (height, width))
    assert tokens.shape == (*weights.shape[:2], height * width)
    assert torch.allclose(tokens.sum(0), torch.ones(()), atol=1e-5)
    opacity = opacities(tokens)
    assert opacity.min() >= 0 and opacity.max() <= 1
    painted = torch.zeros_like(tokens)
    painted[-1] = 1
    for k in reversed(range(len(tokens) - 1)):
        painted *= 1 - opacity[k]
        painted[k] = opacity[k]
    assert torch.allclose(painted, tokens, atol=1e-5)


@small
@given(layer_weights())
def test_every_query_has_one_group_that_sees_its_own_position(weights):
    tokens = pool(weights, (4, 5))
    rows = np.arange(tokens.shape[0] * 2).reshape(-1, 2)
    for n, frame in enumerate(query_groups(tokens, rows)):
        assert sorted(torch.cat([group.queries for group in frame]).tolist()) == list(range(20))
        for group in frame:
            seen = {row for row, _ in group.keys}
            for query in group.queries.tolist():
                assert seen == {
                    int(rows[k, n]) for k in range(len(tokens)) if tokens[k, n, query] >= VISIBLE
                }
                assert all(query in keys for _, keys in group.keys)
            assert group.keys


@pytest.mark.parametrize(
    ("size", "grids"),
    [
        ((64, 64), [(64, 64), (32, 32), (16, 16)]),
        ((37, 51), [(37, 51), (19, 26), (10, 13)]),
        ((1, 5), [(1, 5), (1, 3), (1, 2)]),
    ],
)
def test_token_grids_round_up(size, grids):
    assert token_grids(*size, 3) == grids
