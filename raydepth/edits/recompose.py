"""Edit ``recompose``: the frame's own near layers over its own filled far layer; the picture asked
for is the frame.
"""

import numpy as np

from raydepth.batch import Batch
from raydepth.edits.plan import EditPlan, inpainted_mask
from raydepth.layers.stack import decompose


def build(batch: Batch) -> EditPlan:
    """Layers of the frame as they are; the region is the hole, that is the near layer dilated,
    where it could be filled.
    """
    return EditPlan(stack=decompose(batch), region=inpainted_mask(batch).astype(np.float32))
