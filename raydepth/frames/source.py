"""What the probe of a source found: all that cutting it into segments and decoding it needs."""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Source:
    """One video or folder of images and its n frames in display order.

    Attributes:
        path: where it was read from.
        video: 16 hex digits from the content; a renamed source keeps them, a changed one doesn't.
        kind: "video" or "images".
        width, height: pixels as displayed, after rotation; of the first image for images.
        orientation: signs (a, b, c, d) of the display matrix: a coded pixel at (x, y), seen from
            the picture's centre, is displayed at (a x + c y, b x + d y), y downwards. (1, 0, 0, 1)
            is upright.
        time_base: seconds per unit of pts.
        pts: int64 [n], strictly increasing.
        keyframe: bool [n], where decoding can start.
        fps: average frames per second.
        stream: index of the video stream in its container.
        seekable: decoding may start at keyframes; otherwise the source is one segment, read from
            its beginning.
        packets: int64 [n], each frame's packet counted from the start of the file; None unless the
            plan is sequential.
        images: the n files of a folder of images.
        sizes: int64 [n, 2], height and width of every image as displayed.
        note: why frames that the file announces are missing; empty otherwise.
        remarks: what a user should know of how it is read: what is ignored, mended or changed.
        pixel_aspect: width by height of a pixel as displayed, after rotation; 1 is square.
        crop: pixels (left, top, right, bottom) that the container cuts off the coded picture.
    """

    path: str
    video: str
    kind: Literal["video", "images"]
    width: int
    height: int
    orientation: tuple[int, int, int, int]
    time_base: Fraction
    pts: np.ndarray
    keyframe: np.ndarray
    fps: float
    stream: int = 0
    seekable: bool = True
    packets: np.ndarray | None = None
    images: tuple[str, ...] = ()
    sizes: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    note: str = ""
    remarks: tuple[str, ...] = ()
    pixel_aspect: Fraction = Fraction(1)
    crop: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def rotation(self) -> int:
        """Counter-clockwise degrees (0, 90, 180, 270) of the display matrix, without mirroring."""
        a, b, _, _ = self.orientation
        return {(1, 0): 0, (0, -1): 90, (-1, 0): 180, (0, 1): 270}[(a, b)]

    @property
    def time_s(self) -> np.ndarray:
        """Seconds after the first frame, float64 [n].

        Recordings from a running clock (.ts, .mpg) start at 0 as well.
        """
        return (self.pts - self.pts[0]) * float(self.time_base)
