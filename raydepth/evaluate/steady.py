"""How steady a frame is against the one before it: its depth, and the edit against the input.

Both are measured on small copies, so that they cost a few milliseconds a frame.
"""

import cv2
import numpy as np

from raydepth.batch import Batch
from raydepth.evaluate.flicker import Warped, at, expected_error, in_region, warp_step

SIDE = 96
"""Short side in pixels of the copies."""
_TRACKED = 0.5
"""Part of a frame that must be found again in the frame before; less, and the two are no steps of
one clip."""
_FEW = 64
"""Pixels of a copy below which an edited region is too small to say anything."""
_FLOOR = 0.5
"""Grey levels that are added to both errors: what a still clip's noise and rounding come to, so
that a ratio of two tiny errors says nothing."""


def steadiness(batch: Batch, rows: np.ndarray) -> dict[str, np.ndarray]:
    """``depth_waver`` and ``edit_flicker`` of a batch, float64 [N].

    Both compare a frame with the one before it in the batch; NaN in frames that have none there,
    such as the batch's first, and where less than half of the frame is found again.

    * ``depth_waver``: median of |inverse depth - that of the frame before, warped by the pictures'
      flow|, over the pixels that both show. A point of the scene keeps its depth from one frame to
      the next but for what the camera moves on meanwhile, whatever moves. A model that gives each
      frame another scale or shift moves all points.
    * ``edit_flicker``: flow-warped error of the edited frame in its region, over the input's where
      its picture is equally steep (``flicker.expected_error``), each plus half a grey level.

    Args:
        batch: after the compose stage.
        rows: indices int64 [M] of the frames that are good.
    """
    count = len(batch["frame_id"])
    waver, flicker = np.full(count, np.nan), np.full(count, np.nan)
    good = set(rows.tolist())
    small: dict[int, dict[str, np.ndarray]] = {}
    for row in sorted(good):
        if row - 1 not in good and row + 1 not in good:
            continue
        small = {row - 1: small.get(row - 1, {}), row: _copies(batch, row)}
        if row - 1 not in good:
            continue
        before, now = small[row - 1], small[row]
        step = warp_step(before["rgb"], now["rgb"], "fast")
        if np.mean(step.seen) < _TRACKED:
            continue
        moved = np.abs(at(before["inv_depth"], step.start) - now["inv_depth"])
        waver[row] = np.median(moved[step.seen])
        flicker[row] = _flicker(before, now, step)
    return {"depth_waver": waver, "edit_flicker": flicker}


def _copies(batch: Batch, row: int) -> dict[str, np.ndarray]:
    """A frame's small copies; the region bool [h,w], where it is changed at all."""
    height, width = batch["rgb"].shape[1:3]
    share = min(SIDE / min(height, width), 1.0)
    size = (max(round(width * share), 1), max(round(height * share), 1))
    copies = {
        name: cv2.resize(batch[name][row], size, interpolation=cv2.INTER_AREA)
        for name in ("rgb", "edited", "inv_depth")
    }
    return copies | {
        "region": cv2.resize(batch["region"][row], size, interpolation=cv2.INTER_NEAREST) > 0
    }


def _flicker(before: dict[str, np.ndarray], now: dict[str, np.ndarray], step: Warped) -> float:
    """The edit's ``edit_flicker``; NaN where its region is too small to be followed."""
    region = before["region"] | now["region"]
    if np.count_nonzero(region) < _FEW:
        return float("nan")
    x, y, width, height = cv2.boundingRect(region.astype(np.uint8))
    margin = 8  # a window of the flow
    window = (
        slice(max(y - margin, 0), y + height + margin),
        slice(max(x - margin, 0), x + width + margin),
    )
    edited = warp_step(
        np.ascontiguousarray(before["edited"][window]),
        np.ascontiguousarray(now["edited"][window]),
        "fast",
    )
    counted = in_region(edited, before["region"][window], now["region"][window])
    if np.count_nonzero(counted) < _FEW:
        return float("nan")
    error = float(edited.error[counted].mean())
    expected = expected_error([edited], [counted], [step])
    return (error + _FLOOR) / (expected + _FLOOR)
