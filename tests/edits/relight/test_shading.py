"""The side that light comes from: found on made-up things of known shape, nothing where there is
none.
"""

import numpy as np
import pytest

from raydepth.edits.relight.shading import guessed_normals, object_shading, scene_shading
from raydepth.files.pictures import to_srgb

HEIGHT, WIDTH = 96, 128


@pytest.fixture
def columns():
    """Five upright cylinders before a wall, lit from (right, towards the camera): rgb and inverse
    depth.
    """

    def make(right: float, scale: int = 1) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(1)
        y, x = np.mgrid[: HEIGHT * scale, : WIDTH * scale] / scale + 0.5 / scale
        depth, light = np.full(x.shape, 6.0), np.full(x.shape, 0.5)
        for middle in range(14, WIDTH, 25):
            u = (x - middle) / 9
            on = (np.abs(u) < 0.98) & (y > 20)
            front = np.sqrt(1 - np.clip(u, -0.98, 0.98) ** 2)
            depth[on] = (3 - 0.25 * front)[on]
            light[on] = (rng.uniform(0.2, 0.6) * (0.5 + 0.3 * front + right * u))[on]
        rgb = np.repeat(
            to_srgb(light.astype(np.float32) * rng.uniform(0.9, 1.1, x.shape))[..., None], 3, 2
        )
        inverse = 1 / depth
        return rgb, ((inverse - inverse.min()) / np.ptp(inverse)).astype(np.float32)

    return make


@pytest.mark.parametrize("right", [-0.3, 0.3])
def test_things_tell_the_side_that_light_comes_from_at_any_size(columns, right):
    small, large = (scene_shading(*columns(right, scale)) for scale in (1, 3))
    assert np.sign(small[0]) == np.sign(right) and 0.15 < abs(small[0]) < 1.2
    assert large[0] == pytest.approx(small[0], abs=0.15)


def test_a_mirrored_scene_is_lit_from_the_other_side(columns):
    rgb, depth = columns(0.3)
    there, back = scene_shading(rgb, depth), scene_shading(rgb[:, ::-1], depth[:, ::-1])
    assert back == pytest.approx(there * (-1, 1), abs=1e-6)


def test_even_light_and_flat_scenes_tell_nothing(columns):
    rgb, depth = columns(0.0)
    assert abs(scene_shading(rgb, depth)[0]) < 0.08
    assert (scene_shading(rgb, np.zeros_like(depth)) == 0).all()
    assert abs(scene_shading(rgb, np.full_like(depth, 0.5))).max() < 1e-6


def test_an_objects_normals_turn_away_at_its_outline_and_its_picture_tells_its_light():
    y, x = np.mgrid[:60, :40]
    alpha = (((x - 19.5) / 19) ** 2 + ((y - 29.5) / 29) ** 2 < 1).astype(np.float32)
    normals = guessed_normals(alpha)
    assert normals[30, 2, 0] < -0.4 < 0.4 < normals[30, 37, 0]
    assert normals[4, 20, 1] > 0.3 > -0.3 > normals[56, 20, 1]
    assert np.abs(normals[30, 20]).max() < 0.1
    light = (0.4 * np.exp(0.5 * normals[..., 0]))[..., None].repeat(3, 2).astype(np.float32)
    picture = np.concatenate([to_srgb(light) * alpha[..., None], alpha[..., None]], axis=-1)
    assert object_shading(picture.astype(np.float32)) == pytest.approx((0.5, 0), abs=0.1)
    assert (object_shading(np.zeros((20, 20, 4), np.float32)) == 0).all()
