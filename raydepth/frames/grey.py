"""Grey video of limited range, whose range FFmpeg's conversion to RGB passes over."""

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange

_BLACK, _WHITE = 16, 235
_STRETCH = np.clip(np.rint((np.arange(256.0) - _BLACK) * 255 / (_WHITE - _BLACK)), 0, 255)
_STRETCH = _STRETCH.astype(np.uint8)


def full_range(picture: VideoFrame, rgb: np.ndarray) -> np.ndarray:
    """RGB of full range, uint8, of what swscale made of a picture.

    swscale takes all grey formats for full range. Where the stream says that it is limited, black
    16 becomes 0 and white 235 becomes 255; a stream that says nothing keeps its values.
    """
    name = picture.format.name
    grey = name.startswith(("gray", "ya")) and not name.startswith(("grayf", "yaf"))
    return _STRETCH[rgb] if grey and picture.color_range == ColorRange.MPEG else rgb
