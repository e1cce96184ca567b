"""Mitsuba's depth against closed forms, shadows, and bytes that depend on nothing but the
arguments.
"""

import dataclasses
import sys

import numpy as np
import pytest

from raydepth.errors import JobError
from raydepth.synth import render
from raydepth.synth.random_scene import random_scene
from raydepth.synth.render import FAR, World, render_threads
from raydepth.synth.scene import Camera, CameraPath, Lamp, Material, Patch, Scene, Sky, Solid

GREY = Material("noise", 0, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 0.5, (0.0, 0.0), 0.0)
AHEAD = Camera((0.0, 1.5, 0.0), (0.0, 1.5, 4.0), 1.2)
FLOOR = Patch((0.0, 0.0, 0.0), "y", 50.0, GREY)
WALL = Patch((0.0, 0.0, 6.0), "z", 50.0, GREY)
LAMP = Lamp((1.5, 4.0, 0.0), (0.0, 0.0, 4.0), (0.6, 0.6, 0.6), 0.3)
SKY = Sky((0.3,) * 3, (0.3,) * 3, (0.3,) * 3)


def _place(
    *solids: Solid, patches: tuple[Patch, ...] = (FLOOR, WALL), lamps: tuple[Lamp, ...] = (LAMP,)
) -> Scene:
    return Scene(patches, solids, lamps, SKY, CameraPath(AHEAD, "swing", 0.0))


def _slopes(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """x / z and y / z of the pixel centres for the camera that looks straight ahead."""
    x = (np.arange(width) + 0.5 - width / 2) / (height * AHEAD.focal)
    y = (height / 2 - 0.5 - np.arange(height)) / (height * AHEAD.focal)
    return np.meshgrid(x, y)


@pytest.mark.parametrize("beyond", [0.001, 4.5])
def test_depth_of_floor_and_wall(beyond):
    depth = World(_place()).depth(AHEAD, (40, 60), beyond=beyond)
    _, y = _slopes(40, 60)
    with np.errstate(divide="ignore"):
        truth = np.where(y < 0, -1.5 / y, np.inf).clip(max=6.0)
    truth = np.where(truth < beyond, 6.0, truth)  # nothing is below the floor but the wall
    np.testing.assert_allclose(depth, truth, rtol=1e-5)
    assert depth.dtype == np.float32


def test_coverage_is_that_of_a_finer_grid():
    ball = Solid("sphere", (0.3, 1.4, 4.0), (0.8, 0.8, 0.8), 0.7, GREY)
    world = World(_place(ball, patches=(WALL,)))
    fine = world.depth(AHEAD, (4 * 40, 4 * 51)) < 5
    whole = fine.reshape(40, 4, 51, 4).mean((1, 3))
    assert np.array_equal(world.coverage(AHEAD, (40, 51), 5.0), whole)
    assert len(np.unique(whole)) > 5


def test_nothing_is_at_the_largest_depth():
    assert (World(_place(patches=())).depth(AHEAD, (16, 16)) == np.float32(FAR)).all()


def test_depth_of_a_sphere():
    ball = Solid("sphere", (0.3, 1.4, 4.0), (0.8, 0.8, 0.8), 0.7, GREY)
    depth = World(_place(ball)).depth(AHEAD, (48, 64))
    x, y = _slopes(48, 64)
    ray, centre = np.stack([x, y, np.ones_like(x)]), np.array([0.3, -0.1, 4.0])[:, None, None]
    a, b, c = (ray**2).sum(0), (ray * centre).sum(0), (centre**2).sum() - 0.64
    root = b**2 - a * c
    clearly = np.abs(root) > 0.3  # its triangles lie up to a thousandth of the radius inside
    assert (clearly & (root > 0)).sum() > 100
    truth = (b - np.sqrt(root.clip(min=0))) / a
    np.testing.assert_allclose(depth[clearly & (root > 0)], truth[clearly & (root > 0)], atol=6e-3)
    np.testing.assert_array_equal(
        depth < 5, World(_place(ball, lamps=())).depth(AHEAD, (48, 64)) < 5
    )


@pytest.mark.parametrize("kind", ["box", "cylinder", "vase", "card"])
def test_an_upright_solid_is_where_it_was_put(kind):
    solid = Solid(kind, (1.0, 1.5, 4.0), (0.5, 0.5, 0.0 if kind == "card" else 0.5), 0.0, GREY)
    depth = World(_place(solid, patches=(WALL,))).depth(AHEAD, (64, 96))
    rows, columns = np.nonzero(depth < 5)
    front = depth[depth < 5].min()
    assert front == pytest.approx(4.0 if kind == "card" else 3.5, abs=0.02)
    # To the right of the middle, where x = 1 m at this depth is seen.
    assert (columns.mean() + 0.5 - 48) / (64 * 1.2) * 3.75 == pytest.approx(1.0, abs=0.08)
    assert abs(rows.mean() + 0.5 - 32) < 2


def test_a_view_from_beyond_shows_shadows_without_what_casts_them():
    ball = Solid("sphere", (0.0, 0.5, 2.0), (0.4, 0.4, 0.4), 0.0, GREY)
    behind_us = dataclasses.replace(LAMP, position=(0.0, 2.0, -1.5))
    with_ball, without = World(_place(ball, lamps=(behind_us,))), World(_place(lamps=(behind_us,)))
    depth = with_ball.depth(AHEAD, (48, 64), beyond=2.6)
    bare = without.depth(AHEAD, (48, 64), beyond=2.6)
    np.testing.assert_array_equal(depth, bare)
    shadowed, plain = (
        world.colour(AHEAD, (48, 64), samples=64, beyond=2.6).astype(int).mean(-1)
        for world in (with_ball, without)
    )
    assert (plain - shadowed).max() > 40
    assert (plain - shadowed).min() > -25


def test_bytes_depend_on_neither_run_nor_threads():
    scene = random_scene(21, style="wide")
    camera = scene.path.at(0.5)
    first = World(scene)
    colour, depth = first.colour(camera, (40, 56), samples=4), first.depth(camera, (40, 56))
    try:
        for threads in (1, 3):
            render_threads(threads)
            again = World(random_scene(21, style="wide"))
            assert np.array_equal(again.colour(camera, (40, 56), samples=4), colour)
            assert np.array_equal(again.depth(camera, (40, 56)), depth)
    finally:
        render_threads(2)
    assert not np.array_equal(first.colour(camera, (40, 56), samples=4, seed=1), colour)


def test_more_samples_less_noise():
    world, camera = World(random_scene(3)), random_scene(3).path.start
    errors = []
    for samples in (4, 36):
        one, two = (
            world.colour(camera, (32, 32), samples=samples, seed=seed).astype(float)
            for seed in (1, 2)
        )
        errors.append(np.sqrt(((one - two) ** 2).mean()))
    assert errors[1] < 0.5 * errors[0]


def test_without_mitsuba_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mitsuba", None)
    render.mitsuba.cache_clear()
    with pytest.raises(JobError, match=r"pip install 'raydepth\[synth\]'"):
        World(_place())
    monkeypatch.undo()
    render.mitsuba.cache_clear()
