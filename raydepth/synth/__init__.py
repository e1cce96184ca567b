"""Synthetic worlds with exact depth, layers and the truth of every edit, rendered by Mitsuba (extra
`synth`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raydepth.synth.clip import ClipPaths, write_clip

__all__ = ["ClipPaths", "write_clip"]


def __getattr__(name: str) -> object:
    """Loads `write_clip` and `ClipPaths` when they are first asked for, so that importing the
    package stays light.
    """
    if name in __all__:
        from raydepth.synth import clip

        return getattr(clip, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
