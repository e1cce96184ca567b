"""What a synthetic scene is made of: planes, solids, lights, a camera and its path."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from raydepth.synth.textures import Kind

Vector = tuple[float, float, float]

FLOOR, WALL = 0, 1
"""Layer ids of the floor and of every wall; solids count on from FIRST_SOLID."""
FIRST_SOLID = 2


@dataclasses.dataclass(frozen=True)
class Material:
    """How a surface looks.

    Attributes:
        kind: Family of its texture.
        variant: Which tile of the family.
        dark: Linear RGB in 0..1 where a one-channel texture is 0.
        light: Linear RGB in 0..1 where it is 1; three-channel textures are multiplied with it.
        tiles_per_metre: Texture scale.
        shift: Texture offset (u, v) in tiles.
        gloss: Strength of the highlight, 0 = matt.
    """

    kind: Kind
    variant: int
    dark: Vector
    light: Vector
    tiles_per_metre: float
    shift: tuple[float, float]
    gloss: float


@dataclasses.dataclass(frozen=True)
class Plane:
    """An endless plane: the points p with normal . p = offset (metres), seen from the side the normal points to."""

    normal: Vector
    offset: float
    layer: int
    material: Material


@dataclasses.dataclass(frozen=True)
class Solid:
    """A solid: ellipsoid, box, upright cylinder, or an upright cut-out card with a rounded outline.

    Attributes:
        kind: Its shape.
        centre: World position in metres (x right, y up, z away from the first camera).
        half: Half extents along its own axes in metres.
        yaw: Rotation about the vertical in radians.
        material: How it looks.
    """

    kind: Literal["sphere", "box", "cylinder", "card"]
    centre: Vector
    half: Vector
    yaw: float
    material: Material


@dataclasses.dataclass(frozen=True)
class Light:
    """A round lamp: position in metres, linear RGB strength, radius in metres (0 gives hard shadows)."""

    position: Vector
    colour: Vector
    radius: float


@dataclasses.dataclass(frozen=True)
class Camera:
    """A pinhole camera without roll: position and a point on its optical axis in metres, focal length in picture heights."""

    position: Vector
    target: Vector
    focal: float


@dataclasses.dataclass(frozen=True)
class Scene:
    """Everything that a picture is made of; `sky` and `ground` are the linear RGB of the light from above and below."""

    planes: tuple[Plane, ...]
    solids: tuple[Solid, ...]
    lights: tuple[Light, ...]
    sky: Vector
    ground: Vector
    camera: Camera
    sway: Vector
    phase: float

    def camera_at(self, progress: float) -> Camera:
        """Returns the camera at a point of its smooth path, progress 0 (start of the clip) to 1 (end)."""
        turn = 2 * math.pi * progress
        swing = (
            math.sin(turn * 0.5 + self.phase),
            math.sin(turn * 0.5 + 2 * self.phase),
            math.cos(turn * 0.5 + self.phase),
        )
        x, y, z = (p + s * w for p, s, w in zip(self.camera.position, self.sway, swing, strict=True))
        return dataclasses.replace(self.camera, position=(x, y, z))
