"""Where the shots of a source begin: cuts that the job names, or that are looked for."""

from collections.abc import Sequence

import numpy as np

from raydepth.frames.source import Source


def shots_of(
    source: Source, asked: Sequence[float] | str
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Where the second shot of a source and later ones begin.

    Args:
        source: what probe() found.
        asked: ``input.shots``.

    Returns:
        Frame indices in the source, increasing, and what a user should know: seconds at which no
        shot can begin.
    """
    if isinstance(asked, str):
        return (), ()
    begins = np.searchsorted(source.time_s, np.array(asked) - _HALF / source.fps)
    inside = (begins > 0) & (begins < len(source.pts))
    beyond = [f"{seconds:g}" for seconds, there in zip(asked, inside, strict=True) if not there]
    note = f"input.shots: no shot begins at {', '.join(beyond)} s, outside its {len(source.pts)}"
    notes = (f"{note} frames",) if beyond else ()
    return tuple(np.unique(begins[inside]).tolist()), notes


_HALF = 0.5
"""Of a frame: a second written with few digits means the frame whose time is next to it."""
