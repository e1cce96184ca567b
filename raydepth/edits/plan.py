"""What an edit hands to a compositor: the layers of the asked picture, and the region that may differ from the source."""

from dataclasses import dataclass

import numpy as np

from raydepth.deglad.layers import Layer, LayerStack


@dataclass
class EditPlan:
    """The asked picture of N frames, before any harmonisation."""

    stack: LayerStack
    """Near first; its flattened picture is the naive composite, its flattened depth what the edit asks for."""
    region: np.ndarray
    """float32 [N,H,W], 0..1: where pixels may change."""

    def take(self, rows: np.ndarray) -> "EditPlan":
        """The plan of these frames alone; rows are indices int64 [M]."""
        layers = [
            Layer(
                name=layer.name, rgb=layer.rgb[rows], alpha=layer.alpha[rows], inv_depth=layer.inv_depth[rows]
            )
            for layer in self.stack.layers
        ]
        return EditPlan(stack=LayerStack(layers), region=self.region[rows])
