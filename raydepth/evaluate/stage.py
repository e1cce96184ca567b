"""The metric stage: every frame against ground truth, against its input and against the edit."""

import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from raydepth.batch import Batch, ok_rows, shot_of, take_rows
from raydepth.depth.stage import refined
from raydepth.evaluate import depth as depth_metrics
from raydepth.evaluate import image as image_metrics
from raydepth.evaluate.measures import MEASURES
from raydepth.evaluate.steady import steadiness

if TYPE_CHECKING:
    from raydepth.compose.protocol import Compositor
    from raydepth.depth.calibrate import Calibration
    from raydepth.depth.estimator import DepthEstimator
    from raydepth.depth.stage import Stabiliser

ORDER_PAIRS = 1000
"""Point pairs a frame for the depth order: a standard error of at most 1.6 percentage points."""


class MetricStage:
    """Adds the columns of ``measures.MEASURES`` and ``seconds_metrics``.

    Metrics are float64 [N], NaN where not measured.

    Args:
        estimator: estimates depth again on the edited frame; one that reads depth from files is not
            asked.
        calibrations: the shot's normalisation, by shot id.
        compositor: gives the codec's round trip.
        reestimate_every: frames whose index is a multiple of this are estimated again and sent
            through the codec; 0: none.
        truth: batch -> float32 [N,H,W] metres with NaN where there is no reading; None: no ground
            truth.
        references: as the depth stage's, which refines the depth of the input: by shot id, what
            stabilises its depth; None: nothing does.
        guided: as the depth stage's.
        things: names of the things that the edit speaks of.
        true_edits: batch -> what each edited frame should be, uint8 [H,W,3]; where that is not
            known, a note for the frame, or "".
    """

    def __init__(
        self,
        estimator: "DepthEstimator",
        calibrations: "Mapping[str, Calibration]",
        compositor: "Compositor",
        *,
        reestimate_every: int,
        truth: Callable[[Batch], np.ndarray] | None = None,
        true_edits: Callable[[Batch], list[np.ndarray | str]] | None = None,
        references: "Callable[[str], Stabiliser | None]" = lambda video: None,
        guided: bool = False,
        things: Sequence[str] = (),
    ) -> None:
        self.estimator = estimator
        self.calibrations = calibrations
        self.compositor = compositor
        self.reestimate_every = reestimate_every
        self.truth = truth
        self.true_edits = true_edits
        self.references, self.guided, self.things = references, guided, things

    def __call__(self, batch: Batch) -> Batch:
        started = time.perf_counter()
        count = len(batch["frame_id"])
        columns = {name: np.full(count, np.nan) for name in MEASURES}
        rows = ok_rows(batch)
        for row in rows:
            _measure_edit(columns, row, batch)
        self._check(columns, rows, batch)
        if self.truth is not None and rows.size:
            part = take_rows(batch, rows)
            for row, truth in zip(rows, self.truth(part), strict=True):
                self._measure_truth(columns, row, batch, truth)
        if self.true_edits is not None and rows.size:
            columns["note"] = batch["note"].copy()
            for row, picture in zip(rows, self.true_edits(take_rows(batch, rows)), strict=True):
                if isinstance(picture, str):
                    columns["note"][row] = "; ".join(filter(None, [batch["note"][row], picture]))
                else:
                    _measure_true_edit(columns, row, batch, picture)
        if self.reestimate_every:
            again = rows[batch["frame_index"][rows] % self.reestimate_every == 0]
            if again.size:
                self._measure_again(columns, again, batch)
        seconds = np.full(count, (time.perf_counter() - started) / count, np.float32)
        return {**batch, **columns, "seconds_metrics": seconds}

    def _check(self, columns: Batch, rows: np.ndarray, batch: Batch) -> None:
        """Fills the columns of ``measures.CHECKS``."""
        for name in columns.keys() & batch.keys():  # what only the edit knows
            columns[name][rows] = batch[name][rows]
        columns["region_share"][rows] = (batch["region"][rows] > 0).mean(axis=(1, 2))
        if "near" in batch:
            columns["near_share"][rows] = batch["near"][rows].mean(axis=(1, 2), dtype=np.float64)
        if self.things and "thing_names" in batch:
            _check_things(columns, rows, batch, self.things)
        columns |= steadiness(batch, rows)

    def _measure_truth(self, columns: Batch, row: int, batch: Batch, truth: np.ndarray) -> None:
        inv_depth = batch["inv_depth"][row]
        calibration = self.calibrations[shot_of(batch, row)]
        if calibration.kind == "depth_m":
            estimate = calibration.metres(inv_depth)
        else:
            raw_inverse = calibration.raw_inverse(inv_depth)
            estimate = raw_inverse if calibration.kind == "disparity_rel" else -raw_inverse
        valid = depth_metrics.readings(estimate, truth)
        aligned = depth_metrics.align(estimate, truth, calibration.kind)
        if np.isnan(aligned.scale) or not valid.any():
            return
        columns["align_scale"][row], columns["align_shift"][row] = aligned.scale, aligned.shift
        columns["rmse_truth"][row] = depth_metrics.rmse(aligned.depth, truth, valid)
        columns["abs_rel_truth"][row] = depth_metrics.abs_rel(aligned.depth, truth, valid)
        for k in (1, 2, 3):
            columns[f"delta{k}_truth"][row] = depth_metrics.delta(aligned.depth, truth, valid, k)
        columns["silog_truth"][row] = depth_metrics.silog(aligned.depth, truth, valid)
        pairs = depth_metrics.sample_pairs(
            valid, ORDER_PAIRS, zlib.crc32(batch["frame_id"][row].encode())
        )
        columns["order_truth"][row] = depth_metrics.order_accuracy(inv_depth, truth, pairs)

    def _measure_again(self, columns: Batch, rows: np.ndarray, batch: Batch) -> None:
        part = take_rows(batch, rows)
        decoded = self.compositor.round_trip(part["rgb"])
        if getattr(self.estimator, "reads_pixels", True):
            unedited = part["rgb"] if decoded is None else decoded
            for name, pictures, wanted in (
                ("rmse_target_depth", part["edited"], part["target_inv_depth"]),
                ("rmse_target_depth_floor", unedited, part["inv_depth"]),
            ):
                columns[name][rows] = self._depth_errors(part, pictures, wanted)
        if decoded is None:
            return
        for row, again in zip(rows, decoded, strict=True):
            rgb, outside = batch["rgb"][row], batch["region"][row] == 0
            columns["rmse_round_trip"][row] = image_metrics.rmse(again, rgb)
            columns["psnr_round_trip"][row] = image_metrics.psnr(again, rgb)
            columns["rmse_round_trip_outside"][row] = image_metrics.rmse(again, rgb, outside)

    def _depth_errors(self, part: Batch, pictures: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """RMSE float64 [N] of the depth of pictures uint8 [N,H,W,3], which goes the way of the
        input's depth, against what is wanted, float32 [N,H,W].

        A frame with a non-finite estimate stays unmeasured, as that is no fault of the edit.
        """
        errors = np.full(len(pictures), np.nan)
        for row, found in enumerate(self.estimator({**part, "rgb": pictures})):
            if np.isfinite(found).all():
                shot = shot_of(part, row)
                inv_depth = self.calibrations[shot].normalise(found)
                inv_depth = refined(pictures[row], inv_depth, self.references(shot), self.guided)
                errors[row] = np.sqrt(np.mean((inv_depth.astype(np.float64) - wanted[row]) ** 2))
        return errors


def _measure_edit(columns: Batch, row: int, batch: Batch) -> None:
    edited, rgb, outside = batch["edited"][row], batch["rgb"][row], batch["region"][row] == 0
    columns["rmse_outside"][row] = image_metrics.rmse(edited, rgb, outside)
    columns["psnr_outside"][row] = image_metrics.psnr(edited, rgb, outside)
    columns["rmse_all"][row] = image_metrics.rmse(edited, rgb)
    columns["psnr_all"][row] = image_metrics.psnr(edited, rgb)
    columns["ssim_all"][row] = image_metrics.ssim(edited, rgb)


def _check_things(columns: Batch, rows: np.ndarray, batch: Batch, things: Sequence[str]) -> None:
    for row in rows:
        mine = np.isin(batch["thing_names"][row].astype(str), things)
        states = batch["thing_state"][row][mine].tolist()
        for state in ("lost", "absent", "hidden"):
            columns[f"things_{state}"][row] = states.count(state)
        found = batch["thing_iou"][row][mine]
        if np.isfinite(found).any():
            columns["track_iou"][row] = np.nanmin(found)


def _measure_true_edit(columns: Batch, row: int, batch: Batch, truth: np.ndarray) -> None:
    edited, inside = batch["edited"][row], batch["region"][row] > 0
    columns["rmse_true_edit"][row] = image_metrics.rmse(edited, truth)
    columns["rmse_true_edit_inside"][row] = image_metrics.rmse(edited, truth, inside)
    columns["ssim_true_edit"][row] = image_metrics.ssim(edited, truth)
    columns["ssim_true_edit_inside"][row] = image_metrics.ssim(edited, truth, inside)
