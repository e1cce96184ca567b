"""Follows things with a segmenter of single pictures: it is asked at every n-th frame, and optical
flow (DIS, Kroeger et al. 2016) carries masks between. Several things share flow and call.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from raydepth.layers.things.comeback import Vacancy, newcomer
from raydepth.layers.things.look import Look, expect, is_alike, remember
from raydepth.layers.things.place import measure_depth
from raydepth.layers.things.prompts import carried_prompts
from raydepth.layers.things.protocol import Picture, Prompt, Segmenter
from raydepth.layers.things.rows import (
    LEAST,
    SLIVER,
    Click,
    Keep,
    Rows,
    View,
    overlap,
    touches_border,
)
from raydepth.layers.things.stage import HIDDEN, LOST, SEEN

AGREES = 0.6
"""IoU of a new mask with the carried one from which on it is taken."""
_PATIENCE = 3
"""Frames in a row in which the segmenter may disagree before the thing is lost."""
_LEAVING = 0.03
"""Of its usual area: a thing at the picture's border with less of it in the picture has left."""
_CLIFF = 1.5
"""Change of the carried area from frame to frame that makes the segmenter be asked at once."""
_EMPTY_AFTER = 3
"""Frames after a thing has left, the picture counts as the place without it."""
_KEPT = 32
"""Frames that are kept, in which a thing that has come back is followed back to the border."""
_BRIDGED = 12
"""Frames up to which a broken track is mended from where the thing is found again."""
_MEETS = 0.5
"""IoU with the last mask before the break that the mended track must end with."""


@dataclass
class _Followed:
    """A thing on its way through the frames."""

    name: str
    column: int
    mask: np.ndarray | None = None
    """float32 [H,W], where it is thought to be; None: hidden or lost."""
    state: str = SEEN
    area: float = 0.0
    """Pixels that it usually has."""
    before: float = 0.0
    """Pixels that it had in the frame before."""
    doubted: list[int] = field(default_factory=list)
    """Rows since which the segmenter has disagreed."""
    at_border: bool = False
    look: Look | None = None
    gone: str = ""
    """Found again a frame ago, which the next has to confirm; what was said of it before."""
    urgent: bool = False
    """To be asked for in this frame."""
    sure: np.ndarray | None = None
    """bool [H,W], the last mask that was found and not doubted."""
    hidden_for: int = 0
    """Frames since it has left."""
    vacancy: Vacancy | None = None
    """The place without it, while it is hidden."""
    back: tuple[int, np.ndarray, str] | None = None
    """Row and mask bool [H,W] where it was found again, and what was said of it before, until that
    is confirmed."""


class FlowPass:
    """One way through a shot, forward or backward; called with one view after another."""

    def __init__(
        self,
        segmenter: Segmenter,
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
        self._things: dict[str, _Followed] = {}
        self._grey: np.ndarray | None = None
        self._kept: deque[tuple[int, np.ndarray]] = deque(maxlen=_KEPT)
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def __call__(self, view: View) -> None:
        """Goes on to the next frame."""
        picture, row = view.picture, view.row
        if picture is None:
            for thing in self._things.values():
                self._rows.state[row, thing.column] = HIDDEN
            return
        self._carry(picture.rgb)
        self._kept.append((row, np.asarray(self._grey)))
        clicked = self._clicks.get(row, ())
        self._join(picture, row, clicked)
        here = {click.name for click in clicked}
        others = [thing for name, thing in self._things.items() if name not in here]
        self._ask(picture, row, [t for t in others if self._is_due(t, row)])
        for thing in others:
            self._note(row, thing)
            self._wait(picture.rgb, thing)
        if row % self._segmenter.every == 0 or clicked:
            self._measure(picture, row)

    def end(self) -> None:
        """Settles what is still in doubt when the frames are over: nothing confirmed it."""
        for thing in self._things.values():
            for row in thing.doubted:
                self._rows.state[row, thing.column] = LOST

    def _carry(self, rgb: np.ndarray) -> None:
        grey, before = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), self._grey
        self._grey = grey
        moving = [thing for thing in self._things.values() if thing.mask is not None]
        if before is None or not moving:
            return
        flow = self._dis.calc(grey, before, None)
        for thing in moving:
            thing.mask = _moved(np.asarray(thing.mask), flow)

    def _join(self, picture: Picture, row: int, clicks: Sequence[Click]) -> None:
        """Begins with what is clicked in this frame."""
        if not clicks:
            return
        found = self._segmenter(picture, [click.prompt for click in clicks])
        for click, one in zip(clicks, found, strict=True):
            column = self._column[click.name]
            thing = self._things[click.name] = _Followed(click.name, column)
            self._settle(thing, one.mask, picture.rgb)
            if one.mask.sum() < LEAST:
                thing.mask, thing.state = None, LOST
            if not self._again:
                self._rows.state[row, column] = thing.state
                self._rows.iou[row, column] = np.nan
                if thing.state == SEEN:
                    self._keep(row, click.name, one.mask)

    def _is_due(self, thing: _Followed, row: int) -> bool:
        if thing.mask is not None:
            area = float((thing.mask > 0.5).sum())
            jump = max(area, 1) / max(thing.before, 1)
            thing.urgent = thing.urgent or not 1 / _CLIFF <= jump <= _CLIFF
            thing.before = area
        return thing.urgent or row % self._segmenter.every == 0

    def _ask(self, picture: Picture, row: int, things: Sequence[_Followed]) -> None:
        """Asks the segmenter for these things, with other prompts where it disagrees at first."""
        expected: dict[str, np.ndarray] = {}
        for thing in things:
            thing.urgent = False
            if thing.mask is not None:
                mask = thing.mask > 0.5
                if mask.sum() >= LEAST and not self._left(thing, mask):
                    expected[thing.name] = mask
            elif thing.look is not None and row % self._segmenter.every == 0:
                mask_again = expect(thing.look, picture.rgb)
                if mask_again is None and thing.vacancy is not None:
                    others = self._others(thing)
                    mask_again = newcomer(
                        thing.vacancy, picture.rgb, others, thing.look, thing.area
                    )
                if mask_again is not None and mask_again.sum() >= LEAST:
                    expected[thing.name] = mask_again
        asked = [thing for thing in things if thing.name in expected]
        prompts = {t.name: carried_prompts(expected[t.name]) for t in asked}
        best = self._best(picture, {name: these[:1] for name, these in prompts.items()}, expected)
        again = {name: prompts[name][1:] for name in prompts if best[name][1] < AGREES}
        for name, answer in self._best(picture, again, expected).items():
            best[name] = max(best[name], answer, key=lambda one: one[1])
        for thing in asked:
            self._take(picture, row, thing, *best[thing.name])

    def _best(
        self,
        picture: Picture,
        prompts: Mapping[str, Sequence[Prompt]],
        expected: Mapping[str, np.ndarray],
    ) -> dict[str, tuple[np.ndarray, float]]:
        """By thing, the mask that agrees best with the expected one, and its IoU."""
        flat = [(name, prompt) for name, these in prompts.items() for prompt in these]
        if not flat:
            return {}
        answers: dict[str, tuple[np.ndarray, float]] = {}
        found = self._segmenter(picture, [prompt for _, prompt in flat])
        for (name, _), one in zip(flat, found, strict=True):
            answer = one.mask, overlap(one.mask, expected[name])
            if name not in answers or answer[1] > answers[name][1]:
                answers[name] = answer
        return answers

    def _take(
        self, picture: Picture, row: int, thing: _Followed, mask: np.ndarray, iou: float
    ) -> None:
        """Takes a new mask or doubts it."""
        self._rows.iou[row, thing.column] = iou
        again = thing.mask is None
        if iou >= AGREES and mask.sum() >= LEAST:
            if again and not (thing.look and is_alike(thing.look, picture.rgb, mask)):
                return
            before = thing.state
            thing.gone, thing.urgent = before if again else "", again
            thing.doubted, thing.state = [row] if again else [], SEEN
            if again:
                thing.back = row, mask, before
            elif thing.back is not None:
                self._fill_back(thing, *thing.back)
                thing.back = None
            self._settle(thing, mask, picture.rgb, sure=not again)
        elif again:
            return
        elif thing.gone:
            self._lose(thing, thing.gone)
        elif thing.at_border and thing.before < SLIVER * thing.area:
            self._lose(thing, HIDDEN)
        else:
            thing.doubted.append(row)
            thing.urgent = True
            if len(thing.doubted) > _PATIENCE:
                self._lose(thing, LOST)

    def _lose(self, thing: _Followed, state: str) -> None:
        for doubted in thing.doubted:
            self._rows.state[doubted, thing.column] = state
        thing.mask, thing.state, thing.doubted, thing.gone = None, state, [], ""
        thing.hidden_for, thing.back = 0, None

    def _others(self, thing: _Followed) -> np.ndarray:
        """Where other things are, grown a little, bool [H,W]."""
        mask = np.zeros(np.asarray(self._grey).shape, np.uint8)
        for other in self._things.values():
            if other is not thing and other.mask is not None:
                mask |= (other.mask > 0.5).astype(np.uint8)
        return cv2.dilate(mask, np.ones((15, 15), np.uint8)) > 0

    def _wait(self, rgb: np.ndarray, thing: _Followed) -> None:
        """Remembers the place without a thing that has left."""
        if thing.mask is not None or thing.state != HIDDEN:
            return
        thing.hidden_for += 1
        if thing.hidden_for == _EMPTY_AFTER:
            thing.vacancy = Vacancy(rgb, self._others(thing))

    def _fill_back(self, thing: _Followed, row: int, mask: np.ndarray, state: str) -> None:
        """Follows a thing that is found again back to where it came in, or a short way back to
        where its track broke, through the frames kept.
        """
        carried, later = mask.astype(np.float32), None
        found: list[tuple[int, np.ndarray]] = []
        for earlier, grey in reversed(self._kept):
            if later is not None:
                if self._rows.state[earlier, thing.column] != state:
                    break
                carried = _moved(carried, self._dis.calc(grey, later, None))
                # Flow holds a sliver of it at the border: that is not followed on.
                if (carried > 0.5).sum() < max(LEAST, SLIVER * thing.area):
                    break
                found.append((earlier, carried > 0.5))
            if later is not None or earlier == row:
                later = grey
        if state == LOST and not self._meets(thing, found):
            return
        for earlier, there in found:
            self._rows.state[earlier, thing.column] = SEEN
            self._keep(earlier, thing.name, there)

    def _meets(self, thing: _Followed, found: Sequence[tuple[int, np.ndarray]]) -> bool:
        """Whether a track followed backward reaches the one that broke, soon and in its place."""
        if not found or len(found) > _BRIDGED or found[-1][0] == self._kept[0][0]:
            return False
        _, there = found[-1]
        return thing.sure is not None and overlap(there, thing.sure) >= _MEETS

    def _settle(
        self, thing: _Followed, mask: np.ndarray, rgb: np.ndarray, *, sure: bool = True
    ) -> None:
        """A mask that was found becomes the one that is carried on."""
        area = float(mask.sum())
        thing.mask, thing.before = mask.astype(np.float32), area
        thing.area = area if not thing.area else 0.8 * thing.area + 0.2 * max(area, thing.area / 2)
        thing.at_border = touches_border(mask)
        whole = thing.look is None or not thing.at_border or touches_border(thing.look.mask)
        if sure:
            thing.sure = mask
        if sure and whole and area >= LEAST:
            thing.look = remember(rgb, mask)

    def _left(self, thing: _Followed, mask: np.ndarray) -> bool:
        return touches_border(mask) and float(mask.sum()) < _LEAVING * thing.area

    def _note(self, row: int, thing: _Followed) -> None:
        """Writes down what is known of a thing in this frame."""
        if thing.mask is not None:
            mask = thing.mask > 0.5
            border = touches_border(mask)
            if mask.sum() < LEAST or self._left(thing, mask):
                self._lose(thing, HIDDEN if border or thing.at_border else LOST)
            else:
                thing.at_border = border
                self._keep(row, thing.name, mask)
        self._rows.state[row, thing.column] = thing.state

    def _measure(self, picture: Picture, row: int) -> None:
        """Measures the depth of what is seen in this frame."""
        seen = [t for t in self._things.values() if t.mask is not None and not t.doubted]
        if not seen:
            return
        inv_depth = picture.inv_depth()
        for thing in seen:
            mask = np.asarray(thing.mask) > 0.5
            if mask.any():
                self._rows.depth[row, thing.column] = measure_depth(inv_depth, mask)


def _moved(mask: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """A mask float32 [H,W] carried by a flow float32 [H,W,2] from its new frame to its old one."""
    height, width = mask.shape
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32)
    return cv2.remap(mask, grid + flow, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
