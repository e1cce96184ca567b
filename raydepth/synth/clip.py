"""Streams a synthetic clip to disk: video, exact depth, layers, camera, and true edits."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import math
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from raydepth.errors import JobError
from raydepth.files.h264 import SAME_BYTES
from raydepth.synth.case import Snapshot
from raydepth.synth.render import SAMPLES
from raydepth.synth.setup import SceneSetup, random_setup

SMALLEST, LARGEST = 32, 4320
"""Limits of a side in pixels; the largest is 8K's shorter."""

_BYTES_PER_PIXEL = 2.0
"""About what a pixel takes on disk in each picture of a frame: a PNG of a render is a third smaller
than its pixels."""


@dataclasses.dataclass(frozen=True)
class ClipPaths:
    """Where the parts of a clip are.

    Attributes:
        video: `clip.mp4`, H.264, yuv420p.
        depth: Folder of `%06d.png`, 16-bit grey, depth along the optical axis in millimetres.
        camera: `camera.json`: focal length and principal point in pixels, and each frame's position
            and axes in metres, time in seconds and `threshold_m`, a depth between the near objects
            and all behind them.
        layers: Folder of `near/%06d.png` (RGBA, the near objects with soft edges) and
            `rest/%06d.png` (RGB); near over rest is the rendered frame exactly (see
            `raydepth.synth.matte`). None if it was not asked for.
        frames: Folder of `%06d.png`, the rendered frames before H.264; written with the layers or
            the truths.
        truth: Folder of the truths (see `write_clip`). None if they were not asked for.
    """

    video: Path
    depth: Path
    camera: Path
    frames: Path | None
    layers: Path | None
    truth: Path | None


def write_clip(
    out: Path,
    *,
    frames: int,
    size: tuple[int, int],
    seed: int,
    fps: float = 24.0,
    layers: bool = False,
    truths: bool = False,
    samples: int = SAMPLES,
) -> ClipPaths:
    """Renders a moving scene frame by frame; the same arguments give the same bytes.

    Memory does not grow with length. With `truths`, these are written below `truth/`:

    * `fill/%06d.png`: the scene without its near objects.
    * `insert/%06d.png`: with another object, whose picture is `object.png` (RGBA) and whose place
      is in `insert.json`, as the job's section `edit`.
    * `background/%06d.png`: the near objects in another place under its light, and
      `background.mp4`, that place.
    * `near/%06d.png`: 255 where the near objects are seen.

    Args:
        out: Folder to write to; made if absent. Nothing in it is replaced.
        frames: Number of frames, at least 1.
        size: (height, width) in pixels, both even (H.264 with yuv420p).
        seed: Chooses scene, near objects, inserted object and other place.
        fps: Frames per second.
        layers: Also write the frames and their layers (one more render a frame).
        truths: Also write the truths (four more renders a frame).
        samples: Paths through each pixel; fewer are faster and noisier.

    Returns:
        The paths written.

    Raises:
        JobError: A wrong number or size, something there that a clip's parts are called, no room
            on the disk, or Mitsuba is not installed.
    """
    height, width = size
    if frames < 1 or fps <= 0 or samples < 1:
        raise JobError(
            f"frames, fps and samples must be positive, got {frames}, {fps:g} and {samples}"
        )
    if not all(side >= SMALLEST and side % 2 == 0 for side in size) or min(size) > LARGEST:
        raise JobError(
            f"size must be even (H.264) and at least {SMALLEST} pixels, the shorter side at most "
            f"{LARGEST};"
            f" got {width}x{height}"
        )
    for name in ("clip.mp4", "depth", "camera.json", "frames", "layers", "truth"):
        if (out / name).exists():
            raise JobError(
                f"{out / name} is there already, and nothing is replaced; name another folder or "
                "move it away"
            )
    out.mkdir(parents=True, exist_ok=True)
    needed = frames * height * width * _BYTES_PER_PIXEL * (1 + 3 * layers + 5 * truths)
    free = shutil.disk_usage(out).free
    if needed > free:
        raise JobError(
            f"{out}: this needs about {needed / 1e9:.1f} GB of disk, and {free / 1e9:.1f} GB are "
            "free"
        )
    paths = ClipPaths(
        out / "clip.mp4",
        out / "depth",
        out / "camera.json",
        out / "frames" if layers or truths else None,
        out / "layers" if layers else None,
        out / "truth" if truths else None,
    )
    setup = random_setup(seed, width / height)
    try:
        _write(paths, setup, size, frames, fps, samples, seed)
    except (OSError, av.FFmpegError) as error:
        if error.errno != errno.ENOSPC:
            raise
        raise JobError(
            f"{out}: no room left on the disk; what was written is incomplete, remove it"
        ) from error
    return paths


class _Video:
    """An H.264 file that frames are added to, with the same bytes on every machine.

    It uses one thread, and no code of one processor.
    """

    def __init__(self, path: Path, size: tuple[int, int], fps: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(path), "w")
        self._stream: Any = self._container.add_stream(
            "libx264", rate=Fraction(fps).limit_denominator(1001)
        )
        self._stream.height, self._stream.width, self._stream.pix_fmt = *size, "yuv420p"
        self._stream.options = {"crf": "15", "preset": "medium", "threads": "1"} | SAME_BYTES

    def __enter__(self) -> _Video:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.mux(self._stream.encode())
        self._container.close()

    def add(self, rgb: np.ndarray) -> None:
        self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))


def _write(
    paths: ClipPaths,
    setup: SceneSetup,
    size: tuple[int, int],
    frames: int,
    fps: float,
    samples: int,
    seed: int,
) -> None:
    focal = setup.scene.path.start.focal * size[0]
    lens = {
        "fx": focal,
        "fy": focal,
        "cx": size[1] / 2,
        "cy": size[0] / 2,
        "fps": fps,
        "seed": seed,
    }
    with contextlib.ExitStack() as stack:
        video = stack.enter_context(_Video(paths.video, size, fps))
        if paths.truth:
            elsewhere = stack.enter_context(_Video(paths.truth / "background.mp4", size, fps))
        # One line a frame, so that nothing about earlier frames is kept in memory.
        text = stack.enter_context(paths.camera.open("w"))
        text.write(json.dumps(lens)[:-1] + ', "frames": [\n')
        for index in range(frames):
            snapshot = Snapshot(setup, index / fps, size, samples)
            rgb = snapshot.rgb()
            video.add(rgb)
            right, up, forward = snapshot.camera.axes()
            pose = {
                "time_s": index / fps,
                "position": snapshot.camera.position,
                "right": right,
                "up": up,
            }
            pose |= {"forward": forward, "threshold_m": snapshot.threshold_m}
            text.write(json.dumps(pose) + (",\n" if index + 1 < frames else "\n]}\n"))
            _save((snapshot.depth * 1000).round().astype(np.uint16), paths.depth, index)
            if paths.frames:
                _save(rgb, paths.frames, index)
            if paths.layers:
                near, rest = snapshot.layers(rgb)
                _save(near, paths.layers / "near", index)
                _save(rest, paths.layers / "rest", index)
            if paths.truth:
                if index == 0:
                    _write_object(paths.truth, snapshot)
                elsewhere.add(snapshot.other()[0])
                _save(snapshot.near.astype(np.uint8) * 255, paths.truth / "near", index)
                _save(snapshot.fill()[0], paths.truth / "fill", index)
                _save(snapshot.insert()[0], paths.truth / "insert", index)
                _save(snapshot.composite()[0], paths.truth / "background", index)


def _save(picture: np.ndarray, folder: Path, index: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(folder / f"{index:06d}.png")


def _write_object(truth: Path, snapshot: Snapshot) -> None:
    """Writes the object's picture, and the section `edit` of a job that inserts it likewise."""
    picture, (x0, _, x1, y1) = snapshot.cut_out()
    Image.fromarray(picture).save(truth / "object.png")
    height, width = snapshot.near.shape
    focal = snapshot.camera.focal * height
    depth = snapshot.object_depth_m
    edit = {
        "kind": "insert",
        "object": str(truth / "object.png"),
        "at": {"metres": round(depth, 4)},
        "point": [round((x0 + x1) / 2 / width, 5), round(y1 / height, 5)],
        "height_m": round(picture.shape[0] * depth / focal, 5),
        "fov_deg": round(2 * math.degrees(math.atan(0.5 * max(height, width) / focal)), 4),
    }
    (truth / "insert.json").write_text(json.dumps(edit, indent=1) + "\n")
