"""Synthetic worlds with exact depth, layers and the truth of every edit (extra `synth`).

They are rendered by Mitsuba.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raydepth.synth.clip import ClipPaths, write_clip

__all__ = ["ClipPaths", "write_clip"]


def __getattr__(name: str) -> object:
    """Loads `write_clip` and `ClipPaths` on first use, so that importing stays light."""
    if name in __all__:
        from raydepth.synth import clip

        return getattr(clip, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
