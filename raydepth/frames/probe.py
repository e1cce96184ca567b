"""Probes a source once, almost without decoding it: every frame's time stamp, and keyframes.

A video is demuxed once; its packet table gives time stamps, keyframes and the content id. The first
dozen frames are decoded as a trial. They give the display matrix, which PyAV shows on frames only,
and show whether the table is true. Where it isn't, the source is read from its beginning only;
packets.py says when and how. Whether seeks show the right pictures is for proof.py.
"""

import hashlib
import os
from fractions import Fraction
from functools import partial
from typing import cast

import av
import av.container
import numpy as np
from av.video.stream import VideoStream

from raydepth.files import storage
from raydepth.files.ranges import RemoteFile, StorageError
from raydepth.frames.container import open_container, video_stream
from raydepth.frames.images import IMAGE_RATE, image_sizes
from raydepth.frames.index_only import read_index_only
from raydepth.frames.marks import read_marks, remarks_on
from raydepth.frames.packets import (
    indexed_keyframes,
    plan_by_pts,
    plan_sequentially,
    read_packets,
    seeks_are_exact,
)
from raydepth.frames.proof import with_changes_named, with_proven_seeks
from raydepth.frames.shape import UPRIGHT, orientation_of, pixel_aspect_of
from raydepth.frames.source import Source
from raydepth.frames.sources import IMAGE_SUFFIXES, SourceError, image_names, suffix


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
    marks = read_marks(path, container, stream)
    packets = plan_by_pts(container, stream, table, trial)
    by_pts = packets is not None
    seekable = by_pts and seeks_are_exact(container, stream, table, trial)
    time_base = cast(Fraction, stream.time_base)
    remarks, changed = remarks_on(container, stream, trial.first), trial.carried.changed
    if marks.without_base_layer:
        remarks.append(
            "it is Dolby Vision without a base layer that others can show (profile 5 and its "
            "like): its colours are wrong; convert it first, with FFmpeg's filter libplacebo for "
            "example"
        )
    if packets is None:
        with open_container(path) as again:
            sequence = plan_sequentially(again, again.streams[stream.index])
        packets, pts, time_base = sequence.packets, sequence.pts, time_base / sequence.finer
        changed = sequence.resized
        if sequence.mended:
            remarks.append(
                f"{sequence.mended} of {len(pts)} frames have a missing, repeated or falling time "
                "stamp; they are shown between their neighbours"
            )
    else:
        pts = table["pts"][packets]
    digest = hashlib.blake2b(digest_size=8)
    digest.update(table.tobytes())
    digest.update(_size_and_ends(path, 1 << 20))
    orientation = orientation_of(trial.first)
    crop = marks.crop_of(trial.first.height, trial.first.width)
    height = trial.first.height - crop[1] - crop[3]
    width = trial.first.width - crop[0] - crop[2]
    if any(crop):
        remarks.append(
            f"its container crops {trial.first.width}x{trial.first.height} pixels to "
            f"{width}x{height}, and so does raydepth"
        )
    pixel_aspect = pixel_aspect_of(stream.sample_aspect_ratio, orientation)
    if pixel_aspect != 1:
        remarks.append(
            f"its pixels are not square ({pixel_aspect.numerator}:{pixel_aspect.denominator}); "
            "work pictures have square ones"
        )
    if orientation[0] == 0:
        height, width = width, height
    seconds = float((pts[-1] - pts[0]) * time_base)
    source = Source(
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
        remarks=tuple(remarks),
        pixel_aspect=pixel_aspect,
        crop=crop,
    )
    source = source if file and file.sparse else with_proven_seeks(source)
    return with_changes_named(source, np.flatnonzero(np.isin(packets, changed)))
