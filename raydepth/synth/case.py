"""One picture with the truth of every edit.

The truths are what is behind the near objects, an inserted object, and another place.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from raydepth.synth.matte import extract_matte
from raydepth.synth.render import SAMPLES, World
from raydepth.synth.scene import Camera, CameraPath, Lamp, Scene, Sky, Solid
from raydepth.synth.setup import SceneSetup, depth_range, random_setup

_STUDIO_SKY = Sky((0.55,) * 3, (0.45,) * 3, (0.3,) * 3)


@dataclasses.dataclass(frozen=True)
class Case:
    """One picture of H x W pixels with every truth; all pictures share the camera of `rgb`.

    Attributes:
        seed: What it was made from.
        rgb: The scene, uint8 [H, W, 3].
        depth: Metres along the optical axis at the pixel centres, float32 [H, W].
        near: Where the near objects are what is seen at the pixel centres, bool [H, W]; equals
            depth < threshold_m.
        threshold_m: A depth between the near objects and all that is behind them, metres.
        focal: Focal length in pixels; the principal point is the picture's middle.
        fill: The scene without its near objects and without their shadows: truth of `remove`, uint8
            [H, W, 3].
        fill_depth: Its depth, float32 [H, W].
        fill_shadowed: Without the near objects but with the shadows they cast, uint8 [H, W, 3].
        object_rgba: An object's picture taken elsewhere under neutral light, cropped: what a user
            would insert, uint8 [h, w, 4].
        object_box: x0, y0, x1, y1 in pixels: where that picture belongs.
        object_depth_m: Depth of the object's middle in metres.
        inserted: The scene with that object at that place under its light: truth of `insert`, uint8
            [H, W, 3].
        object_mask: Where the inserted object is seen there, bool [H, W]; near objects may hide a
            part of it.
        other: Another place with other light, uint8 [H, W, 3].
        other_depth: Its depth, float32 [H, W].
        composite: The near objects in the other place under its light, with shadows: truth of
            `background`, uint8 [H, W, 3].
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
    fill_shadowed: np.ndarray
    object_rgba: np.ndarray
    object_box: tuple[float, float, float, float]
    object_depth_m: float
    inserted: np.ndarray
    object_mask: np.ndarray
    other: np.ndarray
    other_depth: np.ndarray
    composite: np.ndarray
    composite_near: np.ndarray


def make_case(seed: int, size: tuple[int, int], *, samples: int = SAMPLES) -> Case:
    """Renders the case of a seed; the same arguments give the same bytes.

    Args:
        seed: Chooses the scene, the object and the other place, at least 0.
        size: (height, width) in pixels, at least 16 each.
        samples: Paths through each pixel; noise falls a little faster than with its square root.

    Raises:
        JobError: Mitsuba is not installed.
    """
    setup = random_setup(seed, size[1] / size[0])
    snapshot = Snapshot(setup, 0.0, size, samples)
    picture, box = snapshot.cut_out()
    fill, fill_depth = snapshot.fill()
    inserted, object_mask = snapshot.insert()
    other, other_depth = snapshot.other()
    composite, composite_near = snapshot.composite()
    return Case(
        seed=seed,
        rgb=snapshot.rgb(),
        depth=snapshot.depth,
        near=snapshot.near,
        threshold_m=snapshot.threshold_m,
        focal=snapshot.camera.focal * size[0],
        fill=fill,
        fill_depth=fill_depth,
        fill_shadowed=snapshot.fill_shadowed(),
        object_rgba=picture,
        object_box=box,
        object_depth_m=snapshot.object_depth_m,
        inserted=inserted,
        object_mask=object_mask,
        other=other,
        other_depth=other_depth,
        composite=composite,
        composite_near=composite_near,
    )


# Most worlds of a clip stand still, and are then built once.
_world = functools.lru_cache(maxsize=8)(World)


class Snapshot:
    """A scene setup at one time, seen by its camera; pictures and truths are rendered on demand."""

    def __init__(
        self, setup: SceneSetup, seconds: float, size: tuple[int, int], samples: int
    ) -> None:
        """Renders the scene's depth; see `Case` for what the methods return."""
        self.camera: Camera = setup.scene.path.at(seconds)
        self.threshold_m = setup.threshold(seconds, size[1] / size[0])
        self._size, self._samples = size, samples
        self._scene, self._other = setup.scene.at(seconds), setup.other.at(seconds)
        self._near = tuple(solid.at(seconds) for solid in setup.near)
        self._inserted = setup.inserted_object.at(seconds)
        self.object_depth_m = sum(depth_range(self._inserted, self.camera)) / 2
        self._whole = self._with(self._scene, self._near)
        self.depth = self._whole.depth(self.camera, size)
        self.near = self.depth < self.threshold_m

    def _with(self, scene: Scene, solids: tuple[Solid, ...]) -> World:
        return _world(dataclasses.replace(scene, solids=scene.solids + solids))

    def _colour(self, world: World) -> np.ndarray:
        return world.colour(self.camera, self._size, samples=self._samples)

    def rgb(self) -> np.ndarray:
        """The scene."""
        return self._colour(self._whole)

    def fill(self) -> tuple[np.ndarray, np.ndarray]:
        """The scene without its near objects, and its depth."""
        world = _world(self._scene)
        return self._colour(world), world.depth(self.camera, self._size)

    def fill_shadowed(self) -> np.ndarray:
        """The same with the near objects' shadows.

        It is what a camera sees whose view begins behind the near objects.
        """
        return self._whole.colour(
            self.camera, self._size, samples=self._samples, beyond=self.threshold_m
        )

    def layers(self, rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The near layer RGBA and the rest RGB; one over the other is `rgb` exactly.

        See `extract_matte`.
        """
        coverage = self._whole.coverage(self.camera, self._size, self.threshold_m)
        return extract_matte(rgb, self.fill_shadowed(), coverage)

    def insert(self) -> tuple[np.ndarray, np.ndarray]:
        """The scene with the object in it, and where the object is seen."""
        world = self._with(self._scene, (*self._near, self._inserted))
        return self._colour(world), world.depth(self.camera, self._size) < self.depth

    def other(self) -> tuple[np.ndarray, np.ndarray]:
        """The other place and its depth."""
        world = _world(self._other)
        return self._colour(world), world.depth(self.camera, self._size)

    def composite(self) -> tuple[np.ndarray, np.ndarray]:
        """The near objects in the other place, and where they are seen."""
        world = self._with(self._other, self._near)
        return self._colour(world), world.depth(self.camera, self._size) < self.threshold_m

    def cut_out(self) -> tuple[np.ndarray, tuple[float, float, float, float]]:
        """The object's picture in a neutral studio, and the box in pixels where it belongs.

        It is taken from this camera and cropped.
        """
        camera = self.camera
        x, y, z = camera.position
        lamp = Lamp((x - 2.0, y + 3.0, z - 1.0), self._inserted.centre, (0.55,) * 3, 1.0)
        empty = Scene((), (), (lamp,), _STUDIO_SKY, CameraPath(camera, "swing", 0.0))
        world = self._with(empty, (self._inserted,))
        coverage = world.coverage(
            camera, self._size, depth_range(self._inserted, camera)[1] * 1.001
        )
        rgba, _ = extract_matte(self._colour(world), self._colour(_world(empty)), coverage)
        rows, columns = (np.flatnonzero(rgba[..., 3].any(axis)) for axis in (1, 0))
        y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
        return rgba[y0:y1, x0:x1], (float(x0), float(y0), float(x1), float(y1))
