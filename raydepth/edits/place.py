"""Places an object's picture in a frame: size in perspective, affine map, and pixels."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from raydepth.depth.calibrate import Calibration
from raydepth.edits.settings import AtBehind, AtFront, Insert

STILL = np.eye(2, 3)
"""The motion of a clip's first frame."""
_BESIDE = 0.01
"""Inverse depth between an object and the thing that it stands behind or before."""
_FINER = 2
"""Supersampling factor of the object's rendering, for soft edges that move in parts of a pixel."""


@dataclass(frozen=True)
class Placement:
    """Where an object stands in one frame, in pixels.

    x grows to the right, y downward, and pixel i covers [i, i + 1).
    """

    contact: tuple[float, float]
    """Ground contact: the middle of the object's lower edge."""
    height: float
    width: float
    turn: float
    """Radians, clockwise."""


def named_at(insert: Insert) -> str | None:
    """The thing that the object stands behind or before, by name; None where none is named."""
    match insert.at:
        case AtBehind(behind=str(name)) | AtFront(front=str(name)):
            return name
    return None


def beside_thing(insert: Insert, inv_depth: float) -> float:
    """The inverse depth just behind or before a thing at that inverse depth; see ``named_at``."""
    return inv_depth - _BESIDE if isinstance(insert.at, AtBehind) else inv_depth + _BESIDE


def ground_contact(insert: Insert) -> tuple[float, float]:
    """The ground contact in the first frame: x, y as fractions of width and height."""
    if insert.box is not None:
        return (insert.box[0] + insert.box[2]) / 2, insert.box[3]
    assert insert.point is not None  # the job's own check
    return insert.point[0], insert.point[1]


def height_px(
    insert: Insert, scale: Calibration, inv_depth: float, frame: tuple[int, int]
) -> float:
    """The object's height in the first frame, in pixels of a frame (height, width).

    A ``box`` has its own height. In metres it is f * height_m / Z, with f = longer side / 2 /
    tan(fov / 2), the pinhole camera.
    """
    if insert.height_m is None:
        return (insert.height or 0.4) * frame[0]
    focal = max(frame) / 2 / math.tan(math.radians(insert.fov_deg) / 2)
    return focal * insert.height_m / float(scale.metres(inv_depth))


def place(
    insert: Insert, aspect: float, height: float, motion: np.ndarray, frame: tuple[int, int]
) -> Placement:
    """The placement in one frame.

    Args:
        insert: the job's section.
        aspect: width / height of the object's picture.
        height: as ``height_px`` gives it; a ``box`` overrides it.
        motion: float64 [2,3], pixels of the first frame -> pixels of this one.
        frame: (height, width) in pixels.
    """
    x, y = ground_contact(insert)
    if insert.box is not None:
        x0, y0, x1, y1 = insert.box
        height = min((y1 - y0) * frame[0], (x1 - x0) * frame[1] / aspect)
    contact = motion[:, :2] @ (x * frame[1], y * frame[0]) + motion[:, 2]
    size = height * math.hypot(motion[0, 0], motion[1, 0])
    turn = math.atan2(motion[1, 0], motion[0, 0])
    return Placement((float(contact[0]), float(contact[1])), size, size * aspect, turn)


def render_object(picture: np.ndarray, at: Placement, frame: tuple[int, int]) -> np.ndarray:
    """An object's pixels in a frame (height, width).

    Args:
        picture: float32 [h,w,4], colour times alpha and alpha, as ``read_object`` gives it or a
            smaller copy.
        at: where it stands.
        frame: (height, width).

    Returns:
        float32 [H,W,4], colour 0..255 times alpha, and alpha 0..1; zeros where the object is not.
    """
    canvas = np.zeros((*frame, 4), np.float32)
    height, width = picture.shape[:2]
    c, s = math.cos(at.turn), math.sin(at.turn)
    linear = np.array([[c, -s], [s, c]]) @ np.diag([at.width / width, at.height / height])
    offset = np.array(at.contact) - linear @ (width / 2, height)
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) @ linear.T + offset
    low = np.maximum(np.floor(corners.min(axis=0)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, frame[::-1])
    if (high <= low).any():
        return canvas
    # OpenCV's coordinates are those of pixel centres.
    fine = linear * _FINER
    shift = (offset - low) * _FINER + fine @ (0.5, 0.5) - 0.5
    size = (high - low) * _FINER
    warped = cv2.warpAffine(
        picture, np.column_stack([fine, shift]), size.tolist(), flags=cv2.INTER_LINEAR
    )
    area = cv2.resize(warped, (high - low).tolist(), interpolation=cv2.INTER_AREA)
    canvas[low[1] : high[1], low[0] : high[0]] = area
    return canvas


def shrunk(picture: np.ndarray, height: float) -> np.ndarray:
    """A copy of an object's picture reduced to a height in pixels; never enlarged."""
    share = _FINER * height / len(picture)
    if share >= 1:
        return picture
    size = [max(round(side * share), 1) for side in picture.shape[1::-1]]
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
