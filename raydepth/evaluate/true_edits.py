"""True edits: sidecar pictures of what the edited frames should look like."""

import cv2
import numpy as np

from raydepth.batch import Batch, frame_identity
from raydepth.files.image_file import PictureError, read_pixels
from raydepth.files.sidecar import SidecarPattern


class TrueEdits:
    """The true edited frames that ``evaluate.truth`` names."""

    def __init__(self, pattern: str) -> None:
        """Checks the pattern (see ``SidecarPattern``).

        Raises:
            JobError: the pattern is malformed or does not end in .png.
        """
        self._files = SidecarPattern(pattern, (".png",), "evaluate.truth:")

    def __call__(self, batch: Batch) -> list[np.ndarray | str]:
        """One picture a row, uint8 [H,W,3] at the working size.

        In its place what is wrong with it, in words; "" where there is none.
        """
        pictures: list[np.ndarray | str] = []
        for row in range(len(batch["rgb"])):
            try:
                pictures.append(self._read(batch, row))
            except FileNotFoundError:
                pictures.append("")
            except OSError as error:
                pictures.append(f"evaluate.truth: {error}")
        return pictures

    def _read(self, batch: Batch, row: int) -> np.ndarray:
        """Raises as ``read_pixels``, and PictureError where the shape is not the frame's."""
        height, width = batch["rgb"].shape[1:3]
        path = self._files.path(**frame_identity(batch, row))
        picture = read_pixels(path).rgb
        expected = picture.shape[0] * width / height
        if abs(picture.shape[1] - expected) > max(1, 0.1 * expected):
            raise PictureError(
                f"{path}: {picture.shape[1]}x{picture.shape[0]} pixels, expected the shape of the "
                f"frame, {width / height:.3g} times as wide as high"
            )
        if picture.shape[:2] == (height, width):
            return picture
        way = cv2.INTER_AREA if picture.shape[0] > height else cv2.INTER_CUBIC
        return cv2.resize(picture, (width, height), interpolation=way)
