"""The guided filter: linear in the map, and edges that move to the picture's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raydepth.depth.guided import guided_filter


def picture(height=64, width=96, seed=0):
    rng = np.random.default_rng(seed)
    rgb = np.full((height, width, 3), 60, np.uint8)
    rgb[:, width // 2 :] = (200, 120, 40)
    return (rgb + rng.integers(0, 6, rgb.shape)).astype(np.uint8)


@settings(max_examples=15, deadline=None)
@given(st.floats(-2, 2), st.floats(-2, 2), st.integers(0, 99))
def test_it_is_linear_and_keeps_constants(scale, offset, seed):
    rgb = picture(seed=seed)
    value = np.random.default_rng(seed).random(rgb.shape[:2], np.float32)
    plain = guided_filter(rgb, value)
    assert plain.dtype == np.float32 and plain.shape == value.shape
    moved = guided_filter(rgb, np.float32(scale) * value + np.float32(offset))
    np.testing.assert_allclose(moved, scale * plain + offset, atol=2e-4)


@pytest.mark.parametrize(("height", "width"), [(64, 96), (300, 420), (320, 70)])
def test_a_smeared_step_becomes_as_sharp_as_the_picture(height, width):
    rgb = picture(height, width)
    reach = max(
        round(min(height, width, 256) / 32 * min(height, width) / min(height, width, 256)), 1
    )
    middle = width // 2
    ramp = np.clip((np.arange(width) - middle) / (4 * reach) + 0.5, 0, 1).astype(np.float32)
    smeared = np.tile(ramp, (height, 1))
    sharp = guided_filter(rgb, smeared)
    rows = slice(height // 4, -height // 4)
    before = smeared[rows, middle + 1].mean() - smeared[rows, middle - 2].mean()
    after = sharp[rows, middle + 1].mean() - sharp[rows, middle - 2].mean()
    assert after > 1.25 * before
