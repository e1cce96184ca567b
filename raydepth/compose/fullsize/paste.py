"""Pastes an edit made on a coarser grid into the frame's own pixels, with a feather.

It is exact where nothing may change.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from raydepth.compose.fullsize.edges import Banded, ThingEdges
from raydepth.compose.fullsize.upsample import Enlarged, Guided, bands
from raydepth.layers.distance import distance_to_outside
from raydepth.layers.stack import Layer, LayerStack

FEATHER = 4
"""Width in pixels of the paste-back's soft edge; below the default dilation of the hole, so it
stays off the near layer."""


@dataclass
class Patch:
    """One frame's edit on the grid that it was made on, which covers a window of the frame.

    Attributes:
        rgb: uint8 [h,w,3], the frame in the window.
        stack: the edit's layers there, arrays of one frame with a first axis of 1.
        region: float32 [h,w], where pixels may change.
        edited: uint8 [h,w,3], the result.
        box: (y0, x0, y1, x1), the window as fractions of the frame's height and width.
    """

    rgb: np.ndarray
    stack: LayerStack
    region: np.ndarray
    edited: np.ndarray
    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)

    def window(self, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns of the window in a frame of this size."""
        y0, x0, y1, x1 = self.box
        return slice(round(y0 * height), round(y1 * height)), slice(
            round(x0 * width), round(x1 * width)
        )


def fade(region: np.ndarray, feather: int = FEATHER) -> np.ndarray:
    """How much of an edit is shown, float32 [H,W]: the region, fading in from its edge inward.

    Args:
        region: float32 [H,W], 0..1.
        feather: pixels over which the edit fades in; the picture's border is no edge.
    """
    inside = (region > 0).astype(np.uint8)
    distance = distance_to_outside(inside)
    return region * np.clip(distance / (feather + 1), 0, 1)


def paste(
    full: np.ndarray,
    patch: Patch,
    *,
    keep_source: bool,
    region: np.ndarray | None = None,
    edges: ThingEdges | None = None,
) -> np.ndarray:
    """The edit in the frame's own pixels.

    The edit's layers are flattened at full size. A layer has the frame's detail where it shows the
    frame, and alphas have edges that follow the frame's. To this comes the compositor's change of
    the naive composite, enlarged. Where the edit left the region's pixels alone, they stay the
    frame's too.

    Args:
        full: uint8 [H,W,3], the frame.
        patch: the edit on its own grid.
        keep_source: pixels outside the region are the frame's, bit for bit
            (``compose.paste_back``); False: the whole window is the edit's.
        region: float32 [h,w], the edit's region over the whole frame, where the patch covers a part
            of it: it decides what is outside, to the pixel.
        edges: of the frame's things, where the patch is the whole frame: layers get them as the
            full-size frame has them.

    Returns:
        uint8 [H,W,3].
    """
    result = full.copy()
    rows, columns = patch.window(*full.shape[:2])
    frame, out = full[rows, columns], result[rows, columns]
    size = frame.shape[:2]
    if len(patch.rgb) > size[0] or patch.rgb.shape[1] > size[1]:
        patch = _shrunk(patch, size)
    target = patch.stack.flatten()[0]
    inside = _differ(patch.edited, patch.rgb, size, patch.region > 0)
    if region is not None:
        whole = cv2.resize(
            (region > 0).astype(np.uint8), full.shape[1::-1], interpolation=cv2.INTER_NEAREST
        )
        inside &= whole[rows, columns] > 0
    if not keep_source:
        inside[:] = True
    wanted = np.flatnonzero(inside.any(axis=0))
    if not wanted.size:
        return result
    span = slice(int(wanted[0]), int(wanted[-1]) + 1)
    guided = Guided(patch.rgb, frame, span)
    layers = [_enlarged(guided, layer, edges, span.start) for layer in patch.stack.layers]
    composed = _differ(target, patch.rgb, size)[:, span]  # elsewhere the target is the frame
    change = patch.edited.astype(np.float32) - target
    changed = Enlarged(change, size, span) if change.any() else None
    share = Enlarged(fade(patch.region), size, span)
    frame, out, inside = frame[:, span], out[:, span], inside[:, span]
    for band in bands(size[0]):
        if not inside[band].any():
            continue
        seen = frame[band].astype(np.float32)
        if composed[band].any():
            flat = np.zeros_like(seen)
            through = np.ones(seen.shape[:2], np.float32)
            for mask, picture in layers:
                alpha = mask(band)
                if alpha.any():
                    flat += (through * alpha)[..., None] * picture(band)
                    through *= 1 - alpha
            seen = np.where(composed[band][..., None], flat, seen)
        if changed is not None:
            seen += changed[band]
        if keep_source:
            mix = np.clip(share[band], 0, 1) * inside[band]
            seen = frame[band] + mix[..., None] * (seen - frame[band])
        out[band] = np.clip(np.rint(seen), 0, 255).astype(np.uint8)
    return result


def _enlarged(
    guided: Guided, layer: Layer, edges: ThingEdges | None, left: int = 0
) -> tuple[Banded, Banded]:
    """A layer's alpha and colours at full size, from the column ``left`` on."""
    mask, picture = guided.mask(layer.alpha[0]), guided.picture(layer.rgb[0])
    if edges is None:
        return mask, picture
    return edges.layer(layer.rgb[0], layer.alpha[0], mask, picture, left)


def _shrunk(patch: Patch, size: tuple[int, int]) -> Patch:
    """The patch on the grid of a frame that is coarser than its own."""

    def fit(values: np.ndarray) -> np.ndarray:
        return cv2.resize(values, size[::-1], interpolation=cv2.INTER_AREA)

    layers = [
        Layer(
            layer.name,
            fit(layer.rgb[0])[None],
            fit(layer.alpha[0])[None],
            fit(layer.inv_depth[0])[None],
        )
        for layer in patch.stack.layers
    ]
    region = fit(patch.region)
    region *= (
        cv2.resize(patch.region, size[::-1], interpolation=cv2.INTER_NEAREST) > 0
    )  # it does not grow
    return Patch(fit(patch.rgb), LayerStack(layers), region, fit(patch.edited), patch.box)


def _differ(
    one: np.ndarray, other: np.ndarray, size: tuple[int, int], within: np.ndarray | None = None
) -> np.ndarray:
    """Where two pictures uint8 [h,w,3] differ within a mask, with a pixel around it.

    The result is a bool mask of a larger size (H, W).
    """
    differ = cv2.dilate((one != other).any(-1).astype(np.uint8), np.ones((3, 3), np.uint8))
    if within is not None:
        differ *= within
    return cv2.resize(differ, size[::-1], interpolation=cv2.INTER_NEAREST) > 0


def enlarge_stack(
    full: np.ndarray, rgb: np.ndarray, stack: LayerStack, edges: ThingEdges | None = None
) -> LayerStack:
    """The layers of one frame at its full size, as paste() sees them.

    Args:
        full: uint8 [H,W,3], the frame.
        rgb: uint8 [h,w,3], the frame at working size.
        stack: its layers there, arrays with a first axis of 1.
        edges: of the frame's things; None: enlarged ones.

    Returns:
        Layers of rgb uint8 [1,H,W,3], alpha and inv_depth float32 [1,H,W].
    """
    guided = Guided(rgb, full)
    layers = []
    for layer in stack.layers:
        rgb_full, alpha, inv_depth = (
            np.empty_like(full),
            *np.empty((2, *full.shape[:2]), np.float32),
        )
        mask, colours = _enlarged(guided, layer, edges)
        depth = guided.depth(layer.inv_depth[0])
        for band in bands(len(full)):
            rgb_full[band] = np.clip(np.rint(colours(band)), 0, 255)
            alpha[band], inv_depth[band] = mask(band), depth(band)
        layers.append(Layer(layer.name, rgb_full[None], alpha[None], inv_depth[None]))
    return LayerStack(layers)
