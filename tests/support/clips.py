"""Small real clips for whole-pipeline tests: a bright box that moves before a textured wall, coded
by x264.
"""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from raydepth.files.h264 import SAME_BYTES


def write_clip(
    path: Path, *, frames: int, height: int = 96, width: int = 128, gop: int = 12, seed: int = 0
) -> Path:
    """Writes an H.264 clip with B-frames; frame i differs from all others."""
    rng = np.random.default_rng(seed)
    wall = np.kron(rng.integers(40, 120, (height // 8, width // 8, 3)), np.ones((8, 8, 1))).astype(
        np.uint8
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"g": str(gop), "crf": "18"} | SAME_BYTES
        stream.time_base = Fraction(1, 24)
        for i in range(frames):
            picture = wall.copy()
            x = 4 + i * 2 % (width - 40)
            picture[height // 3 : -8, x : x + 32] = (220, 180 - i % 60, 60)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path
