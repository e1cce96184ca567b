"""Shadows: what darkens the ground beside a thing's foot, and what does not."""

import cv2
import numpy as np
import pytest

from raydepth.layers.shadow import cast_shadow, grown_down

HEIGHT, WIDTH = 240, 320


@pytest.fixture(scope="module")
def yard():
    """Ground with grain uint8 [H,W,3], a thing on it bool [H,W], and its soft shadow 0..1."""
    rng = np.random.default_rng(0)
    grain = cv2.resize(rng.normal(0, 5, (60, 80, 1)), (WIDTH, HEIGHT))[..., None]
    ground = np.rint(np.array([190, 186, 176]) + grain).clip(0, 255).astype(np.uint8)
    thing, cast = np.zeros((2, HEIGHT, WIDTH), np.uint8)
    cv2.ellipse(thing, (150, 100), (40, 50), 0, 0, 360, 1, -1)
    cv2.ellipse(cast, (175, 150), (50, 12), 0, 0, 360, 1, -1)
    return ground, thing > 0, cv2.GaussianBlur(cast.astype(np.float32), (0, 0), 3)


def shown(yard, *, bright=1.0) -> np.ndarray:
    ground, thing, cast = yard
    lit = ground * (1 - 0.3 * cast[..., None]) * bright
    return np.where(thing[..., None], [150, 80, 40], np.rint(lit)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("bright", [1.0, 1.15])
def test_a_shadow_goes_with_its_soft_rim(yard, bright):
    ground, thing, cast = yard
    shadow = cast_shadow(shown(yard, bright=bright), thing, ground)
    beside = cv2.dilate(thing.astype(np.uint8), np.ones((7, 7), np.uint8)) == 0
    assert shadow[(cast > 0.4) & beside].mean() > 0.98
    assert shadow[(cast < 0.02) & ~thing].mean() < 0.003
    assert not (shadow & thing).any()


def test_without_a_plate_the_clear_part_is_found(yard):
    _, thing, cast = yard
    shadow = cast_shadow(shown(yard), thing)
    assert shadow[(cast > 0.7) & ~thing].mean() > 0.9
    assert shadow[(cast < 0.02) & ~thing].mean() < 0.01


def test_other_things_and_shadows_apart_stay(yard):
    ground, thing, _ = yard
    frame = shown(yard)
    shoe, apart = (slice(140, 158), slice(206, 236)), (slice(200, 215), slice(20, 60))
    frame[shoe] = (235, 235, 240)
    frame[apart] = np.rint(frame[apart] * 0.7)
    shadow = cast_shadow(frame, thing, ground)
    assert not shadow[shoe].any() and not shadow[apart].any()
    stays = np.zeros_like(thing)
    stays[150:160, 160:180] = True
    assert not (cast_shadow(frame, thing, ground, stays) & stays).any()


def test_a_leash_and_what_the_mask_missed_go_along(yard):
    ground, thing, _ = yard
    frame = shown(yard)
    cv2.line(frame, (150, 140), (110, 170), (20, 20, 25), 2)
    cv2.circle(frame, (108, 90), 7, (150, 80, 40), -1)  # an ear
    shadow = cast_shadow(frame, thing, ground)
    assert shadow[165:169, 112:118].any() and shadow[90, 103:107].all()


def test_no_shadow_no_thing_and_growing_downward(yard):
    ground, thing, _ = yard
    bare = np.where(thing[..., None], np.uint8([150, 80, 40]), ground)
    assert cast_shadow(bare, thing, ground).mean() < 0.001
    assert not cast_shadow(bare, np.zeros_like(thing), ground).any()
    grown = grown_down(thing, 0.1)
    rows = [np.nonzero(mask.any(axis=1))[0] for mask in (thing, grown)]
    assert rows[1][0] == rows[0][0] and rows[1][-1] == rows[0][-1] + 10
    assert np.array_equal(grown_down(thing, 0), thing)
