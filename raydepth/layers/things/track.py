"""Follows things through a shot, picture after picture, in bounded memory.

From the frame that was clicked a thing is followed to the shot's end, and then backward to its
beginning. Several things share the decoded pictures.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from raydepth.layers.things.flow_pass import FlowPass
from raydepth.layers.things.memory_pass import MemoryPass
from raydepth.layers.things.protocol import Segmenter, VideoSegmenter
from raydepth.layers.things.rows import Click, Keep, Rows, View


class Shot(Protocol):
    """A shot's frames, decoded as they are asked for."""

    def __len__(self) -> int: ...

    def forward(self, start: int) -> Iterator[View]:
        """Frames from a row on to the end."""
        ...

    def backward(self, start: int) -> Iterator[View]:
        """Frames from a row on to the beginning, in reverse."""
        ...


def track(
    shot: Shot, names: Sequence[str], clicks: Sequence[Click], segmenter: Segmenter, keep: Keep
) -> Rows:
    """Follows things through a shot.

    Args:
        shot: its frames.
        names: of the things.
        clicks: at least one of each thing; where a thing has several, each begins anew there.
        segmenter: finds masks.
        keep: gets every mask of a thing that is seen.

    Returns:
        States, IoUs and depths of all frames.
    """
    rows = Rows.empty(len(shot), len(names))
    if not clicks:
        return rows
    first = {name: min(c.row for c in clicks if c.name == name) for name in names}
    by_row: dict[int, list[Click]] = {}
    for click in clicks:
        by_row.setdefault(click.row, []).append(click)
    starts = {row: [c for c in at if c.row == first[c.name]] for row, at in by_row.items()}
    ahead = _new_pass(segmenter, names, by_row, rows, keep)
    for view in shot.forward(min(by_row)):
        ahead(view)
    ahead.end()
    back = _new_pass(segmenter, names, starts, rows, keep, again=True)
    for view in shot.backward(max(first.values())):
        back(view)
    back.end()
    return rows


def _new_pass(
    segmenter: Segmenter,
    names: Sequence[str],
    clicks: Mapping[int, Sequence[Click]],
    rows: Rows,
    keep: Keep,
    *,
    again: bool = False,
) -> FlowPass | MemoryPass:
    if isinstance(segmenter, VideoSegmenter):
        return MemoryPass(segmenter, names, clicks, rows, keep, again=again)
    return FlowPass(segmenter, names, clicks, rows, keep, again=again)
