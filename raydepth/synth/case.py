"""One still picture with the truth of every edit: what is behind, what an inserted object and another place would look like."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch

from raydepth.synth.draw import random_scene
from raydepth.synth.render import Picture, render
from raydepth.synth.scene import Camera, Light, Scene, Solid


@dataclasses.dataclass(frozen=True)
class Case:
    """One still picture of H x W pixels with every truth; all pictures share the camera of `rgb`.

    Attributes:
        seed: What it was made from.
        rgb: The scene, uint8 [H, W, 3].
        depth: Metres along the optical axis at the pixel centres, float32 [H, W].
        near: Where the near objects are what is seen at the pixel centres, bool [H, W]; equals depth < threshold_m.
        threshold_m: A depth between the near objects and what is behind them, metres.
        focal: Focal length in pixels; the principal point is the picture's middle.
        fill: The scene without its near objects and without their shadows: truth of `remove`, uint8 [H, W, 3].
        fill_depth: Its depth, float32 [H, W].
        fill_shadowed: Without the near objects but with the shadows they cast, uint8 [H, W, 3]; None: not known.
        object_rgba: An object's picture taken elsewhere under neutral light, cropped: what a user would insert, uint8 [h, w, 4].
        object_box: x0, y0, x1, y1 in pixels: where that picture belongs.
        object_depth_m: Depth of the object's centre in metres.
        inserted: The scene with that object at that place under its light: truth of `insert`, uint8 [H, W, 3].
        object_mask: Where the inserted object is seen there, bool [H, W]; near objects may hide a part of it.
        other: Another place with other light, uint8 [H, W, 3].
        other_depth: Its depth, float32 [H, W].
        composite: The near objects in the other place under its light, with shadows: truth of `background`, uint8 [H, W, 3].
        composite_near: Where they are seen there, bool [H, W]; equals `near`.
    """

    seed: int
    rgb: np.ndarray
    depth: np.ndarray
    near: np.ndarray
    threshold_m: float
    focal: float
    fill: np.ndarray
    fill_depth: np.ndarray
    fill_shadowed: np.ndarray | None
    object_rgba: np.ndarray
    object_box: tuple[float, float, float, float]
    object_depth_m: float
    inserted: np.ndarray
    object_mask: np.ndarray
    other: np.ndarray
    other_depth: np.ndarray
    composite: np.ndarray
    composite_near: np.ndarray


def make_case(seed: int, size: tuple[int, int]) -> Case:
    """Renders the case of a seed; the same seed and size give the same bytes.

    Args:
        seed: Chooses the scene, the object and the other place, at least 0.
        size: (height, width) in pixels, at least 16 each.
    """
    aspect = size[1] / size[0]
    for attempt in range(100):
        case = _attempt(seed, seed * 100 + attempt, size, aspect)
        if case is not None:
            return case
    raise ValueError(f"seed {seed} gives no case with near objects and a visible object at size {size}")


def _attempt(seed: int, number: int, size: tuple[int, int], aspect: float) -> Case | None:
    rng = np.random.default_rng(number)
    base, foreign = (
        random_scene(2 * number, aspect=aspect),
        random_scene(2 * number + 1, style="wide", aspect=aspect),
    )
    camera = base.camera
    down = math.asin((camera.position[1] - camera.target[1]) / 4)
    floor_starts = camera.position[1] / (0.5 / camera.focal * math.cos(down) + math.sin(down))
    limit = 0.8 * floor_starts
    near = tuple(
        dataclasses.replace(s, centre=_at(camera, rng, limit * 0.75, aspect), half=_sized(s, 0.22 * limit))
        for s in base.solids[:2]
    )
    rest = tuple(s for s in base.solids[2:-1] if s.centre[2] > 1.3 * floor_starts)
    depth = rng.uniform(1.25, 1.8) * floor_starts
    model = base.solids[-1]
    half = _sized(model, 0.12 * depth)
    x, _, z = _at(camera, rng, depth, aspect)
    if rng.uniform() < 0.6:
        x = near[0].centre[0] * depth / near[0].centre[2] + 0.2 * rng.uniform(-1, 1) * depth * 0.5
    thing = dataclasses.replace(model, centre=(x, half[1], z), half=half)
    place = dataclasses.replace(base, solids=rest)
    other = Scene(
        tuple(p for p in foreign.planes if p.normal[1] >= 0),
        tuple(s for s in foreign.solids if s.centre[2] > 1.5 * floor_starts),
        tuple(dataclasses.replace(lamp, colour=_tint(lamp, rng)) for lamp in foreign.lights),
        foreign.sky,
        foreign.ground,
        camera,
        base.sway,
        base.phase,
    )
    scene = _render(dataclasses.replace(place, solids=rest + near), camera, size)
    fill = _render(place, camera, size)
    inserted = _render(dataclasses.replace(place, solids=(*rest, *near, thing)), camera, size)
    elsewhere = _render(other, camera, size)
    composite = _render(dataclasses.replace(other, solids=other.solids + near), camera, size)
    seen = _solid_mask(scene, place, len(rest), len(near))
    there = _solid_mask(composite, other, len(other.solids), len(near))
    object_mask = _solid_mask(inserted, place, len(rest) + len(near), 1)
    alone = Scene((), (thing,), (), (0.9, 0.9, 0.9), (0.5, 0.5, 0.5), camera, base.sway, 0.0)
    alone = dataclasses.replace(
        alone, lights=(Light((-3.0, 6.0, -2.0), (0.6, 0.6, 0.6), 1.0),), sky=(0.45,) * 3, ground=(0.3,) * 3
    )
    fine = render(alone, [camera], (size[0] * 2, size[1] * 2), supersample=1)
    alpha = (fine.layer[0] >= 0).float().view(size[0], 2, size[1], 2).mean((1, 3)).numpy()
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    if not (0.04 < seen.mean() < 0.5) or object_mask.sum() < 0.01 * seen.size or not rows.size:
        return None
    depth_map = scene.depth[0].numpy()
    front, behind = depth_map[seen].max(), depth_map[~seen].min()
    if front * 1.02 > behind or not np.array_equal(seen, there):
        return None
    if rows[0] == 0 or columns[0] == 0 or rows[-1] == size[0] - 1 or columns[-1] == size[1] - 1:
        return None
    colour = render(alone, [camera], size).rgb[0].numpy()
    rgba = np.round(np.dstack([colour, alpha]) * 255).astype(np.uint8)
    y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    return Case(
        seed=seed,
        rgb=_bytes(scene),
        depth=depth_map,
        near=seen,
        threshold_m=float(np.sqrt(front * behind)),
        focal=camera.focal * size[0],
        fill=_bytes(fill),
        fill_depth=fill.depth[0].numpy(),
        fill_shadowed=None,
        object_rgba=rgba[y0:y1, x0:x1],
        object_box=(float(x0), float(y0), float(x1), float(y1)),
        object_depth_m=float(depth),
        inserted=_bytes(inserted),
        object_mask=object_mask,
        other=_bytes(elsewhere),
        other_depth=elsewhere.depth[0].numpy(),
        composite=_bytes(composite),
        composite_near=there,
    )


def _render(scene: Scene, camera: Camera, size: tuple[int, int]) -> Picture:
    return render(scene, [camera], size)


def _bytes(picture: Picture) -> np.ndarray:
    return (picture.rgb[0] * 255).round().to(torch.uint8).numpy()


def _solid_mask(picture: Picture, place: Scene, first: int, count: int) -> np.ndarray:
    layer = picture.layer[0].numpy() - 2
    return (layer >= first) & (layer < first + count)


def _sized(solid: Solid, reach: float) -> tuple[float, float, float]:
    largest = max(solid.half)
    return tuple(h * reach / largest for h in solid.half)  # type: ignore[return-value]


def _at(camera: Camera, rng: np.random.Generator, depth: float, aspect: float) -> tuple[float, float, float]:
    across = camera.target[0] / 4 + rng.uniform(-0.6, 0.6) * 0.5 * aspect / camera.focal
    slope = (camera.target[1] - camera.position[1]) / 4
    height = camera.position[1] + depth * (slope + rng.uniform(-0.5, 0.25) * 0.5 / camera.focal)
    return depth * across, max(height, 0.05), depth


def _tint(lamp: Light, rng: np.random.Generator) -> tuple[float, float, float]:
    warm = rng.choice([-1.0, 1.0]) * rng.uniform(0.3, 0.6)
    red, green, blue = lamp.colour
    return red * (1 + warm), green, blue * (1 - warm)
