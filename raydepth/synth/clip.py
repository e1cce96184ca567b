"""Writes a synthetic clip: a video, the exact depth of every frame, its layers and the camera."""

from __future__ import annotations

import dataclasses
import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image

from raydepth.synth.cast import axes
from raydepth.synth.draw import random_scene
from raydepth.synth.render import render
from raydepth.synth.scene import FIRST_SOLID

_SWING_SECONDS = 5.0
"""Seconds in which the camera goes once through its path and stands at the other end."""


@dataclasses.dataclass(frozen=True)
class ClipPaths:
    """Where the parts of a clip are.

    Attributes:
        video: `clip.mp4`, H.264, yuv420p.
        depth: Folder of `%06d.png`, 16-bit grey, depth along the optical axis in millimetres.
        camera: `camera.json`: focal length and principal point in pixels, and each frame's position and axes in metres.
        layers: Folder of `<layer>/%06d.png` (RGBA, opaque where that layer is what is seen) and `plate/%06d.png` (RGB, the
            place without its solids: what lies behind them); None if it was not asked for.
    """

    video: Path
    depth: Path
    camera: Path
    layers: Path | None


def write_clip(
    out: Path, *, frames: int, size: tuple[int, int], seed: int, fps: float = 24.0, layers: bool = False
) -> ClipPaths:
    """Renders a calm scene with a smoothly moving camera; the same arguments give the same pictures and depths.

    Args:
        out: Folder to write to; made if absent, files of the same names are replaced.
        frames: Number of frames, at least 1.
        size: (height, width) in pixels, both even (H.264 with yuv420p).
        seed: Chooses the scene.
        fps: Frames per second.
        layers: Also write the picture's layers and the plate behind the solids (costs about as much again).

    Returns:
        The paths written.

    Raises:
        ValueError: An odd or too small size, or no frames.
    """
    height, width = size
    if frames < 1 or fps <= 0:
        raise ValueError(f"frames and fps must be positive, got {frames} and {fps}")
    if height < 16 or width < 16 or height % 2 or width % 2:
        raise ValueError(f"size (height, width) must be even and at least 16, got {size}")
    scene = random_scene(seed, style="calm", aspect=width / height)
    place = dataclasses.replace(scene, solids=())
    paths = ClipPaths(
        out / "clip.mp4", out / "depth", out / "camera.json", out / "layers" if layers else None
    )
    paths.depth.mkdir(parents=True, exist_ok=True)
    poses = []
    with av.open(str(paths.video), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "15", "preset": "medium"}
        for index in range(frames):
            camera = scene.camera_at(index / fps / _SWING_SECONDS)
            picture = render(scene, [camera], size)
            rgb = _to_bytes(picture.rgb[0])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
            millimetres = (
                (picture.depth[0] * 1000).round().clamp(0, 65535).to(torch.int32).numpy().astype(np.uint16)
            )
            Image.fromarray(millimetres).save(paths.depth / f"{index:06d}.png")
            right, up, forward = axes(camera)
            poses.append({"position": camera.position, "right": right, "up": up, "forward": forward})
            if paths.layers is not None:
                _write_layers(
                    paths.layers, index, rgb, picture.layer[0].numpy(), FIRST_SOLID + len(scene.solids)
                )
                plate = _to_bytes(render(place, [camera], size).rgb[0])
                _save(Image.fromarray(plate), paths.layers / "plate" / f"{index:06d}.png")
        container.mux(stream.encode())
    focal = scene.camera.focal * height
    camera_json = {
        "fx": focal,
        "fy": focal,
        "cx": width / 2,
        "cy": height / 2,
        "fps": fps,
        "seed": seed,
        "frames": poses,
    }
    paths.camera.write_text(json.dumps(camera_json, indent=1) + "\n")
    return paths


def _to_bytes(rgb: torch.Tensor) -> np.ndarray:
    return (rgb * 255).round().to(torch.uint8).numpy()


def _save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def _write_layers(folder: Path, index: int, rgb: np.ndarray, layer: np.ndarray, count: int) -> None:
    for number in range(count):
        alpha = np.where(layer == number, 255, 0).astype(np.uint8)
        _save(Image.fromarray(np.dstack([rgb, alpha])), folder / f"{number:02d}" / f"{index:06d}.png")
