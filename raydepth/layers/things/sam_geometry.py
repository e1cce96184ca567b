"""How a picture and its prompts lie in a Segment Anything network's square, and the way back."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from raydepth.layers.things.protocol import Prompt

MEAN = np.array([123.675, 116.28, 103.53], np.float32)
STD = np.array([58.395, 57.12, 57.375], np.float32)
"""Of the colours 0..255 that Segment Anything was trained on (ImageNet's)."""

_CERTAIN = 10.0
"""Logits of an expected mask: 10 inside, -10 outside, as SAM 2 gives masks to its memory."""


@dataclass(frozen=True)
class Square:
    """A picture in a network's square input.

    Attributes:
        height, width: of the picture in pixels.
        side: of the square.
        padded: the picture keeps its shape, its longer side fills the square, and the rest right
            and below is padding (SAM); else it is stretched to the square (SAM 2, SAM 3).
    """

    height: int
    width: int
    side: int
    padded: bool

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture in the square, in pixels."""
        if not self.padded:
            return self.side, self.side
        scale = self.side / max(self.height, self.width)
        return max(int(self.height * scale + 0.5), 1), max(int(self.width * scale + 0.5), 1)

    def coordinates(self, pixels: np.ndarray) -> np.ndarray:
        """Points float32 [...,2] (x, y) from the picture's pixels to the square's."""
        height, width = self.size
        scale = np.array([width / self.width, height / self.height], np.float32)
        return np.asarray(pixels, np.float32) * scale

    def logits(self, mask: np.ndarray, side: int) -> np.ndarray:
        """An expected mask bool [H,W] as the mask prompt float32 [side,side] of the network."""
        height, width = (max(round(length * side / self.side), 1) for length in self.size)
        share = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        square = np.zeros((side, side), np.float32)
        square[:height, :width] = share
        return (2 * square - 1) * _CERTAIN

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """A network's logits float32 [side,side] at the picture's size, float32 [H,W].

        Bilinear, as in the released code: straight from a stretched picture's, and by way of the
        square from a padded one's.
        """
        if not self.padded:
            return cv2.resize(
                np.asarray(logits, np.float32),
                (self.width, self.height),
                interpolation=cv2.INTER_LINEAR,
            )
        square = cv2.resize(
            np.asarray(logits, np.float32), (self.side, self.side), interpolation=cv2.INTER_LINEAR
        )
        height, width = self.size
        return cv2.resize(
            square[:height, :width], (self.width, self.height), interpolation=cv2.INTER_LINEAR
        )


def is_ambiguous(prompt: Prompt) -> bool:
    """Whether a prompt is a single click, of which a whole thing, a part and a part of a part are
    fair answers; the network then offers several masks.
    """
    return prompt.box is None and len(prompt.points) == 1


def completed(prompt: Prompt) -> Prompt:
    """The prompt; where it is an expected mask alone, with the box around that."""
    if prompt.mask is None or prompt.box is not None or len(prompt.points):
        return prompt
    y, x = np.nonzero(prompt.mask)
    if not len(x):
        return prompt
    box = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1], np.float32)
    return replace(prompt, box=box)


def choose(masks: Sequence[np.ndarray], scores: np.ndarray, expected: np.ndarray | None) -> int:
    """The index of the mask to take of those that a network offers.

    Args:
        masks: bool [H,W] each.
        scores: float32 [M], the IoU that the network expects of each.
        expected: bool [H,W], where the thing was before; None: not known. Then the best score
            decides, else the product of score and IoU with it.
    """
    agreement = np.ones(len(masks))
    if expected is not None and expected.any():
        agreement = np.array([overlap(mask, expected) for mask in masks])
    best = np.lexsort((scores, scores * agreement))
    return int(best[-1])


def overlap(mask: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two masks bool [H,W]; 1 where both are empty."""
    union = np.count_nonzero(mask | other)
    return float(np.count_nonzero(mask & other) / union) if union else 1.0
