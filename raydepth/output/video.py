"""Edited clips as videos (``output.video``): pictures from shards, times and audio from sources."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby

import av
import av.container
import cv2
import numpy as np
from av.audio.stream import AudioStream
from av.packet import Packet
from av.stream import Discard
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter

from raydepth.files.h264 import SAME_BYTES
from raydepth.frames.container import open_container
from raydepth.frames.segments import Segment
from raydepth.frames.sources import SourceError
from raydepth.output.codecs import decode_rgb
from raydepth.output.folder import OutputFolder
from raydepth.output.plan import Part
from raydepth.output.shards import ClipShards, image_name

VIDEOS = "videos"


@dataclass(frozen=True)
class Shown:
    """One frame of a clip as the video shows it.

    pts is in the source's time base. rgb is uint8 [H,W,3], None where there is none.
    """

    pts: int
    rgb: np.ndarray | None


def write_videos(folder: OutputFolder, parts: Sequence[Part], *, crf: int) -> Iterator[str]:
    """Writes ``videos/<video>.mp4`` for every clip of a finished run; yields a line on each.

    Args:
        folder: the output of the run.
        parts: all parts of the job, in order.
        crf: of H.264, 0..51.

    Raises:
        OSError: the storage fails.
    """
    for video, group in groupby(parts, key=lambda part: part.segment.video):
        clip = list(group)
        name = f"{VIDEOS}/{video}.mp4"
        with folder.writing(name) as path:
            outcome = write_video(path, clip, shown_frames(folder, clip), crf=crf)
        if outcome is None:
            yield f"{name}: not written, no frame of {clip[0].segment.path} is done"
        else:
            yield f"{name}: {outcome}"


def shown_frames(folder: OutputFolder, parts: Sequence[Part]) -> Iterator[Shown]:
    """The edited frames of a clip in order, a shard at a time in memory.

    Frames that are not done come without a picture.
    """
    shards = ClipShards(folder, parts[0].segment.video)
    for part in parts:
        rows = shards.done(part.name, part.frame_ids, ("frame_index", "edited_png"))
        for frame_id, pts in zip(
            part.frame_ids, part.segment.pts[part.start : part.stop], strict=True
        ):
            data = None
            if row := rows.get(frame_id):
                file = image_name(part.segment.video, row["frame_index"], "edited")
                data = row.get("edited_png") or folder.read(file)
            yield Shown(int(pts), decode_rgb(data) if data else None)


def write_video(
    path: str, parts: Sequence[Part], frames: Iterator[Shown], *, crf: int
) -> str | None:
    """Encodes one clip as H.264 (yuv420p, BT.709) with the source's time stamps and audio.

    A frame without a picture shows the one before it; at the beginning, the first that there is.
    Odd sizes get their last row or column twice, as yuv420p needs even ones. A clip of images of
    several sizes has the first one's. Where the job starts inside the source (``input.start_s``),
    its first frame is at time 0. Audio is copied, and cut to the frames that are there.

    Args:
        path: local file to write.
        parts: of the clip, in order.
        frames: its frames, in order.
        crf: of H.264.

    Returns:
        What was written, in words; None where no frame has a picture, and the file holds nothing.
    """
    segment = parts[0].segment
    pts = np.concatenate([part.segment.pts[part.start : part.stop] for part in parts])
    origin = int(pts[0]) if segment.frame_index[0] else 0
    gap = int(np.median(np.diff(pts))) if len(pts) > 1 else round(1 / (25 * segment.time_base))
    held, written = 0, 0
    waiting: list[int] = []  # pts of first frames that have no picture yet
    last, writer = None, None
    with av.open(path, "w", format="mp4") as output:
        for shown in frames:
            held += shown.rgb is None
            waiting.append(shown.pts)
            if shown.rgb is not None:
                writer = writer or _Writer(output, shown.rgb.shape, segment, origin, gap, crf)
                last = shown.rgb
            if writer is None or last is None:
                continue
            for time in waiting:
                writer.show(time, last)
            written += len(waiting)
            waiting.clear()
        if writer is None:
            return None
        outcome = writer.close(int(pts[-1]) + gap)
    note = f", {held} without a result show the frame before" if held else ""
    return f"{written} frames{note}; {outcome}"


class _Writer:
    """An open video file, to which frames and the audio between them are added in order."""

    def __init__(
        self,
        output: av.container.OutputContainer,
        shape: tuple[int, ...],
        segment: Segment,
        origin: int,
        gap: int,
        crf: int,
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
        self._stream.time_base = self._stream.codec_context.time_base = segment.time_base
        context = self._stream.codec_context
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        self._audio: dict[int, AudioStream] = {}
        self._packets: Iterator[Packet] = iter(())
        self._ahead: Packet | None = None
        self._source: av.container.InputContainer | None = None
        self._audio_note = "no audio"
        if segment.kind == "video":
            self._open_audio(segment.path)
        # Streams that don't begin at 0 begin at a tick of the whole movie, by default at a
        # millisecond.
        ticks = math.lcm(
            segment.time_base.denominator, *(stream.rate for stream in self._audio.values())
        )
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
        self._copy_audio(pts)
        self._output.mux(self._stream.encode(frame))

    def close(self, end: int) -> str:
        """Writes what is left, with audio up to this time, and says what became of the audio."""
        self._copy_audio(end)
        self._output.mux(self._stream.encode(None))
        if self._source is not None:
            self._source.close()
        return self._audio_note

    def _open_audio(self, path: str) -> None:
        """Adds the source's audio streams that an mp4 can hold as they are."""
        try:
            self._source = open_container(path)
        except SourceError as error:
            self._audio_note = f"no audio ({error})"
            return
        left_out = []
        for stream in self._source.streams:
            if not isinstance(stream, AudioStream):
                stream.discard = Discard.all
                continue
            try:
                self._audio[stream.index] = self._output.add_stream_from_template(stream)
            except ValueError:
                left_out.append(stream.codec_context.name)
        if self._audio:
            self._packets = self._source.demux(
                [self._source.streams[index] for index in self._audio]
            )
            self._audio_note = (
                f"audio copied ({len(self._audio)} streams)"
                if len(self._audio) > 1
                else "audio copied"
            )
        if left_out:
            self._audio_note += f", {', '.join(left_out)} left out: mp4 does not hold it"

    def _copy_audio(self, before: int) -> None:
        """Copies audio up to a time, so that the muxer never waits for one of its streams."""
        end, origin = before * self._time_base, self._origin * self._time_base
        try:
            while packet := self._ahead or next(self._packets, None):
                self._ahead = None
                if packet.dts is None or packet.pts is None:
                    continue
                if packet.pts * packet.time_base >= end:
                    self._ahead = packet
                    return
                if self._origin:
                    if packet.pts * packet.time_base < origin:
                        continue
                    shift = round(origin / packet.time_base)
                    packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = self._audio[packet.stream.index]
                self._output.mux_one(packet)
        except (av.FFmpegError, OSError) as error:
            self._packets = iter(())
            self._audio_note += f", which breaks off at {float(end):.1f} s ({error})"
