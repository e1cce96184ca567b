"""Layers recompose their picture exactly, whatever the colours and the coverage."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from raydepth.synth.matte import alpha_over, extract_matte

PICTURE = arrays(np.uint8, (3, 4, 3))


@given(PICTURE, PICTURE, arrays(np.float32, (3, 4), elements=st.floats(0, 1, width=32)))
def test_near_over_rest_is_the_picture(picture, behind, coverage):
    front, back = extract_matte(picture, behind, coverage)
    assert np.array_equal(alpha_over(front, back), picture)
    covered = front[..., 3] == 255
    assert np.array_equal(front[covered][:, :3], picture[covered])
    assert np.array_equal(back[covered], behind[covered])
    assert np.array_equal(back[front[..., 3] == 0], picture[front[..., 3] == 0])


def test_every_value_and_every_alpha():
    picture, behind, alpha = np.meshgrid(*[np.arange(0, 256, 5, dtype=np.uint8)] * 3, indexing="ij")
    shape = (52 * 52, 52)
    picture, behind = (np.repeat(a.reshape(shape)[..., None], 3, -1) for a in (picture, behind))
    front, back = extract_matte(picture, behind, alpha.reshape(shape) / 255)
    assert np.array_equal(alpha_over(front, back), picture)


def test_a_back_that_fits_is_kept():
    front_colour, behind = np.full((2, 2, 3), 200, np.uint8), np.full((2, 2, 3), 40, np.uint8)
    coverage = np.array([[0.0, 0.25], [0.75, 1.0]])
    picture = np.rint(
        coverage[..., None] * front_colour + (1 - coverage[..., None]) * behind
    ).astype(np.uint8)
    front, back = extract_matte(picture, behind, coverage)
    assert np.array_equal(back, behind)
    assert np.abs(front[..., :3].astype(int)[coverage > 0] - 200).max() <= 2
