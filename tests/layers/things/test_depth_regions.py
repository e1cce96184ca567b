"""Method depth on made scenes: what stands on the ground is found whole, without the ground."""

import numpy as np
import pytest

from raydepth.layers.things.depth import DepthRegions
from raydepth.layers.things.ground import find_ground
from raydepth.layers.things.place import measure_depth, steady_depth
from raydepth.layers.things.protocol import Picture, Prompt
from raydepth.layers.things.rows import overlap
from raydepth.layers.things.settings import DepthSegmenter

HEIGHT, WIDTH = 120, 180


def ground(noise: float = 0.004) -> np.ndarray:
    """A floor that comes nearer downward before a far wall."""
    y = (np.arange(HEIGHT)[:, None] + 0.5) / HEIGHT
    plane = np.maximum(0.1, 1.2 * y - 0.3) + np.zeros((HEIGHT, WIDTH))
    return (plane + np.random.default_rng(0).normal(0, noise, plane.shape)).astype(np.float32)


def scene():
    """Two posts of one colour each on the floor, one behind the other."""
    inv_depth, masks = ground(), []
    rgb = np.random.default_rng(1).integers(90, 110, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    for top, foot, left, colour in ((20, 80, 110, (200, 60, 60)), (30, 100, 40, (60, 60, 200))):
        mask = np.zeros((HEIGHT, WIDTH), bool)
        mask[top:foot, left : left + 30] = True
        inv_depth[mask] = 1.2 * foot / HEIGHT - 0.3
        rgb[mask] = colour
        masks.append(mask)
    return Picture(rgb, lambda: inv_depth), masks


def click(x: float, y: float, **more) -> Prompt:
    return Prompt(np.array([[x, y]], np.float32), np.array([1]), **more)


@pytest.mark.parametrize(("which", "at"), [(0, (125, 40)), (1, (55, 60))])
def test_a_click_gives_the_whole_thing(which, at):
    picture, masks = scene()
    (found,) = DepthRegions(DepthSegmenter())(picture, [click(*at)])
    assert overlap(found.mask, masks[which]) > 0.9 and 0 < found.score <= 1
    assert not (found.mask & masks[1 - which]).any()


def test_a_box_gives_what_is_in_it():
    picture, masks = scene()
    prompt = Prompt(box=np.array([35, 25, 75, 105], np.float32))
    (found,) = DepthRegions(DepthSegmenter())(picture, [prompt])
    assert overlap(found.mask, masks[1]) > 0.85


def test_an_expected_mask_is_found_again():
    picture, masks = scene()
    moved = np.roll(masks[1], 4, axis=1)
    (found,) = DepthRegions(DepthSegmenter())(picture, [Prompt(mask=moved)])
    assert overlap(found.mask, masks[1]) > 0.9


def test_a_point_that_is_off_is_left_out():
    picture, _ = scene()
    inv_depth = picture.inv_depth()
    inv_depth[40:60, 70:110] = inv_depth[50, 50]  # a bridge to the other post
    off = Prompt(np.array([[55, 60], [90, 50]], np.float32), np.array([1, 0]))
    (found,) = DepthRegions(DepthSegmenter())(picture, [off])
    assert not found.mask[48:52, 88:92].any()


def test_a_click_on_the_ground_gives_no_half_picture():
    picture, _ = scene()
    (found,) = DepthRegions(DepthSegmenter())(picture, [click(90, 110)])
    assert found.mask.mean() < 0.4


def test_without_depth_nothing_is_found():
    picture, _ = scene()
    blind = Picture(picture.rgb, lambda: np.full((HEIGHT, WIDTH), np.nan, np.float32))
    (found,) = DepthRegions(DepthSegmenter())(blind, [click(125, 40)])
    assert not found.mask.any() and found.score == 0


def test_the_same_again():
    picture, _ = scene()
    one, other = (DepthRegions(DepthSegmenter())(picture, [click(55, 60)])[0] for _ in range(2))
    assert np.array_equal(one.mask, other.mask)


def test_the_ground_is_a_plane():
    found = find_ground(ground())
    assert found is not None and found.share > 0.9
    assert abs(found.a) < 0.02 and abs(found.b - 1.2) < 0.02 and abs(found.c + 0.3) < 0.02
    assert find_ground(np.random.default_rng(0).random((HEIGHT, WIDTH)).astype(np.float32)) is None


def test_a_standing_thing_is_as_far_as_the_ground_at_its_foot():
    picture, masks = scene()
    inv_depth = picture.inv_depth().copy()
    inv_depth[masks[1]] += 0.08  # the estimator is wrong about the thing itself
    own, foot = measure_depth(inv_depth, masks[1])
    assert abs(own - 0.78) < 0.02 and abs(foot - 0.7) < 0.02
    flying = np.roll(masks[1], -28, axis=0)
    inv_depth[flying] = 0.9
    assert np.isnan(measure_depth(inv_depth, flying)[1]), "it does not stand there"


def test_depth_over_time_does_not_jump():
    rng = np.random.default_rng(0)
    samples = np.full((121, 2), np.nan)
    samples[::4, 0] = 0.5 + rng.normal(0, 0.03, 31)
    samples[40, 0] = 0.95
    samples[8::16, 1] = 0.6
    steady = steady_depth(samples)
    assert steady.dtype == np.float32 and np.isfinite(steady).all()
    assert np.abs(np.diff(steady)).max() < 0.01 and np.abs(steady - 0.5).max() < 0.06
    samples[::4, 1] = 0.6
    assert np.allclose(steady_depth(samples), 0.6)
    assert np.isnan(steady_depth(np.full((5, 2), np.nan))).all()
