"""Draws random scenes: a room or an open place, solids in it, lights and a camera path, all from one seed."""

from __future__ import annotations

import colorsys
import math
from typing import Literal

import numpy as np

from raydepth.synth.scene import FLOOR, WALL, Camera, Light, Material, Plane, Scene, Solid, Vector
from raydepth.synth.textures import VARIANTS, Kind

Style = Literal["calm", "wide"]

_PALETTES = (
    ("#e8dccb", "#b08968", "#7f5539", "#52796f", "#d4a373"),
    ("#f1ede4", "#8fa3ad", "#4a6670", "#c97b5a", "#e0b589"),
    ("#ece5dd", "#a3b18a", "#588157", "#bc6c25", "#dda15e"),
    ("#e9e4ee", "#9a8c98", "#4a4e69", "#c9ada7", "#8d6a9f"),
    ("#f0efeb", "#457b9d", "#1d3557", "#d66853", "#e9c46a"),
    ("#dfe3e6", "#6c757d", "#495057", "#b56576", "#e5989b"),
    ("#efe6d5", "#84a59d", "#f28482", "#5f6f65", "#f6bd60"),
    ("#e6e1d8", "#6b705c", "#a5a58d", "#cb997e", "#3d5a80"),
)


def _linear(text: str) -> Vector:
    red, green, blue = (int(text[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red**2.2, green**2.2, blue**2.2


def _scaled(colour: Vector, factor: float) -> Vector:
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


def _material(
    rng: np.random.Generator,
    style: Style,
    colour: Vector,
    kinds: tuple[Kind, ...],
    tiles: float,
    quiet: bool = False,
) -> Material:
    kind = kinds[int(rng.integers(len(kinds)))]
    contrast = (
        (rng.uniform(0.72, 0.92) if quiet else rng.uniform(0.45, 0.85))
        if style == "calm"
        else rng.uniform(0.15, 0.9)
    )
    dark, light = _scaled(colour, contrast), _scaled(colour, 1.08)
    if kind in ("leaves", "photo"):
        light = (1.0, 1.0, 1.0) if rng.uniform() < 0.6 else _scaled(colour, 1.0 / max(max(colour), 0.05))
    if style == "wide":
        tiles *= math.exp(rng.uniform(-0.8, 0.8))
    return Material(
        kind,
        int(rng.integers(VARIANTS[kind])),
        dark,
        light,
        tiles,
        (float(rng.uniform()), float(rng.uniform())),
        float(rng.choice([0.0, 0.05, 0.25])),
    )


def _colours(rng: np.random.Generator, style: Style) -> list[Vector]:
    """Five colours that go together; the first is the palest."""
    if style == "calm" or rng.uniform() < 0.4:
        return [_linear(text) for text in _PALETTES[int(rng.integers(len(_PALETTES)))]]
    return [
        colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.0, 0.75) ** 1.3, rng.uniform(0.1, 0.9))
        for _ in range(5)
    ]


def random_scene(seed: int, *, style: Style = "calm", aspect: float = 1.0) -> Scene:
    """Draws a scene: floor before a wall, 3 to 8 solids at varied depths, one or two lights, a camera path.

    Args:
        seed: The same seed gives the same scene for ever.
        style: `calm` for pleasant clips; `wide` for training: every range much wider, with dead leaves, photographs,
            cards, open places and close-ups.
        aspect: Width over height of the pictures, so that the solids land inside the view.

    Returns:
        The scene; x right, y up, z forwards, metres, floor at y = 0.
    """
    rng = np.random.default_rng(seed)
    calm = style == "calm"
    colours = _colours(rng, style)
    height = rng.uniform(1.15, 1.7) if calm else math.exp(rng.uniform(math.log(0.35), math.log(3.0)))
    focal = rng.uniform(1.0, 1.35) if calm else rng.uniform(0.65, 2.2)
    wall = rng.uniform(5.0, 8.0) if calm else math.exp(rng.uniform(math.log(2.2), math.log(40.0)))
    pitch = rng.uniform(0.12, 0.22) if calm else rng.normal(0.12, 0.22)
    pitch = float(np.clip(pitch, -0.45, 0.75))
    yaw = rng.uniform(-0.12, 0.12) if calm else rng.uniform(-0.6, 0.6)
    camera = Camera(
        (0.0, height, 0.0),
        (
            math.sin(yaw) * math.cos(pitch) * 4,
            height - math.sin(pitch) * 4,
            math.cos(yaw) * math.cos(pitch) * 4,
        ),
        focal,
    )
    sway = (rng.uniform(0.25, 0.5), rng.uniform(0.02, 0.08), rng.uniform(0.05, 0.25))
    half_width = 0.5 * aspect / focal

    flat: tuple[Kind, ...] = ("noise", "wood", "tiles", "checker", "speckle", "wood")
    upright: tuple[Kind, ...] = ("noise", "noise", "tiles", "stripes")
    if not calm:
        flat += ("leaves", "photo", "noise")
        upright += ("leaves", "photo", "photo", "checker", "wood")
    ground_colour = colours[int(rng.integers(1, 5))] if rng.uniform() < (0.6 if calm else 0.7) else colours[0]
    if calm:
        grey = sum(ground_colour) / 3
        ground_colour = (
            0.55 * ground_colour[0] + 0.35 * grey,
            0.55 * ground_colour[1] + 0.35 * grey,
            0.55 * ground_colour[2] + 0.35 * grey,
        )
    floor_tiles = rng.uniform(0.35, 0.6)
    planes = [Plane((0.0, 1.0, 0.0), 0.0, FLOOR, _material(rng, style, ground_colour, flat, floor_tiles))]
    wall_tiles = rng.uniform(0.25, 0.5) if wall < 12 else 4 / wall
    planes.append(
        Plane(
            (0.0, 0.0, -1.0), -wall, WALL, _material(rng, style, colours[0], upright, wall_tiles, quiet=True)
        )
    )
    for side in (-1.0, 1.0):
        if rng.uniform() < (0.35 if wall < 12 else 0.1):
            reach = -(half_width * wall * rng.uniform(0.55, 0.95) + 0.3)
            planes.append(
                Plane(
                    (side, 0.0, 0.0),
                    reach,
                    WALL,
                    _material(rng, style, colours[0], upright, wall_tiles, quiet=True),
                )
            )
    if not calm and wall < 12 and rng.uniform() < 0.4:
        planes.append(
            Plane(
                (0.0, -1.0, 0.0),
                -max(2.3, height + 0.7),
                WALL,
                _material(rng, style, colours[0], ("noise",), 0.3),
            )
        )

    solids = _solids(rng, style, colours, planes, camera, half_width, wall, yaw)
    lights = []
    for index in range(int(rng.integers(1, 3))):
        side = float(rng.choice([-1.0, 1.0])) * (1 - 2 * index)
        distance = rng.uniform(4.0, 7.0) if wall < 12 else rng.uniform(15.0, 40.0)
        warm = rng.uniform(-1, 1)
        strength = (rng.uniform(0.85, 1.05), rng.uniform(0.15, 0.3))[index] * (
            1.0 if calm else rng.uniform(0.5, 1.2)
        )
        colour = (strength * (1 + 0.10 * warm), strength, strength * (1 - 0.14 * warm))
        position = (
            side * distance * rng.uniform(0.25, 0.7),
            distance * rng.uniform(0.7, 1.1),
            wall * rng.uniform(-0.15, 0.45),
        )
        room = max((p.offset for p in planes if p.normal[1] < 0), default=None)
        if room is not None:
            position = (position[0] * 0.3, -room - 0.15, wall * rng.uniform(0.1, 0.6))
        walls = [(-p.offset, p.normal[0]) for p in planes if p.normal[0] != 0]
        x = position[0]
        for reach, normal in walls:
            x = max(x, -reach + 0.2) if normal > 0 else min(x, reach - 0.2)
        lights.append(
            Light((x, position[1], position[2]), colour, float(rng.choice([0.15, 0.4, 0.7])) * distance / 6)
        )
    ambient = rng.uniform(0.24, 0.34) if calm else rng.uniform(0.15, 0.7)
    sky = (ambient * 0.95, ambient, ambient * 1.06)
    bounce = rng.uniform(0.35, 0.6) * ambient
    ground = (
        bounce * (0.5 + ground_colour[0]),
        bounce * (0.5 + ground_colour[1]),
        bounce * (0.5 + ground_colour[2]),
    )
    return Scene(
        tuple(planes),
        tuple(solids),
        tuple(lights),
        sky,
        ground,
        camera,
        sway,
        float(rng.uniform(0, 2 * math.pi)),
    )


def _solids(
    rng: np.random.Generator,
    style: Style,
    colours: list[Vector],
    planes: list[Plane],
    camera: Camera,
    half_width: float,
    wall: float,
    yaw: float,
) -> list[Solid]:
    """Places the solids inside the view without letting their footprints overlap."""
    calm = style == "calm"
    height = camera.position[1]
    kinds: list[Literal["sphere", "box", "cylinder", "card"]] = ["sphere", "box", "cylinder"]
    surfaces: tuple[Kind, ...] = ("noise", "noise", "stripes", "checker", "speckle", "wood")
    if not calm:
        kinds += ["card", "card"]
        surfaces += ("leaves", "leaves", "photo", "photo")
    sides = [(-p.offset, p.normal[0]) for p in planes if p.normal[0] != 0]
    nearest = 2.5 if calm else 0.7
    solids: list[Solid] = []
    for _ in range(int(rng.integers(4, 9)) if calm else int(rng.integers(3, 9))):
        for _ in range(25):
            kind = kinds[int(rng.integers(len(kinds)))]
            z = math.exp(rng.uniform(math.log(nearest), math.log(min(wall * 0.93, 18.0))))
            x = z * (math.tan(yaw) + half_width * rng.uniform(-0.9, 0.9))
            size = (
                rng.uniform(0.16, 0.3) * (1 + 0.12 * (z - 2.5))
                if calm
                else math.exp(rng.uniform(math.log(0.06), math.log(0.34))) * z**0.9
            )
            half = (size * rng.uniform(0.7, 1.2), size * rng.uniform(0.7, 1.9), size * rng.uniform(0.7, 1.2))
            if kind == "sphere":
                half = (size, size, size) if calm or rng.uniform() < 0.5 else (half[0], half[1], half[0])
            elif kind == "cylinder":
                half = (half[0] * 0.75, half[1], half[0] * 0.75)
            elif kind == "card":
                half = (half[0], half[1] * 1.2, 0.01)
            reach = max(half[0], half[2]) * (1.35 if kind == "box" else 1.0)
            blocked = any(
                math.hypot(x - s.centre[0], z - s.centre[2]) < 1.1 * (reach + max(s.half[0], s.half[2]))
                for s in solids
            )
            outside = z + reach > wall or any(
                (x - reach < -d) if n > 0 else (x + reach > d) for d, n in sides
            )
            if blocked or outside or z - reach < 0.35:
                continue
            hangs = rng.uniform() < ((0.25 if kind == "sphere" else 0.0) if calm else 0.3)
            y = half[1]
            if hangs:
                view = height - z * math.tan(math.asin((height - camera.target[1]) / 4))
                y = max(half[1] + 0.1, view + rng.uniform(-0.2, 0.35 if calm else 0.45) * z / camera.focal)
            turn = (
                rng.uniform(-0.9, 0.9) if kind != "card" else rng.uniform(-0.3, 0.3) + math.atan2(x, z) * 0.7
            )
            tiles = rng.uniform(0.25, 0.6) / size
            material = _material(rng, style, colours[1 + len(solids) % 4], surfaces, tiles)
            solids.append(Solid(kind, (x, y, z), half, turn, material))
            break
    return solids
