"""Renders scenes to colour and exact depth by Mitsuba 3's path tracer (extra `synth`).

It runs on the CPU and without a display.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import cv2
import numpy as np

from raydepth.errors import JobError
from raydepth.synth.scene import Camera, Lamp, Material, Scene, Sky, Vector
from raydepth.synth.shapes import Mesh, patch_mesh, solid_mesh
from raydepth.synth.textures import texture

FAR = 65.0
"""Depth in metres of what no surface covers, and the largest depth returned (16-bit millimetres
hold 65.535 m)."""

SAMPLES = 100
"""Paths through each pixel unless it is said otherwise: two samplings of a picture then differ by
1.4 grey levels (RMSE)."""

_FINER = 4
"""Coverage of a pixel is counted on a grid this much finer."""

_CLOSEST = 0.001
"""Metres before the camera in which nothing is seen."""

_BLOCK = 16
"""Side in pixels of the blocks that Mitsuba's threads render; fixed, because each block draws its
own random numbers."""


@functools.cache
def mitsuba() -> Any:
    """Returns the module `mitsuba` in its variant `scalar_rgb`.

    That variant needs neither LLVM nor a display.

    Raises:
        JobError: It is not installed.
    """
    try:
        import mitsuba
    except ImportError as error:
        raise JobError("synthetic worlds need mitsuba; pip install 'raydepth[synth]'") from error
    mitsuba.set_variant("scalar_rgb")
    mitsuba.set_log_level(mitsuba.LogLevel.Error)
    return mitsuba


def render_threads(count: int) -> None:
    """Lets renders of this process use so many threads; the pictures do not depend on it."""
    mitsuba()
    import drjit

    drjit.set_thread_count(count)


class World:
    """A scene as Mitsuba holds it, rendered by one camera after another."""

    def __init__(self, scene: Scene, *, textured: bool = True) -> None:
        """Builds the triangles and lamps of a scene as it stands (see `Scene.at`).

        Args:
            scene: What is there.
            textured: Without, all is grey: quicker to build where only depth is asked for.

        Raises:
            JobError: Mitsuba is not installed.
        """
        mi = mitsuba()
        parts: dict[str, Any] = {"type": "scene", "sky": _sky(scene.sky)}
        for number, patch in enumerate(scene.patches):
            parts[f"patch{number}"] = _shape(
                patch_mesh(patch), patch.material if textured else None
            )
        for number, solid in enumerate(scene.solids):
            parts[f"solid{number}"] = _shape(
                solid_mesh(solid), solid.material if textured else None
            )
        for number, lamp in enumerate(scene.lamps):
            parts[f"lamp{number}"] = _lamp(lamp)
        self._scene = mi.load_dict(parts)

    def colour(
        self,
        camera: Camera,
        size: tuple[int, int],
        *,
        samples: int = SAMPLES,
        beyond: float = _CLOSEST,
        seed: int = 0,
    ) -> np.ndarray:
        """Renders the colours that the camera sees, with direct light and soft shadows.

        Light comes straight from the lamps and the sky. Light between surfaces is left out: it
        trebles the noise at the same cost.

        Args:
            camera: Where to look from.
            size: (height, width) in pixels.
            samples: Paths through each pixel, spread over its area by correlated multi-jittering
                (Kensler 2013).
            beyond: Only what lies deeper than this (metres along the optical axis) is seen, though
                all of it casts shadows.
            seed: Of the sampler.

        Returns:
            sRGB, uint8 [H, W, 3]; the same for any number of threads.
        """
        integrator = {"type": "path", "max_depth": 2, "block_size": _BLOCK}
        sampler = {"type": "multijitter", "sample_count": samples}
        linear = self._render(camera, size, integrator, sampler, beyond, seed)
        shoulder = (
            linear * (1 + linear / 9.0) / (1 + linear * 0.45)
        )  # bright light rolls off instead of clipping
        return np.rint(255 * shoulder.clip(0, 1) ** (1 / 2.2)).astype(np.uint8)

    def depth(
        self, camera: Camera, size: tuple[int, int], *, beyond: float = _CLOSEST
    ) -> np.ndarray:
        """Depth along the optical axis at pixel centres in metres, float32 [H, W], at most FAR."""
        return self._depth(camera, size, beyond, (0, size[0], 0, size[1]))

    def coverage(self, camera: Camera, size: tuple[int, int], nearer_than: float) -> np.ndarray:
        """Share of each pixel that is nearer than so many metres, float64 [H, W], in 16ths.

        Only pixels near an outline are sampled finely. An outline that lies between pixel centres
        alone counts as nothing.
        """
        height, width = size
        whole = self.depth(camera, size) < nearer_than
        dilated, shrunk = (
            change(whole.astype(np.uint8), np.ones((3, 3))) for change in (cv2.dilate, cv2.erode)
        )
        mixed = dilated != shrunk
        share = whole.astype(np.float64)
        for top in range(0, height, _BLOCK):
            bottom = min(top + _BLOCK, height)
            columns = np.flatnonzero(mixed[top:bottom].any(0))
            if not columns.size:
                continue
            box = (top, bottom, int(columns[0]), int(columns[-1]) + 1)
            fine = self._depth(
                camera,
                (height * _FINER, width * _FINER),
                _CLOSEST,
                tuple(side * _FINER for side in box),
            )
            blocks = (fine < nearer_than).reshape(bottom - top, _FINER, box[3] - box[2], _FINER)
            share[top:bottom, box[2] : box[3]] = blocks.mean((1, 3))
        return share

    def _depth(
        self, camera: Camera, size: tuple[int, int], beyond: float, box: tuple[int, ...]
    ) -> np.ndarray:
        """Depth in a part of the picture: first and end row, first and end column."""
        first, end, left, right = box
        integrator = {"type": "aov", "aovs": "distance:depth", "block_size": _BLOCK}
        sampler = {"type": "stratified", "sample_count": 1, "jitter": False}
        crop = {"crop_offset_x": left, "crop_offset_y": first}
        crop |= {"crop_width": right - left, "crop_height": end - first}
        rendered = self._render(camera, size, integrator, sampler, beyond, 0, **crop)
        distance = rendered[..., 0].astype(np.float64)
        height, width = size
        y, x = ((np.arange(n) + 0.5 - n / 2) / (height * camera.focal) for n in (height, width))
        depth = beyond + distance / np.sqrt(1 + y[first:end, None] ** 2 + x[None, left:right] ** 2)
        return np.where(distance > 0, depth, FAR).clip(max=FAR).astype(np.float32)

    def _render(
        self,
        camera: Camera,
        size: tuple[int, int],
        integrator: dict[str, Any],
        sampler: dict[str, Any],
        beyond: float,
        seed: int,
        **crop: int,
    ) -> np.ndarray:
        mi = mitsuba()
        film = {
            "type": "hdrfilm",
            "height": size[0],
            "width": size[1],
            "rfilter": {
                "type": "box"
            },  # no pixel adds to its neighbours, so sums do not depend on who comes first
            "pixel_format": "rgb",
            "component_format": "float32",
            **crop,
        }
        sensor = {
            "type": "perspective",
            "fov": 2 * math.degrees(math.atan(0.5 / camera.focal)),
            "fov_axis": "y",
            "near_clip": beyond,
            "far_clip": 1e5,
            "to_world": mi.ScalarTransform4f().look_at(
                _mirrored(camera.position), _mirrored(camera.target), [0, 1, 0]
            ),
            "film": film,
            "sampler": sampler,
        }
        parts = mi.load_dict(sensor), mi.load_dict(integrator)
        return np.array(mi.render(self._scene, sensor=parts[0], integrator=parts[1], seed=seed))


def _mirrored(point: Vector) -> list[float]:
    """Mitsuba's x runs to the left of a camera that looks along z; ours runs to the right."""
    return [-point[0], point[1], point[2]]


def _shape(mesh: Mesh, material: Material | None) -> Any:
    mi = mitsuba()
    properties = mi.Properties()
    properties["bsdf"] = _surface(material)
    shape = mi.Mesh("mesh", len(mesh.points), len(mesh.faces), properties, True, True)
    values = mi.traverse(shape)
    flip = np.array([-1, 1, 1], np.float32)
    values["vertex_positions"] = (mesh.points * flip).ravel()
    values["vertex_normals"] = (mesh.normals * flip).ravel()
    values["vertex_texcoords"] = mesh.uv.ravel()
    values["faces"] = mesh.faces.ravel()
    values.update()
    return shape


@functools.lru_cache(maxsize=256)
def _surface(material: Material | None) -> Any:
    mi = mitsuba()
    if material is None:
        return mi.load_dict({"type": "diffuse"})
    tile = texture(material.kind, material.variant)
    dark, light = np.array(material.dark, np.float32), np.array(material.light, np.float32)
    albedo = dark + (light - dark) * tile if tile.shape[-1] == 1 else tile**2.2 * light
    reflectance = {
        "type": "bitmap",
        "bitmap": mi.Bitmap(np.ascontiguousarray(albedo.clip(0, 0.95), np.float32)),
        "raw": True,
    }
    if material.gloss:
        inner = {
            "type": "roughplastic",
            "diffuse_reflectance": reflectance,
            "alpha": 1 - material.gloss,
        }
    else:
        inner = {"type": "diffuse", "reflectance": reflectance}
    return mi.load_dict({"type": "twosided", "inner": inner})


def _lamp(lamp: Lamp) -> Any:
    mi = mitsuba()
    position, target = lamp.position, lamp.target
    away = (math.dist(position, target) / lamp.radius) ** 2
    side = (
        [0, 1, 0] if abs(target[1] - position[1]) < 0.9 * math.dist(target, position) else [0, 0, 1]
    )
    place = mi.ScalarTransform4f().look_at(_mirrored(lamp.position), _mirrored(lamp.target), side)
    return {
        "type": "disk",
        "to_world": place.scale([lamp.radius, lamp.radius, 1]),
        "emitter": {
            "type": "area",
            # A disc of radiance L seen under the solid angle pi r^2 / d^2 gives a white surface the
            # radiance L r^2 / d^2.
            "radiance": {"type": "rgb", "value": [away * value for value in lamp.colour]},
        },
    }


def _sky(sky: Sky) -> Any:
    mi = mitsuba()
    up = np.sin(math.pi / 2 * (1 - 2 * (np.arange(64) + 0.5) / 64))[:, None]  # row 0 is the zenith
    horizon, zenith, ground = (np.array(colour) for colour in (sky.horizon, sky.zenith, sky.ground))
    rows = np.where(up > 0, horizon + (zenith - horizon) * np.abs(up) ** 0.7, ground)
    return {
        "type": "envmap",
        "bitmap": mi.Bitmap(np.repeat(rows[:, None].astype(np.float32), 8, 1)),
    }
