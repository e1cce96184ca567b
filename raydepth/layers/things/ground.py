"""The ground in a frame's inverse depth: for an upright camera over flat ground it is a plane in
the picture, a x + b y + c.
"""

from dataclasses import dataclass

import numpy as np

LOWER = 0.5
"""The ground is looked for in this lower part of the picture."""
_SAMPLES = 96
"""Columns and rows that are looked at, at most."""
_TRIES = 200
GOOD = 0.02
"""Inverse depth within which a pixel is the plane's."""
_SHARE = 0.3
"""Of the lower part, that a plane must explain to be the ground."""


@dataclass(frozen=True)
class Ground:
    """A plane of inverse depth over the picture's fractions: a x + b y + c."""

    a: float
    b: float
    c: float
    share: float
    """Of the pixels that were looked at, those that it explains."""

    def at(self, x: np.ndarray | float, y: np.ndarray | float) -> np.ndarray:
        """Its inverse depth at fractions of width and height."""
        return np.asarray(self.a * np.asarray(x) + self.b * np.asarray(y) + self.c)

    def over(self, shape: tuple[int, int]) -> np.ndarray:
        """Its inverse depth at the pixels of a picture (height, width), float32 [H,W]."""
        height, width = shape
        y, x = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
        return self.at(x[None], y[:, None]).astype(np.float32)


def find_ground(inv_depth: np.ndarray, outside: np.ndarray | None = None) -> Ground | None:
    """Fits the ground to the lower part of a map, by the plane that most of it agrees with
    (RANSAC with a fixed seed, then least squares).

    Args:
        inv_depth: float32 [H,W], normalised.
        outside: bool [H,W], what is not ground, such as the things that stand on it.

    Returns:
        None where no plane that comes nearer downward explains enough.
    """
    height, width = inv_depth.shape
    rows = np.unique(np.linspace(int(height * (1 - LOWER)), height - 1, _SAMPLES).astype(int))
    columns = np.unique(np.linspace(0, width - 1, _SAMPLES).astype(int))
    y, x = (grid.ravel() for grid in np.meshgrid(rows, columns, indexing="ij"))
    if outside is not None:
        kept = ~outside[y, x]
        y, x = y[kept], x[kept]
    if len(x) < 50:
        return None
    values = inv_depth[y, x].astype(np.float64)
    terms = np.stack([(x + 0.5) / width, (y + 0.5) / height, np.ones(len(x))], 1)
    chosen = np.random.default_rng(0).integers(0, len(x), (_TRIES, 3))
    lines = terms[chosen]
    regular = np.abs(np.linalg.det(lines)) > 1e-3
    planes = np.linalg.solve(lines[regular], values[chosen[regular]][..., None])[..., 0]
    planes = planes[planes[:, 1] > 0]
    if not len(planes):
        return None
    agree = (np.abs(terms @ planes.T - values[:, None]) < GOOD).sum(0)
    plane = planes[int(agree.argmax())]
    for _ in range(3):
        near = np.abs(terms @ plane - values) < GOOD
        if near.sum() < 50:
            return None
        plane = np.linalg.lstsq(terms[near], values[near], rcond=None)[0]
    share = float((np.abs(terms @ plane - values) < GOOD).mean())
    if plane[1] <= 0 or share < _SHARE:
        return None
    a, b, c = (float(value) for value in plane)
    return Ground(a, b, c, share)
