"""Edit ``recompose``: the frame's near layers over its filled far layer, which is the frame."""

import numpy as np

from raydepth.batch import Batch
from raydepth.edits.plan import EditPlan, inpainted_mask
from raydepth.layers.stack import decompose


def build(batch: Batch) -> EditPlan:
    """Layers of the frame as they are; the region is the hole, where it could be filled."""
    return EditPlan(stack=decompose(batch), region=inpainted_mask(batch).astype(np.float32))
