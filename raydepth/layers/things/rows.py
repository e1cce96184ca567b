"""What tracking reads and writes: frames of a shot, clicks, and what becomes of every frame."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from raydepth.layers.things.protocol import Picture, Prompt
from raydepth.layers.things.stage import ABSENT

LEAST = 12
"""Pixels of a mask at least."""
SLIVER = 0.25
"""Of its usual area: with less of it at the border, a thing that is not found has left."""


@dataclass(frozen=True)
class View:
    """A frame of the shot, small; the picture is None where it can't be decoded."""

    row: int
    picture: Picture | None


@dataclass(frozen=True)
class Click:
    """What was said of a thing in one frame."""

    name: str
    row: int
    prompt: Prompt


@dataclass
class Rows:
    """What becomes of n frames and T things, frame by frame; the masks are kept elsewhere."""

    state: np.ndarray
    """object [n,T]."""
    iou: np.ndarray
    """float64 [n,T]."""
    depth: np.ndarray
    """float64 [n,T,2]: see ``place.measure_depth``; NaN in frames where it was not measured."""

    @classmethod
    def empty(cls, count: int, things: int) -> "Rows":
        nan = np.full((count, things), np.nan)
        return cls(np.full((count, things), ABSENT, object), nan, np.full((*nan.shape, 2), np.nan))


Keep = Callable[[int, str, np.ndarray], None]
"""Keeps a mask bool [H,W]: from the row, the thing and the mask."""


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two masks bool [H,W]; 0 where both are empty."""
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 0.0


def touches_border(mask: np.ndarray) -> bool:
    """Whether a mask bool [H,W] reaches the picture's border, to a pixel."""
    return bool(mask[:2].any() or mask[-2:].any() or mask[:, :2].any() or mask[:, -2:].any())
