"""Decoded frames and raw depth, kept between previews: what costs most and is the same each time.

Frames are known by their source's content and their time stamp, depth by the model and the pixels
that it saw. So a preview after a change of planes or edit neither decodes nor loads the depth
model.
"""

from collections.abc import Callable, Iterator
from functools import cached_property

import av
import numpy as np

import raydepth
from raydepth.batch import Batch
from raydepth.depth.estimator import DepthEstimator
from raydepth.depth.registry import depth_entry, names_no_file
from raydepth.depth.settings import Depth
from raydepth.files.user_cache import KeptArrays, key_of
from raydepth.frames.decode import batches
from raydepth.frames.segments import Segment

FRAMES, DEPTH = "frames", "depth"
"""Folders of the user's cache."""

MOST_FRAMES = 300
"""Of a segment of more frames than this, none is kept."""

_NOT_READ = ("NotRead", "")


def remembered_frames(segment: Segment, size: int = 1) -> Iterator[Batch]:
    """As ``frames.decode.batches``; frames of videos that were decoded before are not read again.

    Args:
        segment: what to decode.
        size: frames in a batch.
    """
    store = KeptArrays(FRAMES)
    if segment.kind != "video" or len(segment) > MOST_FRAMES:
        yield from batches(segment, size)
        return
    version = (raydepth.__version__, av.__version__, sorted(av.library_versions.items()))
    keys = [
        key_of(version, segment.video, int(pts), segment.height, segment.width)
        for pts in segment.pts
    ]
    kept = [store.get(key) for key in keys]
    known = all(picture is not None for picture in kept)
    done = 0
    for batch in batches(segment, size, lost=_NOT_READ if known else None):
        rows = range(done, done + len(batch["status"]))
        done = rows.stop
        if known:
            batch["rgb"] = np.stack([picture for row in rows if (picture := kept[row]) is not None])
            for name, text in {"status": "ok", "error_type": "", "error_message": ""}.items():
                batch[name] = np.full(len(rows), text, object)
        else:
            # Whatever is said of a frame is not kept, so such frames are not either.
            for row, rgb, status, note in zip(
                rows, batch["rgb"], batch["status"], batch["note"], strict=True
            ):
                if status == "ok" and not note:
                    store.put(keys[row], rgb)
        yield batch


class RememberedDepth:
    """A depth model that is loaded when a picture comes that it has not seen in an earlier call."""

    def __init__(self, depth: Depth, identity: object, load: Callable[[], DepthEstimator]) -> None:
        """Loads nothing yet, where the kind of the model's numbers is known without.

        Args:
            depth: the job's section.
            identity: what tells the model's weights, device and dtype from others.
            load: loads it.
        """
        self._load, self._store = load, KeptArrays(DEPTH)
        self._key = (raydepth.__version__, depth.model, depth.input_size, identity)
        self.name = depth.model
        self.kind = depth_entry(depth.model).kind(depth) or self._model.kind

    @cached_property
    def _model(self) -> DepthEstimator:
        return self._load()

    def __call__(self, batch: Batch) -> np.ndarray:
        """As ``DepthEstimator``; a map is a frame's alone, so those of a batch may be kept one by
        one.
        """
        keys = [key_of(*self._key, picture) for picture in batch["rgb"]]
        kept = [self._store.get(key) for key in keys]
        if all(known is not None for known in kept):
            return np.stack([known for known in kept if known is not None])
        maps = self._model(batch)
        for key, raw in zip(keys, maps, strict=True):
            if np.isfinite(raw).all():
                self._store.put(key, raw)
        return maps


def forget_oldest() -> None:
    """Keeps what is remembered below a gigabyte."""
    for name in (FRAMES, DEPTH):
        KeptArrays(name).shrink()


def remembers(depth: Depth) -> bool:
    """Whether a source of depth is a model whose weights are known, and that sees pixels only."""
    return depth_entry(depth.model).reads_pixels and not names_no_file(depth.model)
