"""Probes a source once, almost without decoding it: every frame's time stamp, and keyframes.

A video is demuxed once; its packet table gives time stamps, keyframes and the content id. The first
dozen frames are decoded as a trial. They give the display matrix, which PyAV shows on frames only,
and show whether the table is true. Where it isn't, the source is read from its beginning only;
packets.py says when and how.
"""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Literal, cast

import av
import av.container
import numpy as np
from av.sidedata.sidedata import SideData
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from raydepth.files import storage
from raydepth.files.ranges import RemoteFile, StorageError
from raydepth.frames.container import open_container, video_stream
from raydepth.frames.images import IMAGE_RATE, image_sizes
from raydepth.frames.index_only import read_index_only
from raydepth.frames.packets import (
    indexed_keyframes,
    plan_by_pts,
    plan_sequentially,
    read_packets,
    seeks_are_exact,
)
from raydepth.frames.sources import IMAGE_SUFFIXES, SourceError, image_names, suffix

UPRIGHT = (1, 0, 0, 1)


@dataclass(frozen=True)
class Source:
    """One video or folder of images and its n frames in display order.

    Attributes:
        path: where it was read from.
        video: 16 hex digits from the content; a renamed source keeps them, a changed one doesn't.
        kind: "video" or "images".
        width, height: pixels as displayed, after rotation; of the first image for images.
        orientation: signs (a, b, c, d) of the display matrix: a coded pixel at (x, y), seen from
            the picture's centre, is displayed at (a x + c y, b x + d y), y downwards. (1, 0, 0, 1)
            is upright.
        time_base: seconds per unit of pts.
        pts: int64 [n], strictly increasing.
        keyframe: bool [n], where decoding can start.
        fps: average frames per second.
        stream: index of the video stream in its container.
        seekable: decoding may start at keyframes; otherwise the source is one segment, read from
            its beginning.
        packets: int64 [n], each frame's packet counted from the start of the file; None unless the
            plan is sequential.
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
        """Counter-clockwise degrees (0, 90, 180, 270) of the display matrix, without mirroring."""
        a, b, _, _ = self.orientation
        return {(1, 0): 0, (0, -1): 90, (-1, 0): 180, (0, 1): 270}[(a, b)]

    @property
    def time_s(self) -> np.ndarray:
        """Seconds after the first frame, float64 [n].

        Recordings from a running clock (.ts, .mpg) start at 0 as well.
        """
        return (self.pts - self.pts[0]) * float(self.time_base)


def probe(path: str) -> Source:
    """Probes a video file, a folder of images, or a single image (a clip of one frame).

    Raises:
        SourceError: there is nothing to decode; the message says why and what to do.
    """
    try:
        kind = storage.kind(path)
        if kind == "folder":
            return _probe_images(
                path, tuple(storage.join(path, name) for name in image_names(path))
            )
        if suffix(path) in IMAGE_SUFFIXES and kind == "file":
            return _probe_images(path, (path,))
        file = storage.open_remote(path) if storage.is_remote(path) and kind == "file" else None
        with open_container(path, file) as container:
            return _probe_video(path, container, video_stream(container, path), file)
    except StorageError as error:
        raise SourceError("Unreadable", str(error)) from error
    except (av.FFmpegError, OSError) as error:
        raise SourceError("Unreadable", f"{path} can't be read: {error.strerror}") from error


def _probe_images(path: str, files: tuple[str, ...]) -> Source:
    if not files:
        raise SourceError("NoFrames", f"{path} holds no images")
    digest = hashlib.blake2b(digest_size=8)
    for ends in storage.each(lambda file: _size_and_ends(file, 64 << 10), files):
        digest.update(ends)
    sizes = image_sizes(files)
    return Source(
        path=path,
        video=digest.hexdigest(),
        kind="images",
        height=int(sizes[0, 0]),
        width=int(sizes[0, 1]),
        orientation=UPRIGHT,
        time_base=1 / IMAGE_RATE,
        pts=np.arange(len(files), dtype=np.int64),
        keyframe=np.ones(len(files), bool),
        fps=float(IMAGE_RATE),
        images=files,
        sizes=sizes,
    )


def _size_and_ends(path: str, length: int) -> bytes:
    """A file's size, head and tail, for the content id.

    A file that can't be read counts as empty; a failure of storage is raised.
    """
    try:
        with storage.open_file(path) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            head = file.read(length)
            file.seek(max(0, size - length))
            return size.to_bytes(8, "little") + head + file.read(length)
    except StorageError:
        raise
    except OSError:
        return bytes(8)


def _probe_video(
    path: str, container: av.container.InputContainer, stream: VideoStream, file: RemoteFile | None
) -> Source:
    tried = partial(read_index_only, container, stream, file) if file else None
    table, trial, note = read_packets(container, stream, tried=tried)
    if file and file.sparse and table["key"].sum() < len(set(indexed_keyframes(stream))):
        # The index calls packets keyframes that did not look so by their heads: only reading all of
        # the file tells.
        with open_container(path) as again:
            table, trial, note = read_packets(again, again.streams[stream.index])
    if trial.first is None:
        raise SourceError(
            "NoFrames",
            f"{path}: none of its {len(table)} packets could be decoded; the file is damaged, or "
            "its pictures are too large",
        )
    packets = plan_by_pts(container, stream, table, trial)
    by_pts = packets is not None
    seekable = by_pts and seeks_are_exact(container, stream, table)
    if packets is None:
        with open_container(path) as again:
            packets, pts = plan_sequentially(again, again.streams[stream.index])
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
        path=path,
        video=digest.hexdigest(),
        kind="video",
        height=height,
        width=width,
        orientation=orientation,
        time_base=time_base,
        pts=pts,
        keyframe=table["key"][packets],
        fps=(len(pts) - 1) / seconds if seconds else float(stream.average_rate or 25),
        stream=stream.index,
        seekable=seekable,
        packets=None if by_pts else packets,
        note=note,
    )


def _orientation(frame: VideoFrame) -> tuple[int, int, int, int]:
    side_data = cast(Iterable[SideData], frame.side_data)
    matrices = [bytes(data) for data in side_data if data.type == SideDataType.DISPLAYMATRIX]
    if not matrices:
        return UPRIGHT
    a, b, c, d = np.frombuffer(matrices[0][:36], "=i4")[[0, 1, 3, 4]].astype(float)
    if abs(a * d) >= abs(b * c):  # to the nearest right angle
        return (1 if a >= 0 else -1, 0, 0, 1 if d >= 0 else -1)
    return (0, 1 if b >= 0 else -1, 1 if c >= 0 else -1, 0)
