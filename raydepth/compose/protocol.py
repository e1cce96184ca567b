"""The protocol of compositors, which turn a layer stack into one picture."""

from typing import Protocol

import numpy as np

from raydepth.edits.plan import EditPlan


class Compositor(Protocol):
    """Composes batches of frames.

    After a call, ``notes`` and ``failed`` are about the frames of that call.
    """

    notes: list[str]
    """What happened to each frame beyond the usual; empty where nothing did."""
    failed: np.ndarray
    """bool [N]: frames without a usable picture."""

    def __call__(self, plan: EditPlan, source: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """Composes N frames.

        Args:
            plan: layers and region of the frames.
            source: uint8 [N,H,W,3], the frames.
            seeds: int64 [N] >= 0; a frame's result depends on its own seed alone.

        Returns:
            uint8 [N,H,W,3].
        """
        ...

    def round_trip(self, rgb: np.ndarray) -> np.ndarray | None:
        """Takes pictures uint8 [N,H,W,3] through the method's codec and back.

        None where the method has no codec.
        """
        return None
