"""Preservation: pixels outside the region are the source's, bit for bit; inside, the edit fades in."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from raydepth.compose.featglac.kv import FeatGLaC
from raydepth.compose.preserve import FEATHER, latent_region, paste_back, restrict_to_edge_band


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
    assert (
        rim <= np.abs(edited[0, 10, 20:30].astype(int) - source[0, 10, 20:30]) / (FEATHER + 1) + 1
    ).all()


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
    assert np.array_equal(
        paste_back(source, edited, region)[:, : 20 - FEATHER], edited[:, : 20 - FEATHER]
    )


def test_a_latent_cell_may_change_if_one_of_its_pixels_may():
    region = torch.zeros(1, 16, 24)
    region[0, 3, 9] = 0.5
    cells = latent_region(region, (4, 6))
    assert cells.shape == (1, 1, 4, 6)
    assert cells[0, 0, 0, 2] == 0.5 and cells.sum() == 0.5


def test_only_the_edges_are_left_to_the_model(make_plan):
    plan, source, _ = make_plan(height=48, width=64)
    narrow, ground = restrict_to_edge_band(plan, source, 2)
    near = plan.stack.layers[0].alpha > 0
    deep = np.stack([cv2.erode(mask.astype(np.uint8), np.ones((9, 9))) > 0 for mask in near])
    assert deep.any() and not narrow.region[deep].any()
    assert (narrow.region <= plan.region).all() and narrow.region.any()
    assert np.array_equal(ground, paste_back(source, plan.stack.flatten(), plan.region))


def test_what_was_invented_is_left_to_the_model_too(make_plan):
    plan, source, _ = make_plan()
    whole = replace(plan, inpainted=plan.region)
    assert np.array_equal(restrict_to_edge_band(whole, source, 2)[0].region, plan.region)


def test_redrawn_edges_leave_the_layers_bit_for_bit(make_plan, make_models, make_compose):
    plan, source, seeds = make_plan(height=32, width=48)
    compose = make_compose(paste_back=True, blend=True, edge_band=0.05)
    edited = FeatGLaC(make_models(), compose)(plan, source, seeds)
    narrow, ground = restrict_to_edge_band(plan, source, 2)
    assert np.array_equal(edited[narrow.region == 0], ground[narrow.region == 0])
    assert not np.array_equal(edited, ground)
