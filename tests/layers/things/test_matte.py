"""Mattes from coarse masks: as sharp as the picture, without steps, soft where the picture is."""

import cv2
import numpy as np
import pytest

from raydepth.layers.things.matte import matte

HIGH, WIDE = 2160, 1080
SMALL = (240, 480)
"""Width and height of the masks: a pixel of theirs is 4.5 of the picture's."""


def texture(colour, rng) -> np.ndarray:
    grain = [
        cv2.resize(rng.normal(0, 6, (HIGH // k, WIDE // k, 3)).astype(np.float32), (WIDE, HIGH))
        for k in (4, 20, 80)
    ]
    return np.float32(colour) + sum(grain)


@pytest.fixture(scope="module")
def sides():
    rng = np.random.default_rng(0)
    return texture((190, 90, 60), rng), texture((70, 110, 80), rng)


def distance(shape: str) -> np.ndarray:
    """Pixels from the edge, positive inside, float32 [HIGH,WIDE]."""
    y, x = np.mgrid[:HIGH, :WIDE].astype(np.float32) + 0.5
    if shape == "disc":
        return 400 - np.hypot(x - 540, y - 1080)
    return 0.974 * (x - 500) + 0.227 * (y - 1080)


@pytest.mark.parametrize("shape", ["disc", "slanted edge"])
@pytest.mark.parametrize(("blur", "error"), [(1, 0.006), (8, 0.025)])
def test_a_mask_at_480_lines_gives_an_edge_to_the_pixel_at_2160(sides, shape, blur, error):
    away = distance(shape)
    truth = np.clip(away / blur + 0.5, 0, 1)
    front, back = sides
    rgb = np.rint(truth[..., None] * front + (1 - truth[..., None]) * back)
    mask = cv2.resize(truth, SMALL, interpolation=cv2.INTER_AREA) > 0.5
    alpha = matte(rgb.clip(0, 255).astype(np.uint8), mask.astype(np.float32))
    ring = np.abs(away) < 20
    enlarged = cv2.resize(mask.astype(np.float32), (WIDE, HIGH))
    assert np.abs(alpha - truth)[ring].mean() < error < np.abs(enlarged - truth)[ring].mean()
    assert (alpha[away > 60] == 1).all() and (alpha[away < -60] == 0).all()
    places = []
    for row in range(700, 1460, 7):  # by how much the edge is off, in pixels across it
        at = int(np.argmin(np.abs(away[row])))
        span = slice(max(at - 40, 0), at + 40)
        across = abs(float(away[row, at + 1] - away[row, at]))
        places.append((alpha[row, span] - truth[row, span]).sum() * across)
    assert np.std(places) < 0.5 and np.abs(np.median(places)) < 0.5
    assert np.percentile(np.abs(places), 95) < 1


def test_where_the_sides_are_alike_the_smoothed_outline_is_taken():
    away = distance("disc")
    mask = cv2.resize((away > 0).astype(np.float32), SMALL, interpolation=cv2.INTER_AREA) > 0.5
    alpha = matte(np.full((HIGH, WIDE, 3), 120, np.uint8), mask.astype(np.float32))
    soft = (alpha > 0) & (alpha < 1)
    assert np.abs(away[soft]).max() < 4.5, "as sharp as the mask knows it"
    assert np.abs(alpha - (away > 0))[np.abs(away) < 20].mean() < 0.1


def test_mattes_are_exact_shares_and_keep_empty_and_full_masks():
    rng = np.random.default_rng(1)
    rgb = rng.integers(0, 256, (96, 128, 3), np.uint8)
    assert not matte(rgb, np.zeros((48, 64), np.float32)).any()
    assert (matte(rgb, np.ones((48, 64), np.float32)) == 1).all()
    mask = np.zeros((96, 128), np.float32)
    mask[30:70, 40:128] = 1
    alpha = matte(rgb, mask)
    assert alpha.dtype == np.float32 and alpha.shape == (96, 128)
    assert not (alpha * 65536 % 1).any() and (alpha >= 0).all() and (alpha <= 1).all()
    assert (alpha[44:56, 60:] == 1).all(), "the picture's border is no edge"
    assert not alpha[:20].any() and not alpha[:, :30].any()
