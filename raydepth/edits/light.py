"""Brings layers that were taken under another light closer to the light of the scene that they now stand in (step 6, before composing)."""

from dataclasses import replace

import numpy as np

from raydepth.deglad.layers import LayerStack
from raydepth.edits.pictures import to_linear, to_srgb
from raydepth.edits.plan import EditPlan, grown

NEUTRAL = 0.43
"""Mean linear luminance of the surroundings that an object cut out elsewhere is taken to have had; see ``match_light``."""
_LIMIT = 2.0
"""A channel is made at most so many times brighter or darker."""
_FEW = 64
"""With fewer pixels than this of one of the two places nothing can be said about its light."""


def match_light(plan: EditPlan, source: np.ndarray, *, colour: float, brightness: float) -> EditPlan:
    """Multiplies the channels of every moved layer, in linear light (von Kries), by a part of what tells its two places apart.

    The light of a place is estimated by the mean of its pixels (grey world, Buchsbaum 1980). What two means differ by is partly
    the light and partly what stands there, so only a part of it is taken: with r the logarithm of the ratio of means, and m its
    mean over the channels, the gain is exp(brightness * m + colour * (r - m)), between 1/2 and 2. An object's own
    surroundings are not known: they are taken for grey.

    Args:
        plan: its ``moved`` layers are changed; with none, or where too little of a place is seen, nothing is.
        source: uint8 [N,H,W,3], the frames.
        colour: 0..1, part of the difference in colour.
        brightness: 0..1, part of the difference in brightness.

    Returns:
        A plan with changed layers, whose region covers them.
    """
    if not plan.moved or colour == brightness == 0:
        return plan
    composite, weights = plan.stack.flatten(), plan.stack.weights()
    layers, region = list(plan.stack.layers), plan.region.copy()
    for k, layer in enumerate(layers):
        if layer.name not in plan.moved:
            continue
        rgb = layer.rgb.copy()
        for row, seen in enumerate(weights[k]):
            around = seen == 0
            if around.sum() < _FEW or not region[row].any():
                continue
            here = to_linear(composite[row][around]).mean(axis=0, dtype=np.float64)
            there = np.full(3, NEUTRAL)
            if plan.moved[layer.name] == "frame":
                there = to_linear(source[row][around]).mean(axis=0, dtype=np.float64)
            ratio = np.log(np.maximum(here, 1e-3) / np.maximum(there, 1e-3))
            gain = np.exp(brightness * ratio.mean() + colour * (ratio - ratio.mean()))
            rgb[row] = to_srgb(to_linear(layer.rgb[row]) * gain.clip(1 / _LIMIT, _LIMIT).astype(np.float32))
            region[row] = np.maximum(region[row], grown(seen > 0))
        layers[k] = replace(layer, rgb=rgb)
    return replace(plan, stack=LayerStack(layers), region=region)
