"""Direction of the light in a scene and on an object, estimated from shading."""

import math

import cv2
import numpy as np

from raydepth.files.pictures import to_linear
from raydepth.layers.distance import distance_to_outside

_SIZE = 160
"""Pixels of the longer side that a scene is looked at with: shading is smooth, and depth is smooth
at best."""
_OBJECT = 96
"""The same of an object's height."""
_FOV = 60.0
"""Angle that the camera is taken to see across the longer side, degrees; between 40 and 80 the
result hardly changes."""
_FAR = 0.1
"""Inverse depth on the clip's scale that is added, as its far end 0 is not infinitely far."""
_STEP = 0.1
"""Neighbours whose inverse depths differ by a larger part belong to two regions."""
_LEVEL = 0.85
"""Surfaces that face up or down more than this are left out: textured floors are large and tell
nothing of left and right."""
_PIXELS = 25
"""Regions of fewer pixels are left out."""
_RIDGE = 0.01
"""Mean square of a normal's component with half the weight: little evidence, little shading."""
_DARK = 3e-3
"""Linear light added before a logarithm or a quotient."""


def scene_shading(rgb: np.ndarray, inv_depth: np.ndarray) -> np.ndarray:
    """How much brighter surfaces are that face right, and up: float64 [2].

    It is relative to the mean of the surface's region; regions are what steps of depth enclose. A
    matt surface under a distant lamp and an even sky has the radiance albedo * (a + l . n) where
    the lamp reaches it. Within one region the albedo varies mostly without regard to the normal n.
    So the radiance over the region's mean, regressed on the normals of all regions at once, is l up
    to a factor (robust least squares; compare Lopez-Moreno et al., Compositing Images Through Light
    Source Detection, 2010, who take one object's outline). With inverse depth q(x, y), x and y in
    pixels from the middle and focal length f, n ~ (f q_x, f q_y, q - x q_x - y q_y).

    Args:
        rgb: uint8 [H,W,3].
        inv_depth: float32 [H,W], on the clip's scale.

    Returns:
        Zeros where nothing with a shape is seen.
    """
    share = _SIZE / max(rgb.shape[:2])
    if share < 1:
        size = [max(round(side * share), 2) for side in rgb.shape[1::-1]]
        rgb, inv_depth = (
            cv2.resize(x, size, interpolation=cv2.INTER_AREA) for x in (rgb, inv_depth)
        )
    q = np.maximum(inv_depth.astype(np.float64), 0) + _FAR
    height, width = q.shape
    focal = max(q.shape) / 2 / math.tan(math.radians(_FOV / 2))
    down, right = np.gradient(q)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    x, y = x + 0.5 - width / 2, y + 0.5 - height / 2
    normals = np.stack([-focal * right, focal * down, q - x * right - y * down], axis=-1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    inside = (np.abs(normals[..., 1]) < _LEVEL) & (inv_depth > _FAR / 3)
    for axis, apart in ((0, np.diff(q, axis=0)), (1, np.diff(q, axis=1))):
        least = np.minimum(np.delete(q, -1, axis), np.delete(q, 0, axis))
        step = np.abs(apart) > _STEP * least
        inside &= ~np.insert(step, 0, False, axis) & ~np.insert(step, step.shape[axis], False, axis)
    count, regions = cv2.connectedComponents(inside.astype(np.uint8), connectivity=4)
    regions = regions[inside]
    pixels = np.bincount(regions, minlength=count)
    counted = pixels[regions] >= _PIXELS
    if not counted.any():
        return np.zeros(2)

    def mean(values: np.ndarray) -> np.ndarray:
        return (np.bincount(regions, values, minlength=count) / np.maximum(pixels, 1))[regions]

    light = to_linear(rgb).mean(axis=-1).astype(np.float64)[inside] + _DARK
    excess = light / mean(light) - 1
    terms = np.stack([part - mean(part) for part in normals[inside].T], axis=-1)
    weight = counted.astype(np.float64)
    for _ in range(4):
        weighted = terms * weight[:, None]
        solved = np.linalg.solve(
            weighted.T @ terms + _RIDGE * len(terms) * np.eye(3), weighted.T @ excess
        )
        miss = np.abs(excess - terms @ solved)
        weight = counted / np.maximum(1, miss / max(1.5 * float(np.median(miss[counted])), 1e-6))
    return solved[:2]


def guessed_normals(alpha: np.ndarray) -> np.ndarray:
    """Right and up components of normals estimated from an outline, float32 [h,w,2].

    An object's shape is not known, but at its outline its surface turns away (Johnston, Lumo,
    2002). The height over the picture is that of a quarter circle in the distance to the outline,
    smoothed.

    Args:
        alpha: float32 [h,w], 0..1, of an object whose picture ends at its outline.
    """
    inside = cv2.copyMakeBorder((alpha > 0.5).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    distance = distance_to_outside(inside)[1:-1, 1:-1]
    radius = max(float(distance.max()), 1.0)
    bulge = np.sqrt(np.maximum(radius**2 - (radius - distance) ** 2, 0)) * (distance > 0)
    bulge = cv2.GaussianBlur(bulge, (0, 0), max(radius / 5, 1.0))
    down, right = np.gradient(bulge)
    return (np.stack([-right, down], axis=-1) / np.sqrt(1 + right**2 + down**2)[..., None]).astype(
        np.float32
    )


def object_shading(picture: np.ndarray) -> np.ndarray:
    """The same of an object's picture, float64 [2], from estimated normals.

    Args:
        picture: float32 [h,w,4], colour 0..255 times alpha and alpha 0..1, at any size.
    """
    share = min(_OBJECT / len(picture), 1.0)
    size = [max(round(side * share), 1) for side in picture.shape[1::-1]]
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    whole = small[..., 3] > 0.95
    if whole.sum() < _PIXELS:
        return np.zeros(2)
    normals = guessed_normals(small[..., 3])[whole].astype(np.float64)
    light = np.log(
        to_linear(small[whole][:, :3] / small[whole][:, 3:]).mean(axis=-1).astype(np.float64)
        + _DARK
    )
    terms = np.column_stack([np.ones(len(normals)), normals])
    ridge = np.diag([0.0, _RIDGE, _RIDGE]) * len(terms)
    return np.linalg.solve(terms.T @ terms + ridge, terms.T @ light)[1:]
