"""The camera's motion over a clip, measured once, so that inserted objects do not slide."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

SIZE = 256
"""Short side in pixels at which motion is measured."""
_CELL, _IN_CELL = 32, 4
"""Side in pixels of the cells that corners are taken from, and how many at most from each: no thing
outvotes its area."""
_FEW, _SHARE = 12, 0.2
"""Fewer inliers than this, or a smaller part of the points, are no motion."""
_AWAY = 0.03
"""Frame heights by which the neighbourhood may differ from the whole picture; more is something
that moves by itself."""
_CONSISTENT = 0.3
"""Where this part of the points goes on as in the frame before, to a pixel, that is the camera; the
others move themselves."""
_DEAD = 0.1
"""Pixels of change below which the motion stays as it was: noise of a camera that stands still."""
_KEPT = 0.35
"""The reference frame changes when fewer of its points than this part are found again: errors
accumulate at changes only."""
_WINDOW = 17
"""Side in pixels of the squares that are compared to follow a corner."""
_BACK = 0.7
"""Pixels by which a point may miss its start when it is followed there and back (Kalal et al.
2010)."""
_NEAR_BY = 0.35
"""Radius around the point of interest, in frame heights, whose points say how the scene moves
there."""
_MOVED = 2.0
"""Pixels of camera motion since the reference from which on depths move apart."""
_RESPONSE = 0.15
"""Peak of the phase correlation below which there is no motion to be had from it."""


@dataclass(frozen=True)
class Track:
    """Similarity motion of the picture since the clip's first frame, one row per wanted frame.

    A point (x, y) of the first frame is seen in frame n at (a x - b y + u, b x + a y + v), with
    motion[n] = (a, b, u, v). Points are in frame heights from the upper left corner.
    """

    pts: tuple[int, ...]
    motion: tuple[tuple[float, float, float, float], ...]
    lost: tuple[int, ...]
    """pts of the frames whose motion could not be measured; they have that of the frame before."""

    def matrix(self, pts: int, height: int) -> np.ndarray:
        """float64 [2,3]: pixels of the first frame -> pixels of the frame, both of this height."""
        a, b, u, v = self.motion[bisect_left(self.pts, pts)]
        return np.array([[a, -b, u * height], [b, a, v * height]])

    @staticmethod
    def from_tree(tree: dict[str, Any]) -> "Track":
        """What ``dataclasses.asdict`` and JSON made of a track."""
        motion = tuple((float(a), float(b), float(u), float(v)) for a, b, u, v in tree["motion"])
        if len(motion) != len(tree["pts"]) or not np.isfinite(motion).all():
            raise ValueError("the track is no track")
        return Track(tuple(map(int, tree["pts"])), motion, tuple(map(int, tree["lost"])))


@dataclass(frozen=True)
class View:
    """One frame of the tracking pass.

    It holds pts, grey picture uint8 [h,w] (None: not decoded), the frame's width / height, and
    where things are that move by themselves, bool [h,w] (None: not known).
    """

    pts: int
    grey: np.ndarray | None
    aspect: float
    moving: np.ndarray | None = None


def measure_track(views: Iterable[View], focus: tuple[float, float]) -> Track:
    """Follows corners from a reference frame and fits affine maps by RANSAC.

    Corners are followed by pyramidal Lucas-Kanade, forward and backward. A reference frame is kept
    as long as enough of its corners are seen, so a camera that stands still gathers no error.
    Motion that goes on as before is preferred to a larger group of points that begins to move,
    which is usually a person. With parallax every depth moves differently. So when the camera
    moves, the points around the focus decide, where they agree among themselves and roughly with
    the whole picture. Without corners phase correlation gives a shift. After a cut the track goes
    on from where it was.

    Args:
        views: of a clip's wanted frames in display order, at least one.
        focus: the point that matters, in frame heights from the upper left corner of the first
            frame.
    """
    pts: list[int] = []
    lost: list[int] = []
    motion: list[tuple[float, float, float, float]] = []
    reference: _Reference | None = None
    last = np.eye(3)
    previous: np.ndarray | None = None
    for view in views:
        pts.append(view.pts)
        if view.grey is None:
            lost.append(view.pts)
        else:
            if reference is None:
                reference = _Reference(view, last)
            elif previous is None or view.grey.shape != previous.shape:
                lost.append(view.pts)
                reference = _Reference(view, last)
            else:
                found = reference.follow(view, last, focus)
                shift = None if found is not None else _shift(previous, view)
                if found is not None:
                    last, kept = found
                elif shift is not None:
                    last, kept = shift @ last, 0.0
                else:
                    lost.append(view.pts)
                    kept = 0.0
                if kept < _KEPT:
                    reference = _Reference(view, last)
            previous = view.grey
        motion.append(_upright(last, focus))
    return Track(tuple(pts), tuple(motion), tuple(lost))


def _upright(motion: np.ndarray, focus: tuple[float, float]) -> tuple[float, float, float, float]:
    """The similarity (a, b, u, v) of what stands upright at the focus.

    Roll turns rows and columns of the picture alike, and zoom stretches them alike. Parallax shears
    a floor, but not what stands on it. So only what rows and columns have in common counts.
    """
    x, y = focus
    a = 1 + _common(motion[0, 0] - 1, motion[1, 1] - 1)
    b = _common(motion[1, 0], -motion[0, 1])
    contact = _apply(motion, np.array([focus]))[0]
    return a, b, float(contact[0] - a * x + b * y), float(contact[1] - b * x - a * y)


def _common(one: float, other: float) -> float:
    return float(min(one, other, key=abs)) if one * other > 0 else 0.0


class _Reference:
    """A frame whose corners are looked for in later frames.

    ``motion`` goes from the first frame to this one, in frame heights.
    """

    def __init__(self, view: View, motion: np.ndarray) -> None:
        assert view.grey is not None
        self._grey, self._motion = view.grey, motion
        height, width = view.grey.shape
        self._heights = np.array([view.aspect / width, 1 / height])
        self._points = _corners(view.grey, _still(view))
        if len(self._points) < _FEW:
            self._points = _corners(view.grey)

    def follow(
        self, view: View, last: np.ndarray, focus: tuple[float, float]
    ) -> tuple[np.ndarray, float] | None:
        """Motion float64 [3,3] from the first frame to this one, and the share of points found.

        None where too few are found.
        """
        start, grey = self._points, view.grey
        assert grey is not None
        if len(start) < _FEW:
            return None
        to_last = last @ np.linalg.inv(self._motion)
        guess = (_apply(to_last, start * self._heights) / self._heights).astype(np.float32)
        settings: dict[str, Any] = {
            "winSize": (_WINDOW, _WINDOW),
            "maxLevel": 3,
            "criteria": (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 0.003),
            "flags": cv2.OPTFLOW_USE_INITIAL_FLOW,
        }
        end, seen, _ = cv2.calcOpticalFlowPyrLK(self._grey, grey, start, guess.copy(), **settings)
        back, seen_back, _ = cv2.calcOpticalFlowPyrLK(
            grey, self._grey, end, start.copy(), **settings
        )
        good = (
            (seen[:, 0] == 1) & (seen_back[:, 0] == 1) & (np.abs(back - start).max(axis=1) < _BACK)
        )
        good &= (end >= 0).all(axis=1) & (end < np.array(grey.shape[::-1])).all(axis=1)
        if (still := _still(view)) is not None:
            x, y = np.clip(end, 0, np.array(grey.shape[::-1]) - 1).astype(int).T
            if (free := good & (still[y, x] > 0)).sum() >= _FEW:
                good = free
        a, b = start[good] * self._heights, end[good] * self._heights
        kept, pixel = float(good.mean()), 1 / grey.shape[0]
        consistent = np.hypot(*(b - _apply(to_last, a)).T) < pixel
        if consistent.sum() >= max(_FEW, _CONSISTENT * len(a)):
            motion = _affine(a[consistent], b[consistent], pixel)
        else:
            motion = _affine(a, b, pixel)
        if motion is None:
            return None
        corners = (
            np.array([[x, y] for x in (0, grey.shape[1]) for y in (0, grey.shape[0])])
            * self._heights
        )
        if np.hypot(*(_apply(motion, corners) - corners).T).max() > _MOVED * pixel:
            # A camera that has not moved since the reference has no parallax.
            centre = _apply(self._motion, np.array([focus]))
            close = np.hypot(*(a - centre).T) < _NEAR_BY
            local = _affine(a[close], b[close], pixel, share=0.5)
            if (
                local is not None
                and np.hypot(*(_apply(local, centre) - _apply(motion, centre)).T)[0] < _AWAY
            ):
                motion = local
        if np.hypot(*(_apply(motion, corners) - _apply(to_last, corners)).T).max() < _DEAD * pixel:
            motion = to_last
        return motion @ self._motion, kept


def _still(view: View) -> np.ndarray | None:
    """Where nothing moves by itself, uint8 [h,w], as far off as corners are compared over."""
    if view.moving is None or not view.moving.any():
        return None
    return 1 - cv2.dilate(view.moving.astype(np.uint8), np.ones((_WINDOW, _WINDOW), np.uint8))


def _corners(grey: np.ndarray, still: np.ndarray | None = None) -> np.ndarray:
    """The best corners of every cell of a frame, float32 [P,2], where a mask uint8 [h,w] is set."""
    found = cv2.goodFeaturesToTrack(grey, 4000, 0.005, 5, mask=still)
    if found is None:
        return np.zeros((0, 2), np.float32)
    cells = (found[:, 0] // _CELL).astype(int)
    taken: dict[tuple[int, int], int] = {}
    kept = []
    for point, (x, y) in zip(found[:, 0], cells.tolist(), strict=True):  # best first
        taken[x, y] = taken.get((x, y), 0) + 1
        if taken[x, y] <= _IN_CELL:
            kept.append(point)
    return np.array(kept, np.float32)


def _affine(
    a: np.ndarray, b: np.ndarray, tolerance: float, share: float = _SHARE
) -> np.ndarray | None:
    """The affine map float64 [3,3] that takes most points a to b, float [P,2].

    None where too few agree.
    """
    if len(a) < _FEW:
        return None
    matrix, inlier = cv2.estimateAffine2D(
        a.astype(np.float64),
        b.astype(np.float64),
        ransacReprojThreshold=tolerance,
        confidence=0.999,
    )
    if matrix is None or inlier.sum() < max(_FEW, share * len(a)):
        return None
    return np.vstack([matrix, [0, 0, 1]])


def _shift(previous: np.ndarray, view: View) -> np.ndarray | None:
    """The shift between two frames by phase correlation, float64 [3,3] in frame heights.

    None where there is no clear peak.
    """
    assert view.grey is not None
    height, width = view.grey.shape
    window = cv2.createHanningWindow((width, height), cv2.CV_64F)
    (x, y), response = cv2.phaseCorrelate(
        previous.astype(np.float64), view.grey.astype(np.float64), window
    )
    if not response > _RESPONSE:
        return None
    return np.array([[1, 0, x * view.aspect / width], [0, 1, y / height], [0, 0, 1]])


def _apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:2, :2].T + matrix[:2, 2]
