"""Pictures as a job uses them: at a size, an object with alpha, a cover of the frame."""

import math
from functools import lru_cache

import numpy as np
from PIL import Image

from raydepth.errors import JobError
from raydepth.files.image_file import Pixels, picture_size, read_pixels

TRANSPARENCY_IGNORED = "the picture's transparency is ignored"
"""Note on a frame."""


def read_frame(file: str, height: int, width: int) -> tuple[np.ndarray, str]:
    """Reads a picture upright and at the given size; see ``read_pixels``.

    Alpha is dropped, not composited over a colour.

    Returns:
        uint8 [height, width, 3], RGB; and what a user should know of it, or "".

    Raises:
        OSError: as ``read_pixels``.
    """
    rgb, alpha = read_pixels(file)
    note = "" if alpha is None or alpha.min() == 255 else TRANSPARENCY_IGNORED
    if rgb.shape[:2] != (height, width):
        kernel = Image.Resampling.BOX if height < rgb.shape[0] else Image.Resampling.BICUBIC
        rgb = np.array(Image.fromarray(rgb).resize((width, height), kernel))
    return rgb, note


def read_object(path: str) -> np.ndarray:
    """An object's premultiplied colour 0..255 and alpha 0..1, float32 [h,w,4].

    It is cropped to where alpha is not 0.

    Raises:
        JobError: the file cannot be read, has no alpha, or is transparent everywhere.
    """
    rgb, stored = _read(path)
    if stored is None:
        raise JobError(
            f"edit.object: {path} has no alpha; expected an RGBA picture whose alpha says where "
            "the object is: set "
            "edit.segment to have it cut out by a segmentation model, or cut it out in a paint "
            "program and save it as PNG"
        )
    alpha = stored[..., None].astype(np.float32) / 255
    rows, columns = (np.flatnonzero(alpha[..., 0].any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        raise JobError(f"edit.object: {path} is transparent everywhere; expected an object in it")
    cropped = np.concatenate([rgb * alpha, alpha], axis=2)
    return np.ascontiguousarray(cropped[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def read_opaque(path: str) -> np.ndarray:
    """The picture of an object that is yet to be cut out, uint8 [h,w,3].

    Raises:
        JobError: the file cannot be read, or is cut out already.
    """
    rgb, alpha = _read(path)
    if alpha is not None and alpha.min() < 255:
        raise JobError(
            f"edit.segment: {path} (edit.object) has transparent pixels, so it is cut out; leave "
            "segment out"
        )
    return rgb


def _read(path: str) -> Pixels:
    try:
        return read_pixels(path)
    except OSError as error:
        raise JobError(f"edit.object: cannot be read as a picture: {error}") from error


def cover_size(height: int, width: int, frame: tuple[int, int]) -> tuple[int, int]:
    """The (height, width) at which a picture of this size just covers a frame (height, width)."""
    scale = max(frame[0] / height, frame[1] / width)
    return math.ceil(height * scale - 1e-6), math.ceil(width * scale - 1e-6)


def crop_middle(picture: np.ndarray, frame: tuple[int, int]) -> np.ndarray:
    """The middle of a picture [h,w,...] that covers a frame (height, width)."""
    y, x = ((have - want) // 2 for have, want in zip(picture.shape[:2], frame, strict=True))
    return np.ascontiguousarray(picture[y : y + frame[0], x : x + frame[1]])


@lru_cache(maxsize=16)
def read_cover(path: str, frame: tuple[int, int]) -> np.ndarray:
    """A picture scaled and cropped to cover a frame (height, width): uint8 [H,W,3], read-only.

    Raises:
        OSError: it cannot be read.
    """
    height, width = picture_size(path)
    picture = crop_middle(read_frame(path, *cover_size(height, width, frame))[0], frame)
    picture.setflags(write=False)
    return picture


def parse_colour(text: str) -> np.ndarray:
    """``#rrggbb`` as uint8 [3]."""
    return np.array([int(text[i : i + 2], 16) for i in (1, 3, 5)], np.uint8)


def to_linear(rgb: np.ndarray) -> np.ndarray:
    """8-bit sRGB [...] to linear light, float32 0..1 (IEC 61966-2-1)."""
    value = np.asarray(rgb, np.float32) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(
        np.float32
    )


def to_srgb(light: np.ndarray) -> np.ndarray:
    """Linear light [...] to sRGB, uint8; what is brighter than white is cut off."""
    light = light.clip(0, 1)
    value = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(value * 255).astype(np.uint8)
