"""Tileable surface textures for the synthetic worlds: painted patterns and photographs."""

from __future__ import annotations

import functools
import math
from typing import Literal

import cv2
import numpy as np

SIZE = 256
"""Texels along one side of a tile."""

Kind = Literal["noise", "stripes", "checker", "wood", "tiles", "speckle", "leaves", "photo"]

VARIANTS: dict[Kind, int] = {
    "noise": 8,
    "stripes": 6,
    "checker": 3,
    "wood": 4,
    "tiles": 4,
    "speckle": 3,
    "leaves": 16,
    "photo": 24,
}
"""Number of different tiles of every kind."""

_PHOTOS = ("astronaut", "brick", "camera", "cat", "coffee", "grass", "gravel", "rocket")


@functools.lru_cache(maxsize=96)
def texture(kind: Kind, variant: int) -> np.ndarray:
    """Returns one tile, the same for ever for the same arguments.

    Args:
        kind: The family of patterns. `photo` reads the photographs inside the scikit-image wheel.
        variant: Which tile of the family, 0 <= variant < VARIANTS[kind].

    Returns:
        float32 [SIZE, SIZE, C] in 0..1 (sRGB where C is 3), read-only; C is 1 for patterns that a
        material colours with its two colours, and 3 for `leaves` and `photo`, which bring their
        own.

    Raises:
        ValueError: The variant does not exist.
        ImportError: `photo` without scikit-image.
    """
    if not 0 <= variant < VARIANTS[kind]:
        raise ValueError(f"texture {kind!r} has variants 0..{VARIANTS[kind] - 1}, got {variant}")
    rng = np.random.default_rng([list(VARIANTS).index(kind), variant])
    painters = {
        "noise": _noise,
        "stripes": _stripes,
        "checker": _checker,
        "wood": _wood,
        "tiles": _tiles,
        "speckle": _speckle,
        "leaves": _leaves,
        "photo": _photo,
    }
    tile = painters[kind](rng, variant)
    picture = np.ascontiguousarray(
        tile[..., None] if tile.ndim == 2 else tile.transpose(1, 2, 0), np.float32
    )
    picture = picture.clip(0, 1)
    picture.flags.writeable = False
    return picture


def _grid() -> tuple[np.ndarray, np.ndarray]:
    ticks = np.arange(SIZE) / SIZE
    return np.meshgrid(ticks, ticks)


def _fractal(
    rng: np.random.Generator, slope: float, stretch: float = 1.0, lowest: float = 1.0
) -> np.ndarray:
    """Periodic Gaussian noise with amplitude 1 / f**slope, stretched along u.

    It has zero mean and unit variance.
    """
    fu = np.fft.rfftfreq(SIZE)[None] * SIZE * stretch
    fv = np.fft.fftfreq(SIZE)[:, None] * SIZE
    frequency = np.hypot(fu, fv)
    amplitude = np.where(frequency >= lowest, np.maximum(frequency, 1.0) ** -slope, 0.0)
    field = np.fft.irfft2(
        amplitude * np.fft.rfft2(rng.standard_normal((SIZE, SIZE))), s=(SIZE, SIZE)
    )
    return (field - field.mean()) / field.std()


def _squash(field: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.tanh(field * 0.8)


def _noise(rng: np.random.Generator, variant: int) -> np.ndarray:
    return _squash(
        _fractal(rng, (1.3, 1.6, 1.9, 2.3)[variant % 4], lowest=(1.0, 4.0)[variant // 4])
    )


def _stripes(rng: np.random.Generator, variant: int) -> np.ndarray:
    u, _ = _grid()
    count = (3, 4, 6, 8, 10, 14)[variant]
    wobble = _fractal(rng, 2.6) * (0.0, 0.02)[variant % 2]
    grain = 0.05 * _fractal(rng, 1.3)
    return 0.5 + 0.42 * np.tanh(2.2 * np.sin(2 * np.pi * (u * count + wobble * count))) + grain


def _checker(rng: np.random.Generator, variant: int) -> np.ndarray:
    u, v = _grid()
    count = (2, 3, 4)[variant]
    board = np.tanh(9 * np.sin(2 * np.pi * u * count)) * np.tanh(9 * np.sin(2 * np.pi * v * count))
    return 0.5 + 0.3 * board + 0.06 * _fractal(rng, 1.5)


def _wood(rng: np.random.Generator, variant: int) -> np.ndarray:
    _, v = _grid()
    planks = (3, 4, 5, 6)[variant]
    which = np.floor(v * planks).astype(int)
    tone = rng.uniform(-0.22, 0.22, planks)[which]
    shifted = np.take_along_axis(
        _fractal(rng, 1.1, stretch=9.0),
        (np.arange(SIZE)[None] + rng.integers(0, SIZE, planks)[which]) % SIZE,
        axis=1,
    )
    seam = np.exp(-((np.abs((v * planks) % 1.0 - 0.5) - 0.5) ** 2) / 0.0006)
    return 0.52 + tone + 0.13 * shifted - 0.4 * seam


def _tiles(rng: np.random.Generator, variant: int) -> np.ndarray:
    u, v = _grid()
    columns, rows, offset = ((4, 4, 0.0), (3, 6, 0.5), (2, 2, 0.0), (4, 8, 0.5))[variant]
    row = np.floor(v * rows)
    across = u * columns + offset * (row % 2)
    tone = rng.uniform(-0.12, 0.12, (rows, columns))[
        row.astype(int), np.floor(across).astype(int) % columns
    ]
    edge = np.minimum(
        0.5 - np.abs(across % 1.0 - 0.5), (0.5 - np.abs((v * rows) % 1.0 - 0.5)) * columns / rows
    )
    joint = np.exp(-(edge**2) / 0.0012)
    return 0.6 + tone + 0.07 * _fractal(rng, 1.4) - 0.4 * joint


def _speckle(rng: np.random.Generator, variant: int) -> np.ndarray:
    chips = np.tanh(5 * (_fractal(rng, (0.9, 1.1, 1.3)[variant], lowest=10.0) - 1.2))
    return 0.5 + 0.25 * chips + 0.08 * _fractal(rng, 1.8)


def _leaves(rng: np.random.Generator, variant: int) -> np.ndarray:
    """Dead leaves: opaque shapes with sizes drawn from 1 / r**3 hide one another.

    Lee, Mumford and Huang 2001.
    """
    base = rng.uniform(0.25, 0.7, 3)
    spread = rng.uniform(0.05, 0.2)
    picture = np.broadcast_to(base, (SIZE, SIZE, 3)).copy()
    smallest, largest = (0.012, 0.03, 0.05, 0.08)[variant % 4], 0.3
    for _ in range(500):
        radius = (smallest**-2 - rng.uniform() * (smallest**-2 - largest**-2)) ** -0.5
        reach = math.ceil(1.5 * radius * SIZE)
        ticks = np.arange(-reach, reach + 1)
        row, column = rng.integers(0, SIZE, 2)
        where = np.ix_((row + ticks) % SIZE, (column + ticks) % SIZE)
        du, dv = np.meshgrid(ticks / SIZE, ticks / SIZE)
        angle, aspect = rng.uniform(0, math.pi), rng.uniform(0.4, 1.0)
        a = np.cos(angle) * du + np.sin(angle) * dv
        b = (np.cos(angle) * dv - np.sin(angle) * du) / aspect
        distance = np.hypot(a, b) if rng.uniform() < 0.6 else np.maximum(np.abs(a), np.abs(b))
        colour = base + spread * rng.standard_normal(3) * 0.5 + spread * rng.standard_normal() * 0.9
        shade = colour * (1 + rng.uniform(-0.3, 0.3) * (a / radius).clip(-1, 1))[..., None]
        picture[where] = np.where((distance < radius)[..., None], shade, picture[where])
    return picture.transpose(2, 0, 1).clip(0.02, 0.98)


def _photo(rng: np.random.Generator, variant: int) -> np.ndarray:
    """A mirrored square crop of a photograph out of the scikit-image wheel."""
    picture = photograph(variant % len(_PHOTOS))
    side = int(rng.integers(128, min(picture.shape[1:]) // 2 + 129))
    side = min(side, *picture.shape[1:])
    top = int(rng.integers(0, picture.shape[1] - side + 1))
    left = int(rng.integers(0, picture.shape[2] - side + 1))
    crop = picture[:, top : top + side, left : left + side].transpose(1, 2, 0)
    half = cv2.resize(crop, (SIZE // 2, SIZE // 2), interpolation=cv2.INTER_AREA).transpose(2, 0, 1)
    wide = np.concatenate([half, half[:, :, ::-1]], axis=2)
    return np.concatenate([wide, wide[:, ::-1]], axis=1)


@functools.cache
def photograph(index: int) -> np.ndarray:
    """One photograph from the scikit-image wheel (public domain or CC0), float32 [3, H, W] in 0..1.

    Raises:
        ImportError: scikit-image is not installed.
        IndexError: There is no such photograph.
    """
    from skimage import data

    picture = getattr(data, _PHOTOS[index])().astype(np.float32) / 255
    return (
        np.repeat(picture[None], 3, axis=0)
        if picture.ndim == 2
        else picture.transpose(2, 0, 1).copy()
    )


PHOTOGRAPHS = len(_PHOTOS)
"""Number of photographs that `photograph` knows."""
