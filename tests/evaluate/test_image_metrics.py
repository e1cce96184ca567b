"""Picture metrics against cases worked out by hand and against scikit-image."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity

from raydepth.evaluate.image import psnr, psnr_pie_bench, rmse, ssim


def picture(seed: int, height: int = 24, width: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_hand_computed_two_pixels() -> None:
    image = np.array([[[3, 0, 0], [0, 0, 4]]], np.uint8)
    black = np.zeros_like(image)
    assert rmse(image, black) == pytest.approx(math.sqrt((9 + 16) / 6))
    assert psnr(image, black) == pytest.approx(20 * math.log10(255 / math.sqrt(25 / 6)))


def test_black_against_white_is_the_whole_range_and_0_db() -> None:
    black, white = np.zeros((4, 5, 3), np.uint8), np.full((4, 5, 3), 255, np.uint8)
    assert rmse(black, white) == 255.0
    assert psnr(black, white) == 0.0


def test_identical_pictures_have_infinite_psnr() -> None:
    image = picture(0)
    assert rmse(image, image) == 0.0
    assert psnr(image, image) == math.inf
    assert psnr_pie_bench(image, image, np.ones(image.shape[:2], bool)) == math.inf


def test_uint8_differences_do_not_wrap() -> None:
    assert rmse(np.full((2, 2, 3), 250, np.uint8), np.full((2, 2, 3), 5, np.uint8)) == 245.0


def test_mask_counts_valid_pixels_only() -> None:
    image, reference = np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 3), np.uint8)
    image[0, 0] = 10
    image[1, 1] = 200
    mask = np.array([[True, True], [False, False]])
    assert rmse(image, reference, mask) == pytest.approx(math.sqrt(100 / 2))


def test_pie_bench_averages_over_all_pixels() -> None:
    image, reference = picture(1), picture(2)
    mask = np.random.default_rng(3).random(image.shape[:2]) < 0.3
    gap = 10 * math.log10(mask.size / mask.sum())
    assert psnr_pie_bench(image, reference, mask) == pytest.approx(
        psnr(image, reference, mask) + gap, abs=1e-5
    )


def test_empty_mask_is_not_measured() -> None:
    image, nothing = picture(0), np.zeros((24, 32), bool)
    assert math.isnan(rmse(image, image, nothing))
    assert math.isnan(psnr(image, image, nothing))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(11, 40), st.integers(11, 40), st.integers(0, 60))
def test_ssim_equals_scikit_image(seed: int, height: int, width: int, noise: int) -> None:
    image = picture(seed, height, width)
    change = np.random.default_rng(seed + 1).integers(-noise, noise + 1, image.shape)
    other = np.clip(image.astype(int) + change, 0, 255).astype(np.uint8)
    expected = structural_similarity(
        image,
        other,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        channel_axis=-1,
    )
    assert ssim(image, other) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_ssim_of_flat_pictures(level: int) -> None:
    flat, black = np.full((16, 16, 3), level, np.uint8), np.zeros((16, 16, 3), np.uint8)
    c1 = (0.01 * 255) ** 2
    assert ssim(flat, flat) == pytest.approx(1.0, abs=1e-4)
    assert ssim(flat, black) == pytest.approx(c1 / (level**2 + c1), abs=1e-4)


def test_ssim_needs_room_for_its_window() -> None:
    assert math.isnan(ssim(picture(0, 10, 40), picture(1, 10, 40)))
