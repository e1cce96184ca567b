"""Distances to the edge of a mask do not depend on where the mask lies in memory."""

import numpy as np

from raydepth.layers.distance import distance_to_outside


def test_the_same_bits_wherever_the_mask_lies():
    rows, columns = np.mgrid[:98, :75]
    mask = ((columns - 37) ** 2 / 900 + (rows - 49) ** 2 / 1900 < 1).astype(np.uint8)
    expected = distance_to_outside(mask)
    buffer = np.zeros(mask.size + 64, np.uint8)
    for offset in range(64):
        moved = buffer[offset : offset + mask.size].reshape(mask.shape)
        moved[:] = mask
        assert np.array_equal(distance_to_outside(moved), expected)
    assert expected[49, 37] > 25 and (expected[mask == 0] == 0).all()
