"""Lanes: which pictures go through the U-Net together in one call, and how many that makes.

A call's batch is lane-major: ``[gen_uncond (with guidance),] gen`` with N rows each, in the order
of diffusers' own pipelines so that a call without references is theirs bit for bit, then one row
for every *distinct* reference. Layers that show the same picture (all near layers of a frame show
the frame itself; a still background serves a whole clip) share a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from raydepth.compose.featglac.settings import FeatGLaCKV
from raydepth.diffusion.schedule import steps_run, window_steps


@dataclass(frozen=True)
class Lanes:
    """Which distinct picture every lane shows. P pictures, R reference rows, K layers, N frames."""

    pictures: np.ndarray
    """uint8 [P,H,W,3], no two alike: what the codec encodes."""
    digests: list[bytes]
    """P, of the pictures' bytes."""
    source: np.ndarray
    """int64 [N] into pictures: the frames."""
    start: np.ndarray
    """int64 [N] into pictures: the naive composites that generation starts from."""
    reference_picture: np.ndarray
    """int64 [R] into pictures: one row for every distinct (layer picture, seed)."""
    reference_frame: np.ndarray
    """int64 [R] into frames: whose noise the row carries."""
    layer_rows: np.ndarray
    """int64 [K,N] into reference rows: where frame n finds layer k."""

    def shared(self) -> list[int]:
        """The pictures that are a layer of at least two frames: a still camera's plate, a
        background picture.
        """
        shown = self.reference_picture[self.layer_rows]
        return [i for i in range(len(self.pictures)) if np.count_nonzero((shown == i).any(0)) > 1]


def lay_out(
    source: np.ndarray, start: np.ndarray, layers: Sequence[np.ndarray], seeds: np.ndarray
) -> Lanes:
    """Finds the distinct pictures among frames, composites and layers.

    Args:
        source: uint8 [N,H,W,3].
        start: uint8 [N,H,W,3].
        layers: K pictures uint8 [N,H,W,3], whole pictures: where they count is said by masks.
        seeds: int64 [N]; rows are shared only between frames of equal seed, whose noise is equal.
    """
    pictures: dict[bytes, tuple[int, np.ndarray]] = {}

    def index(stack: np.ndarray) -> np.ndarray:
        keys = [blake2b(picture.tobytes()).digest() for picture in stack]
        return np.array(
            [
                pictures.setdefault(key, (len(pictures), picture))[0]
                for key, picture in zip(keys, stack, strict=True)
            ],
            np.int64,
        )

    source_index, start_index = index(source), index(start)
    rows: dict[tuple[int, int], int] = {}
    frames: list[int] = []
    layer_rows = np.zeros((len(layers), len(source)), np.int64)
    for k, layer in enumerate(layers):
        for n, picture in enumerate(index(layer)):
            key = (int(picture), int(seeds[n]))
            if key not in rows:
                rows[key] = len(rows)
                frames.append(n)
            layer_rows[k, n] = rows[key]
    return Lanes(
        pictures=np.stack([picture for _, picture in pictures.values()]),
        digests=list(pictures),
        source=source_index,
        start=start_index,
        reference_picture=np.array([picture for picture, _ in rows], np.int64),
        reference_frame=np.array(frames, np.int64),
        layer_rows=layer_rows,
    )


def kv_lanes(compose: FeatGLaCKV, layers: int) -> int:
    """U-Net lanes (one sample, one forward) of a frame that is sampled.

    See raydepth/README.md, "Cost in U-Net evaluations".

    Args:
        compose: the job's section.
        layers: distinct layer pictures a frame: 2 for ``recompose`` however many planes, 1 for
            ``remove``.
    """
    run = steps_run(compose.steps, compose.strength)
    injected = len(window_steps(compose.inject.window, run)) if compose.inject.weight > 0 else 0
    return run * (2 if compose.guidance > 1 else 1) + injected * layers
