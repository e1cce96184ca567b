"""The parts of a synthetic world: patches, solids, lamps, a sky, a camera and its path."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from raydepth.synth.textures import Kind

Vector = tuple[float, float, float]

PERIOD = 20.0
"""Seconds after which everything that moves is back where it was, so that a clip may be of any
length."""


@dataclasses.dataclass(frozen=True)
class Material:
    """The appearance of a surface.

    Attributes:
        kind: Family of its texture.
        variant: Which tile of the family.
        dark: Linear RGB in 0..1 where a one-channel texture is 0.
        light: Linear RGB in 0..1 where it is 1; three-channel textures are multiplied with it.
        tiles_per_metre: Texture scale.
        shift: Texture offset (u, v) in tiles.
        gloss: 0 = matt, otherwise a varnish that the lamps shine in; larger is smoother, below 1.
    """

    kind: Kind
    variant: int
    dark: Vector
    light: Vector
    tiles_per_metre: float
    shift: tuple[float, float]
    gloss: float


@dataclasses.dataclass(frozen=True)
class Patch:
    """A square of a floor, wall or ceiling, seen from both sides.

    Attributes:
        centre: Its middle in metres.
        facing: The axis along which its normal points.
        half: Half of its side in metres.
        material: Its appearance.
    """

    centre: Vector
    facing: Literal["x", "y", "z"]
    half: float
    material: Material


@dataclasses.dataclass(frozen=True)
class Solid:
    """An upright solid, or a flat card with a cut-out outline.

    Attributes:
        kind: Its shape; an ellipsoid where a sphere's half extents differ.
        centre: World position in metres (x right, y up, z away from the first camera) at time 0.
        half: Half extents along its own axes in metres.
        yaw: Rotation about the vertical in radians.
        material: Its appearance.
        sway: It slides this far (metres) to either side of its centre and back, `cycles` times in
            PERIOD.
        cycles: Whole number, so that the world repeats itself.
        turns: Whole turns about the vertical in PERIOD.
    """

    kind: Literal["sphere", "box", "cylinder", "cone", "vase", "card"]
    centre: Vector
    half: Vector
    yaw: float
    material: Material
    sway: Vector = (0.0, 0.0, 0.0)
    cycles: int = 4
    turns: int = 0

    def at(self, seconds: float) -> Solid:
        """Returns the solid where it is at a time."""
        turn = 2 * math.pi * seconds / PERIOD
        swing = math.sin(turn * self.cycles)
        x, y, z = (c + s * swing for c, s in zip(self.centre, self.sway, strict=True))
        return dataclasses.replace(self, centre=(x, y, z), yaw=self.yaw + turn * self.turns)


@dataclasses.dataclass(frozen=True)
class Lamp:
    """A round lamp that shines to one side.

    Attributes:
        position: Metres.
        target: The point it faces; a white matt surface there that faces the lamp has the radiance
            `colour`.
        colour: Linear RGB.
        radius: Metres; the larger, the softer are the shadows.
    """

    position: Vector
    target: Vector
    colour: Vector
    radius: float


@dataclasses.dataclass(frozen=True)
class Sky:
    """Light from all around, linear RGB radiance by elevation.

    It is also what is seen where there is no surface.
    """

    zenith: Vector
    horizon: Vector
    ground: Vector


@dataclasses.dataclass(frozen=True)
class Camera:
    """A pinhole camera without roll.

    It has a position and a point on its optical axis in metres, and a focal length in picture
    heights.
    """

    position: Vector
    target: Vector
    focal: float

    def axes(self) -> tuple[Vector, Vector, Vector]:
        """Returns the camera's right, up and forward unit vectors in world coordinates."""
        fx, fy, fz = (t - p for t, p in zip(self.target, self.position, strict=True))
        norm = math.sqrt(fx * fx + fy * fy + fz * fz)
        fx, fy, fz = fx / norm, fy / norm, fz / norm
        flat = math.hypot(fx, fz)
        return (fz / flat, 0.0, -fx / flat), (-fx * fy / flat, flat, -fz * fy / flat), (fx, fy, fz)


@dataclasses.dataclass(frozen=True)
class CameraPath:
    """How the camera moves.

    Attributes:
        start: The camera that moves.
        kind: `swing`: sideways on a bow; `dolly`: ahead and back along its axis; `orbit`: around
            the point `start.target`; `hand-held`: small shakes of place and direction.
        reach: Metres of travel to either side; a hand-held camera shakes by a twentieth of it.
        phase: Radians, where in the movement time 0 is.
    """

    start: Camera
    kind: Literal["swing", "dolly", "orbit", "hand-held"]
    reach: float
    phase: float = 0.0

    def at(self, seconds: float) -> Camera:
        """Returns the camera at a time; it is back after PERIOD."""
        position, target = self.start.position, self.start.target
        right, up, forward = self.start.axes()
        turn = 2 * math.pi * seconds / PERIOD
        swing = math.sin(2 * turn + self.phase) * self.reach
        if self.kind == "swing":
            lift = 0.15 * self.reach * math.cos(2 * turn + self.phase)
            position = _moved(position, right, swing, up, lift)
        elif self.kind == "dolly":
            position = _moved(position, forward, swing, up, 0.0)
            target = _moved(target, forward, swing, up, 0.0)
        elif self.kind == "orbit":
            x, z = position[0] - target[0], position[2] - target[2]
            angle = swing / math.hypot(x, z)
            cos, sin = math.cos(angle), math.sin(angle)
            position = (target[0] + cos * x - sin * z, position[1], target[2] + sin * x + cos * z)
        else:
            # Two slow and two fast sines for each of place and aim, all of whole cycles in a
            # period.
            shakes = [
                0.05
                * self.reach
                * sum(
                    math.sin(turn * cycles + self.phase * (axis + cycles)) / weight
                    for cycles, weight in (
                        (5 + axis, 1.0),
                        (9 + 2 * axis, 1.5),
                        (23 + axis, 4.0),
                        (37 - axis, 8.0),
                    )
                )
                for axis in range(4)
            ]
            position = _moved(position, right, shakes[0], up, shakes[1])
            target = _moved(target, right, shakes[2], up, shakes[3])
        return Camera(position, target, self.start.focal)


def _moved(point: Vector, along: Vector, far: float, across: Vector, wide: float) -> Vector:
    x, y, z = (p + a * far + c * wide for p, a, c in zip(point, along, across, strict=True))
    return x, y, z


@dataclasses.dataclass(frozen=True)
class Scene:
    """Everything that a picture is made of."""

    patches: tuple[Patch, ...]
    solids: tuple[Solid, ...]
    lamps: tuple[Lamp, ...]
    sky: Sky
    path: CameraPath

    def at(self, seconds: float) -> Scene:
        """Returns the scene with its solids where they are at a time."""
        return dataclasses.replace(self, solids=tuple(solid.at(seconds) for solid in self.solids))
