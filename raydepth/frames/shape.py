"""From decoded pictures to RGB: rotation, oblong pixels, cropping, and sizes that change."""

from collections.abc import Iterable
from fractions import Fraction
from typing import cast

import numpy as np
from av.sidedata.sidedata import SideData
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

from raydepth.frames.grey import full_range
from raydepth.frames.segments import Segment

UPRIGHT = (1, 0, 0, 1)

MOST_OBLONG = 4
"""Pixels that are more times as long as wide are a mistake of the file, and taken for square."""

SAME_SHAPE = 0.01
"""Relative difference of width by height that is rounding, and no other shape."""


def orientation_of(frame: VideoFrame) -> tuple[int, int, int, int]:
    """Signs of a frame's display matrix, see Source.orientation."""
    side_data = cast(Iterable[SideData], frame.side_data)
    matrices = [bytes(data) for data in side_data if data.type == SideDataType.DISPLAYMATRIX]
    if not matrices:
        return UPRIGHT
    a, b, c, d = np.frombuffer(matrices[0][:36], "=i4")[[0, 1, 3, 4]].astype(float)
    if abs(a * d) >= abs(b * c):  # to the nearest right angle
        return (1 if a >= 0 else -1, 0, 0, 1 if d >= 0 else -1)
    return (0, 1 if b >= 0 else -1, 1 if c >= 0 else -1, 0)


def pixel_aspect_of(coded: Fraction | None, orientation: tuple[int, int, int, int]) -> Fraction:
    """Width by height of a pixel as displayed; 1 where the stream says nothing or nonsense."""
    if not coded or not Fraction(1, MOST_OBLONG) <= coded <= MOST_OBLONG:
        return Fraction(1)
    return coded if orientation[0] else 1 / coded


def to_rgb(
    picture: VideoFrame,
    segment: Segment,
    reformatter: VideoReformatter,
    coded_pixel: Fraction | None = None,
) -> tuple[np.ndarray, str]:
    """Converts a decoded picture to upright RGB, uint8 [height, width, 3], at working size.

    Shrinking averages areas, enlarging is bicubic. The bytes are the same on every processor. A
    picture of another shape than the clip's is fitted into it, with black bars.

    Args:
        picture: as decoded, any pixel format.
        segment: gives working size, cropping, and the clip's own shape.
        reformatter: one for all frames, as setting swscale up costs as much as using it.
        coded_pixel: width by height of the picture's coded pixels, where it is of another size
            than the clip.

    Returns:
        The pixels, and what was done to a picture of another size.

    Raises:
        av.FFmpegError: swscale can't convert these colours (ICtCp, YCgCo).
    """
    orientation = orientation_of(picture)
    left, top, right, bottom = segment.crop
    size = _upright(picture.height - top - bottom, picture.width - left - right, orientation)
    height, width, note = segment.height, segment.width, ""
    if segment.source_size not in (size, (0, 0)):
        size = _upright(picture.height, picture.width, orientation)  # what was cut off is not known
        left = top = right = bottom = 0
        aspect = size[1] * pixel_aspect_of(coded_pixel, orientation) / size[0]
        clip = segment.source_size[1] * segment.pixel_aspect / segment.source_size[0]
        note = f"{size[1]}x{size[0]} pixels in a clip of {segment.source_size[1]}x"
        note += f"{segment.source_size[0]}, scaled"
        if abs(aspect / clip - 1) > SAME_SHAPE:
            note += " and fitted in with black bars"
            height = max(1, min(height, round(height * clip / aspect)))
            width = max(1, min(width, round(width * aspect / clip)))
    if left or top or right or bottom:
        rgb = _scaled(picture, picture.height, picture.width, reformatter)
        rgb = rgb[top : picture.height - bottom, left : picture.width - right]
        picture = VideoFrame.from_ndarray(np.ascontiguousarray(rgb), "rgb24")
    rgb = _scaled(picture, *_upright(height, width, orientation), reformatter)
    a, b, c, d = orientation
    if not a:
        rgb = rgb.transpose(1, 0, 2)
    rgb = np.ascontiguousarray(rgb[:: b + d, :: a + c])
    if (height, width) == (segment.height, segment.width):
        return rgb, note
    whole = np.zeros((segment.height, segment.width, 3), np.uint8)
    y, x = (segment.height - height) // 2, (segment.width - width) // 2
    whole[y : y + height, x : x + width] = rgb
    return whole, note


def _upright(height: int, width: int, orientation: tuple[int, int, int, int]) -> tuple[int, int]:
    """Height and width as displayed of what is coded so, and the other way round."""
    return (height, width) if orientation[0] else (width, height)


def _scaled(
    picture: VideoFrame, height: int, width: int, reformatter: VideoReformatter
) -> np.ndarray:
    """RGB of full range in the orientation as coded, uint8 [height, width, 3]."""
    kernel = Interpolation.AREA if height < picture.height else Interpolation.BICUBIC
    scaled = reformatter.reformat(
        picture,
        width,
        height,
        "rgb24",
        src_colorspace=_matrix(picture),
        dst_color_range="JPEG",
        threads=1,
        interpolation=kernel
        | Interpolation.ACCURATE_RND
        | Interpolation.BITEXACT
        | Interpolation.FULL_CHR_H_INT,
    )
    return full_range(picture, scaled.to_ndarray())


def _matrix(picture: VideoFrame) -> Colorspace | None:
    """The YUV matrix to assume; None: the picture's own.

    It is for pictures whose own (an AVColorSpace) is unknown to swscale.
    """
    unspecified, reserved, bt2020_constant = 2, 3, 10
    if picture.colorspace == bt2020_constant:
        return Colorspace.BT2020
    if picture.colorspace not in (unspecified, reserved):
        return None
    hd = max(picture.height, picture.width) >= 1280 or min(picture.height, picture.width) >= 720
    return Colorspace.ITU709 if hd else Colorspace.ITU601  # swscale would take BT.601 for any size
