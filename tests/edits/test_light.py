"""Matching a moved layer's light: exact where the light is all that differs, nothing where nothing moved."""

from dataclasses import replace

import numpy as np
import pytest

from raydepth.deglad.layers import Layer, LayerStack
from raydepth.edits.light import NEUTRAL, match_light
from raydepth.edits.pictures import to_linear, to_srgb
from raydepth.edits.plan import EditPlan

NEAR = np.zeros((1, 24, 32), np.float32)
NEAR[:, 8:18, 10:20] = 1


def plan_of(source: np.ndarray, far: np.ndarray, moved: dict[str, str]) -> EditPlan:
    depth = np.zeros_like(NEAR)
    layers = [Layer("near", source.copy(), NEAR, depth), Layer("far", far, np.ones_like(NEAR), depth)]
    return EditPlan(LayerStack(layers), 1 - NEAR, moved=moved)


@pytest.fixture
def source() -> np.ndarray:
    return np.random.default_rng(0).integers(40, 160, (1, 24, 32, 3), dtype=np.uint8)


def under(picture: np.ndarray, gain: tuple[float, float, float]) -> np.ndarray:
    return to_srgb(to_linear(picture) * np.array(gain, np.float32))


def test_the_same_place_under_another_light_gives_that_light(source):
    gain = (1.5, 1.0, 0.7)
    plan = plan_of(source, under(source, gain), {"near": "frame"})
    lit = match_light(plan, source, colour=1, brightness=1)
    wanted = under(source, gain)
    assert np.abs(lit.stack.layers[0].rgb.astype(int) - wanted)[NEAR > 0].max() <= 1
    assert np.abs(lit.stack.flatten().astype(int) - wanted).max() <= 1


def test_colour_alone_keeps_the_geometric_mean_of_the_channels_and_brightness_alone_their_ratios(source):
    plan = plan_of(source, under(source, (1.6, 1.2, 0.9)), {"near": "frame"})
    pixel = NEAR > 0

    def gains(**parts: float) -> np.ndarray:
        lit = match_light(plan, source, **parts).stack.layers[0].rgb
        return np.median(to_linear(lit)[pixel] / to_linear(source)[pixel], axis=0)

    assert np.log(gains(colour=1, brightness=0)).mean() == pytest.approx(0, abs=0.02)
    assert np.ptp(gains(colour=0, brightness=1)) < 0.03
    half = gains(colour=0.5, brightness=0.5)
    assert half == pytest.approx(np.sqrt(gains(colour=1, brightness=1)), abs=0.03)


def test_nothing_changes_without_a_moved_layer_or_a_part_to_take(source):
    plan = plan_of(source, under(source, (1.5, 1, 0.5)), {})
    assert match_light(plan, source, colour=1, brightness=1) is plan
    plan = replace(plan, moved={"near": "frame"})
    assert match_light(plan, source, colour=0, brightness=0) is plan


def test_a_layer_over_its_own_place_stays_bit_for_bit(source):
    plan = plan_of(source, source, {"near": "frame"})
    lit = match_light(plan, source, colour=1, brightness=1)
    assert np.array_equal(lit.stack.flatten(), source)


def test_the_region_grows_over_the_layer_and_the_plan_given_is_left_alone(source):
    plan = plan_of(source, under(source, (1.5, 1, 0.5)), {"near": "frame"})
    before = plan.region.copy(), plan.stack.layers[0].rgb.copy()
    lit = match_light(plan, source, colour=0.5, brightness=0)
    assert (lit.region[NEAR > 0] == 1).all()
    assert np.array_equal(plan.region, before[0]) and np.array_equal(plan.stack.layers[0].rgb, before[1])


def test_an_object_from_elsewhere_takes_a_dark_scenes_light(source):
    dark = np.full_like(source, 60)
    plan = plan_of(dark, dark, {"near": "elsewhere"})
    plan.stack.layers[0].rgb[:] = 180
    lit = match_light(plan, dark, colour=1, brightness=0.5).stack.layers[0].rgb
    share = ((to_linear(np.uint8(60)) / NEUTRAL) ** 0.25).clip(0.5)
    assert lit[0, 10, 12] == pytest.approx(to_srgb(to_linear(np.uint8(180)) * share), abs=1)


def test_no_channel_more_than_doubles_and_little_seen_says_nothing(source):
    plan = plan_of(source, under(source, (0.01, 0.01, 0.01)), {"near": "frame"})
    lit = match_light(plan, source, colour=1, brightness=1).stack.layers[0].rgb
    assert np.array_equal(lit, under(source, (0.5, 0.5, 0.5)))
    full = replace(
        plan,
        stack=LayerStack([replace(plan.stack.layers[0], alpha=np.ones_like(NEAR)), plan.stack.layers[1]]),
    )
    assert np.array_equal(match_light(full, source, colour=1, brightness=1).stack.flatten(), source)
