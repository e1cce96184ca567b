"""Random places (a room, a yard, open ground) with lamps, a sky, solids and a camera path."""

from __future__ import annotations

import colorsys
import dataclasses
import math
from typing import Literal

import numpy as np

from raydepth.synth.appearance import Style, random_colours, random_material
from raydepth.synth.scene import (
    Camera,
    CameraPath,
    Lamp,
    Material,
    Patch,
    Scene,
    Sky,
    Solid,
    Vector,
)
from raydepth.synth.textures import Kind

SolidKind = Literal["sphere", "box", "cylinder", "cone", "vase", "card"]


@dataclasses.dataclass(frozen=True)
class Place:
    """An empty place and what is needed to furnish it.

    Attributes:
        scene: Patches, lamps, sky and camera path, without solids.
        colours: Five linear RGB colours that go together; the first is the palest.
        depth: Metres to the wall at the back, or to where open ground is still furnished.
        style: How far its appearance may vary.
        aspect: Width over height of the pictures.
    """

    scene: Scene
    colours: tuple[Vector, ...]
    depth: float
    style: Style
    aspect: float


def random_scene(seed: int, *, style: Style = "calm", aspect: float = 1.0) -> Scene:
    """Draws a furnished place, everything from close up to far away.

    Args:
        seed: The same seed gives the same scene for ever.
        style: `calm` for pleasant clips; `wide` for training: every range much wider, with dead
            leaves, photographs and close-ups.
        aspect: Width over height of the pictures, so that the solids land inside the view.

    Returns:
        The scene; x right, y up, z forwards, metres, floor at y = 0.
    """
    rng = np.random.default_rng(seed)
    place = random_place(rng, style, aspect)
    nearest = 2.5 if style == "calm" else 0.7
    return dataclasses.replace(place.scene, solids=furniture(rng, place, nearest))


def random_place(rng: np.random.Generator, style: Style, aspect: float) -> Place:
    """A random room (walls, perhaps a ceiling), yard (a wall under the sky) or open ground."""
    calm = style == "calm"
    colours = random_colours(rng, style)
    kind = rng.choice(["room", "yard", "open"], p=[0.5, 0.2, 0.3])
    height = (
        rng.uniform(1.15, 1.7) if calm else math.exp(rng.uniform(math.log(0.35), math.log(3.0)))
    )
    focal = rng.uniform(1.0, 1.35) if calm else rng.uniform(0.65, 2.2)
    if kind == "open":
        depth = (
            rng.uniform(9.0, 14.0) if calm else math.exp(rng.uniform(math.log(6.0), math.log(40.0)))
        )
    else:
        depth = (
            rng.uniform(5.0, 8.0) if calm else math.exp(rng.uniform(math.log(2.2), math.log(20.0)))
        )
    pitch = rng.uniform(0.12, 0.22) if calm else float(np.clip(rng.normal(0.12, 0.22), -0.45, 0.75))
    yaw = rng.uniform(-0.12, 0.12) if calm else rng.uniform(-0.6, 0.6)
    away = 0.6 * depth
    target = (
        math.sin(yaw) * math.cos(pitch) * away,
        height - math.sin(pitch) * away,
        math.cos(yaw) * math.cos(pitch) * away,
    )
    path = CameraPath(
        Camera((0.0, height, 0.0), target, focal),
        ("swing", "dolly", "orbit", "hand-held")[int(rng.integers(4))],
        rng.uniform(0.2, 0.4),
        rng.uniform(0, 2 * math.pi),
    )
    half_width = 0.5 * aspect / focal
    flat: tuple[Kind, ...] = ("noise", "wood", "tiles", "checker", "speckle", "wood")
    upright: tuple[Kind, ...] = ("noise", "noise", "tiles", "stripes", "wood")
    if kind == "open":
        flat = ("noise", "speckle", "noise", "tiles")
    if not calm:
        flat += ("leaves", "photo", "noise")
        upright += ("leaves", "photo", "photo", "checker")
    floor_colour = colours[int(rng.integers(1, 5))] if rng.uniform() < 0.65 else colours[0]
    if calm:
        grey = sum(floor_colour) / 3
        floor_colour = (
            0.55 * floor_colour[0] + 0.35 * grey,
            0.55 * floor_colour[1] + 0.35 * grey,
            0.55 * floor_colour[2] + 0.35 * grey,
        )
    patches = [
        Patch(
            (0.0, 0.0, 0.0),
            "y",
            120.0,
            random_material(rng, style, floor_colour, flat, rng.uniform(0.35, 0.6)),
        )
    ]
    wall_tiles = rng.uniform(0.25, 0.5) if depth < 12 else 4 / depth
    if kind != "open":
        # A yard's wall is low enough for the sky to be seen above it; its middle is below the
        # floor.
        top = 30.0 if kind == "room" else height + depth * rng.uniform(0.05, 0.25)
        patches.append(
            Patch(
                (0.0, top - 60.0, depth),
                "z",
                60.0,
                random_material(rng, style, colours[0], upright, wall_tiles, quiet=True),
            )
        )
    walls: list[float] = []
    if kind == "room":
        for side in (-1.0, 1.0):
            if rng.uniform() < 0.45:
                x = side * (half_width * depth * rng.uniform(0.55, 0.95) + 0.3)
                walls.append(x)
                material = random_material(rng, style, colours[0], upright, wall_tiles, quiet=True)
                patches.append(Patch((x, -20.0, 0.0), "x", 50.0, material))
        if rng.uniform() < 0.35:
            ceiling = max(2.4, height + 0.9)
            material = random_material(rng, style, colours[0], ("noise",), 0.3, quiet=True)
            # It ends above the camera, so that light comes in from behind.
            patches.append(Patch((0.0, ceiling, depth / 2 + 40.0), "y", depth / 2 + 40.0, material))
            walls.append(0.0)
            return Place(
                _lit(rng, kind, style, patches, path, depth, walls[:-1], ceiling),
                tuple(colours),
                depth,
                style,
                aspect,
            )
    return Place(
        _lit(rng, kind, style, patches, path, depth, walls, None),
        tuple(colours),
        depth,
        style,
        aspect,
    )


def _lit(
    rng: np.random.Generator,
    kind: str,
    style: Style,
    patches: list[Patch],
    path: CameraPath,
    depth: float,
    walls: list[float],
    ceiling: float | None,
) -> Scene:
    """One to three lamps of different colours, and a sky; outdoors the first lamp is the sun."""
    calm = style == "calm"
    middle = (0.0, 0.5, 0.45 * depth)
    lamps: list[Lamp] = []
    for number in range(int(rng.integers(1, 4))):
        side = (
            float(rng.choice([-1.0, 1.0]))
            if number == 0
            else -math.copysign(1.0, lamps[-1].position[0])
        )
        away = rng.uniform(4.0, 7.0) if kind == "room" else rng.uniform(25.0, 40.0)
        if ceiling is not None and number == 1:
            position = (side * rng.uniform(0.3, 1.0), ceiling - 0.1, depth * rng.uniform(0.5, 0.7))
        elif ceiling is not None:  # a window behind the camera
            position = (
                side * rng.uniform(0.8, 2.5),
                ceiling * rng.uniform(0.65, 0.95),
                -rng.uniform(1.5, 3.0),
            )
        else:
            # From the side and rather from behind, so that shadows of near things fall into the
            # picture.
            position = (
                side * away * rng.uniform(0.25, 0.75),
                away * rng.uniform(0.4, 0.85),
                away * rng.uniform(-0.8, 0.25),
            )
        x = position[0]
        for wall in walls:
            x = max(x, wall + 0.4) if wall < 0 else min(x, wall - 0.4)
        strength = (
            (1.0, 0.35, 0.2)[number]
            * rng.uniform(0.9, 1.25)
            * (1.0 if calm else rng.uniform(0.6, 1.2))
        )
        hue, tint = (
            rng.choice([0.09, 0.11, 0.6, 0.58, 0.93]),
            rng.uniform(0.05, 0.45 if number or not calm else 0.3),
        )
        tone = colorsys.hsv_to_rgb(hue, tint, 1.0)
        gain = strength / (0.3 * tone[0] + 0.6 * tone[1] + 0.1 * tone[2])
        radius = float(rng.choice([0.15, 0.35, 0.6])) * math.dist((x, *position[1:]), middle) / 6
        lamps.append(
            Lamp(
                (x, *position[1:]), middle, (gain * tone[0], gain * tone[1], gain * tone[2]), radius
            )
        )
    ambient = rng.uniform(0.3, 0.5) if calm else rng.uniform(0.15, 0.8)
    if kind == "room":
        zenith = horizon = (
            ambient * rng.uniform(0.9, 1.05),
            ambient,
            ambient * rng.uniform(0.9, 1.15),
        )
    else:
        zenith, horizon = (
            (ambient * 0.5, ambient * 0.85, ambient * 1.6),
            (ambient * rng.uniform(1.3, 1.9), ambient * 1.5, ambient * rng.uniform(1.3, 1.9)),
        )
    ground = (ambient * 0.5, ambient * 0.47, ambient * 0.43)
    return Scene(tuple(patches), (), tuple(lamps), Sky(zenith, horizon, ground), path)


def solid_material(rng: np.random.Generator, place: Place, size: float, number: int) -> Material:
    """A random material of a solid of about `size` metres; `number` picks the colour."""
    surfaces: tuple[Kind, ...] = (
        "noise",
        "noise",
        "stripes",
        "checker",
        "speckle",
        "wood",
        "photo",
    )
    if place.style == "wide":
        surfaces += ("leaves", "leaves", "photo")
    return random_material(
        rng, place.style, place.colours[1 + number % 4], surfaces, rng.uniform(0.25, 0.6) / size
    )


def solid_shape(rng: np.random.Generator, size: float, calm: bool) -> tuple[SolidKind, Vector]:
    """Draws a kind of solid and its half extents of about `size` metres."""
    kinds: tuple[SolidKind, ...] = ("sphere", "box", "cylinder", "cone", "vase", "card")
    kind = kinds[int(rng.integers(len(kinds)))]
    half = (
        size * rng.uniform(0.7, 1.2),
        size * rng.uniform(0.7, 1.9),
        size * rng.uniform(0.7, 1.2),
    )
    if kind == "sphere":
        half = (size, size, size) if calm or rng.uniform() < 0.5 else (half[0], half[1], half[0])
    elif kind in ("cylinder", "cone", "vase"):
        half = (half[0] * 0.75, half[1], half[0] * 0.75)
    elif kind == "card":
        half = (half[0], half[1] * 1.1, 0.0)
    return kind, half


def furniture(rng: np.random.Generator, place: Place, nearest: float) -> tuple[Solid, ...]:
    """Places three to nine solids inside the view, deeper than `nearest` metres.

    Their footprints do not overlap.
    """
    calm = place.style == "calm"
    camera = place.scene.path.start
    yaw = math.atan2(camera.target[0], camera.target[2])
    half_width = 0.5 * place.aspect / camera.focal
    slope = (camera.target[1] - camera.position[1]) / math.hypot(camera.target[0], camera.target[2])
    walls = [patch.centre[0] for patch in place.scene.patches if patch.facing == "x"]
    solids: list[Solid] = []
    for _ in range(int(rng.integers(4, 10)) if calm else int(rng.integers(3, 10))):
        for _ in range(25):
            z = math.exp(
                rng.uniform(
                    math.log(nearest), math.log(max(min(place.depth * 0.93, 18.0), nearest * 1.2))
                )
            )
            x = z * (math.tan(yaw) + half_width * rng.uniform(-0.9, 0.9))
            size = (
                rng.uniform(0.16, 0.32) * (1 + 0.12 * (z - 2.5))
                if calm
                else math.exp(rng.uniform(math.log(0.06), math.log(0.34))) * z**0.9
            )
            kind, half = solid_shape(rng, size, calm)
            reach = max(half[0], half[2]) * (1.35 if kind == "box" else 1.0)
            blocked = any(
                math.hypot(x - s.centre[0], z - s.centre[2])
                < 1.1 * (reach + max(s.half[0], s.half[2]))
                for s in solids
            )
            outside = z + reach > place.depth or any(
                x - reach < w if w < 0 else x + reach > w for w in walls
            )
            if blocked or outside or z - reach < 0.35:
                continue
            y = half[1]
            if rng.uniform() < ((0.25 if kind == "sphere" else 0.0) if calm else 0.25):
                view = camera.position[1] + z * slope
                y = max(half[1] + 0.1, view + rng.uniform(-0.2, 0.35) * z / camera.focal)
            turn = rng.uniform(-0.9, 0.9)
            if kind == "card":
                turn = 0.35 * turn + 0.7 * math.atan2(x, z)
            moves = rng.uniform() < 0.3
            solids.append(
                Solid(
                    kind,
                    (x, y, z),
                    half,
                    turn,
                    solid_material(rng, place, size, len(solids)),
                    sway=(float(rng.uniform(0.3, 1.0) * size), 0.0, 0.0)
                    if moves
                    else (0.0, 0.0, 0.0),
                    cycles=int(rng.integers(2, 6)),
                    turns=int(rng.integers(-3, 4)) if moves and kind != "card" else 0,
                )
            )
            break
    return tuple(solids)
