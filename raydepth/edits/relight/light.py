"""Adapts layers that were taken under another light to the scene that they are placed in."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from raydepth.edits.clip import ClipEdit
from raydepth.edits.plan import EditPlan, dilated
from raydepth.edits.relight.shading import object_shading, scene_shading
from raydepth.edits.scenery import Scenery
from raydepth.edits.settings import Background, Insert, Light
from raydepth.files.pictures import read_object, to_linear, to_srgb
from raydepth.layers.settings import Layers
from raydepth.layers.stack import LayerStack
from raydepth.layers.stage import split_at_planes

NEUTRAL = 0.3
"""Light, as ``estimate_light`` gives it, of the place where an object cut out elsewhere is taken to
have been."""
_ASSUMED = 0.65
"""What a difference to assumed surroundings counts, against one between two places that are seen:
least absolute errors of the true gains' colour on 128 scenes, seeds 5000 to 5127, of
``raydepth.synth.case``."""
_TRUSTED = (0.8, 0.4)
"""Parts of the difference in shading, from right to left and from above to below, that are
believed; on the same scenes."""
_NORM = 3.0
"""Minkowski norm; of 1, 3 and 6 the one that came closest to the true gains there."""
_LIMIT = 2.0
"""A channel is made at most so many times brighter or darker."""
_FEW = 64
"""With fewer pixels than this of a place nothing can be said about its light."""
_SAMPLED = 4
"""Frames of a new scene that its light is taken from."""


@dataclass(frozen=True)
class ClipLight:
    """The difference in light between a clip and the place where its moved layers were taken.

    It is one for all frames, since an estimate for each would flicker.
    """

    ratio: tuple[float, ...]
    """Logarithms of the red, green and blue light here over there."""
    shading: tuple[float, ...] = (0.0, 0.0)
    """By how much surfaces that face right, and up, are to become brighter, as a logarithm."""

    @staticmethod
    def from_tree(tree: dict[str, Any]) -> "ClipLight":
        """The inverse of ``dataclasses.asdict`` and JSON.

        Raises ValueError, TypeError or KeyError where the tree is damaged.
        """
        ratio, shading = (
            tuple(float(value) for value in tree[name]) for name in ("ratio", "shading")
        )
        if (len(ratio), len(shading)) != (3, 2) or not np.isfinite([*ratio, *shading]).all():
            raise ValueError("a clip's light is none")
        return ClipLight(ratio, shading)


def estimate_light(pixels: np.ndarray) -> np.ndarray:
    """Colour and strength of the light on pixels uint8 [P,3], float64 [3] linear.

    It is their Minkowski mean, "shades of grey", which lies between grey world and white patch and
    is more robust than either (Finlayson and Trezzi, Shades of Gray and Colour Constancy, 2004).
    """
    return np.mean(to_linear(pixels).astype(np.float64) ** _NORM, axis=0) ** (1 / _NORM)


def insert_light(
    edit: Insert,
    layers: Layers,
    frames: Sequence[np.ndarray],
    sampled: Sequence[np.ndarray],
    planes: Sequence[float],
    fixed: ClipEdit | None,
    near: Sequence[np.ndarray] | None = None,
) -> ClipLight | None:
    """A clip's light for an inserted object; see ``raydepth.edits.registry.measure_light``.

    An object's own surroundings are not known: they are taken for grey, and a part of what that
    says is believed. Its own shading is read off its picture. The scene's light is that of what
    does not lie nearer than the object: what passes close to the camera is mostly one thing in one
    colour.
    """
    if fixed is None:
        return None
    behind = [rgb[depth <= fixed.inv_depth] for rgb, depth in zip(frames, sampled, strict=True)]
    here = _mean_light(behind)
    if here is None:
        return None
    scene = np.mean([scene_shading(*pair) for pair in zip(frames, sampled, strict=True)], axis=0)
    shading = np.array(_TRUSTED) * (scene - object_shading(read_object(edit.object)))
    return ClipLight(tuple((_ASSUMED * (here - np.log(NEUTRAL))).tolist()), tuple(shading.tolist()))


def background_light(
    edit: Background,
    layers: Layers,
    frames: Sequence[np.ndarray],
    sampled: Sequence[np.ndarray],
    planes: Sequence[float],
    fixed: ClipEdit | None,
    near: Sequence[np.ndarray] | None = None,
) -> ClipLight | None:
    """A clip's light before a new background; see ``raydepth.edits.registry.measure_light``."""
    if edit.source is None:
        return None
    scenery = Scenery(edit.source, edit.play)
    if near is None:
        near = [1 - split_at_planes(layers, depth, planes)[1][-1] for depth in sampled]
    far = [rgb[share == 0] for rgb, share in zip(frames, near, strict=True)]
    there = _mean_light(far)
    # A plain colour is no place with a light.
    if there is None or scenery.colour is not None:
        return None
    pictures = scenery.sample(_SAMPLED, frames[0].shape[:2])
    here = _mean_light([picture.reshape(-1, 3) for picture in pictures])
    return None if here is None else ClipLight(tuple((here - there).tolist()))


def _mean_light(places: Sequence[np.ndarray]) -> np.ndarray | None:
    """The mean logarithm of the light on several frames' pixels, float64 [3]."""
    lights = [estimate_light(pixels) for pixels in places if len(pixels) >= _FEW]
    return np.mean(np.log(np.maximum(lights, 1e-3)), axis=0) if lights else None


def match_light(plan: EditPlan, lights: Sequence[ClipLight | None], light: Light) -> EditPlan:
    """Multiplies every moved layer, in linear light, by a part of the difference in light.

    Two estimates differ partly by the light and partly by what stands there, so only a part of the
    difference is used. With r the logarithm of their ratio, m its mean over the channels, s the
    difference in shading and n the layer's normals, the gain is exp(brightness * m + colour * (r -
    m) + shading * (s . n)), between 1/2 and 2 (von Kries, but for the last term).

    Args:
        plan: its ``moved`` layers are changed.
        lights: one for each frame; None: it is left as it is.
        light: the parts that are taken.

    Returns:
        A plan with changed layers, whose region covers them.
    """
    if not plan.moved or not light.asked:
        return plan
    weights = plan.stack.weights()
    layers, region = list(plan.stack.layers), plan.region.copy()
    for k, layer in enumerate(layers):
        if layer.name not in plan.moved:
            continue
        rgb, normals = layer.rgb.copy(), plan.normals.get(layer.name)
        for row, found in enumerate(lights):
            if found is None or not region[row].any():
                continue
            ratio = np.array(found.ratio, np.float32)
            gain = light.brightness * ratio.mean() + light.colour * (ratio - ratio.mean())
            if normals is not None:
                gain = (
                    gain
                    + light.shading
                    * (normals[row] @ np.array(found.shading, np.float32))[..., None]
                )
            gain = np.exp(gain.clip(-np.log(_LIMIT), np.log(_LIMIT)))
            rgb[row] = to_srgb(to_linear(layer.rgb[row]) * gain)
            region[row] = np.maximum(region[row], dilated(weights[k][row] > 0))
        layers[k] = replace(layer, rgb=rgb)
    return replace(plan, stack=LayerStack(layers), region=region)
