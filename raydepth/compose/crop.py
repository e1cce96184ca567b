"""Composing on a crop around the edit (``compose.crop: region``).

A small edit then gets all of the model's pixels.
"""

import math

import cv2
import numpy as np

from raydepth.batch import Batch
from raydepth.compose.fullsize.paste import Patch, enlarge_stack, paste
from raydepth.compose.protocol import Compositor
from raydepth.edits.plan import EditPlan
from raydepth.layers.stack import Layer, LayerStack

PARTS = 8
"""Windows are so many eighths of the frame high and wide, so that neighbouring batches mostly have
the same one."""
MOST = 6
"""A window of more parts than this is not worth a crop."""


def find_window(region: np.ndarray) -> tuple[int, int, int, int] | None:
    """The window (y0, x0, y1, x1) in pixels around what may change in any of N frames.

    None where that is most of the frame. The window has the frame's aspect, at least a quarter of
    its height, and a sixteenth of the frame around the edit where there is room. It begins on
    sixteenths.

    Args:
        region: float32 [N,H,W], not empty everywhere.
    """
    height, width = region.shape[1:]
    inside = region.max(axis=0) > 0
    spans = []
    for size, axis in ((height, 1), (width, 0)):
        found = np.flatnonzero(inside.any(axis=axis))
        margin = size / (2 * PARTS)
        spans.append((max(found[0] - margin, 0), min(found[-1] + 1 + margin, size)))
    share = max(
        (stop - start) / size for (start, stop), size in zip(spans, (height, width), strict=True)
    )
    parts = max(2, math.ceil(share * PARTS))
    if parts > MOST:
        return None
    starts, stops = [], []
    for (start, stop), size in zip(spans, (height, width), strict=True):
        length, step = math.ceil(size * parts / PARTS), size / (2 * PARTS)
        begin = round(round(((start + stop) / 2 - length / 2) / step) * step)
        starts.append(min(max(begin, 0), size - length))
        stops.append(starts[-1] + length)
    return starts[0], starts[1], stops[0], stops[1]


class Crops:
    """Composes frames on a crop around the edit, at the working size, and pastes the crop back."""

    def __init__(self, compositor: Compositor, *, keep_source: bool) -> None:
        """Args: compositor: of the job; keep_source: ``compose.paste_back``."""
        self.compositor, self.keep_source = compositor, keep_source

    def paste(self, frame: np.ndarray, patch: Patch, region: np.ndarray) -> np.ndarray:
        """A frame uint8 [h,w,3] with its crop in it; region: float32 [h,w], of the edit."""
        return paste(frame, patch, keep_source=self.keep_source, region=region)

    def __call__(
        self, plan: EditPlan, batch: Batch, rows: np.ndarray, seeds: np.ndarray
    ) -> list[Patch] | None:
        """Composes the frames of a plan; the window is one for all of them.

        Args:
            plan: of M frames; no region is empty.
            batch: column ``rgb``; with ``origin`` crops are made of the source-size frames, and so
                are sharp.
            rows: of the frames in the batch, int64 [M].
            seeds: int64 [M].

        Returns:
            The edits on their crops; None where a crop is not worth while, and nothing was done.
        """
        window = find_window(plan.region)
        if window is None:
            return None
        patches = [
            make_patch(plan.take(np.array([n])), batch["rgb"][row], self._frame(batch, row), window)
            for n, row in enumerate(rows)
        ]
        layers = []
        for k, layer in enumerate(plan.stack.layers):
            made = [patch.stack.layers[k] for patch in patches]
            rgb, alpha, inv_depth = (
                np.concatenate([getattr(one, part) for one in made])
                for part in ("rgb", "alpha", "inv_depth")
            )
            layers.append(Layer(layer.name, rgb, alpha, inv_depth, layer.shared))
        crops = EditPlan(
            LayerStack(layers),
            np.stack([patch.region for patch in patches]),
            inpainted=None if plan.inpainted is None else _enlarged(plan.inpainted, window),
        )
        edited = self.compositor(crops, np.stack([patch.rgb for patch in patches]), seeds)
        for patch, picture in zip(patches, edited, strict=True):
            patch.edited = picture
        return patches

    def _frame(self, batch: Batch, row: int) -> np.ndarray:
        """The frame at source size where it can be had, else at working size."""
        if "origin" not in batch:
            return batch["rgb"][row]
        frame = batch["origin"][row]()
        return batch["rgb"][row] if frame.rgb is None else frame.rgb


def _enlarged(masks: np.ndarray, window: tuple[int, int, int, int]) -> np.ndarray:
    """A window of masks float32 [N,H,W], enlarged to their size."""
    y0, x0, y1, x1 = window
    size = masks.shape[:0:-1]
    return np.stack(
        [cv2.resize(mask[y0:y1, x0:x1], size, interpolation=cv2.INTER_LINEAR) for mask in masks]
    )


def make_patch(
    plan: EditPlan, rgb: np.ndarray, frame: np.ndarray, window: tuple[int, int, int, int]
) -> Patch:
    """One frame's edit on a grid of the working size over a window of it.

    ``edited`` is not yet made.

    Args:
        plan: of this frame alone, at working size.
        rgb: uint8 [h,w,3], the frame at working size.
        frame: uint8 [H,W,3], the frame that pictures are cropped from.
        window: y0, x0, y1, x1 in pixels of the working size.
    """
    height, width = rgb.shape[:2]
    y0, x0, y1, x1 = window
    inside = (slice(y0, y1), slice(x0, x1))
    low, region = np.ascontiguousarray(rgb[inside]), plan.region[0][inside]
    smooth = cv2.resize(region, (width, height), interpolation=cv2.INTER_LINEAR)
    smooth *= (
        cv2.resize(region, (width, height), interpolation=cv2.INTER_NEAREST) > 0
    )  # it does not grow
    patch = Patch(
        low, LayerStack([]), smooth, low, (y0 / height, x0 / width, y1 / height, x1 / width)
    )
    seen = frame[patch.window(*frame.shape[:2])]
    kernel = cv2.INTER_AREA if len(seen) > height else cv2.INTER_CUBIC
    patch.rgb = patch.edited = cv2.resize(seen, (width, height), interpolation=kernel)
    layers = [
        Layer(
            layer.name,
            *(part[:, y0:y1, x0:x1] for part in (layer.rgb, layer.alpha, layer.inv_depth)),
        )
        for layer in plan.stack.layers
    ]
    patch.stack = enlarge_stack(patch.rgb, low, LayerStack(layers))
    return patch
