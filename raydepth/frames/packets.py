"""The packet table of a video: what demuxing tells about its frames, and when that fails.

A trial decodes the first dozen frames. Where it contradicts the table, or the table contradicts
itself, the source falls back to a **sequential plan**: the file is decoded once, frames are known
by the packet they came from, and decoding always starts at the file's beginning. It happens where

* time stamps are missing (raw H.264/H.265, H.264 in .mpg) or not unique (joined recordings), or
  those of a damaged .avi's packets contradict its index,
* keyframes go back in time (joined recordings, broken clocks),
* H.264/H.265 with B-frames is in .avi, which stores no presentation times, so that FFmpeg's follow
  the decoding order,
* a packet holds several frames (B-frames as DivX packs them), or the trial contradicts the table (a
  frame in two packets, as interlaced H.264 in .ts can be).

A third kind lies between. In .mpg, and in whatever gives other time stamps after a seek than on the
way there (FFmpeg counts on from the last stamp it saw), frames can be read by pts, but from the
file's beginning only (`seekable` is False).

In a sequential plan pts are the packets' decoding time stamps in rising order where all are there
and the counts agree. Else they are the time stamps of the frames' packets, of which stamps.py mends
those that are missing or do not rise. Where most are missing, they are multiples of the average
frame time.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import dropwhile, islice
from typing import cast

import av
import av.container
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from raydepth.frames.carried import Carried
from raydepth.frames.container import number_packet, packet_number, prepare
from raydepth.frames.stamps import mend

TRIAL = 12
"""Frames decoded as a trial: more than the longest reordering that encoders use by default."""

_ROW = np.dtype([("pts", "<i8"), ("dts", "<i8"), ("size", "<i8"), ("key", "?"), ("hidden", "?")])
_NONE = np.iinfo(np.int64).min


@dataclass
class Trial:
    """What decoding the beginning (or, for a sequential plan, all) of a file gave."""

    shown: list[tuple[int | None, int]] = field(
        default_factory=list
    )  # pts and packet of each frame, as the decoder gave them
    failed: set[int] = field(default_factory=set)  # packets that FFmpeg refused
    damaged: bool = False  # whether a frame came that FFmpeg marks as damaged
    first: VideoFrame | None = None
    carried: Carried = field(default_factory=lambda: Carried(""))  # of all packets
    resized: list[int] = field(default_factory=list)  # packets whose frame has another size
    _size: tuple[int, int] = (0, 0)

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
            if (packet_shown := packet_number(frame)) is None:
                self.damaged = True  # a frame of no packet could not be decoded again
            else:
                self.shown.append((frame.pts, packet_shown))
                size = frame.width, frame.height
                self.resized += [packet_shown] if self._size not in (size, (0, 0)) else []
                self._size = size


def read_packets(
    container: av.container.InputContainer,
    stream: VideoStream,
    frames: int | None = TRIAL,
    tried: Callable[[], None] | None = None,
) -> tuple[np.ndarray, Trial, str]:
    """Reads all packets and decodes the first `frames` frames (None: all).

    In mp4 and mov a keyframe of H.264 or H.265 is one that both the index and the packet itself
    call a keyframe. That needs no other packets (index_only.py), and only what is in the index can
    be sought.

    Args:
        container, stream: just opened.
        frames: as above.
        tried: called once, when no packet will be decoded any more.

    Returns:
        The packet table in decoding order (`_ROW`, time stamps `_NONE` where missing), what
        decoding gave, and a note about a file that ends early.
    """
    prepare(container, stream, threads=1)
    rows: list[tuple[int, int, int, bool, bool]] = []
    positions: list[int] = []
    end = 0  # of the last frame, in the stream's time base
    trial = Trial(carried=Carried(stream.codec_context.codec.canonical_name))
    note = ""
    empty = -1  # demux() ends with an empty packet of its own
    try:
        for packet in container.demux(stream):
            if (
                not packet.size
            ):  # nothing inside; the decoder would take it for the end of the stream
                empty += 1
                continue
            # edit lists cut packets away; VP8 has packets without a picture, known by bit 4 of
            # their first byte
            hidden = packet.is_discard or (
                stream.codec_context.name == "vp8" and not bytes(packet)[0] & 0x10
            )
            rows.append(
                (
                    _NONE if packet.pts is None else packet.pts,
                    _NONE if packet.dts is None else packet.dts,
                    packet.size,
                    packet.is_keyframe,
                    hidden,
                )
            )
            positions.append(packet.pos or 0)
            trial.carried.see(packet, len(rows) - 1)
            end = max(end, (packet.pts or 0) + (packet.duration or 0))
            if frames is None or len(trial.shown) < frames:
                number_packet(packet, len(rows) - 1)
                trial.decode(stream, packet, len(rows) - 1)
                if tried is not None and frames is not None and len(trial.shown) >= frames:
                    tried()
    except av.FFmpegError as error:  # the packets so far are what exists
        note = f"reading stopped after {len(rows)} packets ({error.strerror})"
    if frames is None or len(trial.shown) < frames:
        trial.decode(stream, None, len(rows))
    table = np.array(rows, _ROW)
    if "mp4" in container.format.name and stream.codec_context.name in ("h264", "hevc"):
        table["key"] &= np.isin(positions, indexed_keyframes(stream))
    in_avi = container.format.name == "avi"
    # The index of mp4 and avi has all packets, elsewhere it is of keyframes or of none. Matroska
    # says when a stream ends.
    announced = max(len(stream.index_entries), stream.frames if in_avi else 0)
    missing_s = _seconds(stream.metadata.get("DURATION", "")) - end * float(
        cast(Fraction, stream.time_base)
    )
    if len(rows) + empty < announced:
        note = f"truncated: the file announces {announced} packets of video, {len(rows)} are there"
        if in_avi:
            _stamp_by_index(stream, table, positions)
    elif missing_s > 0.5:
        note = (
            f"truncated: the last {missing_s:.1f} s of video that the file announces are not there"
        )
    return table, trial, note


def indexed_keyframes(stream: VideoStream) -> list[int]:
    """Positions in the file of the packets that its index calls keyframes."""
    return [entry.pos for entry in stream.index_entries if entry.is_keyframe]


def _seconds(duration: str) -> float:
    """Seconds of Matroska's ``00:01:02.500000000``; 0 for anything else."""
    match = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", duration)
    return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3]) if match else 0.0


def _stamp_by_index(stream: VideoStream, table: np.ndarray, positions: list[int]) -> None:
    """Gives the packets of an .avi, in place, the time stamps of their index entries.

    FFmpeg counts an .avi's packets to stamp them, so one whose header is damaged shifts all that
    follow it.
    """
    chunk_header = 8  # bytes; the index points before it, a packet behind it
    stamps = {entry.pos + chunk_header: entry.timestamp for entry in stream.index_entries}
    for row, position in enumerate(positions):
        if (stamp := stamps.get(position)) is not None and stamp != table[row]["dts"]:
            table[row]["dts"], table[row]["pts"] = (
                stamp,
                _NONE,
            )  # without pts the plan is sequential, by packet


def plan_by_pts(
    container: av.container.InputContainer, stream: VideoStream, table: np.ndarray, trial: Trial
) -> np.ndarray | None:
    """The packets of the frames in display order, int64 [n].

    None where the table's time stamps can't be trusted.
    """
    visible = np.flatnonzero(~table["hidden"])
    pts = table["pts"][visible]
    keyframe_pts = pts[table["key"][visible]]
    in_avi = container.format.name == "avi" and stream.codec_context.name in ("h264", "hevc")
    if (
        trial.carried.packed
        or (pts == _NONE).any()
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
    # damage that FFmpeg doesn't notice costs a frame or two; fields in packets of their own make it
    # half of them
    if (
        (np.diff(shown) <= 0).any()
        or not np.isin(shown, planned).all()
        or len(shown) < len(expected) * 2 / 3
    ):
        return None
    # A recording that starts in the middle has frames at its head whose references are missing; no
    # player shows them.
    headless = (np.arange(len(table)) < np.argmax(table["key"])) | (table["pts"] < keyframe_pts[0])
    return order[~(headless[order] & (planned < shown[0]))]


def seeks_are_exact(
    container: av.container.InputContainer, stream: VideoStream, table: np.ndarray, trial: Trial
) -> bool:
    """Whether packets have the table's time stamps after seeking, too, and all that they need.

    It seeks to the middle and to the last keyframe. Whether pictures are the same too is for
    proof.py.
    """
    if trial.carried.lost_by_seeks:
        return False
    if (
        container.format.name == "mpeg"
    ):  # wrong by some frames in some places, which two samples may miss
        return False
    keyframes = np.flatnonzero(table["key"] & ~table["hidden"])
    for target in keyframes[[len(keyframes) // 2, -1]] if len(keyframes) > 1 else ():
        try:
            container.seek(int(table["pts"][target]), stream=stream)
            packets = (packet for packet in container.demux(stream) if packet.size)
            landed = [
                (p.pts, p.size)
                for p in islice(dropwhile(lambda p: not p.is_keyframe, packets), TRIAL)
            ]
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


@dataclass(frozen=True)
class Sequence:
    """The frames of a file that is read from beginning to end, in display order.

    Attributes:
        packets: int64 [n], each frame's packet.
        pts: int64 [n], strictly increasing.
        finer: ticks of pts in one of the stream's time base.
        mended: time stamps that are not the packets' own, because those were missing or did not
            rise.
        resized: packets whose frame has another size than the frame before.
    """

    packets: np.ndarray
    pts: np.ndarray
    finer: int
    mended: int
    resized: list[int]


def plan_sequentially(container: av.container.InputContainer, stream: VideoStream) -> Sequence:
    """Decodes a file from beginning to end to learn its frames.

    A packet that gave no frame is a lost frame. It stands before the first frame of a later packet,
    which is its place to within the reordering. Where far fewer frames than packets come, as with
    fields in packets of their own, only a packet that FFmpeg refused counts as a lost frame.
    """
    table, whole, _ = read_packets(container, stream, frames=None)
    shown = list(dict.fromkeys(packet for _, packet in whole.shown))
    visible = set(np.flatnonzero(~table["hidden"]).tolist())
    lost = deque(sorted(visible - set(shown) if len(shown) > 0.75 * len(visible) else whole.failed))
    packets: list[int] = []
    for packet in shown:
        while lost and lost[0] < packet:
            packets.append(lost.popleft())
        packets.append(packet)
    packets += lost
    found = np.array(packets, np.int64)
    dts = table["dts"][~table["hidden"]]
    if len(dts) == len(packets) and (dts != _NONE).all() and (np.diff(dts) > 0).all():
        return Sequence(found, dts, 1, 0, whole.resized)
    step = max(
        1, round(1 / ((stream.average_rate or Fraction(25)) * cast(Fraction, stream.time_base)))
    )
    own = table["pts"][found]
    if np.count_nonzero(own != _NONE) > len(own) / 2:
        pts, finer, mended = mend(own, own != _NONE, step)
        return Sequence(found, pts, finer, mended, whole.resized)
    known = table["pts"][table["pts"] != _NONE]
    pts = np.arange(len(packets)) * step + (known[0] if len(known) else 0)
    return Sequence(found, pts, 1, 0, whole.resized)
