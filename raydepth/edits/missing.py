"""Frames without a thing that the edit speaks of: they stay as they are, and say why."""

from collections.abc import Sequence

import numpy as np

from raydepth.batch import Batch, ok_rows
from raydepth.edits.plan import EditBuilder, EditPlan
from raydepth.layers.things.layering import missing

_WHY = {
    "lost": "{} is lost here, its track broke: the frame is left as it is",
    "absent": "{} is not in this shot: the frame is left as it is",
}


def left_without(build: EditBuilder, names: Sequence[str]) -> EditBuilder:
    """The builder of an edit that is not made where one of these things is lost or absent.

    Such a frame has an empty region, a stack that shows the frame in its last layer, and a note
    that names the thing.
    """

    def built(batch: Batch) -> EditPlan:
        plan = build(batch)
        gone = {row: found for row in ok_rows(batch) if (found := missing(batch, row, names))}
        if not gone:
            return plan
        notes, rows = dict(plan.notes), np.array(list(gone))
        for row, found in gone.items():
            notes[row] = "; ".join(_WHY[state].format(name) for name, state in found.items())
        *above, last = plan.stack.layers
        for layer in above:
            layer.alpha = layer.alpha.copy()
            layer.alpha[rows] = 0
        last.rgb, last.inv_depth = last.rgb.copy(), last.inv_depth.copy()
        last.rgb[rows], last.inv_depth[rows] = batch["rgb"][rows], batch["inv_depth"][rows]
        plan.region[rows] = 0
        plan.notes = notes
        return plan

    return built
