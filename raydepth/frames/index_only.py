"""Index-only probing: reads the packets of an mp4 or mov from its index alone.

So probe() does not fetch a video's contents from object storage.
"""

import av.container
from av.video.stream import VideoStream

from raydepth.files.ranges import RemoteFile
from raydepth.frames.packets import indexed_keyframes

HEAD = 4 << 10
"""Bytes of a keyframe's packet in which FFmpeg's parser finds out that it is one."""

_KEYFRAME_BY_CONTENT = frozenset({"h264", "hevc"})
"""Codecs whose packets FFmpeg's mov demuxer looks into, to see whether they are keyframes."""

_KEYFRAME_BY_INDEX = frozenset({"mjpeg", "prores", "mpeg4"})
"""Codecs whose packets it hands on as the index describes them."""


def read_index_only(
    container: av.container.InputContainer, stream: VideoStream, file: RemoteFile
) -> None:
    """Makes later reads give zeros for all packets but the heads of keyframes.

    The demuxer's packets stay the same where one index, which is read already, describes the whole
    file. The index of a fragmented file is spread over it. Other containers keep sizes and time
    stamps with the packets.

    Raises:
        StorageError: the heads can't be read.
    """
    codec = stream.codec_context.codec.canonical_name
    if (
        "mp4" not in container.format.name
        or codec not in _KEYFRAME_BY_CONTENT | _KEYFRAME_BY_INDEX
        or _is_fragmented(file)
    ):
        return
    keyframes = sorted(indexed_keyframes(stream)) if codec in _KEYFRAME_BY_CONTENT else []
    file.keep_only((position, position + HEAD) for position in keyframes)


def _is_fragmented(file: RemoteFile) -> bool:
    """Whether a movie fragment stands among the file's outermost boxes."""
    position = 0
    while position + 16 <= file.size:
        header = file.read_at(position, position + 16)
        size = int.from_bytes(header[:4], "big")
        if header[4:8] in (b"moof", b"sidx"):
            return True
        if size == 1:  # the size did not fit, and follows
            size = int.from_bytes(header[8:], "big")
        if size < 8:  # 0: up to the end of the file
            break
        position += size
    return False
