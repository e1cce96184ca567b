"""Brings layers that were taken under another light closer to the light of the scene that they now stand in (step 6, before composing)."""

from dataclasses import replace

import numpy as np

from raydepth.deglad.layers import LayerStack
from raydepth.edits.pictures import to_linear, to_srgb
from raydepth.edits.plan import EditPlan, grown

NEUTRAL = 0.3
"""Light, as ``estimate_light`` gives it, of the place where an object cut out elsewhere is taken to have been."""
_ASSUMED = 0.5
"""What a difference to assumed surroundings counts, against one between two places that are seen."""
_NORM = 3.0
"""Minkowski norm; of 1, 3 and 6 the one that came closest to the true gains on the study's scenes."""
_LIMIT = 2.0
"""A channel is made at most so many times brighter or darker."""
_FEW = 64
"""With fewer pixels than this of one of the two places nothing can be said about its light."""


def estimate_light(pixels: np.ndarray) -> np.ndarray:
    """Colour and strength of the light on pixels uint8 [P,3], float64 [3] linear: their Minkowski mean, "shades of grey".

    Between grey world and white patch, more robust than either (Finlayson and Trezzi, Shades of Gray and Colour Constancy, 2004).
    """
    return np.mean(to_linear(pixels).astype(np.float64) ** _NORM, axis=0) ** (1 / _NORM)


def match_light(plan: EditPlan, source: np.ndarray, *, colour: float, brightness: float) -> EditPlan:
    """Multiplies the channels of every moved layer, in linear light (von Kries), by a part of what tells its two places apart.

    The light of a place is estimated by ``estimate_light``. What two estimates differ by is partly the light and partly what
    stands there, so only a part of it is taken: with r the logarithm of their ratio, and m its mean over the channels, the
    gain is exp(brightness * m + colour * (r - m)), between 1/2 and 2. An object's own surroundings are not known: they are
    taken for grey, and half of what that says is believed.

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
            here, there, believed = estimate_light(composite[row][around]), np.full(3, NEUTRAL), _ASSUMED
            if plan.moved[layer.name] == "frame":
                there, believed = estimate_light(source[row][around]), 1.0
            ratio = np.log(np.maximum(here, 1e-3) / np.maximum(there, 1e-3))
            gain = np.exp(believed * (brightness * ratio.mean() + colour * (ratio - ratio.mean())))
            rgb[row] = to_srgb(to_linear(layer.rgb[row]) * gain.clip(1 / _LIMIT, _LIMIT).astype(np.float32))
            region[row] = np.maximum(region[row], grown(seen > 0))
        layers[k] = replace(layer, rgb=rgb)
    return replace(plan, stack=LayerStack(layers), region=region)
