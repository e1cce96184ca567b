"""What an edit hands to a compositor: the edit's layer stack, and the region that may change."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np

from raydepth.batch import Batch
from raydepth.layers.stack import Layer, LayerStack

MARGIN = 6
"""Pixels by which a region is larger than what is edited: the paste-back's feather (4) ends before
the edit begins."""


@dataclass
class EditPlan:
    """The edit of N frames as layers, before any harmonisation."""

    stack: LayerStack
    """Near first; its flattened picture is the naive composite, its flattened depth the target
    depth."""
    region: np.ndarray
    """float32 [N,H,W], 0..1: where pixels may change."""
    notes: Mapping[int, str] = field(default_factory=dict)
    """By row: why nothing, or less than was asked, could be done on a frame."""
    moved: frozenset[str] = frozenset()
    """Names of layers that come from under another light than the rest."""
    normals: Mapping[str, np.ndarray] = field(default_factory=dict)
    """By layer's name, float32 [N,H,W,2]: right and up components of the surface's normals, for
    layers that are relit."""
    inpainted: np.ndarray | None = None
    """float32 [N,H,W], 0..1: where the naive composite is only a guess that a model should replace;
    None: nowhere."""
    measures: Mapping[str, np.ndarray] = field(default_factory=dict)
    """float64 [N] each: columns of ``evaluate.measures`` that only the edit can measure."""

    def take(self, rows: np.ndarray) -> "EditPlan":
        """The plan of these frames alone, without notes and measures; rows are indices int64."""
        layers = [
            Layer(
                name=layer.name,
                rgb=layer.rgb[rows],
                alpha=layer.alpha[rows],
                inv_depth=layer.inv_depth[rows],
                shared=None if layer.shared is None else layer.shared[rows],
            )
            for layer in self.stack.layers
        ]
        return EditPlan(
            stack=LayerStack(layers),
            region=self.region[rows],
            moved=self.moved,
            normals={name: value[rows] for name, value in self.normals.items()},
            inpainted=None if self.inpainted is None else self.inpainted[rows],
        )


EditBuilder = Callable[[Batch], EditPlan]
"""Batch after the layer stage (``rgb``, ``alphas``, ``near``, ``inv_depth``, ``hole``,
``background``, ``far_inv_depth``) -> plan; a frame's plan depends on that frame and on what is
fixed for its clip alone."""


def dilated(mask: np.ndarray, pixels: int = MARGIN) -> np.ndarray:
    """A mask bool [H,W] dilated by so many pixels."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1))
    return cv2.dilate(mask.astype(np.uint8), kernel).astype(bool)


def inpainted_mask(batch: Batch) -> np.ndarray:
    """Where the background behind the near layers was inpainted, bool [N,H,W]: the hole.

    It is empty in frames that are hole all over. Those had nothing to fill from, so what lies
    behind is not known.
    """
    hole = batch["hole"]
    return hole & ~hole.all(axis=(1, 2), keepdims=True)


def revealed_mask(batch: Batch) -> np.ndarray:
    """Where an edit may show what lies behind, bool [N,H,W]: the inpainted hole.

    It is empty in frames whose hole is so large that it would be invented
    (``layers.fill.max_hole``).
    """
    mask = inpainted_mask(batch)
    return mask & ~batch["hole_refused"][:, None, None] if "hole_refused" in batch else mask
