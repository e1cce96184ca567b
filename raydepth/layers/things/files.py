"""Masks of a thing from files beside the input (``masks``)."""

import os

import cv2
import numpy as np

from raydepth.batch import Batch, frame_identity
from raydepth.files import storage
from raydepth.files.image_file import PictureError, read_labels, read_pixels
from raydepth.files.sidecar import SidecarPattern
from raydepth.layers.things.settings import Thing

_ENDINGS = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".webp", ".bmp")
_ASPECT = 0.02
"""Part by which the aspect of a mask may differ from the frame's."""


class MaskFiles:
    """The mask files of one thing."""

    def __init__(self, thing: Thing) -> None:
        """Checks the pattern.

        Raises:
            JobError: it is malformed, or has another ending than pictures have.
        """
        what = f"layers.things: mask files of {thing.name}"
        self.files = SidecarPattern(str(thing.masks), _ENDINGS, what)
        self.label = thing.label

    def path(self, batch: Batch, row: int = 0) -> str:
        """The file that belongs to a frame, whether it is there or not."""
        return self.files.path(**frame_identity(batch, row))

    def read(self, path: str, height: int, width: int) -> np.ndarray:
        """A mask at a size: float32 [height,width], 0..1.

        Of a picture with transparency its alpha counts, of others their brightness; of a label
        image where it has the thing's number. A file of another size is scaled.

        Raises:
            FileNotFoundError: there is no such file.
            OSError, ValueError: it cannot be read, or its aspect is not the frame's; the message
                names both sizes.
        """
        if not storage.is_remote(path) and not os.path.isfile(path):
            raise FileNotFoundError(f"no mask file {path}")
        try:
            mask = self._values(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise FileNotFoundError(f"no mask file {path}") from error
        except PictureError as error:
            raise ValueError(str(error)) from error
        there = mask.shape[1] / mask.shape[0]
        if abs(there * height / width - 1) > _ASPECT + 1 / min(height, width, *mask.shape):
            raise ValueError(
                f"{path} is {mask.shape[1]}x{mask.shape[0]}, which has another aspect than the "
                f"frame ({width}x{height} at working size); make masks of the frames' own shape"
            )
        if mask.shape == (height, width):
            return mask
        kernel = cv2.INTER_AREA if height < mask.shape[0] else cv2.INTER_LINEAR
        return cv2.resize(mask, (width, height), interpolation=kernel).clip(0, 1)

    def _values(self, path: str) -> np.ndarray:
        if self.label is not None:
            return (read_labels(path) == self.label).astype(np.float32)
        rgb, alpha = read_pixels(path)
        if alpha is None or alpha.min() == 255:
            alpha = rgb.max(2)
        return alpha.astype(np.float32) / 255
