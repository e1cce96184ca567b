"""Chooses the edit that the job names; the one place that knows all edits.

An edit is a module with one function ``build(edit, batch) -> EditPlan``. A new one (an object between the layers, another
picture behind them) adds its job section and its module here; nothing after this step knows the difference.
"""

from collections.abc import Callable
from typing import Any

from raydepth.columns import Batch
from raydepth.edits import recompose, remove
from raydepth.edits.plan import EditPlan
from raydepth.job import Edit, Recompose, Remove

__all__ = ["EditPlan", "build_edit"]

_BUILDERS: dict[type, Callable[[Any, Batch], EditPlan]] = {Recompose: recompose.build, Remove: remove.build}


def build_edit(edit: Edit, batch: Batch) -> EditPlan:
    """Builds the layer stack and the region of one batch.

    Args:
        edit: the job's ``edit`` section; its type chooses the builder.
        batch: columns after the layer stage: ``rgb``, ``alphas``, ``inv_depth``, ``hole``, ``background``,
            ``far_inv_depth``.
    """
    return _BUILDERS[type(edit)](edit, batch)
