"""A network that is not asked to invent most of a picture (``layers.fill.max_hole``)."""

import cv2
import numpy as np

from raydepth.layers.fill.opencv import OpenCVFiller
from raydepth.layers.fill.protocol import Filler


class BoundedFiller(Filler):
    """Asks a network only where the hole is a part of the frame that it can continue.

    In a larger hole it would make up things that nobody has filmed. Such a hole is filled smoothly
    by ``telea``, which edits that take something away do not show; ``refused`` and ``note`` say so.
    """

    def __init__(self, filler: Filler, max_hole: float) -> None:
        """Keeps the network and the largest part of a frame that it fills."""
        self.filler, self.max_hole, self.name = filler, max_hole, filler.name
        self.smooth = OpenCVFiller(cv2.INPAINT_TELEA, 5.0)

    def for_clip(self, shot: str) -> Filler:
        """See Filler."""
        return BoundedFiller(self.filler.for_clip(shot), self.max_hole)

    def __call__(self, rgb: np.ndarray, hole: np.ndarray) -> np.ndarray:
        """See Filler."""
        share = float(hole.mean())
        self.refused = share > self.max_hole
        if not self.refused:
            picture = self.filler(rgb, hole)
            self.note = self.filler.note
            return picture
        over = "half" if self.max_hole == 0.5 else f"{self.max_hole:.0%}"
        self.note = (
            f"hole over {over} of the frame ({share:.0%}): what is behind would be invented, so it "
            "is not taken away (layers.fill.max_hole)"
        )
        return self.smooth(rgb, hole)

    def shared_background(self, rgb: np.ndarray, hole: np.ndarray) -> np.ndarray | None:
        """See Filler."""
        return None if self.refused else self.filler.shared_background(rgb, hole)
