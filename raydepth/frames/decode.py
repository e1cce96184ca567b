"""Decodes a segment's wanted frames, each once and in order, into micro-batches.

Frames are matched to the plan by pts (in a sequential plan by packet), never by counting. So a
damaged packet costs only its own frames.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby, islice

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from raydepth.batch import Batch
from raydepth.files.pictures import read_frame
from raydepth.frames.reader import Reader
from raydepth.frames.segments import Segment
from raydepth.frames.shape import to_rgb
from raydepth.frames.sources import SourceError

MIN_JUMP = 32
"""Unwanted frames before a keyframe from which on seeking to it is cheaper than decoding up to
it."""


@dataclass(frozen=True)
class Frame:
    """One wanted frame, or the reason why there is none.

    Attributes:
        frame_index: index in the source, in display order.
        pts: in the source's time base.
        time_s: seconds after the source's first frame.
        rgb: uint8 [H, W, 3], upright and at working size; None where there is an error.
        error_type: empty where ok; "DecodeError", or the SourceError's type where the file can't be
            opened any more.
        error_message: what FFmpeg said.
        image: the file, in a folder of images; empty otherwise.
        note: what a user should know of it, as of a frame that is of another size than the clip;
            empty otherwise.
    """

    frame_index: int
    pts: int
    time_s: float
    rgb: np.ndarray | None
    error_type: str = ""
    error_message: str = ""
    image: str = ""
    note: str = ""


def decode(segment: Segment, *, threads: int = 1) -> Iterator[Frame]:
    """Yields every wanted frame of a segment exactly once, in display order, or as an error.

    Colours are RGB of full range. YUV without a matrix in its metadata counts as BT.709 from 720
    lines or 1280 columns on, as BT.601 below. Grey is of full range unless its stream says that it
    is limited. HDR (PQ, HLG) is converted plainly, without tone mapping, so it looks flat.
    Interlaced frames stay woven. Alpha is dropped. Pixels of working size are square, those of the
    source's size as coded. A frame of another shape than the clip's is fitted into it, with black
    bars.

    Args:
        segment: what to decode; `segment.take` restricts it.
        threads: of FFmpeg's decoder. Several processes with one thread each are faster than one
            with several.

    Bad input raises nothing: what can't be read any more becomes error frames.
    """
    if segment.kind == "images":
        for row, image in enumerate(segment.images):
            try:
                rgb, note = read_frame(image, segment.height, segment.width)
            except OSError as error:
                yield _frame(segment, row, None, "DecodeError", str(error))
            else:
                yield replace(_frame(segment, row, rgb), note=note)
        return
    reader, given = Reader(segment, threads), 0
    try:
        for start, stop in _runs(segment):
            for frame in _read(segment, reader, start, stop, retry=True):
                given += 1
                yield frame
    except SourceError as error:  # gone or broken since it was probed
        for row in range(given, len(segment)):
            yield _frame(segment, row, None, error.error_type, str(error))
    finally:
        reader.close()


def batches(
    segment: Segment, size: int, *, threads: int = 1, lost: tuple[str, str] | None = None
) -> Iterator[Batch]:
    """Decodes a segment into micro-batches of `size` frames; the last one of a shot may be smaller.

    Each comes as soon as it is full, and has frames of one shot.

    Args:
        segment: what to decode.
        size: frames in a batch.
        threads: as in decode().
        lost: a reason not to try: nothing is read, every frame is an error of this type and with
            this message.

    Yields:
        Columns frame_id, video, path, image, frame_index, pts, time_s, shot, rgb, status,
        error_type, error_message, note and seconds_decode (see raydepth/batch.py). Error frames
        have status "error" and rgb zeros.
    """
    if lost is None:
        frames = decode(segment, threads=threads)
    else:
        frames = (_frame(segment, row, None, *lost) for row in range(len(segment)))
    for shot, count in _sizes(segment, size):
        began = time.perf_counter()
        chunk = list(islice(frames, count))
        rgb = np.zeros((len(chunk), segment.height, segment.width, 3), np.uint8)
        for i, frame in enumerate(chunk):
            if frame.rgb is not None:
                rgb[i] = frame.rgb
        yield {
            "frame_id": _text([f"{segment.video}:{frame.pts}" for frame in chunk]),
            "video": _text([segment.video] * len(chunk)),
            "path": _text([segment.path] * len(chunk)),
            "image": _text([frame.image for frame in chunk]),
            "frame_index": np.array([frame.frame_index for frame in chunk], np.int64),
            "pts": np.array([frame.pts for frame in chunk], np.int64),
            "time_s": np.array([frame.time_s for frame in chunk], np.float64),
            "shot": np.full(len(chunk), shot, np.int64),
            "rgb": rgb,
            "status": _text(["ok" if frame.rgb is not None else "error" for frame in chunk]),
            "error_type": _text([frame.error_type for frame in chunk]),
            "error_message": _text([frame.error_message for frame in chunk]),
            "note": _text([frame.note for frame in chunk]),
            "seconds_decode": np.full(
                len(chunk), (time.perf_counter() - began) / len(chunk), np.float32
            ),
        }


def _sizes(segment: Segment, size: int) -> Iterator[tuple[int, int]]:
    """Shot and number of frames of each micro-batch."""
    for shot, start, stop in segment.by_shot():
        for begin in range(start, stop, size):
            yield shot, min(size, stop - begin)


def _text(values: list[str]) -> np.ndarray:
    return np.array(values, object)


def _frame(
    segment: Segment,
    row: int,
    rgb: np.ndarray | None,
    error_type: str = "",
    error_message: str = "",
    note: str = "",
) -> Frame:
    return Frame(
        frame_index=int(segment.frame_index[row]),
        pts=int(segment.pts[row]),
        time_s=float(segment.time_s[row]),
        rgb=rgb,
        error_type=error_type,
        error_message=error_message,
        image=segment.images[row] if segment.images else "",
        note=note,
    )


def _read(
    segment: Segment, reader: Reader, start: int, stop: int, *, retry: bool
) -> Iterator[Frame]:
    """Frames of rows [start, stop), one each.

    With `retry`, rows without a picture are read again from their keyframe.
    """
    reformatter = VideoReformatter()
    next_row = start
    for row, picture in reader.pictures(start, stop):
        if retry and next_row < row:
            yield from _read_again(segment, reader, start, next_row, row)
        else:
            yield from (_lost(segment, lost, reader.reason(lost)) for lost in range(next_row, row))
        next_row = row + 1
        if picture.is_corrupt:
            yield _lost(segment, row, "FFmpeg marks it as damaged")
            continue
        try:
            rgb, note = to_rgb(picture, segment, reformatter, reader.pixel_aspect)
            yield _frame(segment, row, rgb, note=note)
        except av.FFmpegError as error:
            yield _lost(
                segment, row, f"no conversion from {picture.format.name} to RGB: {error.strerror}"
            )
    yield from (_lost(segment, lost, reader.reason(lost)) for lost in range(next_row, stop))


def _read_again(
    segment: Segment, reader: Reader, origin: int, start: int, stop: int
) -> Iterator[Frame]:
    """Frames of rows [start, stop), which a run that began at row `origin` left out.

    Damage confuses a decoder's reordering beyond the next keyframe, so that it drops intact frames.
    Decoded from their own keyframe they come. So a frame doesn't depend on where its segment
    begins.
    """
    keyframes = _keyframes(segment)
    for keyframe, rows in groupby(range(start, stop), key=lambda row: keyframes[row]):
        lost = list(rows)
        if keyframe == keyframes[origin] or all(
            reader.refused(row) for row in lost
        ):  # it would be the same again
            yield from (_lost(segment, row, reader.reason(row)) for row in lost)
            continue
        fresh = Reader(segment, reader.threads)
        try:
            yield from _read(segment, fresh, lost[0], lost[-1] + 1, retry=False)
        finally:
            fresh.close()


def _lost(segment: Segment, row: int, reason: str) -> Frame:
    return _frame(
        segment, row, None, "DecodeError", f"no picture for pts {segment.pts[row]}: {reason}"
    )


def _keyframes(segment: Segment) -> np.ndarray:
    """For each row the position in `seek_pts` of the keyframe that it is decoded from.

    -1 is the start of the file.
    """
    return np.searchsorted(segment.seek_pts, segment.pts, "right") - 1


def _runs(segment: Segment) -> Iterator[tuple[int, int]]:
    """Rows [start, stop) that are decoded in one go; between runs it pays to seek."""
    keyframes = _keyframes(segment)
    start = 0
    for row in range(1, len(segment)):
        point = keyframes[row]
        if (
            point > keyframes[row - 1]
            and segment.seek_index[point] - segment.frame_index[row - 1] > MIN_JUMP
        ):
            yield start, row
            start = row
    if len(segment):
        yield start, len(segment)
