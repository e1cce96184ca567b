"""True edits: sidecar pictures of what the edited frames should look like."""

import io

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from raydepth.batch import Batch, frame_identity
from raydepth.files import storage
from raydepth.files.pictures import IMAGE_FORMATS
from raydepth.files.sidecar import SidecarPattern


class TrueEdits:
    """The true edited frames that ``evaluate.truth`` names."""

    def __init__(self, pattern: str) -> None:
        """Checks the pattern (see ``SidecarPattern``).

        Raises:
            JobError: the pattern is malformed or does not end in .png.
        """
        self._files = SidecarPattern(pattern, (".png",), "evaluate.truth:")

    def __call__(self, batch: Batch) -> list[np.ndarray | None]:
        """One picture a row, uint8 [H,W,3] at the working size.

        None where no picture of the frame's shape can be read.
        """
        height, width = batch["rgb"].shape[1:3]
        pictures: list[np.ndarray | None] = []
        for row in range(len(batch["rgb"])):
            try:
                content = io.BytesIO(
                    storage.read_bytes(self._files.path(**frame_identity(batch, row)))
                )
                with Image.open(content, formats=IMAGE_FORMATS) as file:
                    picture = np.asarray(file.convert("RGB"))
            except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
                pictures.append(None)
                continue
            expected = picture.shape[0] * width / height
            if abs(picture.shape[1] - expected) > max(1, 0.1 * expected):
                pictures.append(None)
                continue
            smaller = picture.shape[0] > height
            way = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
            same = picture.shape[:2] == (height, width)
            pictures.append(
                picture if same else cv2.resize(picture, (width, height), interpolation=way)
            )
        return pictures
