"""The small models that ship with the package.

They load through the same classes as models of the hub.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def path(name: Literal["depth", "diffusion", "inpaint"]) -> Path:
    """Returns the folder of a built-in model, to be given to `from_pretrained`.

    Args:
        name: `depth` (transformers, relative disparity), `diffusion` or `inpaint` (diffusers:
            unet/, vae/, scheduler/).

    Raises:
        ValueError: There is no such model.
    """
    if name not in ("depth", "diffusion", "inpaint"):
        raise ValueError(f"built-in models are 'depth', 'diffusion' and 'inpaint', got {name!r}")
    return Path(__file__).parent / name
