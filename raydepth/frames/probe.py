"""Step 1: looks at a source once, without decoding it, and knows every frame's time stamp and the keyframes afterwards.

A video is demuxed once; its packet table gives time stamps, keyframes and the content id. The first dozen frames are
decoded as a trial, for the display matrix (PyAV shows it on frames only) and to see that the table speaks the truth.

Where it doesn't, the source falls back to a **sequential plan**: the file is decoded once, frames are known by the packet
they came from, and decoding starts at the file's beginning always. It happens where

* time stamps are missing (raw H.264/H.265, H.264 in .mpg) or not unique (joined recordings),
* keyframes go back in time (joined recordings, broken clocks),
* H.264/H.265 with B-frames is in .avi, which stores no presentation times, so that FFmpeg's follow the decoding order,
* the trial contradicts the table (a frame in two packets, as interlaced H.264 in .ts can be).

A third kind lies between: .mpg, and whatever gives other time stamps after a seek than on the way there (FFmpeg counts on
from the last stamp it saw), can be read by pts, but from its beginning only (`seekable` is False).

In a sequential plan pts are the packets' decoding time stamps in rising order where all are there and the counts agree,
otherwise multiples of the average frame time from the first known time stamp on.
"""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import dropwhile, islice
from typing import Literal, cast

import av
import av.container
import numpy as np
from av.sidedata.sidedata import SideData
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from raydepth.frames.container import open_container, prepare, video_stream
from raydepth.frames.images import IMAGE_RATE, image_sizes
from raydepth.frames.sources import IMAGE_SUFFIXES, SourceError, image_names, suffix

TRIAL = 12
"""Frames decoded as a trial: more than the longest reordering that encoders use by default."""

UPRIGHT = (1, 0, 0, 1)


@dataclass(frozen=True)
class Source:
    """One video or folder of images and its n frames in display order.

    Attributes:
        path: where it was read from.
        video: 16 hex digits from the content; a renamed source keeps them, a changed one doesn't.
        kind: "video" or "images".
        width, height: pixels as displayed, after rotation; of the first image for images.
        orientation: signs (a, b, c, d) of the display matrix: a coded pixel at (x, y), seen from the picture's centre,
            is displayed at (a x + c y, b x + d y), y downwards. (1, 0, 0, 1) is upright.
        time_base: seconds per unit of pts.
        pts: int64 [n], strictly increasing.
        keyframe: bool [n], where decoding can start.
        fps: average frames per second.
        stream: index of the video stream in its container.
        seekable: decoding may start at keyframes; otherwise the source is one segment, read from its beginning.
        packets: int64 [n], each frame's packet counted from the start of the file; None unless the plan is sequential.
        images: the n files of a folder of images.
        sizes: int64 [n, 2], height and width of every image as displayed.
        note: what a user should know, for example that the file is truncated; empty otherwise.
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

    @property
    def rotation(self) -> int:
        """Counter-clockwise degrees (0, 90, 180, 270) by which the display matrix turns the picture, mirroring aside."""
        a, b, _, _ = self.orientation
        return {(1, 0): 0, (0, -1): 90, (-1, 0): 180, (0, 1): 270}[(a, b)]

    @property
    def time_s(self) -> np.ndarray:
        """Seconds after the first frame, float64 [n]; recordings from a running clock (.ts, .mpg) start at 0 as well."""
        return (self.pts - self.pts[0]) * float(self.time_base)


def probe(path: str) -> Source:
    """Probes a video file, a folder of images, or a single image (a clip of one frame).

    Raises:
        SourceError: there is nothing to decode; the message says why and what to do.
    """
    if os.path.isdir(path):
        return _probe_images(path, tuple(os.path.join(path, name) for name in image_names(path)))
    if suffix(path) in IMAGE_SUFFIXES and os.path.isfile(path):
        return _probe_images(path, (path,))
    try:
        with open_container(path) as container:
            return _probe_video(path, container, video_stream(container, path))
    except (av.FFmpegError, OSError) as error:
        raise SourceError("Unreadable", f"{path} can't be read: {error.strerror}") from error


def _probe_images(path: str, files: tuple[str, ...]) -> Source:
    if not files:
        raise SourceError("NoFrames", f"{path} holds no images")
    digest = hashlib.blake2b(digest_size=8)
    for file in files:
        digest.update(_size_and_ends(file, 64 << 10))
    sizes = image_sizes(files)
    return Source(
        path=path, video=digest.hexdigest(), kind="images", height=int(sizes[0, 0]), width=int(sizes[0, 1]),
        orientation=UPRIGHT, time_base=1 / IMAGE_RATE, pts=np.arange(len(files), dtype=np.int64),
        keyframe=np.ones(len(files), bool), fps=float(IMAGE_RATE), images=files, sizes=sizes,
    )  # fmt: skip


def _size_and_ends(path: str, length: int) -> bytes:
    """A file's size, head and tail, for the content id; a file that can't be read counts as empty."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            head = file.read(length)
            file.seek(max(0, size - length))
            return size.to_bytes(8, "little") + head + file.read(length)
    except OSError:
        return bytes(8)


@dataclass
class _Trial:
    """What decoding the beginning (or, for a sequential plan, all) of a file gave."""

    shown: list[tuple[int | None, int]] = field(default_factory=list)  # pts and packet of each frame, as the decoder gave them
    failed: set[int] = field(default_factory=set)  # packets that FFmpeg refused
    damaged: bool = False  # whether a frame came that FFmpeg marks as damaged
    first: VideoFrame | None = None

    def decode(self, stream: VideoStream, packet: av.Packet | None, number: int) -> None:
        try:
            frames: Iterable[VideoFrame] = stream.codec_context.decode(packet)
        except av.EOFError:
            frames = ()
        except av.FFmpegError:
            self.failed |= {number} if packet else set()
            frames = ()
        for frame in frames:
            self.first = self.first or frame
            self.damaged |= frame.is_corrupt
            self.shown.append((frame.pts, cast(int, frame.opaque)))


def _probe_video(path: str, container: av.container.InputContainer, stream: VideoStream) -> Source:
    table, trial, note = _read_packets(container, stream, TRIAL)
    if trial.first is None:
        raise SourceError("NoFrames", f"{path}: none of its {len(table)} packets could be decoded; the file is damaged")
    packets = _planned_packets(container, stream, table, trial)
    sequential = packets is None
    seekable = not sequential and _seeks_are_exact(container, stream, table)
    if packets is None:
        with open_container(path) as again:
            _, whole, _ = _read_packets(again, again.streams[stream.index], None)
        packets = _decoded_order(whole, len(table))
        pts = _sequential_pts(stream, table, packets)
    else:
        pts = table["pts"][packets]
    digest = hashlib.blake2b(digest_size=8)
    digest.update(table.tobytes())
    digest.update(_size_and_ends(path, 1 << 20))
    orientation = _orientation(trial.first)
    height, width = trial.first.height, trial.first.width
    if orientation[0] == 0:
        height, width = width, height
    time_base = cast(Fraction, stream.time_base)
    seconds = float((pts[-1] - pts[0]) * time_base)
    return Source(
        path=path, video=digest.hexdigest(), kind="video", height=height, width=width,
        orientation=orientation, time_base=time_base, pts=pts, keyframe=table["key"][packets],
        fps=(len(pts) - 1) / seconds if seconds else float(stream.average_rate or 25), stream=stream.index,
        seekable=seekable, packets=packets if sequential else None, note=note,
    )  # fmt: skip


_ROW = np.dtype([("pts", "<i8"), ("dts", "<i8"), ("size", "<i8"), ("key", "?"), ("hidden", "?")])
_NONE = np.iinfo(np.int64).min


def _read_packets(
    container: av.container.InputContainer, stream: VideoStream, frames: int | None
) -> tuple[np.ndarray, _Trial, str]:
    """Reads all packets and decodes the first `frames` frames (None: all).

    Returns:
        The packet table in decoding order (`_ROW`, time stamps `_NONE` where missing), what decoding gave, and a note about
        a file that ends early.
    """
    prepare(container, stream, threads=1)
    rows: list[tuple[int, int, int, bool, bool]] = []
    trial = _Trial()
    note = ""
    empty = 0
    try:
        for packet in container.demux(stream):
            if not packet.size:  # nothing inside; the decoder would take it for the end of the stream
                empty += 1
                continue
            # edit lists cut packets away; VP8 has packets without a picture, known by bit 4 of their first byte
            hidden = packet.is_discard or (stream.codec_context.name == "vp8" and not bytes(packet)[0] & 0x10)
            rows.append((
                _NONE if packet.pts is None else packet.pts, _NONE if packet.dts is None else packet.dts,
                packet.size, packet.is_keyframe, hidden,
            ))  # fmt: skip
            if frames is None or len(trial.shown) < frames:
                packet.opaque = len(rows) - 1
                trial.decode(stream, packet, len(rows) - 1)
    except av.FFmpegError as error:  # the packets so far are what exists
        note = f"reading stopped after {len(rows)} packets ({error.strerror})"
    if frames is None or len(trial.shown) < frames:
        trial.decode(stream, None, len(rows))
    if len(rows) + empty < len(stream.index_entries):  # mp4 and avi; elsewhere the index is of keyframes or of none
        note = f"truncated: the file announces {len(stream.index_entries)} packets of video, {len(rows)} are there"
    return np.array(rows, _ROW), trial, note


def _planned_packets(
    container: av.container.InputContainer, stream: VideoStream, table: np.ndarray, trial: _Trial
) -> np.ndarray | None:
    """The packets of the frames in display order, int64 [n]; None where the table's time stamps can't be trusted."""
    visible = np.flatnonzero(~table["hidden"])
    pts = table["pts"][visible]
    keyframe_pts = pts[table["key"][visible]]
    in_avi = container.format.name == "avi" and stream.codec_context.name in ("h264", "hevc")
    if (
        (pts == _NONE).any()
        or len(np.unique(pts)) < len(pts)
        or len(keyframe_pts) == 0
        or (np.diff(keyframe_pts) <= 0).any()
        or (in_avi and stream.codec_context.has_b_frames)
    ):
        return None
    order = visible[np.argsort(pts)]
    if trial.failed or trial.damaged:
        return order  # a damaged head contradicts any table
    planned = table["pts"][order]
    shown = np.array([_NONE if pts is None else pts for pts, _ in trial.shown], np.int64)
    expected = planned[(planned >= shown[0]) & (planned <= shown[-1])]
    # damage that FFmpeg doesn't notice costs a frame or two; fields in packets of their own make it half of them
    if (np.diff(shown) <= 0).any() or not np.isin(shown, planned).all() or len(shown) < len(expected) * 2 / 3:
        return None
    # A recording that starts in the middle has frames at its head whose references are missing; no player shows them.
    headless = (np.arange(len(table)) < np.argmax(table["key"])) | (table["pts"] < keyframe_pts[0])
    return order[~(headless[order] & (planned < shown[0]))]


def _seeks_are_exact(container: av.container.InputContainer, stream: VideoStream, table: np.ndarray) -> bool:
    """Whether packets come with the table's time stamps after seeking to the middle and to the last keyframe too."""
    if container.format.name == "mpeg":  # wrong by some frames in some places, which two samples may miss
        return False
    keyframes = np.flatnonzero(table["key"] & ~table["hidden"])
    for target in keyframes[[len(keyframes) // 2, -1]] if len(keyframes) > 1 else ():
        try:
            container.seek(int(table["pts"][target]), stream=stream)
            packets = (packet for packet in container.demux(stream) if packet.size)
            landed = [(p.pts, p.size) for p in islice(dropwhile(lambda p: not p.is_keyframe, packets), TRIAL)]
        except av.FFmpegError:
            return False
        if not landed:
            continue  # behind the last keyframe: decode() goes further back then
        first = np.flatnonzero(table["pts"] == (_NONE if landed[0][0] is None else landed[0][0]))
        if not len(first):
            return False
        expected = table[first[0] : first[0] + len(landed)]
        if landed != list(zip(expected["pts"].tolist(), expected["size"].tolist(), strict=True)):
            return False
    return True


def _decoded_order(whole: _Trial, count: int) -> np.ndarray:
    """Packets of all frames in the order that the decoder gave them, int64 [n].

    A packet that gave no frame is a lost frame, and stands before the first frame of a later packet, which is its place to
    within the reordering. Only where far fewer frames than packets come, as with fields in packets of their own, does a
    packet have to be refused to count.
    """
    shown = [packet for _, packet in whole.shown]
    lost = sorted(set(range(count)) - set(shown) if len(shown) > 0.75 * count else whole.failed)
    order: list[int] = []
    for packet in shown:
        while lost and lost[0] < packet:
            order.append(lost.pop(0))
        order.append(packet)
    return np.array(order + lost, np.int64)


def _sequential_pts(stream: VideoStream, table: np.ndarray, packets: np.ndarray) -> np.ndarray:
    dts = table["dts"][~table["hidden"]]
    if len(dts) == len(packets) and (dts != _NONE).all() and (np.diff(dts) > 0).all():
        return dts
    known = table["pts"][table["pts"] != _NONE]
    step = max(1, round(1 / ((stream.average_rate or Fraction(25)) * cast(Fraction, stream.time_base))))
    return np.arange(len(packets), dtype=np.int64) * step + (known[0] if len(known) else 0)


def _orientation(frame: VideoFrame) -> tuple[int, int, int, int]:
    side_data = cast(Iterable[SideData], frame.side_data)
    matrices = [bytes(data) for data in side_data if data.type == SideDataType.DISPLAYMATRIX]
    if not matrices:
        return UPRIGHT
    a, b, c, d = np.frombuffer(matrices[0][:36], "=i4")[[0, 1, 3, 4]].astype(float)
    if abs(a * d) >= abs(b * c):  # to the nearest right angle
        return (1 if a >= 0 else -1, 0, 0, 1 if d >= 0 else -1)
    return (0, 1 if b >= 0 else -1, 1 if c >= 0 else -1, 0)
