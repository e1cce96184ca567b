"""Clips of a textured box that moves before a textured wall, with its true masks, and segmenters
that know the truth.
"""

from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np

from raydepth.layers.things.protocol import Found, Picture, Prompt
from raydepth.layers.things.rows import View

HEIGHT, WIDTH = 96, 144


def texture(seed: int, height: int, width: int, low: int, high: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(low, high, (height // 4 + 2, width // 4 + 2, 3)).astype(np.uint8)
    large = cv2.resize(coarse, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    return large[:height, :width]


class Moving:
    """A shot with one box at ``x(row)`` and the truth of it; it counts the frames that live."""

    def __init__(self, x: Callable[[int], int], count: int, covered: Sequence[int] = ()) -> None:
        self.x, self.count, self.covered = x, count, set(covered)
        self.wall = texture(0, HEIGHT, WIDTH, 20, 120)
        self.box = texture(1, 40, 36, 130, 250)
        self.truth = [self._mask(row) for row in range(count)]
        self.decoded = 0

    def __len__(self) -> int:
        return self.count

    def _mask(self, row: int) -> np.ndarray:
        mask = np.zeros((HEIGHT, WIDTH), bool)
        left = self.x(row)
        if row not in self.covered:
            mask[30:70, max(left, 0) : max(left + 36, 0)] = True
        return mask

    def view(self, row: int) -> View:
        rgb, left = self.wall.copy(), self.x(row)
        mask = self.truth[row]
        if mask.any():
            columns = np.flatnonzero(mask.any(0))
            part = self.box[:, columns - left]
            rgb[30:70, columns[0] : columns[-1] + 1] = part
        inv_depth = np.where(mask, 0.8, 0.2).astype(np.float32)
        self.decoded += 1
        return View(row, Picture(rgb, lambda: inv_depth))

    def forward(self, start: int) -> Iterator[View]:
        return (self.view(row) for row in range(start, self.count))

    def backward(self, start: int) -> Iterator[View]:
        return (self.view(row) for row in range(start, -1, -1))

    def click(self, row: int) -> Prompt:
        y, x = np.argwhere(self.truth[row])[len(np.argwhere(self.truth[row])) // 2]
        return Prompt(np.array([[x, y]], np.float32), np.array([1]))


class Exact:
    """Finds the truth of the picture that it is shown, where the prompt is on it."""

    name, every = "exact", 4

    def __init__(self, shot: Moving, wrong: Sequence[int] = ()) -> None:
        self.shot, self.wrong, self.asked = shot, set(wrong), []

    def __call__(self, picture: Picture, prompts: Sequence[Prompt]) -> list[Found]:
        row = self.row_of(picture)
        self.asked.append(row)
        truth = self.shot.truth[row]
        if row in self.wrong:
            truth = np.zeros_like(truth)
            truth[:20, :20] = True
        return [Found(truth.copy(), 1.0) for _ in prompts]

    def row_of(self, picture: Picture) -> int:
        """The frame whose truth is nearest to what the picture shows."""
        shown = picture.inv_depth() > 0.5
        return next(row for row, mask in enumerate(self.shot.truth) if np.array_equal(mask, shown))
