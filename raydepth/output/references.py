"""The shots' reference frames in the output folder: two PNGs a shot.

One holds colours, the other 16-bit depth; frames lie one below the other.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache

import cv2
import numpy as np

from raydepth.camera.stabilise import ReferenceFrames
from raydepth.errors import JobError
from raydepth.output.folder import OutputFolder
from raydepth.output.plates import REDO_HINT

_LOW, _HIGH = -1.0, 3.0
"""Normalised inverse depth that 0 and 65535 stand for."""


def reference_names(shot: str) -> tuple[str, str]:
    """The files of a shot's colours and depths inside the output folder, by the shot's id."""
    return f"plates/{shot}-samples.png", f"plates/{shot}-samples-depth.png"


def write_references(folder: OutputFolder, shot: str, references: ReferenceFrames) -> None:
    """Keeps a shot's reference frames, so that all workers and a resumed run use the same ones."""
    value = np.rint(
        (references.inv_depth.clip(_LOW, _HIGH) - _LOW) * (65535 / (_HIGH - _LOW))
    ).astype(np.uint16)
    width = value.shape[2]
    colours = references.rgb[..., ::-1].reshape(-1, width, 3)
    for name, picture in zip(
        reference_names(shot), (colours, value.reshape(-1, width)), strict=True
    ):
        folder.write(name, cv2.imencode(".png", picture)[1].tobytes())


def read_references(folder: OutputFolder, shot: str, count: int) -> ReferenceFrames:
    """A shot's reference frames, so many of them.

    Raises:
        JobError: a file is gone or damaged.
    """
    pictures: list[np.ndarray] = []
    for name, kind in zip(reference_names(shot), ((3, np.uint8), (2, np.uint16)), strict=True):
        try:
            picture = cv2.imdecode(np.frombuffer(folder.read(name), np.uint8), cv2.IMREAD_UNCHANGED)
            if picture is None or (picture.ndim, picture.dtype) != kind or len(picture) % count:
                raise ValueError("no samples")
            if pictures and picture.shape != pictures[0].shape[:2]:
                raise ValueError("its size is not that of the colours")
        except (OSError, ValueError, cv2.error) as error:
            raise JobError(f"{folder.uri}/{name} cannot be read ({error}); {REDO_HINT}") from error
        pictures.append(picture)
    colours, value = (picture.reshape(count, -1, *picture.shape[1:]) for picture in pictures)
    depth = value.astype(np.float32) * np.float32((_HIGH - _LOW) / 65535) + np.float32(_LOW)
    return ReferenceFrames(np.ascontiguousarray(colours[..., ::-1]), depth)


def cache_references(
    folder: OutputFolder, counts: Mapping[str, int]
) -> Callable[[str], ReferenceFrames | None]:
    """Shot id -> its reference frames; the last few are kept in memory.

    None where it has none (``counts`` 0).
    """

    @lru_cache(4)
    def references(shot: str) -> ReferenceFrames | None:
        return read_references(folder, shot, counts[shot]) if counts.get(shot) else None

    return references
