"""The ray caster against closed forms."""

import dataclasses

import pytest
import torch

from raydepth.synth.cast import axes
from raydepth.synth.draw import random_scene
from raydepth.synth.render import render
from raydepth.synth.scene import (
    FIRST_SOLID,
    FLOOR,
    WALL,
    Camera,
    Light,
    Material,
    Plane,
    Scene,
    Solid,
)

GREY = Material("noise", 0, (0.2, 0.2, 0.2), (0.6, 0.6, 0.6), 0.5, (0.0, 0.0), 0.0)
AHEAD = Camera((0.0, 1.5, 0.0), (0.0, 1.5, 4.0), 1.2)
LAMP = Light((1.0, 4.0, 0.0), (0.9, 0.9, 0.9), 0.2)


def _place(solids: tuple[Solid, ...] = ()) -> Scene:
    floor = Plane((0.0, 1.0, 0.0), 0.0, FLOOR, GREY)
    wall = Plane((0.0, 0.0, -1.0), -6.0, WALL, GREY)
    return Scene(
        (floor, wall), solids, (LAMP,), (0.3, 0.3, 0.3), (0.1, 0.1, 0.1), AHEAD, (0.3, 0.0, 0.0), 0.5
    )


def _slopes(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """x / z and y / z of the pixel centres for the camera that looks straight ahead."""
    x = (torch.arange(width) + 0.5 - width / 2) / (height * AHEAD.focal)
    y = (height / 2 - 0.5 - torch.arange(height)) / (height * AHEAD.focal)
    return x[None].expand(height, width), y[:, None].expand(height, width)


def test_depth_of_floor_and_wall():
    picture = render(_place(), [AHEAD], (40, 60), supersample=1, shadow_samples=1)
    _, y = _slopes(40, 60)
    floor = torch.where(y < 0, -1.5 / y.clamp(max=-1e-6), torch.inf)
    torch.testing.assert_close(picture.depth[0], floor.clamp(max=6.0), rtol=1e-4, atol=1e-4)
    assert torch.equal(picture.layer[0], torch.where(floor < 6.0, FLOOR, WALL))


def test_depth_of_a_sphere():
    ball = Solid("sphere", (0.3, 1.4, 4.0), (0.8, 0.8, 0.8), 0.7, GREY)
    picture = render(_place((ball,)), [AHEAD], (48, 64), supersample=1, shadow_samples=1)
    x, y = _slopes(48, 64)
    ray = torch.stack([x, y, torch.ones_like(x)])
    centre = torch.tensor([0.3, -0.1, 4.0])[:, None, None]
    a, b, c = (ray**2).sum(0), (ray * centre).sum(0), (centre**2).sum() - 0.64
    root = b**2 - a * c
    on_ball = picture.layer[0] == FIRST_SOLID
    assert on_ball.sum() > 100
    # The outline itself may fall to either side by rounding.
    assert (on_ball != (root > 0))[root.abs() > 1e-3].sum() == 0
    depth = (b - root.clamp(min=0).sqrt()) / a
    torch.testing.assert_close(picture.depth[0][on_ball], depth[on_ball], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("kind", ["box", "cylinder", "card"])
def test_front_of_an_upright_solid(kind):
    solid = Solid(kind, (0.0, 1.5, 4.0), (0.5, 0.5, 0.01 if kind == "card" else 0.5), 0.0, GREY)
    picture = render(_place((solid,)), [AHEAD], (33, 33), supersample=1, shadow_samples=1)
    front = 4.0 if kind == "card" else 3.5
    assert picture.layer[0, 16, 16] == FIRST_SOLID
    assert picture.depth[0, 16, 16].item() == pytest.approx(front, abs=1e-3)


def test_solids_throw_shadows():
    ball = Solid("sphere", (0.0, 0.6, 3.5), (0.6, 0.6, 0.6), 0.0, GREY)
    with_ball = render(_place((ball,)), [AHEAD], (48, 64), supersample=1, shadow_samples=4)
    without = render(_place(), [AHEAD], (48, 64), supersample=1, shadow_samples=4)
    floor = with_ball.layer[0] == FLOOR
    darker = (without.rgb[0] - with_ball.rgb[0]).mean(-1)[floor]
    assert darker.min() > -1e-5
    assert darker.max() > 0.15


def test_axes_are_orthonormal():
    frame = torch.tensor(axes(Camera((0.2, 1.5, 0.1), (1.0, 0.4, 3.0), 1.0)))
    torch.testing.assert_close(frame @ frame.T, torch.eye(3), atol=1e-6, rtol=0)
    right, up, forward = frame
    torch.testing.assert_close(torch.linalg.cross(up, forward), right, atol=1e-6, rtol=0)


@pytest.mark.parametrize("style", ["calm", "wide"])
def test_layer_and_depth_agree(style):
    scene = random_scene(11, style=style)
    picture = render(scene, [scene.camera], (64, 64), supersample=1, shadow_samples=1)
    plate = render(
        dataclasses.replace(scene, solids=()), [scene.camera], (64, 64), supersample=1, shadow_samples=1
    )
    solid = picture.layer >= FIRST_SOLID
    assert solid.any()
    assert (picture.depth[solid] <= plate.depth[solid]).all()
    assert torch.equal(picture.depth[~solid], plate.depth[~solid])
    assert torch.equal(picture.layer[~solid], plate.layer[~solid])


def test_same_seed_same_picture():
    first, again, other = (random_scene(seed) for seed in (3, 3, 4))
    assert first == again != other
    pictures = [render(scene, [scene.camera_at(0.2)], (32, 32)) for scene in (first, again, other)]
    assert torch.equal(pictures[0].rgb, pictures[1].rgb)
    assert torch.equal(pictures[0].depth, pictures[1].depth)
    assert not torch.equal(pictures[0].depth, pictures[2].depth)
    assert pictures[0].rgb.dtype == torch.float32
    assert pictures[0].rgb.min() >= 0 and pictures[0].rgb.max() <= 1
