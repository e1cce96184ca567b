"""Edit ``remove``: the far layer alone, its hole filled."""

import numpy as np

from raydepth.batch import Batch
from raydepth.edits.plan import EditPlan, revealed_mask
from raydepth.layers.stack import Layer, LayerStack


def build(batch: Batch) -> EditPlan:
    """One opaque layer, the filled background with its own depth.

    The region is the hole, where it could be filled.
    """
    background = batch["background"]
    opaque = np.ones(background.shape[:3], np.float32)
    far = Layer("far", background, opaque, batch["far_inv_depth"], batch.get("shared_background"))
    hole = revealed_mask(batch).astype(np.float32)
    return EditPlan(stack=LayerStack([far]), region=hole, inpainted=hole)
