"""The depth stage: every frame of a batch gets ``inv_depth`` on its shot's scale."""

import time
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from raydepth.batch import Batch, mark_error, ok_rows, shot_of
from raydepth.depth.calibrate import Calibration
from raydepth.depth.estimator import DepthEstimator, Explains
from raydepth.depth.guided import guided_filter


class Stabiliser(Protocol):
    """Removes the flicker of depth between a clip's frames; see ``raydepth.camera.stabilise``."""

    def stabilise(self, rgb: np.ndarray, inv_depth: np.ndarray) -> np.ndarray:
        """Stabilised depth float32 [H,W], from a frame uint8 [H,W,3] and its normalised depth."""


class DepthStage:
    """Estimates and normalises depth.

    A frame without a finite map becomes an error row, and its neighbours go on.
    """

    def __init__(
        self,
        estimator: DepthEstimator,
        calibrations: Mapping[str, Calibration],
        *,
        references: Callable[[str], Stabiliser | None] = lambda video: None,
        guided: bool = False,
    ) -> None:
        """Keeps the estimator and each shot's scale.

        Args:
            estimator: the source of depth.
            calibrations: by shot id. A shot that is missing here had no frame to fix a scale from;
                its frames become error rows of type ``NotCalibrated``.
            references: by shot id, what stabilises its depth (``depth.stabilise``); None: nothing
                does.
            guided: ``depth.guided``.
        """
        self.estimator, self.calibrations, self.references, self.guided = (
            estimator,
            calibrations,
            references,
            guided,
        )

    def __call__(self, batch: Batch) -> Batch:
        """Adds ``inv_depth``, ``depth_lo``, ``depth_hi`` and ``seconds_depth``.

        The batch given is left as it was. ``inv_depth`` float32 [N,H,W] is zeros in error rows.
        ``depth_lo`` and ``depth_hi`` float64 [N] are NaN where the shot has no scale. Error types
        are ``NonFiniteDepth``, ``NotCalibrated``, and those of the estimator's ``explain``
        (``MissingDepthFile`` ...).
        """
        started = time.perf_counter()
        count = len(batch["frame_id"])
        out = batch | {
            name: batch[name].copy() for name in ("status", "error_type", "error_message", "note")
        }
        inv_depth = np.zeros(batch["rgb"].shape[:3], np.float32)
        lo, hi = np.full(count, np.nan), np.full(count, np.nan)
        rows = ok_rows(batch)
        raw = self.estimator(batch) if rows.size else inv_depth
        for row in rows:
            calibration = self.calibrations.get(shot_of(batch, row))
            if calibration is None:
                mark_error(
                    out,
                    row,
                    "NotCalibrated",
                    "none of the clip's sampled frames gave depth, so it has no scale",
                )
                continue
            lo[row], hi[row] = calibration.lo, calibration.hi
            if np.isfinite(raw[row]).all():
                stabiliser = self.references(shot_of(batch, row))
                inv_depth[row] = refined(
                    batch["rgb"][row], calibration.normalise(raw[row]), stabiliser, self.guided
                )
            elif isinstance(self.estimator, Explains):
                mark_error(out, row, *self.estimator.explain(batch, row))
            else:
                bad = np.count_nonzero(~np.isfinite(raw[row]))
                mark_error(
                    out,
                    row,
                    "NonFiniteDepth",
                    f"{self.estimator.name}: {bad} of {raw[row].size} values are not finite",
                )
        # What the estimator says of its last call, where this batch had one.
        for row in getattr(self.estimator, "repeated", ()) if rows.size else ():
            out["note"][row] = "; ".join(
                filter(None, (out["note"][row], "depth repeated in float32"))
            )
        seconds = np.full(count, (time.perf_counter() - started) / count, np.float32)
        return out | {
            "inv_depth": inv_depth,
            "depth_lo": lo,
            "depth_hi": hi,
            "seconds_depth": seconds,
        }


def refined(
    rgb: np.ndarray, inv_depth: np.ndarray, stabiliser: Stabiliser | None, guided: bool
) -> np.ndarray:
    """A frame's normalised depth float32 [H,W] after stabilisation and guided filter.

    It stays as it was where neither is asked for.
    """
    if stabiliser is not None:
        inv_depth = stabiliser.stabilise(rgb, inv_depth)
    return guided_filter(rgb, inv_depth) if guided else inv_depth
