"""The protocol that every source of depth follows (step 3)."""

from typing import Protocol, runtime_checkable

import numpy as np

from raydepth.batch import Batch
from raydepth.depth.settings import DepthKind


class DepthEstimator(Protocol):
    """Gives a depth map for each frame of a batch.

    Attributes:
        name: the model as the job names it.
        kind: what its numbers are.
    """

    name: str
    kind: DepthKind

    def __call__(self, batch: Batch) -> np.ndarray:
        """Raw maps float32 [N,H,W] in the kind's unit at the batch's working size.

        Error rows are run like the others (their pixels are zeros), so a frame's map does not
        depend on its neighbours' fate. A row that has no map is all NaN.
        """


@runtime_checkable
class Explains(Protocol):
    """An estimator that can say why a row has no map; others are answered for by the stage."""

    def explain(self, batch: Batch, row: int) -> tuple[str, str]:
        """Error type and message for a row whose map is not finite."""
