"""Colours and materials of the random worlds."""

from __future__ import annotations

import colorsys
import math
from typing import Literal

import numpy as np

from raydepth.synth.scene import Material, Vector
from raydepth.synth.textures import VARIANTS, Kind

Style = Literal["calm", "wide"]
"""`calm` for pleasant pictures, `wide` for training."""

_PALETTES = (
    ("#e8dccb", "#b08968", "#7f5539", "#52796f", "#d4a373"),
    ("#f1ede4", "#8fa3ad", "#4a6670", "#c97b5a", "#e0b589"),
    ("#ece5dd", "#a3b18a", "#588157", "#bc6c25", "#dda15e"),
    ("#e9e4ee", "#9a8c98", "#4a4e69", "#c9ada7", "#8d6a9f"),
    ("#f0efeb", "#457b9d", "#1d3557", "#d66853", "#e9c46a"),
    ("#dfe3e6", "#6c757d", "#495057", "#b56576", "#e5989b"),
    ("#efe6d5", "#84a59d", "#f28482", "#5f6f65", "#f6bd60"),
    ("#e6e1d8", "#6b705c", "#a5a58d", "#cb997e", "#3d5a80"),
)


def _linear(text: str) -> Vector:
    red, green, blue = (int(text[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red**2.2, green**2.2, blue**2.2


def _scaled(colour: Vector, factor: float) -> Vector:
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


def random_colours(rng: np.random.Generator, style: Style) -> list[Vector]:
    """Draws five linear RGB colours that go together; the first is the palest."""
    if style == "calm" or rng.uniform() < 0.4:
        return [_linear(text) for text in _PALETTES[int(rng.integers(len(_PALETTES)))]]
    return [
        colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.0, 0.75) ** 1.3, rng.uniform(0.1, 0.9))
        for _ in range(5)
    ]


def random_material(
    rng: np.random.Generator,
    style: Style,
    colour: Vector,
    kinds: tuple[Kind, ...],
    tiles: float,
    quiet: bool = False,
) -> Material:
    """Draws a random material.

    Args:
        rng: Source of chance.
        style: How far contrast and scale may go.
        colour: Linear RGB that its two colours are shades of.
        kinds: Families of textures to choose from.
        tiles: Tiles a metre, about.
        quiet: Little contrast, for large surfaces.
    """
    kind = kinds[int(rng.integers(len(kinds)))]
    if style == "calm":
        contrast = rng.uniform(0.72, 0.92) if quiet else rng.uniform(0.45, 0.85)
    else:
        contrast = rng.uniform(0.15, 0.9)
        tiles *= math.exp(rng.uniform(-0.8, 0.8))
    dark, light = _scaled(colour, contrast), _scaled(colour, 1.08)
    if kind in ("leaves", "photo"):
        light = (
            (1.0, 1.0, 1.0)
            if rng.uniform() < 0.6
            else _scaled(colour, 1.0 / max(max(colour), 0.05))
        )
    return Material(
        kind,
        int(rng.integers(VARIANTS[kind])),
        dark,
        light,
        tiles,
        (float(rng.uniform()), float(rng.uniform())),
        float(rng.choice([0.0, 0.0, 0.5, 0.65])),
    )
