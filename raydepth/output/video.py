"""Edited clips as videos (``output.video``): pictures from shards, times and audio from sources."""

import math
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import groupby

import av
import av.container
import cv2
import numpy as np
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter

from raydepth.files.h264 import SAME_BYTES
from raydepth.files.ranges import reason
from raydepth.frames.segments import Segment
from raydepth.output.clip_videos import (
    VIDEOS,
    ClipVideo,
    clip_videos,
    read_record,
    write_record,
)
from raydepth.output.codecs import decode_rgb
from raydepth.output.folder import OutputFolder
from raydepth.output.plan import Part
from raydepth.output.shards import ClipShards, image_name
from raydepth.output.sound import WAYS, Sound, Way

KEPT_START_S = 10
"""A clip that begins so many seconds after 0, or less, keeps the source's clock."""

_POLL_S = 0.2
_RECORD_EVERY_S = 10


@dataclass(frozen=True)
class Shown:
    """One frame of a clip as the video shows it.

    pts is in the source's time base. rgb is uint8 [H,W,3], None where there is none.
    """

    pts: int
    rgb: np.ndarray | None


def write_videos(
    folder: OutputFolder,
    parts: Sequence[Part],
    names: Mapping[str, str],
    *,
    crf: int,
    into: OutputFolder | None = None,
    workers: int = 1,
    stop: Callable[[], bool] = lambda: False,
) -> Generator[str, None, None]:
    """Writes ``videos/<name>.mp4`` for every clip of a finished run; yields a line on each.

    Videos that are there and as they should be are left. A clip whose video can't be written costs
    that video only. A generator that is closed drops what it is writing.

    Args:
        folder: the output of the run.
        parts: all parts of the job, in order.
        names: what each clip is called, by video id (``output.clip_names``).
        crf: of H.264, 0..51.
        into: where ``videos/`` is made; None: there.
        workers: threads, each of which writes a video at a time.
        stop: asked all the time; once true, what is being written is dropped and nothing is begun.

    Raises:
        OSError: the storage fails where the record of the videos is written.
    """
    target = into or folder
    videos = clip_videos(folder, parts, names, crf=crf, into=target)
    clips = {
        video: list(group) for video, group in groupby(parts, key=lambda part: part.segment.video)
    }
    record = read_record(target)
    todo = [clip for clip in videos if clip.failed or not clip.outcome]
    if left := len(videos) - len(todo):
        yield f"{VIDEOS}: {left} as they should be already"
    stopped = threading.Event()
    kept_at = time.monotonic()
    with ThreadPoolExecutor(max(1, min(workers, len(todo))), "raydepth-video") as pool:
        running: set[Future[ClipVideo]] = set()
        waiting = iter(todo)
        try:
            while not (stop() or stopped.is_set()):
                while len(running) < workers and (clip := next(waiting, None)):
                    work = (folder, target, clip, clips[clip.video], crf, stopped)
                    running.add(pool.submit(_write_clip, *work))
                if not running:
                    return
                for done in wait(running, _POLL_S, FIRST_COMPLETED).done:
                    running.remove(done)
                    made = done.result()
                    record[made.video] = made
                    yield f"{made.file}: {made.outcome}"
                if time.monotonic() - kept_at > _RECORD_EVERY_S:
                    write_record(target, record)
                    kept_at = time.monotonic()
        finally:
            stopped.set()
            if todo:
                write_record(target, record)


class _Stopped(Exception):
    """The video is not wanted any more now."""


def _write_clip(
    folder: OutputFolder,
    target: OutputFolder,
    clip: ClipVideo,
    parts: list[Part],
    crf: int,
    stopped: threading.Event,
) -> ClipVideo:
    """Writes one video; what went wrong is in what it gives back."""

    def frames() -> Iterator[Shown]:
        for shown in shown_frames(folder, parts, clip.name):
            if stopped.is_set():
                raise _Stopped
            yield shown

    done = asdict(clip) | {"failed": False}
    earlier = "; the one there is of an earlier run" if clip.size is not None else ""
    try:
        with target.writing(clip.file) as path:
            outcome = write_video(path, parts, frames, crf=crf)
            size = os.path.getsize(path) if outcome else None
    except _Stopped:
        return ClipVideo(**done | {"made_of": "", "outcome": ""})
    except Exception as error:  # whatever it is, it is this clip's alone
        said = f"not written, {clip.path}: {reason(error) or type(error).__name__}{earlier}"
        return ClipVideo(**done | {"failed": True, "outcome": said})
    if outcome is None:
        said = f"not written, no frame of {clip.path} is done{earlier}"
        return ClipVideo(**done | {"outcome": said})
    return ClipVideo(**done | {"size": size, "outcome": outcome})


def shown_frames(folder: OutputFolder, parts: Sequence[Part], name: str) -> Iterator[Shown]:
    """The edited frames of a clip in order, a shard at a time in memory.

    Frames that are not done come without a picture. ``name`` is what the clip is called.
    """
    shards = ClipShards(folder, parts[0].segment.video)
    for part in parts:
        rows = shards.done(part.name, part.frame_ids, ("frame_index", "edited_png"))
        for frame_id, pts in zip(
            part.frame_ids, part.segment.pts[part.start : part.stop], strict=True
        ):
            data = None
            if row := rows.get(frame_id):
                file = image_name(name, row["frame_index"], "edited")
                data = row.get("edited_png") or folder.read(file)
            yield Shown(int(pts), decode_rgb(data) if data else None)


def write_video(
    path: str, parts: Sequence[Part], frames: Callable[[], Iterator[Shown]], *, crf: int
) -> str | None:
    """Encodes one clip as H.264 (yuv420p, BT.709) with the source's time stamps and audio.

    A frame without a picture shows the one before it; at the beginning, the first that there is.
    Pictures of the source's size keep the shape of its pixels. Odd sizes get their last row or
    column twice, as yuv420p needs even ones. A clip of images of several sizes has the first one's.
    The source's clock is kept where it shows the first frame in its first ten seconds; other clips,
    and jobs that start inside the source (``input.start_s``), have their first frame at time 0.
    Audio is copied or encoded as ``output.sound`` says, and cut to the frames that are there.

    Args:
        path: local file to write.
        parts: of the clip, in order.
        frames: begins to give its frames, in order.
        crf: of H.264.

    Returns:
        What was written, in words; None where no frame has a picture, and the file holds nothing.

    Raises:
        FFmpegError, ValueError: the clip does not fit into an mp4, even without sound.
        OSError: the storage fails.
    """
    failure = ""
    for way in WAYS:
        try:
            outcome = _write(path, parts, frames(), crf, way)
        except Exception as error:  # of another kind for every kind of stream
            storage = isinstance(error, OSError) and not isinstance(error, av.FFmpegError)
            if way == WAYS[-1] or storage or isinstance(error, _Stopped):
                raise
            failure = f"; with its sound it could not be written ({reason(error)})"
        else:
            return outcome and outcome + failure
    raise AssertionError("the last way ends in a value or an error")


def _write(
    path: str, parts: Sequence[Part], frames: Iterator[Shown], crf: int, way: Way
) -> str | None:
    """``write_video`` with the sound in one way."""
    segment = parts[0].segment
    pts = np.concatenate([part.segment.pts[part.start : part.stop] for part in parts])
    first = int(pts[0])
    keeps_clock = not segment.frame_index[0] and 0 <= first * segment.time_base <= KEPT_START_S
    origin = 0 if keeps_clock else first
    gap = int(np.median(np.diff(pts))) if len(pts) > 1 else round(1 / (25 * segment.time_base))
    gap = max(gap, 1)
    end = int(pts[-1]) + gap
    held, written = 0, 0
    waiting: list[int] = []  # pts of first frames that have no picture yet
    last, writer = None, None
    with av.open(path, "w", format="mp4") as output, ExitStack() as stack:
        for shown in frames:
            held += shown.rgb is None
            waiting.append(shown.pts)
            if shown.rgb is not None:
                if writer is None:
                    writer = _Writer(output, shown.rgb.shape, segment, origin, gap, end, crf, way)
                    stack.callback(writer.release)
                last = shown.rgb
            if writer is None or last is None:
                continue
            for time_stamp in waiting:
                writer.show(time_stamp, last)
            written += len(waiting)
            waiting.clear()
        if writer is None:
            return None
        outcome = writer.close()
    note = f", {held} without a result show the frame before" if held else ""
    return f"{written} frames{note}; {outcome}"


class _Writer:
    """An open video file, to which frames and the sound between them are added in order."""

    def __init__(
        self,
        output: av.container.OutputContainer,
        shape: tuple[int, ...],
        segment: Segment,
        origin: int,
        gap: int,
        end: int,
        crf: int,
        way: Way,
    ) -> None:
        self._output, self._time_base, self._origin = output, segment.time_base, origin
        self._size = shape[0] + shape[0] % 2, shape[1] + shape[1] % 2
        self._reformatter = VideoReformatter()
        rate = min(
            max(1 / (gap * segment.time_base), Fraction(1)), Fraction(1000)
        ).limit_denominator(1001)
        self._stream = output.add_stream(
            "libx264", rate=rate, options={"crf": str(crf)} | SAME_BYTES
        )
        self._stream.height, self._stream.width = self._size
        self._stream.pix_fmt = "yuv420p"
        if shape[:2] == segment.source_size:  # work pictures have square pixels
            self._stream.codec_context.sample_aspect_ratio = segment.pixel_aspect
        self._stream.time_base = self._stream.codec_context.time_base = segment.time_base
        context = self._stream.codec_context
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        self._end = end * segment.time_base
        self._sound: Sound | None = None
        if segment.kind == "video":
            start = origin * segment.time_base
            self._sound = Sound(output, segment.path, way, start, self._end)
        # Streams that don't begin at 0 begin at a tick of the whole movie, by default at a
        # millisecond.
        rates = self._sound.rates if self._sound is not None else []
        ticks = math.lcm(segment.time_base.denominator, *rates)
        output.options["movie_timescale"] = str(
            ticks if ticks < 2**31 else segment.time_base.denominator
        )

    def show(self, pts: int, rgb: np.ndarray) -> None:
        """Shows a picture from this time on, in the source's time base."""
        if (rgb.shape[0] + rgb.shape[0] % 2, rgb.shape[1] + rgb.shape[1] % 2) != self._size:
            rgb = cv2.resize(rgb, self._size[::-1], interpolation=cv2.INTER_AREA)
        down, right = self._size[0] - rgb.shape[0], self._size[1] - rgb.shape[1]
        even = cv2.copyMakeBorder(rgb, 0, down, 0, right, cv2.BORDER_REPLICATE)
        frame = self._reformatter.reformat(
            VideoFrame.from_ndarray(even, "rgb24"), format="yuv420p",
            dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG, threads=1,
        )  # fmt: skip
        frame.pts, frame.time_base = pts - self._origin, self._time_base
        frame.pict_type = PictureType.NONE
        if self._sound is not None:
            self._sound.write(pts * self._time_base)
        self._output.mux(self._stream.encode(frame))

    def close(self) -> str:
        """Writes what is left, and says what became of the sound."""
        said = "no audio"
        if self._sound is not None:
            self._sound.write(self._end)
            said = self._sound.close()
        self._output.mux(self._stream.encode(None))
        return said

    def release(self) -> None:
        """Closes the source."""
        if self._sound is not None:
            self._sound.release()
