"""Encoded pictures come back: exactly for bytes, to half a step for depth."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from raydepth.output.codecs import (
    decode_alpha,
    decode_depth,
    decode_rgb,
    encode_alpha,
    encode_depth,
    encode_rgb,
)

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@settings(max_examples=40, deadline=None)
@given(SHAPES.flatmap(lambda shape: hnp.arrays(np.uint8, (*shape, 3))))
def test_rgb_is_lossless(rgb):
    assert np.array_equal(decode_rgb(encode_rgb(rgb)), rgb)


@settings(max_examples=60, deadline=None)
@given(
    SHAPES.flatmap(lambda shape: hnp.arrays(np.float32, shape, elements=st.floats(-8, 8, width=32)))
)
def test_depth_is_within_half_a_step(inv_depth):
    data, offset, scale = encode_depth(inv_depth)
    step = max(float(inv_depth.max() - inv_depth.min()) / 65535, 1e-6)
    assert np.abs(decode_depth(data, offset, scale) - inv_depth).max() <= 0.51 * step


def test_constant_depth_comes_back_exactly():
    data, offset, scale = encode_depth(np.full((3, 4), 0.3, np.float32))
    assert np.array_equal(decode_depth(data, offset, scale), np.full((3, 4), 0.3, np.float32))


def test_hard_alpha_is_lossless():
    alpha = (np.arange(12).reshape(3, 4) % 2).astype(np.float32)
    assert np.array_equal(decode_alpha(encode_alpha(alpha)), alpha)
