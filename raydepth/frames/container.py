"""Opens video files: FFmpeg's reading of a path, and the choice of the video stream."""

import os
import stat

import av
import av.container
from av.codec.context import Flags
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from raydepth.files import storage
from raydepth.files.image_file import MAX_PIXELS
from raydepth.files.ranges import RemoteFile, StorageError
from raydepth.frames.sources import SourceError

REMOTE_BUFFER = 64 << 10
"""Bytes that FFmpeg takes of an object at a time; RemoteFile fetches more at once."""

_REFERRING = frozenset(
    ["concat", "dash", "hls", "image2", "imf", "rtsp", "sap", "sdp", "tty", "webm_dash_manifest"]
)
"""FFmpeg's formats that are lists of other files and addresses, which nobody named, or that take
any text for a picture."""

_OPTIONS = {
    "format_whitelist": ",".join(sorted(av.formats_available - _REFERRING)),
    "protocol_whitelist": "file",
    "max_pixels": str(MAX_PIXELS),
}


def open_container(path: str, file: RemoteFile | None = None) -> av.container.InputContainer:
    """Opens a video file for reading; the caller closes it.

    Args:
        path: local, or a URI.
        file: what a URI is to be read through; None opens the object here.

    Raises:
        SourceError: "Missing", "EmptyFile", "NotAVideo" or "Unreadable", with what to do about it.
    """
    try:
        return _open(path, file)
    except StorageError as error:
        raise SourceError("Unreadable", str(error)) from error


def _open(path: str, file: RemoteFile | None) -> av.container.InputContainer:
    try:
        if storage.is_remote(path):
            file = file or storage.open_remote(path)
            size = file.size
        else:
            state = os.stat(path)
            if not stat.S_ISREG(state.st_mode):  # a pipe would be waited for without end
                raise SourceError(
                    "NotAVideo", f"{path} is no regular file: copy what it gives into one"
                )
            size = state.st_size
        if size == 0:
            raise SourceError("EmptyFile", f"{path} is empty (0 bytes): copy or record it again")
        # absolute, as FFmpeg takes `take1:b.mp4` for a protocol; metadata in another encoding than
        # UTF-8 are no error
        container = av.open(
            file or os.path.abspath(path),
            "r",
            options=_OPTIONS,
            metadata_errors="replace",
            buffer_size=REMOTE_BUFFER,
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SourceError("Missing", f"{path} does not exist") from error
    except av.InvalidDataError as error:
        head = storage.read_bytes(path, 12)
        if head[4:8] in (b"ftyp", b"mdat", b"wide", b"free"):
            raise SourceError(
                "Unreadable",
                f"{path} has no index (moov atom): an mp4/mov whose recording or copying was cut "
                "off; "
                "copy it again, or rebuild it with a tool such as untrunc",
            ) from error
        raise SourceError(
            "NotAVideo", f"{path} is not a video that FFmpeg can read ({error.strerror})"
        ) from error
    except av.ArgumentError as error:
        raise SourceError(
            "NotAVideo",
            f"{path} is a playlist or another text, not a video; name the videos themselves",
        ) from error
    except StorageError:
        raise
    except (av.FFmpegError, OSError) as error:
        raise SourceError(
            "Unreadable",
            f"{path} can't be read: {error.strerror}; if copying it was cut off, copy it again",
        ) from error
    return container


def video_stream(container: av.container.InputContainer, path: str) -> VideoStream:
    """The stream to work on: the largest picture that isn't cover art, the first of equals.

    Raises:
        SourceError: "NoVideoStream" (audio or cover art only), "NoDecoder" or "TooLarge".
    """
    covers = Disposition.attached_pic | Disposition.timed_thumbnails
    streams = [stream for stream in container.streams.video if not stream.disposition & covers]
    if not streams:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "none"
        raise SourceError(
            "NoVideoStream",
            f"{path} has no video stream (streams: {kinds}; cover art doesn't count)",
        )
    decodable = [stream for stream in streams if stream.codec_context is not None]
    if not decodable:
        raise SourceError(
            "NoDecoder",
            f"{path}: this FFmpeg has no decoder for its video stream; convert it to H.264",
        )
    largest = max(decodable, key=lambda stream: (stream.width or 0) * (stream.height or 0))
    if (largest.width or 0) * (largest.height or 0) > MAX_PIXELS:
        size = f"{largest.width}x{largest.height} pixels"
        raise SourceError(
            "TooLarge", f"{path} has {size}; at most {MAX_PIXELS} are read: scale it down first"
        )
    return largest


def number_packet(packet: Packet, number: int) -> None:
    """Numbers a packet; packet_number() of the frame decoded from it gives the number back.

    PyAV finds what `opaque` refers to by the object's address, and forgets it when the first of its
    owners is freed. Python shares small integers, so two files read at a time would lose one
    another's numbers. So each packet gets an object of its own.
    """
    packet.opaque = [number]


def packet_number(numbered: Packet | VideoFrame) -> int | None:
    """The number of a packet of number_packet(), or of the packet a frame was decoded from.

    None where FFmpeg does not say.
    """
    return numbered.opaque[0] if isinstance(numbered.opaque, list) else None


def prepare(container: av.container.InputContainer, stream: VideoStream, threads: int) -> None:
    """Sets a stream up for exact decoding.

    The stream is decoded alone, with so many threads, and frames carry their packet's `opaque`.
    """
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all  # a demuxer then needn't read them where the format allows
    context = stream.codec_context
    context.thread_count = threads
    context.flags |= Flags.copy_opaque
    context.options = {"max_pixels": str(MAX_PIXELS)}
    if context.name == "h264":
        # Streams that don't say how far they reorder: by default FFmpeg guesses, and drops a frame
        # for each wrong guess.
        context.options |= {"strict": "1"}
