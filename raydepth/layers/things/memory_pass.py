"""Follows things with a model that remembers them from picture to picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from raydepth.layers.things.place import measure_depth
from raydepth.layers.things.protocol import Follower, Picture, VideoSegmenter
from raydepth.layers.things.rows import (
    LEAST,
    SLIVER,
    Click,
    Keep,
    Rows,
    View,
    touches_border,
)
from raydepth.layers.things.stage import HIDDEN, LOST, SEEN


@dataclass
class _Followed:
    """A thing on its way through the frames."""

    name: str
    column: int
    state: str = HIDDEN
    area: float = 0.0
    """Pixels that it usually has."""
    before: float = 0.0
    """Pixels where it was seen last."""
    at_border: bool = False
    elsewhere: bool = False
    """A later click has begun anew."""


class MemoryPass:
    """One way through a shot, forward or backward; called with one view after another.

    What the model finds is taken. A thing of which nothing is found is hidden where it was at the
    picture's border or nearly covered before, else lost, until it is found again.
    """

    def __init__(
        self,
        segmenter: VideoSegmenter,
        names: Sequence[str],
        clicks: Mapping[int, Sequence[Click]],
        rows: Rows,
        keep: Keep,
        *,
        again: bool = False,
    ) -> None:
        """Keeps what it is given; with ``again`` the clicked frames themselves are done already."""
        self._segmenter, self._rows, self._keep = segmenter, rows, keep
        self._column = {name: i for i, name in enumerate(names)}
        self._clicks, self._again = clicks, again
        self._followers: list[tuple[Follower, list[_Followed]]] = []

    def __call__(self, view: View) -> None:
        """Goes on to the next frame."""
        picture, row = view.picture, view.row
        if picture is None:
            for thing in (thing for _, things in self._followers for thing in things):
                self._rows.state[row, thing.column] = HIDDEN
            return
        clicked = self._clicks.get(row, ())
        for thing in (thing for _, things in self._followers for thing in things):
            thing.elsewhere |= thing.name in {click.name for click in clicked}
        seen: dict[int, np.ndarray] = {}
        for follower, things in self._followers:
            for thing, found in zip(things, follower.step(picture), strict=True):
                if not thing.elsewhere and self._note(row, thing, found.mask):
                    seen[thing.column] = found.mask
        if clicked:
            self._begin(picture, row, clicked, seen)
        if seen and (row % self._segmenter.every == 0 or clicked):
            inv_depth = picture.inv_depth()
            for column, mask in seen.items():
                self._rows.depth[row, column] = measure_depth(inv_depth, mask)

    def end(self) -> None:
        """Gives back what the model has kept of the frames."""
        for follower, _ in self._followers:
            follower.stop()

    def _begin(
        self, picture: Picture, row: int, clicks: Sequence[Click], seen: dict[int, np.ndarray]
    ) -> None:
        follower = self._segmenter.start(picture, [click.prompt for click in clicks])
        things = [_Followed(click.name, self._column[click.name]) for click in clicks]
        self._followers.append((follower, things))
        for thing, found in zip(things, follower.found, strict=True):
            if self._note(row, thing, found.mask, keep=not self._again) and not self._again:
                seen[thing.column] = found.mask

    def _note(self, row: int, thing: _Followed, mask: np.ndarray, *, keep: bool = True) -> bool:
        """Writes down one mask; whether the thing is seen."""
        area = float(mask.sum())
        if area >= LEAST:
            thing.area = 0.8 * thing.area + 0.2 * area if thing.area else area
            thing.before, thing.at_border, thing.state = area, touches_border(mask), SEEN
        elif thing.state == SEEN:
            covered = thing.before < SLIVER * thing.area
            thing.state = HIDDEN if thing.at_border or covered else LOST
        if keep:
            self._rows.state[row, thing.column] = thing.state
            if thing.state == SEEN:
                self._keep(row, thing.name, mask)
        return thing.state == SEEN
