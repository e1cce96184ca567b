"""Folders of images as clips: sizes for the probe."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from raydepth.files import storage
from raydepth.files.image_file import picture_size
from raydepth.files.ranges import StorageError
from raydepth.frames.sources import SourceError

IMAGE_RATE = Fraction(25)
"""Images have no times: image i counts as shown at i / 25 s."""


def image_sizes(files: Sequence[str]) -> np.ndarray:
    """Height and width as displayed, int64 [n, 2], from the files' headers.

    Unreadable files take their neighbour's.

    Raises:
        SourceError: "Unreadable", not one image can be read.
        StorageError: storage did not give an image that it has.
    """
    found = storage.each(_read_size, files)
    sizes = [size for size, _ in found]
    last = next((size for size in sizes if size), None)
    if last is None:
        reason = next(reason for _, reason in found)
        raise SourceError(
            "Unreadable", f"none of the {len(files)} images can be read, for example {reason}"
        )
    filled = []
    for size in sizes:
        last = size or last
        filled.append(last)
    return np.array(filled, np.int64)


def _read_size(file: str) -> tuple[tuple[int, int] | None, str]:
    """Height and width of an image, or the reason why it has none."""
    try:
        return picture_size(file), ""
    except StorageError:
        raise
    except OSError as error:
        return None, str(error)
