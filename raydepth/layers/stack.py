"""A frame as a stack of layers: masks between depth planes, visibility, recomposition."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from raydepth.batch import Batch

_STEP = np.float32(2**16)
"""Alphas are multiples of 1 / this: their sums, and products with 8-bit colours, are exact in
float32."""
_TAIL = 0.01
"""The logistic edge is cut off where it reaches this (and 1 minus this), so that a feather has an
end."""


@dataclass
class Layer:
    """One layer of N frames.

    Its arrays are rgb uint8 [N,H,W,3], alpha float32 [N,H,W] 0..1, and inv_depth float32 [N,H,W].
    """

    name: str
    rgb: np.ndarray
    alpha: np.ndarray
    inv_depth: np.ndarray
    shared: np.ndarray | None = None
    """uint8 [N,H,W,3]: shared background, the picture that the layer's reference lane shows
    instead. It is the same for all frames of a camera that stands still, which share the lane."""


@dataclass
class LayerStack:
    """Layers of N frames, near first; the last is opaque (alpha 1)."""

    layers: list[Layer]

    def weights(self) -> np.ndarray:
        """How much of each layer is seen: float32 [K,N,H,W], sums to 1.

        It is the layer's alpha times what the layers before it let through: "over" (Porter and Duff
        1984).
        """
        alphas = np.stack([layer.alpha for layer in self.layers])
        through = np.cumprod(np.float32(1) - alphas, axis=0)
        return alphas * np.concatenate([np.ones_like(alphas[:1]), through[:-1]])

    def flatten(self) -> np.ndarray:
        """The layers seen over one another, uint8 [N,H,W,3], rounded to the nearest."""
        seen = np.zeros(self.layers[0].rgb.shape, np.float32)
        for weight, layer in zip(self.weights(), self.layers, strict=True):
            seen += weight[..., None] * layer.rgb
        return np.rint(seen).astype(np.uint8)

    def flatten_depth(self) -> np.ndarray:
        """The inverse depth of what is seen, float32 [N,H,W]; at soft edges the layers' mean."""
        seen = np.zeros(self.layers[0].inv_depth.shape, np.float32)
        for weight, layer in zip(self.weights(), self.layers, strict=True):
            seen += weight * layer.inv_depth
        return seen


def stack_columns(stack: LayerStack) -> Batch:
    """A stack as the columns ``layer_names`` and ``layer_rgb``, ``_alpha``, ``_inv_depth``."""
    names = np.array([layer.name for layer in stack.layers], object)
    return {
        "layer_names": np.tile(names, (len(stack.layers[0].rgb), 1)),
        "layer_rgb": np.stack([layer.rgb for layer in stack.layers], axis=1),
        "layer_alpha": np.stack([layer.alpha for layer in stack.layers], axis=1),
        "layer_inv_depth": np.stack([layer.inv_depth for layer in stack.layers], axis=1),
    }


def kept_stack(batch: Batch, row: int) -> LayerStack:
    """One frame's stack from these columns; its arrays have a first axis of 1."""
    parts = zip(
        *(batch[f"layer_{part}"][row] for part in ("names", "rgb", "alpha", "inv_depth")),
        strict=True,
    )
    return LayerStack(
        [Layer(str(name), rgb[None], alpha[None], depth[None]) for name, rgb, alpha, depth in parts]
    )


def visible(
    object_alpha: np.ndarray, object_inv_depth: np.ndarray | float, scene_inv_depth: np.ndarray
) -> np.ndarray:
    """How much of an object is seen in a scene: its alpha where it is at least as near, else 0.

    This is the one rule of visibility that all editors share.

    Args:
        object_alpha: float32 [...] 0..1.
        object_inv_depth: inverse depth of the object, broadcastable.
        scene_inv_depth: inverse depth of the scene, broadcastable.
    """
    return (object_alpha * (object_inv_depth >= scene_inv_depth)).astype(np.float32)


def filter_edges(
    inv_depth: np.ndarray, *, windows: Sequence[int] = (7, 7, 5, 5, 5), jump: float = 0.04
) -> np.ndarray:
    """Sharpens depth steps: edge pixels take the median of the non-edge pixels in their window.

    Estimators smear a step over several pixels. A mask cut through the smear leaves a halo of the
    near object with the far layer. Only pixels next to a jump are changed, window after window (3D
    Photography, Shih et al. 2020, section 3.1).

    Args:
        inv_depth: float32 [H,W].
        windows: odd window sizes in pixels, one pass each.
        jump: difference between neighbouring pixels, in normalised inverse depth, that makes both
            an edge.

    Returns:
        float32 [H,W], a new array.
    """
    depth = inv_depth.copy()
    for window in windows:
        edge = np.zeros(depth.shape, bool)
        down, right = np.abs(np.diff(depth, axis=0)) > jump, np.abs(np.diff(depth, axis=1)) > jump
        edge[:-1] |= down
        edge[1:] |= down
        edge[:, :-1] |= right
        edge[:, 1:] |= right
        rows, columns = np.nonzero(edge)
        if not rows.size:
            break
        reach, shape = window // 2, (window, window)
        flat = np.where(edge, np.float32(np.inf), depth)
        padded = np.pad(flat, reach, constant_values=np.inf)
        around = sliding_window_view(padded, shape)[rows, columns].reshape(rows.size, -1)
        around.sort(axis=1)
        known = np.count_nonzero(np.isfinite(around), axis=1)
        median = around[np.arange(rows.size), known // 2]
        depth[rows, columns] = np.where(known > 0, median, depth[rows, columns])
    return depth


def alpha_masks(
    inv_depth: np.ndarray, planes: Sequence[float], *, feather: float = 0.0, min_area: int = 0
) -> np.ndarray:
    """Splits a frame into half-open depth intervals; near means ``inv_depth >= d``.

    Each plane gives a mask "nearer than d". The masks are nested, and the layers are their
    differences. Area opening and closing of each mask (Vincent 1993) remove islands and pin-holes,
    and keep nested masks nested. With a feather an edge is logistic in inverse depth. A soft part
    stays only where it is connected to the cleaned mask.

    Args:
        inv_depth: float32 [H,W].
        planes: inverse depths, nearest (largest) first, K of them.
        feather: width in inverse depth over which alpha goes from 0 to 1 around a plane; 0: hard
            masks.
        min_area: islands and pin-holes of fewer pixels are removed.

    Returns:
        float32 [K+1,H,W], nearest first, multiples of 1/65536 that sum to exactly 1 at every pixel
        in any order.
    """
    nearer = np.zeros((len(planes) + 2, *inv_depth.shape), np.float32)
    nearer[-1] = 1
    for k, plane in enumerate(planes, 1):
        raw = inv_depth >= np.float32(plane)
        hard = _clean(raw, min_area)
        mask = _soften(inv_depth, float(plane), raw, hard, feather) if feather > 0 else hard
        np.maximum(nearer[k - 1], mask, out=nearer[k])
    return np.diff(nearer, axis=0)


def layer_names(planes: int) -> list[str]:
    """The layers between so many planes, nearest first: ``near``, or ``near1`` and so on, and
    ``far``.
    """
    return (
        ["near"] * (planes == 1) + [f"near{k + 1}" for k in range(planes) if planes > 1] + ["far"]
    )


def decompose(batch: Batch) -> LayerStack:
    """The layer stack of a batch, near layers over the filled far one.

    The near layers show the frame. The far layer shows the frame too where any of it is seen, and
    the background where it is hidden entirely. So the stack recomposed is the frame, bit-exactly,
    for hard and soft masks. An edit that takes the near layers away shows the ``background``
    instead, which is filled over the dilated hole.

    Args:
        batch: columns rgb, alphas (float32 [N,L,H,W], a partition, far last), background,
            inv_depth, far_inv_depth; alpha_names where things are layers.
    """
    rgb, inv_depth, share = batch["rgb"], batch["inv_depth"], batch["alphas"]
    layers = []
    left = np.ones_like(share[:, 0])
    count = share.shape[1] - 1
    names = list(batch["alpha_names"][0]) if "alpha_names" in batch else layer_names(count)
    for k in range(count):
        # What a layer hides of what reaches it; where nothing does, it may be anything.
        alpha = np.divide(share[:, k], left, out=np.zeros_like(left), where=left > 0)
        layers.append(Layer(names[k], rgb, alpha, inv_depth))
        left = left - share[:, k]
    hidden = left <= 0
    layers.append(
        Layer(
            "far",
            np.where(hidden[..., None], batch["background"], rgb),
            np.ones_like(left),
            np.where(hidden, batch["far_inv_depth"], inv_depth),
            batch.get("shared_background"),
        )
    )
    return LayerStack(layers)


def _clean(mask: np.ndarray, min_area: int) -> np.ndarray:
    """Area opening, then closing: no island and no pin-hole of fewer pixels stays.

    An empty mask stays empty.
    """
    for value, connectivity in ((True, 8), (False, 4)):
        if min_area <= 1 or not mask.any():
            break
        _, labels, stats, _ = cv2.connectedComponentsWithStats(
            (mask == value).astype(np.uint8), connectivity=connectivity
        )
        small = stats[:, cv2.CC_STAT_AREA] < min_area
        small[0] = False  # everything that is not of this value
        mask = mask ^ small[labels]
    return mask


def _soften(
    inv_depth: np.ndarray, plane: float, raw: np.ndarray, hard: np.ndarray, feather: float
) -> np.ndarray:
    """The cleaned mask with a logistic edge: >= 1/2 inside it, <= 1/2 outside."""
    reach = math.log((1 - _TAIL) / _TAIL)
    logistic = 1 / (
        1 + np.exp(-np.clip((inv_depth - np.float32(plane)) * (2 * reach / feather), -reach, reach))
    )
    soft = np.rint((logistic - _TAIL) / (1 - 2 * _TAIL) * _STEP) / _STEP
    soft = np.where(hard, np.maximum(soft, 0.5), np.minimum(soft, 0.5))
    if (raw != hard).any():
        # The skirt of a removed island or pin-hole goes with it: soft parts without a cleaned core.
        for value in (False, True):
            part = (soft < 1) if value else (soft > 0)
            count, labels = cv2.connectedComponents(part.astype(np.uint8), connectivity=8)
            kept = np.zeros(count, bool)
            kept[np.unique(labels[hard != value])] = True
            soft = np.where(part & ~kept[labels], float(value), soft)
    return soft.astype(np.float32)
