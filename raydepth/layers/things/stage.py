"""The thing stage: the things of a frame, from what tracking has kept of its shot."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from raydepth.batch import Batch, mark_error, ok_rows, shot_of, take_rows
from raydepth.layers.things.matte import matte

SEEN, HIDDEN, LOST, ABSENT = "seen", "hidden", "lost", "absent"
STATES = (SEEN, HIDDEN, LOST, ABSENT)
"""What may be said of a thing in a frame; see ``raydepth/batch.py``."""


@dataclass(frozen=True)
class ThingFrame:
    """A thing in one frame."""

    state: str
    """One of STATES."""
    mask: np.ndarray | None = None
    """bool or float32 [h,w]; None: it is not in the frame."""
    inv_depth: float = float("nan")
    """Its depth, normalised inverse depth; NaN: not known."""
    iou: float = float("nan")
    """How well the mask agreed with its prediction; NaN: none was found anew here."""
    error: str = ""
    """Why the frame can't be edited; empty where it can."""


ReadThings = Callable[[Batch], Mapping[str, ThingFrame]]
"""From a batch of one frame, all things of its shot by name; those that are left out are absent."""


class Matte(Protocol):
    """Brings a mask float32 [h,w] to the edges of a picture uint8 [H,W,3]: float32 [H,W]."""

    def __call__(self, rgb: np.ndarray, mask: np.ndarray) -> np.ndarray: ...


class ThingStage:
    """Adds the things' columns to every frame of a batch."""

    def __init__(
        self, names: Sequence[str], shots: Mapping[str, ReadThings], matte: Matte = matte
    ) -> None:
        """Keeps what it is given.

        Args:
            names: the job's things.
            shots: by shot id (``batch.shot_of``), what reads the things of its frames.
            matte: brings masks to the picture's edges.
        """
        self.names, self.shots, self.matte = tuple(names), shots, matte

    def __call__(self, batch: Batch) -> Batch:
        """Adds ``thing_names``, ``thing_alpha``, ``thing_inv_depth``, ``thing_state``,
        ``thing_iou`` (see ``raydepth/batch.py``) and ``seconds_things`` float32 [N].

        The batch given is left as it was. In error rows alpha is zeros and things are absent.
        """
        started = time.perf_counter()
        count, (height, width) = len(batch["frame_id"]), batch["rgb"].shape[1:3]
        shape = count, len(self.names)
        alpha = np.zeros((*shape, height, width), np.float32)
        inv_depth = np.full(shape, np.nan, np.float32)
        state = np.full(shape, ABSENT, object)
        iou = np.full(shape, np.nan)
        out = batch | {
            name: batch[name].copy() for name in ("status", "error_type", "error_message")
        }
        for row in ok_rows(batch):
            read = self.shots.get(shot_of(batch, row))
            found = read(take_rows(batch, np.array([row]))) if read else {}
            for i, name in enumerate(self.names):
                thing = found.get(name, ThingFrame(ABSENT))
                if thing.error:
                    mark_error(out, row, "UnreadableMask", f"{name}: {thing.error}")
                    alpha[row], state[row] = 0, ABSENT
                    inv_depth[row], iou[row] = np.nan, np.nan
                    break
                state[row, i], inv_depth[row, i] = thing.state, thing.inv_depth
                iou[row, i] = thing.iou
                if thing.state == SEEN and thing.mask is not None:
                    mask = np.asarray(thing.mask, np.float32)
                    alpha[row, i] = self.matte(batch["rgb"][row], mask)
        seconds = np.full(count, (time.perf_counter() - started) / max(count, 1), np.float32)
        return out | {
            "thing_names": np.tile(np.array(self.names, object), (count, 1)),
            "thing_alpha": alpha,
            "thing_inv_depth": inv_depth,
            "thing_state": state,
            "thing_iou": iou,
            "seconds_things": seconds,
        }
