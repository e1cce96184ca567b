"""The small models that ship with the package; they load through the classes that load the hub's models."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def path(name: Literal["depth", "diffusion"]) -> Path:
    """Returns the folder of a built-in model, to be given to `from_pretrained`.

    Args:
        name: `depth` (transformers, relative disparity) or `diffusion` (diffusers: unet/, vae/, scheduler/).

    Raises:
        ValueError: There is no such model.
    """
    if name not in ("depth", "diffusion"):
        raise ValueError(f"built-in models are 'depth' and 'diffusion', got {name!r}")
    return Path(__file__).parent / name
