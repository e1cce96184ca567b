"""The metric stage on small batches: what is measured where, and what stays NaN."""

import math
from dataclasses import dataclass

import numpy as np
import pytest

from raydepth.batch import Batch
from raydepth.depth.calibrate import Calibration
from raydepth.depth.stage import refined
from raydepth.evaluate.measures import MEASURES
from raydepth.evaluate.stage import MetricStage

N, H, W = 4, 16, 20
CALIBRATION = Calibration("fake", "disparity_rel", lo=1.0, hi=3.0)


@dataclass
class Estimator:
    """Reads disparity off the picture's red channel; counts the frames it is asked for."""

    name: str = "fake"
    kind: str = "disparity_rel"
    asked: int = 0

    def __call__(self, batch: Batch) -> np.ndarray:
        self.asked += len(batch["rgb"])
        return 1.0 + batch["rgb"][..., 0].astype(np.float32) / 100.0


class Compositor:
    def round_trip(self, rgb: np.ndarray) -> np.ndarray:
        return rgb + np.uint8(2)


class NoCodec:
    def round_trip(self, rgb: np.ndarray) -> None:
        return None


def batch() -> Batch:
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 200, (N, H, W, 3), dtype=np.uint8)
    region = np.zeros((N, H, W), np.float32)
    region[:, :, :8] = 1.0
    region[1] = 0.5
    edited = rgb.copy()
    edited[:, :, :8] += 30
    edited[2, :, 8:] += 3
    return {
        "frame_id": np.array([f"v:{i}" for i in range(N)], object),
        "video": np.array(["v"] * N, object),
        "frame_index": np.array([10, 11, 20, 30]),
        "rgb": rgb,
        "edited": edited,
        "region": region,
        "inv_depth": rng.random((N, H, W)).astype(np.float32),
        "target_inv_depth": edited[..., 0].astype(np.float32) / 200.0 - 0.25,
        "status": np.array(["ok", "ok", "ok", "error"], object),
        "error_type": np.array([""] * N, object),
        "error_message": np.array([""] * N, object),
        "note": np.array([""] * N, object),
    }


def test_edit_columns() -> None:
    result = MetricStage(Estimator(), {"v": CALIBRATION}, Compositor(), reestimate_every=0)(batch())
    outside = result["rmse_outside"]
    assert outside[0] == 0.0 and result["psnr_outside"][0] == math.inf
    assert math.isnan(outside[1])  # the region is everywhere: nothing had to stay
    assert outside[2] == pytest.approx(3.0)
    assert result["rmse_all"][0] == pytest.approx(30 * math.sqrt(8 / W))
    assert 0 < result["ssim_all"][0] < 1
    for name in MEASURES:
        assert result[name].dtype == np.float64 and result[name].shape == (N,)
        assert math.isnan(result[name][3]), name  # error row
    assert result["seconds_metrics"].dtype == np.float32 and (result["seconds_metrics"] > 0).all()


def test_estimated_again_and_round_trip_on_every_nth_frame() -> None:
    estimator = Estimator()
    result = MetricStage(estimator, {"v": CALIBRATION}, Compositor(), reestimate_every=10)(batch())
    # Frames 10 and 20, each edited and not; 11 is no multiple and 30 is an error row.
    assert estimator.asked == 4
    # normalise(1 + red/100) = red/200, asked is that less 0.25
    assert result["rmse_target_depth"][[0, 2]] == pytest.approx([0.25, 0.25], abs=1e-6)
    assert np.isnan(result["rmse_target_depth"][[1, 3]]).all()
    assert result["rmse_round_trip"][[0, 2]] == pytest.approx([2.0, 2.0])
    assert result["rmse_round_trip_outside"][0] == pytest.approx(2.0)
    assert result["psnr_round_trip"][0] == pytest.approx(20 * math.log10(255 / 2))
    assert np.isnan(result["rmse_round_trip"][[1, 3]]).all()


def test_zero_means_never_and_no_codec_means_no_floor() -> None:
    estimator = Estimator()
    result = MetricStage(estimator, {"v": CALIBRATION}, Compositor(), reestimate_every=0)(batch())
    assert (
        estimator.asked == 0
        and np.isnan(result["rmse_target_depth"]).all()
        and np.isnan(result["rmse_round_trip"]).all()
    )
    result = MetricStage(estimator, {"v": CALIBRATION}, NoCodec(), reestimate_every=1)(batch())
    assert (
        estimator.asked == 6
        and np.isnan(result["rmse_round_trip"]).all()
        and np.isfinite(result["rmse_target_depth"][:3]).all()
    )


class Halving:
    """Refines depth by halving it."""

    def stabilise(self, rgb: np.ndarray, inv_depth: np.ndarray) -> np.ndarray:
        return inv_depth / 2


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("stabiliser", [None, Halving()])
def test_depth_that_is_estimated_again_is_refined_as_the_inputs_was(
    guided: bool, stabiliser: Halving | None
) -> None:
    """A frame whose edit left it as it was is at its target exactly, and so is its floor."""
    columns = batch()
    columns["edited"] = columns["rgb"]
    columns["inv_depth"] = np.stack(
        [
            refined(rgb, CALIBRATION.normalise(raw), stabiliser, guided)
            for rgb, raw in zip(columns["rgb"], Estimator()(columns), strict=True)
        ]
    )
    columns["target_inv_depth"] = columns["inv_depth"]
    stage = MetricStage(
        Estimator(),
        {"v": CALIBRATION},
        NoCodec(),
        reestimate_every=1,
        references=lambda video: stabiliser,
        guided=guided,
    )
    result = stage(columns)
    assert (result["rmse_target_depth"][:3] == 0).all()
    assert (result["rmse_target_depth_floor"][:3] == 0).all()


def test_the_floor_of_target_depth_is_what_the_codec_does_to_depth() -> None:
    columns = batch()
    columns["inv_depth"] = columns["rgb"][..., 0].astype(np.float32) / 200.0
    stage = MetricStage(Estimator(), {"v": CALIBRATION}, Compositor(), reestimate_every=10)
    result = stage(columns)  # the codec adds 2 to the red that depth is read off
    assert result["rmse_target_depth_floor"][[0, 2]] == pytest.approx([0.01, 0.01], abs=1e-6)
    assert np.isnan(result["rmse_target_depth_floor"][[1, 3]]).all()


def test_depth_from_files_is_not_asked_again() -> None:
    class Files(Estimator):
        reads_pixels = False

    estimator = Files()
    result = MetricStage(estimator, {"v": CALIBRATION}, Compositor(), reestimate_every=1)(batch())
    assert estimator.asked == 0 and np.isnan(result["rmse_target_depth"]).all()


def test_a_non_finite_second_estimate_is_not_measured() -> None:
    class Broken(Estimator):
        def __call__(self, batch: Batch) -> np.ndarray:
            raw = super().__call__(batch)
            raw[0, 0, 0] = np.nan
            return raw

    result = MetricStage(Broken(), {"v": CALIBRATION}, NoCodec(), reestimate_every=1)(batch())
    assert (
        math.isnan(result["rmse_target_depth"][0])
        and np.isfinite(result["rmse_target_depth"][1:3]).all()
    )


@pytest.mark.parametrize("kind", ["disparity_rel", "depth_rel", "depth_m"])
def test_truth_is_met_exactly_by_an_estimate_that_is_right(kind: str) -> None:
    columns = batch()
    metres = np.random.default_rng(1).uniform(1, 5, (N, H, W))
    raw = {"disparity_rel": 4 / metres + 1, "depth_rel": 2 * metres - 3, "depth_m": metres}[kind]
    calibration = Calibration("fake", kind, lo=-3.0, hi=5.0)
    columns["inv_depth"] = calibration.normalise(raw)
    truth = metres.astype(np.float32)
    truth[:, :4] = np.nan
    truth[2] = np.nan
    seen = []

    def read(part: Batch) -> np.ndarray:
        seen.extend(part["frame_id"])
        return truth[[int(name.split(":")[1]) for name in part["frame_id"]]]

    result = MetricStage(
        Estimator(), {"v": calibration}, NoCodec(), reestimate_every=0, truth=read
    )(columns)
    assert seen == ["v:0", "v:1", "v:2"]
    assert result["rmse_truth"][:2] == pytest.approx([0, 0], abs=1e-4)
    assert (result["delta1_truth"][:2] == 1).all() and (result["order_truth"][:2] == 1).all()
    scale, shift = {"disparity_rel": (0.25, -0.25), "depth_rel": (0.5, 1.5), "depth_m": (1.0, 0.0)}[
        kind
    ]
    assert result["align_scale"][0] == pytest.approx(scale, abs=1e-5)
    assert result["align_shift"][0] == pytest.approx(shift, abs=1e-5)
    for name in MEASURES:
        if name.endswith("_truth") or name.startswith("align"):
            assert np.isnan(result[name][2:]).all(), (
                name
            )  # no reading in frame 2, frame 3 is an error row


def test_the_batch_given_is_not_changed() -> None:
    columns = batch()
    before = {name: column.copy() for name, column in columns.items()}
    for column in columns.values():
        column.flags.writeable = False
    MetricStage(Estimator(), {"v": CALIBRATION}, Compositor(), reestimate_every=1)(columns)
    assert set(columns) == set(before) and all(
        np.array_equal(columns[name], before[name]) for name in before
    )
