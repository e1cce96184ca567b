"""Textures: in range, repeatable, without a seam."""

import numpy as np
import pytest

from raydepth.synth.textures import SIZE, VARIANTS, texture


@pytest.mark.parametrize("kind", list(VARIANTS))
def test_tiles_are_in_range_and_have_no_seam(kind):
    tile = texture(kind, 1)
    assert tile.shape == (SIZE, SIZE, 3 if kind in ("leaves", "photo") else 1)
    assert tile.dtype == np.float32
    assert tile.min() >= 0 and tile.max() <= 1
    for axis in (0, 1):
        steps = np.abs(np.diff(tile, axis=axis)).mean(axis=tuple({0, 1, 2} - {axis}))
        seam = np.abs(np.take(tile, 0, axis) - np.take(tile, -1, axis)).mean()
        assert seam <= 1.5 * steps.max() + 1e-3


def test_the_same_for_ever():
    texture.cache_clear()
    one = texture("wood", 2)
    texture.cache_clear()
    assert np.array_equal(one, texture("wood", 2))
    assert not np.array_equal(one, texture("wood", 1))


def test_unknown_variant():
    with pytest.raises(ValueError, match="variants"):
        texture("wood", 99)
