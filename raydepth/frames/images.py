"""Folders of images as clips: sizes for the probe, pixels for decode()."""

import io
import warnings
from collections.abc import Sequence
from fractions import Fraction
from typing import IO

import numpy as np
from PIL import Image

from raydepth import storage
from raydepth.frames.container import MAX_PIXELS
from raydepth.frames.sources import SourceError
from raydepth.ranges import StorageError

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # MAX_PIXELS is the limit here

IMAGE_RATE = Fraction(25)
"""Images have no times: image i counts as shown at i / 25 s."""

_TURNED = frozenset({5, 6, 7, 8})
"""EXIF orientations that swap width and height."""

_EXIF_ORIENTATION = 0x0112

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
"""What may be behind the endings of IMAGE_SUFFIXES. Pillow goes by content and knows more, among it EPS, which runs Ghostscript."""


def image_sizes(files: Sequence[str]) -> np.ndarray:
    """Height and width as displayed, int64 [n, 2], from the files' headers; unreadable ones take their neighbour's.

    Raises:
        SourceError: "Unreadable", not one image can be read.
        StorageError: storage did not give an image that it has.
    """
    looks = storage.each(_look, files)
    sizes = [size for size, _ in looks]
    last = next((size for size in sizes if size), None)
    if last is None:
        reason = next(reason for _, reason in looks)
        raise SourceError("Unreadable", f"none of the {len(files)} images can be read, for example {reason}")
    filled = []
    for size in sizes:
        last = size or last
        filled.append(last)
    return np.array(filled, np.int64)


def _look(file: str) -> tuple[tuple[int, int] | None, str]:
    """Height and width of an image, or the reason why it has none."""
    try:
        with _open(storage.open_file(file) if storage.is_remote(file) else file) as image:
            turned = image.getexif().get(_EXIF_ORIENTATION) in _TURNED
            return image.size if turned else image.size[::-1], ""
    except StorageError:
        raise
    except Exception as error:  # Pillow's readers raise whatever their parsing runs into
        return None, f"{file}: {error}"


def read_image(file: str, height: int, width: int) -> np.ndarray:
    """Reads an image upright and at the given size.

    EXIF orientation is applied. Alpha is dropped, not composited over a colour that was never there; 16-bit images are
    scaled to 8 bits; grey ones are given three equal channels. Embedded colour profiles are not applied.

    Returns:
        uint8 [height, width, 3], RGB.

    Raises:
        OSError: the file can't be read, is damaged, too large or an animation, or holds 32-bit floats, which are no colours.
    """
    try:
        with _open(io.BytesIO(storage.read_bytes(file)) if storage.is_remote(file) else file) as image:
            rgb = _rgb(image)
            orientation = image.getexif().get(_EXIF_ORIENTATION)
    except Exception as error:  # as above
        raise OSError(f"image can't be read: {error}") from error
    if orientation in _TRANSPOSE:
        rgb = rgb.transpose(_TRANSPOSE[orientation])
    if rgb.size != (width, height):
        kernel = Image.Resampling.BOX if height < rgb.height else Image.Resampling.BICUBIC
        rgb = rgb.resize((width, height), kernel)
    return np.array(rgb)


def _open(file: str | IO[bytes]) -> Image.Image:
    """An image whose pixels are not read yet; raises ValueError where they should not be."""
    image = Image.open(file, formats=IMAGE_FORMATS)
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise ValueError(
            f"{image.width}x{image.height} pixels, at most {MAX_PIXELS} are read: scale it down first"
        )
    if image.format in ("PNG", "WEBP") and (pictures := getattr(image, "n_frames", 1)) > 1:
        image.close()
        raise ValueError(f"an animation of {pictures} pictures; convert it to a video")
    return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("its pixels are 32-bit floats, expected 8 or 16 bits")
    if image.mode.startswith("I"):  # 16 bits, which convert() would clip instead of scale
        image = Image.fromarray(np.clip(np.asarray(image) / 257 + 0.5, 0, 255).astype(np.uint8))
    if "transparency" in image.info:  # dropped like alpha, on the way that Pillow doesn't warn of
        image = image.convert("RGBA")
    return image.convert("RGB")


_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
