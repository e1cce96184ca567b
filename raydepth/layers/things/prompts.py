"""Prompts for a segmenter: from what a person clicked, and from a mask that was carried here."""

import numpy as np

from raydepth.layers.distance import distance_to_outside
from raydepth.layers.things.protocol import Prompt
from raydepth.layers.things.settings import Thing

_POINTS = 3
_GROWN = 4
"""Pixels that the box of a carried mask is larger by."""


def clicked_prompt(things: list[Thing], height: int, width: int) -> Prompt:
    """What was clicked of one thing in one frame, in pixels of a picture (height, width)."""
    size = np.array([width, height], np.float32)
    points, labels, box = [], [], None
    for thing in things:
        given = thing.points or ([thing.point] if thing.point else [])
        points += given
        labels += thing.labels or [1] * len(given)
        box = thing.box or box
    return Prompt(
        np.array(points, np.float32).reshape(-1, 2) * size,
        np.array(labels, np.int64),
        None if box is None else np.array(box, np.float32) * np.tile(size, 2),
    )


def carried_prompts(mask: np.ndarray) -> list[Prompt]:
    """How a segmenter is asked for a thing that is expected in a mask bool [H,W], not empty.

    First with all there is: inner points, box and mask. Then, should that fail, with box and mask,
    and with points alone.
    """
    points, box = inner_points(mask), box_of(mask)
    labels = np.ones(len(points), np.int64)
    return [
        Prompt(points, labels, box, mask),
        Prompt(box=box, mask=mask),
        Prompt(points, labels, mask=mask),
    ]


def inner_points(mask: np.ndarray, count: int = _POINTS) -> np.ndarray:
    """Points well inside a mask, the deepest first, float32 [P,2]: maxima of the distance to its
    outside, each away from those before it.
    """
    height, width = mask.shape
    inside = np.pad(mask.astype(np.uint8), 1)
    depth = distance_to_outside(inside)[1:-1, 1:-1].copy()
    deepest, points = float(depth.max()), []
    y, x = np.mgrid[:height, :width]
    for _ in range(count):
        row, column = np.unravel_index(int(depth.argmax()), depth.shape)
        if depth[row, column] < max(1.0, 0.2 * deepest):
            break
        points.append((column + 0.5, row + 0.5))
        depth[np.hypot(x - column, y - row) <= max(2 * depth[row, column], 2.0)] = 0
    return np.array(points, np.float32).reshape(-1, 2)


def box_of(mask: np.ndarray, grown: float = _GROWN) -> np.ndarray:
    """The box of a mask, grown and kept in the picture: float32 [4], x0, y0, x1, y1."""
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array(
        [
            max(columns[0] - grown, 0),
            max(rows[0] - grown, 0),
            min(columns[-1] + 1 + grown, width),
            min(rows[-1] + 1 + grown, height),
        ],
        np.float32,
    )
