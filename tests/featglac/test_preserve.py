"""Preservation: pixels outside the region are the source's, bit for bit; inside, the edit fades in."""

import numpy as np
import pytest
import torch

from raydepth.featglac.preserve import FEATHER, latent_region, paste_back


def pictures(frames=2, height=40, width=50):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (2, frames, height, width, 3), np.uint8)


def test_outside_is_exact_and_deep_inside_is_the_edit():
    source, edited = pictures()
    region = np.zeros(source.shape[:3], np.float32)
    region[0, 10:30, 10:40] = 1
    result = paste_back(source, edited, region)
    assert np.array_equal(result[region == 0], source[region == 0])
    deep = (slice(10 + FEATHER, 30 - FEATHER), slice(10 + FEATHER, 40 - FEATHER))
    assert np.array_equal(result[0][deep], edited[0][deep])
    rim = np.abs(result[0, 10, 20:30].astype(int) - source[0, 10, 20:30])
    assert (rim <= np.abs(edited[0, 10, 20:30].astype(int) - source[0, 10, 20:30]) / (FEATHER + 1) + 1).all()


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_a_whole_picture_has_no_edge(share):
    source, edited = pictures()
    result = paste_back(source, edited, np.full(source.shape[:3], share, np.float32))
    expected = np.rint(source + share * (edited.astype(float) - source))
    assert np.array_equal(result, expected.astype(np.uint8))


def test_the_picture_border_is_no_edge():
    source, edited = pictures()
    region = np.zeros(source.shape[:3], np.float32)
    region[:, :20] = 1
    assert np.array_equal(paste_back(source, edited, region)[:, : 20 - FEATHER], edited[:, : 20 - FEATHER])


def test_a_latent_cell_may_change_if_one_of_its_pixels_may():
    region = torch.zeros(1, 16, 24)
    region[0, 3, 9] = 0.5
    cells = latent_region(region, (4, 6))
    assert cells.shape == (1, 1, 4, 6)
    assert cells[0, 0, 0, 2] == 0.5 and cells.sum() == 0.5
