"""Pasting an edit back at full size: exact where nothing changes, detailed where the frame shows,
clean where it does not.
"""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raydepth.compose.fullsize.paste import Patch, enlarge_stack, paste
from raydepth.compose.fullsize.upsample import Enlarged, Guided, bands, detail_gain
from raydepth.layers.stack import Layer, LayerStack


def textured(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture with detail at all scales."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3))
    for scale in (1, 2, 4, 16):
        coarse = rng.uniform(0, 80, (-(-height // scale), -(-width // scale), 3))
        picture += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip(picture, 0, 255).astype(np.uint8)


def shrunk(full: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(full, size[::-1], interpolation=cv2.INTER_AREA)


def layer(name: str, rgb: np.ndarray, alpha: np.ndarray | float = 1.0) -> Layer:
    shape = (1, *rgb.shape[:2])
    return Layer(name, rgb[None], np.full(shape, alpha, np.float32), np.zeros(shape, np.float32))


def patch_of(low: np.ndarray, asked: np.ndarray, edited: np.ndarray, region: np.ndarray) -> Patch:
    return Patch(low, LayerStack([layer("far", asked)]), region.astype(np.float32), edited)


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_outside_the_region_every_pixel_is_the_frames(data: st.DataObject):
    """Odd sizes, portrait, 21:9, enlarging and shrinking: nothing leaks over the region's edge."""
    height, width = data.draw(st.integers(5, 90)), data.draw(st.integers(5, 120))
    low_size = data.draw(st.integers(5, 40)), data.draw(st.integers(5, 60))
    full = textured(height, width)
    low = shrunk(full, low_size)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    region = np.zeros(low_size, np.float32)
    y, x = rng.integers(0, low_size[0]), rng.integers(0, low_size[1])
    region[y : y + rng.integers(1, 20), x : x + rng.integers(1, 20)] = rng.uniform(0.2, 1)
    edited = np.where(region[..., None] > 0, 255 - low, low)
    result = paste(full, patch_of(low, edited, edited, region), keep_source=True)
    inside = (
        cv2.resize((region > 0).astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        > 0
    )
    np.testing.assert_array_equal(result[~inside], full[~inside])


def test_an_empty_region_and_an_edit_that_changes_nothing_give_the_frame():
    full = textured(91, 160)
    low = shrunk(full, (24, 42))
    changed = 255 - low
    nothing, everything = np.zeros(low.shape[:2]), np.ones(low.shape[:2])
    np.testing.assert_array_equal(
        paste(full, patch_of(low, low, changed, nothing), keep_source=True), full
    )
    np.testing.assert_array_equal(
        paste(full, patch_of(low, low, low, everything), keep_source=True), full
    )
    np.testing.assert_array_equal(
        paste(full, patch_of(low, low, low, everything), keep_source=False), full
    )


def test_at_the_frames_own_size_it_is_the_edit_where_that_is_not_feathered():
    low, other = textured(40, 60), textured(40, 60, seed=1)
    region = np.zeros((40, 60))
    region[10:30, 10:40] = 1
    result = paste(low, patch_of(low, other, other, region), keep_source=True)
    np.testing.assert_array_equal(result[15:25, 15:35], other[15:25, 15:35])


def test_detail_survives_a_grade_and_is_gone_from_what_is_replaced():
    full = textured(256, 256)
    low = shrunk(full, (64, 64))
    everywhere = np.ones((64, 64))
    truth = (full * 0.6 + 20).astype(np.uint8)
    graded = paste(full, patch_of(low, low, shrunk(truth, (64, 64)), everywhere), keep_source=True)
    inner = (slice(32, -32), slice(32, -32))
    plain = cv2.resize(shrunk(truth, (64, 64)), (256, 256), interpolation=cv2.INTER_CUBIC)

    def error(picture: np.ndarray) -> float:
        return float(np.abs(picture[inner].astype(float) - truth[inner]).mean())

    assert error(plain) > 5
    # The composite keeps the frame's detail in full, the change comes on top of it.
    assert error(graded) < 0.75 * error(plain)
    wall = np.full_like(low, 128)
    replaced = paste(full, patch_of(low, wall, wall, everywhere), keep_source=True)
    assert np.abs(replaced[inner].astype(float) - 128).mean() < 1.5, "a ghost of what was there"


def test_a_mask_takes_the_frames_edge():
    """A slanted edge: the enlarged mask is far closer to the true one than plain enlargement is."""
    y, x = np.mgrid[:320, :480]
    true = (x - 0.37 * y > 140).astype(np.float32)
    full = np.where(true[..., None] > 0, [200, 180, 160], [60, 80, 70]).astype(np.uint8)
    low = shrunk(full, (40, 60))
    mask = (shrunk(true, (40, 60)) >= 0.5).astype(np.float32)
    made = Guided(low, full).mask(mask)
    guided = np.concatenate([made(band) for band in bands(320)])
    plain = cv2.resize(mask, (480, 320), interpolation=cv2.INTER_CUBIC)
    assert np.abs(guided - true).mean() < 0.5 * np.abs(plain - true).mean()
    assert guided.min() >= 0 and guided.max() <= 1


def test_enlarging_is_opencvs_bicubic_in_any_bands():
    low = np.random.default_rng(0).uniform(0, 255, (23, 31, 3)).astype(np.float32)
    whole = cv2.resize(low, (97, 71), interpolation=cv2.INTER_CUBIC)
    enlarged = Enlarged(low, (71, 97))
    banded = np.concatenate([enlarged[band] for band in bands(71, 20)])
    np.testing.assert_allclose(banded, whole, atol=2e-2)


@pytest.mark.parametrize("scale, gain", [(1.0, 1.0), (0.5, 0.5), (2.0, 2.0)])
def test_the_gain_is_the_slope_of_a_grade(scale: float, gain: float):
    guide = textured(40, 40).astype(np.float32) / 2
    np.testing.assert_allclose(detail_gain(guide * scale, guide, prior=1.0), gain, rtol=0.06)


def test_enlarged_layers_are_the_frame_where_they_show_it():
    full = textured(90, 123)
    low = shrunk(full, (30, 41))
    alpha = np.zeros((1, 30, 41), np.float32)
    alpha[:, 5:20, 8:30] = 1
    stack = LayerStack([layer("near", low, alpha), layer("far", low)])
    enlarged = enlarge_stack(full, low, stack)
    np.testing.assert_array_equal(enlarged.layers[0].rgb[0], full)
    assert enlarged.layers[1].alpha.min() == 1
    np.testing.assert_array_equal(enlarged.flatten()[0], full)
