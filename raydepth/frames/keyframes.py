"""Decodes keyframes alone: what comes between is not decoded, nor read where FFmpeg can seek."""

from collections.abc import Iterator, Sequence

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from raydepth.frames.container import open_container, prepare
from raydepth.frames.segments import Segment
from raydepth.frames.shape import to_rgb


def decode_keyframes(segment: Segment, rows: Sequence[int]) -> Iterator[np.ndarray | None]:
    """Pictures of keyframes, uint8 [H,W,3] at the segment's size, one for each row.

    Args:
        segment: of a video that may be sought in.
        rows: positions of keyframes in it, increasing.

    None stands for a keyframe that is not found, or gives no picture by itself.

    Raises:
        SourceError: the file can't be opened any more.
    """
    reformatter = VideoReformatter()
    with open_container(segment.path) as container:
        stream = container.streams[segment.stream]
        assert isinstance(stream, VideoStream)
        prepare(container, stream, 1)
        for row in rows:
            picture = _at(container, stream, int(segment.pts[row]))
            aspect = stream.codec_context.sample_aspect_ratio
            try:
                yield None if picture is None else to_rgb(picture, segment, reformatter, aspect)[0]
            except av.FFmpegError:
                yield None


def _at(container: av.container.InputContainer, stream: VideoStream, pts: int) -> VideoFrame | None:
    context = stream.codec_context
    try:
        container.seek(pts, stream=stream)
        for packet in container.demux(stream):
            if packet.size and packet.is_keyframe:
                if packet.pts != pts:
                    return None
                context.flush_buffers()
                pictures = [*context.decode(packet), *context.decode(None)]
                return next((picture for picture in pictures if picture.pts == pts), None)
    except (av.FFmpegError, OSError):
        pass
    return None
