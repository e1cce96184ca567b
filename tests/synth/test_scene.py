"""Worlds: moving objects come back, shapes fill their extents, near objects stay nearest."""

import dataclasses

import numpy as np
import pytest

from raydepth.synth.random_scene import random_scene
from raydepth.synth.render import World
from raydepth.synth.scene import PERIOD, Camera, CameraPath, Material, Solid
from raydepth.synth.setup import depth_range, first_depth, random_setup
from raydepth.synth.shapes import solid_mesh

GREY = Material("noise", 0, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 0.5, (0.0, 0.0), 0.0)
START = Camera((0.2, 1.5, 0.1), (1.0, 0.4, 3.0), 1.0)


def test_axes_are_orthonormal():
    frame = np.array(START.axes())
    np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-12)
    right, up, forward = frame
    np.testing.assert_allclose(np.cross(up, forward), right, atol=1e-12)


@pytest.mark.parametrize("kind", ["swing", "dolly", "orbit", "hand-held"])
def test_camera_paths_are_smooth_and_come_back(kind):
    path = CameraPath(START, kind, 0.3, 0.7)
    places = np.array([path.at(seconds).position for seconds in np.arange(0, PERIOD, 1 / 24)])
    np.testing.assert_allclose(path.at(PERIOD + 1.5).position, path.at(1.5).position, atol=1e-9)
    assert np.ptp(places, axis=0).max() > 0.02
    assert np.linalg.norm(np.diff(places, axis=0), axis=1).max() < 0.02
    if kind == "orbit":
        distances = np.linalg.norm(places - np.array(START.target), axis=1)
        np.testing.assert_allclose(distances, distances[0])


@pytest.mark.parametrize("kind", ["sphere", "box", "cylinder", "cone", "vase", "card"])
def test_shapes_fill_their_extents(kind):
    half = (0.5, 0.8, 0.0 if kind == "card" else 0.3)
    mesh = solid_mesh(Solid(kind, (1.0, 2.0, 3.0), half, 0.0, GREY))
    local = mesh.points - np.float32([1, 2, 3])
    assert (np.abs(local) <= np.array(half) + 1e-5).all()
    reach = np.abs(local).max(0)
    assert (reach >= 0.8 * np.array(half)).all()
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1, atol=1e-5)
    assert np.isfinite(mesh.uv).all() and mesh.faces.max() == len(mesh.points) - 1
    if kind in ("sphere", "box", "cylinder", "cone"):
        assert ((mesh.normals * local).sum(1) > -1e-5).all()  # convex: outward


def test_solids_move_and_come_back():
    solid = Solid(
        "box", (1.0, 2.0, 3.0), (0.5, 0.5, 0.5), 0.2, GREY, sway=(0.4, 0.0, 0.0), cycles=3, turns=2
    )
    assert solid.at(0.0) == solid
    assert solid.at(1.0).centre[0] != 1.0
    back = solid.at(PERIOD)
    assert back.centre == pytest.approx(solid.centre)
    assert np.cos(back.yaw) == pytest.approx(np.cos(0.2))


@pytest.mark.parametrize("style", ["calm", "wide"])
def test_worlds_repeat_and_differ(style):
    assert (
        random_scene(3, style=style) == random_scene(3, style=style) != random_scene(4, style=style)
    )
    scenes = [random_scene(seed, style=style) for seed in range(40)]
    assert len({scene.path.kind for scene in scenes}) == 4
    assert {solid.kind for scene in scenes for solid in scene.solids} == {
        "sphere", "box", "cylinder", "cone", "vase", "card",
    }  # fmt: skip
    assert {len(scene.lamps) for scene in scenes} >= {1, 2, 3}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_bounds_hold_for_what_is_rendered(seed):
    setup = random_setup(seed, 1.0)
    for seconds in (0.0, 3.3, 11.0):
        camera, scene = setup.scene.path.at(seconds), setup.scene.at(seconds)
        threshold = setup.threshold(seconds, 1.0)
        near = tuple(solid.at(seconds) for solid in setup.near)
        assert max(depth_range(solid, camera)[1] for solid in near) < threshold
        assert (
            World(scene, textured=False).depth(camera, (24, 24)).min()
            >= first_depth(scene, camera, 1.0) - 1e-4
            > threshold
        )
        alone = World(dataclasses.replace(scene, patches=(), solids=near), textured=False).depth(
            camera, (24, 24)
        )
        low = min(depth_range(solid, camera)[0] for solid in near)
        assert (alone[alone < 60] < threshold).all() and alone.min() >= low - 1e-4
