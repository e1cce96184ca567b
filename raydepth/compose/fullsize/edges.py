"""Edges of things at source size, made from the source's own pixels.

An enlarged alpha has its edge where the working size could see it. Where an edge is a thing's, the
thing's matte is made anew on the full-size frame, and so is the colour of what is mixed there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from raydepth.compose.fullsize.upsample import Enlarged
from raydepth.layers.matting import foreground
from raydepth.layers.things.matte import matte

Banded = Callable[[slice], np.ndarray]
"""From rows of the full-size frame to float32 [rows,W] or [rows,W,3]."""

_BAND = 1 / 64
"""Half the width of the band around a thing's edge, as a part of the frame's short side: mattes are
soft in less."""
_STEP = 0.25
"""Difference of a layer's alpha between the thing's inside and outside from which on the edge is
the layer's too."""
_OFF = 0.04
"""Alpha by which a layer may differ from a mixture of what it is inside and outside of a thing."""
_REACH = 32
"""Pixels around the band that colours are carried from."""

_WHOLE = np.float32(2**16)
"""Alphas are multiples of 1 / this: enlarged ones are whole where they were."""

_Window = tuple[slice, slice]


@dataclass(frozen=True)
class _Part:
    """A window of the full-size frame that is made anew, as far as ``weight`` says."""

    window: _Window
    values: np.ndarray
    """float32 [r,c] or [r,c,3]."""
    weight: np.ndarray
    """float32 [r,c], 0..1."""

    def onto(self, values: np.ndarray, top: int, left: int) -> None:
        """Writes the part into values whose first pixel is at this row and column, in place."""
        spans = []
        for own, first, length in zip(self.window, (top, left), values.shape, strict=False):
            start, stop = max(own.start, first), min(own.stop, first + length)
            if start >= stop:
                return
            spans.append(
                (slice(start - own.start, stop - own.start), slice(start - first, stop - first))
            )
        (rows, to_rows), (columns, to_columns) = spans
        weight, new, old = (
            self.weight[rows, columns],
            self.values[rows, columns],
            values[to_rows, to_columns],
        )
        if new.ndim == 3:
            weight = weight[..., None]
        old += weight * (new - old)


class ThingEdges:
    """The mattes of one frame's things, made at full size where a layer has their edges."""

    def __init__(self, full: np.ndarray, rgb: np.ndarray, alphas: np.ndarray) -> None:
        """Keeps what it is given.

        Args:
            full: uint8 [H,W,3], the frame.
            rgb: uint8 [h,w,3], the frame at working size.
            alphas: float32 [T,h,w], the things' mattes there; zeros where a thing is not.
        """
        self._full, self._rgb = full, rgb
        larger = full.shape[0] > rgb.shape[0] and full.shape[1] > rgb.shape[1]
        self._things = [
            _Thing(full, alpha) for alpha in alphas if larger and alpha.any() and alpha.min() < 1
        ]

    def mask(self, low: np.ndarray, made: Banded, left: int = 0) -> Banded:
        """An enlarged alpha with the things' edges.

        Args:
            low: float32 [h,w], the alpha at working size.
            made: gives it enlarged.
            left: the first column that ``made`` gives.
        """
        return _with_parts(made, self._alphas(low), left)

    def layer(
        self, rgb: np.ndarray, alpha: np.ndarray, mask: Banded, picture: Banded, left: int = 0
    ) -> tuple[Banded, Banded]:
        """A layer's enlarged alpha and colours with the things' edges.

        Colours are made anew where the layer shows the frame without what is behind it
        (``layers.matting.foreground``).

        Args:
            rgb: uint8 [h,w,3], its colours at working size.
            alpha: float32 [h,w], its alpha there.
            mask: gives the alpha enlarged.
            picture: gives the colours enlarged.
            left: the first column that these give.
        """
        if not (parts := self._alphas(alpha)):
            return mask, picture
        colours = []
        mixed = (alpha > 0) & (alpha < 1)
        differs = (rgb != self._rgb).any(axis=-1)
        other = cv2.dilate((differs & ~mixed).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
        kernel = np.ones((3, 3), np.uint8)
        clean = cv2.morphologyEx((differs & mixed).astype(np.uint8), cv2.MORPH_CLOSE, kernel)
        own = (clean * ~other).astype(np.float32)
        if own.any():
            for part in parts:
                weight = _window_of(own, self._full.shape[:2], part.window).clip(0, 1)
                frame = self._full[part.window]
                colour = foreground(frame, part.values).astype(np.float32)
                colours.append(_Part(part.window, colour, weight * (part.weight > 0)))
        return _with_parts(mask, parts, left), _with_parts(picture, colours, left)

    def _alphas(self, low: np.ndarray) -> list[_Part]:
        return [part for thing in self._things if (part := thing.edge_of(low)) is not None]


class _Thing:
    """One thing of a frame; its matte at full size is made when it is first asked for."""

    def __init__(self, full: np.ndarray, alpha: np.ndarray) -> None:
        self._full, self._alpha = full, alpha
        self._matte: np.ndarray | None = None
        hard = (alpha >= 0.5).astype(np.uint8)
        reach = max(round(_BAND * min(alpha.shape)), 3)
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
        self._band = cv2.dilate(hard, kernel) > cv2.erode(hard, kernel)
        self._inside, self._outside = _nearest(alpha >= 1), _nearest(alpha <= 0)

    def edge_of(self, low: np.ndarray) -> _Part | None:
        """The part of a layer's alpha float32 [h,w] whose edge is the thing's; None: there is none.

        Along such an edge the layer's alpha is a mixture of what it is inside and outside of the
        thing, by the thing's share of the pixel.
        """
        if self._inside is None or self._outside is None or not self._band.any():
            return None
        inside, outside = low.flat[self._inside], low.flat[self._outside]
        off = np.abs(self._alpha * inside + (1 - self._alpha) * outside - low) > _OFF
        off = cv2.dilate((off & self._band).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        own = self._band & (np.abs(inside - outside) > _STEP) & ~off
        if not own.any():
            return None
        size = self._full.shape[:2]
        window = _around(own, size)
        if self._matte is None:
            self._matte = matte(self._full, self._alpha)
        share = self._matte[window]
        one, other, weight = (
            _window_of(values.astype(np.float32), size, window).clip(0, 1)
            for values in (inside, outside, own)
        )
        mixed = share * one + (1 - share) * other
        return _Part(window, np.rint(mixed * _WHOLE) / _WHOLE, weight)


def _with_parts(made: Banded, parts: Sequence[_Part], left: int) -> Banded:
    if not parts:
        return made

    def banded(rows: slice) -> np.ndarray:
        values = made(rows)
        for part in parts:
            part.onto(values, rows.start, left)
        return values

    return banded


def _nearest(known: np.ndarray) -> np.ndarray | None:
    """The flat index of the known pixel next to each, int64 [h,w]; None where none is known."""
    if not known.any():
        return None
    _, labels = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    index = np.zeros(labels.max() + 1, np.int64)
    index[labels[known]] = np.flatnonzero(known)
    return index[labels]


def _around(own: np.ndarray, size: tuple[int, int]) -> _Window:
    """The window of a frame of this size around what is true in a smaller mask bool [h,w]."""
    spans = []
    for axis, side in enumerate(size):
        there, scale = np.flatnonzero(own.any(axis=1 - axis)), side / own.shape[axis]
        start = max(int((there[0] - 2) * scale) - _REACH, 0)
        spans.append(slice(start, min(int((there[-1] + 3) * scale) + _REACH, side)))
    return spans[0], spans[1]


def _window_of(low: np.ndarray, size: tuple[int, int], window: _Window) -> np.ndarray:
    """A window of an array float32 [h,w] that is enlarged to a size."""
    return Enlarged(low, size, window[1])[window[0]]
