"""Random scene setups: a scene, near objects, an object to insert, and another place."""

from __future__ import annotations

import colorsys
import dataclasses
import functools
import math

import numpy as np

from raydepth.synth.random_scene import Place, furniture, random_place, solid_material, solid_shape
from raydepth.synth.render import World
from raydepth.synth.scene import PERIOD, Camera, Lamp, Scene, Solid

_MARGIN = 1.04
"""Whatever is behind lies at least this factor deeper than the near objects."""

_PREVIEW = 40
"""Height in pixels of the depth maps by which a draw is accepted."""


@dataclasses.dataclass(frozen=True)
class SceneSetup:
    """What the pictures of a case or of a clip's frames are rendered from, at time 0.

    Attributes:
        scene: The place and what stands there, all of it behind the near objects at all times, and
            the camera's path.
        near: The near objects.
        inserted_object: The object to insert: it stands on the floor behind the near objects, which
            may hide a part of it.
        other: Another place, all of it behind where the near objects are; it is looked at with the
            camera of `scene`.
    """

    scene: Scene
    near: tuple[Solid, ...]
    inserted_object: Solid
    other: Scene

    def threshold(self, seconds: float, aspect: float) -> float:
        """A depth (metres) between the near objects and all that is seen behind them, at a time."""
        near, behind = self._gap(seconds, aspect)
        return math.sqrt(near * behind)

    def _gap(self, seconds: float, aspect: float) -> tuple[float, float]:
        camera = self.scene.path.at(seconds)
        near = max(depth_range(solid.at(seconds), camera)[1] for solid in self.near)
        behind = min(
            first_depth(self.scene.at(seconds), camera, aspect),
            first_depth(self.other.at(seconds), camera, aspect),
            depth_range(self.inserted_object.at(seconds), camera)[0],
        )
        return near, behind

    def is_apart(self, aspect: float) -> bool:
        """Whether the near objects are before all else at all times, and before the camera."""
        for seconds in np.arange(0, PERIOD, 0.5):
            near, behind = self._gap(seconds, aspect)
            camera = self.scene.path.at(seconds)
            if (
                near * _MARGIN > behind
                or min(depth_range(s.at(seconds), camera)[0] for s in self.near) < 0.3
            ):
                return False
        return True


def depth_range(solid: Solid, camera: Camera) -> tuple[float, float]:
    """Smallest and largest depth (metres along the optical axis) of the box around a solid."""
    _, _, forward = camera.axes()
    middle = sum(
        f * (c - p) for f, c, p in zip(forward, solid.centre, camera.position, strict=True)
    )
    cos, sin = math.cos(solid.yaw), math.sin(solid.yaw)
    own = (cos * forward[0] - sin * forward[2], forward[1], sin * forward[0] + cos * forward[2])
    reach = sum(abs(f) * h for f, h in zip(own, solid.half, strict=True))
    return middle - reach, middle + reach


def first_depth(scene: Scene, camera: Camera, aspect: float) -> float:
    """A depth (metres) before which nothing of a scene is seen.

    Inverse depth of a plane is linear over the picture, so a patch is nearest in a corner.
    """
    right, up, forward = camera.axes()
    depths = [1e3, *(depth_range(solid, camera)[0] for solid in scene.solids)]
    for patch in scene.patches:
        axis = "xyz".index(patch.facing)
        for x, y in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
            slope = forward[axis] + 0.5 / camera.focal * (x * aspect * right[axis] + y * up[axis])
            depth = (patch.centre[axis] - camera.position[axis]) / slope if slope else -1.0
            if depth > 0:
                depths.append(depth)
    return min(depths)


@functools.lru_cache(maxsize=64)
def random_setup(seed: int, aspect: float) -> SceneSetup:
    """Draws a random scene setup; the same arguments give the same for ever.

    Args:
        seed: At least 0.
        aspect: Width over height of the pictures.

    Raises:
        JobError: Mitsuba is not installed.
    """
    rng = np.random.default_rng([seed, 3])
    while True:
        place = random_place(rng, "calm", aspect)
        camera = place.scene.path.start
        floor = first_depth(place.scene, camera, aspect)
        if floor < 1.9:
            continue
        scene = dataclasses.replace(
            place.scene, solids=_behind(furniture(rng, place, 1.3 * floor), place, floor)
        )
        foreign = random_place(rng, "calm", aspect)
        far = first_depth(foreign.scene, camera, aspect)
        other = dataclasses.replace(
            foreign.scene,
            solids=_behind(furniture(rng, foreign, 1.3 * floor), place, floor),
            lamps=tuple(_other_light(rng, lamp) for lamp in foreign.scene.lamps),
        )
        near = _near(rng, place, min(floor, far))
        setup = SceneSetup(scene, near, _inserted(rng, place, near, floor), other)
        if setup.is_apart(aspect) and _is_worth_it(setup, aspect):
            return setup


def _behind(solids: tuple[Solid, ...], place: Place, floor: float) -> tuple[Solid, ...]:
    camera = place.scene.path.start
    return tuple(solid for solid in solids if depth_range(solid, camera)[0] > 1.15 * floor)


def _other_light(rng: np.random.Generator, lamp: Lamp) -> Lamp:
    """The lamp in a strong colour, warm or cold, so that the other light differs visibly."""
    tone = colorsys.hsv_to_rgb(
        float(rng.choice([0.04, 0.09, 0.58, 0.64, 0.85])), rng.uniform(0.35, 0.7), 1.0
    )
    strength = sum(lamp.colour) / sum(tone) * rng.uniform(0.7, 1.2)
    return dataclasses.replace(
        lamp, colour=(strength * tone[0], strength * tone[1], strength * tone[2])
    )


def _near(rng: np.random.Generator, place: Place, limit: float) -> tuple[Solid, ...]:
    """One to three objects before everything else.

    They stand on the floor below the picture, or hover.
    """
    camera = place.scene.path.start
    yaw = math.atan2(camera.target[0], camera.target[2])
    slope = (camera.target[1] - camera.position[1]) / math.hypot(camera.target[0], camera.target[2])
    solids: list[Solid] = []
    spots = rng.permutation([-0.62, -0.1, 0.55])
    for number in range(int(rng.integers(1, 4))):
        z = limit * rng.uniform(0.5, 0.8)
        across = 0.5 * place.aspect / camera.focal * z
        x = z * math.tan(yaw) + across * (spots[number] + rng.uniform(-0.15, 0.15))
        size = 0.5 / camera.focal * z * rng.uniform(0.3, 0.5)
        kind, half = solid_shape(rng, size, calm=True)
        view = camera.position[1] + z * slope
        y = view + rng.uniform(-0.6, 0.25) * 0.5 * z / camera.focal
        if rng.uniform() < 0.6 and kind != "sphere":
            top = max(y, 0.3)
            half, y = (half[0], top / 2, half[2]), top / 2
        moves = rng.uniform() < 0.5
        solids.append(
            Solid(
                kind,
                (x, max(y, half[1]), z),
                half,
                rng.uniform(-0.5, 0.5) + yaw,
                solid_material(rng, place, size, number),
                sway=(rng.uniform(0.2, 0.6) * size, 0.0, 0.0) if moves else (0.0, 0.0, 0.0),
                cycles=int(rng.integers(2, 5)),
                turns=int(rng.integers(-2, 3))
                if moves and kind in ("cylinder", "cone", "vase", "sphere")
                else 0,
            )
        )
    return tuple(solids)


def _inserted(
    rng: np.random.Generator, place: Place, near: tuple[Solid, ...], floor: float
) -> Solid:
    """The object to insert, on the floor.

    In seven of ten draws it is behind the edge of a near object.
    """
    camera = place.scene.path.start
    z = floor * rng.uniform(1.15, 1.6)
    size = 0.5 / camera.focal * z * rng.uniform(0.2, 0.3)
    kind, half = solid_shape(rng, size, calm=True)
    if rng.uniform() < 0.7:
        cover = near[int(rng.integers(len(near)))]
        side = float(rng.choice([-1.0, 1.0]))
        x = (cover.centre[0] + side * cover.half[0] * rng.uniform(0.7, 1.2)) * z / cover.centre[2]
    else:
        yaw = math.atan2(camera.target[0], camera.target[2])
        x = z * (math.tan(yaw) + 0.5 * place.aspect / camera.focal * rng.uniform(-0.7, 0.7))
    return Solid(
        kind, (x, half[1], z), half, rng.uniform(-0.5, 0.5), solid_material(rng, place, size, 3)
    )


def _is_worth_it(setup: SceneSetup, aspect: float) -> bool:
    """Whether near objects and inserted object are seen well.

    The inserted object is inside the frame and not wholly hidden, and nothing runs into it.
    """
    camera = setup.scene.path.at(0)
    size = (_PREVIEW, round(_PREVIEW * aspect))
    near, inserted_object, scene = (
        World(
            dataclasses.replace(setup.scene, patches=patches, solids=solids), textured=False
        ).depth(camera, size)
        for patches, solids in (
            ((), setup.near),
            ((), (setup.inserted_object,)),
            (setup.scene.patches, setup.scene.solids),
        )
    )
    bare = inserted_object < scene
    seen = bare & (inserted_object < near)
    clear = all(
        math.hypot(
            s.centre[0] - setup.inserted_object.centre[0],
            s.centre[2] - setup.inserted_object.centre[2],
        )
        > 1.2
        * (
            max(s.half[0], s.half[2])
            + max(setup.inserted_object.half[0], setup.inserted_object.half[2])
        )
        for s in setup.scene.solids
    )
    inside = (
        not bare[[0, -1]].any()
        and not bare[:, [0, -1]].any()
        and (inserted_object < 60).sum() == bare.sum()
    )
    return bool(
        clear
        and inside
        and 0.06 < (near < 60).mean() < 0.45
        and seen.mean() > 0.012
        and seen.sum() > 0.35 * bare.sum()
    )
