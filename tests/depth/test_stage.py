"""The stage: a clip's scale, errors that leave their neighbours alone, a batch left as it came."""

import numpy as np

from raydepth.depth.calibrate import Calibration
from raydepth.depth.stage import DepthStage
from tests.depth.tiny import batch, frames


class Brightness:
    """Depth in metres = mean grey level; a frame whose first pixel is 255 has none."""

    name, kind = "brightness", "depth_m"

    def __call__(self, batch):
        maps = batch["rgb"].mean(-1, dtype=np.float32) + 1
        maps[batch["rgb"][:, 0, 0, 0] == 255, :3, 0] = np.nan
        return maps


CLIPS = {"v": Calibration("brightness", "depth_m", 0.0, 0.5)}


def test_columns_types_and_scale():
    rgb = np.zeros((2, 4, 5, 3), np.uint8)
    out = DepthStage(Brightness(), CLIPS)(batch(rgb))
    assert out["inv_depth"].dtype == np.float32 and (out["inv_depth"] == 2).all()
    assert out["depth_lo"].tolist() == [0, 0] and out["depth_hi"].tolist() == [0.5, 0.5]
    assert out["depth_lo"].dtype == np.float64
    assert out["seconds_depth"].dtype == np.float32 and (out["seconds_depth"] > 0).all()


def test_a_bad_map_costs_its_own_frame():
    rgb = frames(3, 8, 9)
    rgb[:, 0, 0] = 0
    whole = DepthStage(Brightness(), CLIPS)(batch(rgb))
    rgb[1, 0, 0] = 255
    given = batch(rgb)
    out = DepthStage(Brightness(), CLIPS)(given)
    assert list(out["status"]) == ["ok", "error", "ok"] and out["error_type"][1] == "NonFiniteDepth"
    assert out["error_message"][1] == "brightness: 3 of 72 values are not finite"
    assert np.array_equal(out["inv_depth"][[0, 2]], whole["inv_depth"][[0, 2]])
    assert (out["inv_depth"][1] == 0).all()
    assert list(given["status"]) == ["ok"] * 3 and "inv_depth" not in given


def test_earlier_errors_stay_as_they_are_and_read_only_batches_work():
    columns = batch(np.zeros((2, 4, 5, 3), np.uint8))
    columns["status"][0], columns["error_type"][0] = "error", "DecodeError"
    for column in columns.values():
        column.setflags(write=False)
    out = DepthStage(Brightness(), CLIPS)(columns)
    assert list(out["error_type"]) == ["DecodeError", ""] and (out["inv_depth"][0] == 0).all()
    assert np.isnan(out["depth_lo"][0]) and out["depth_lo"][1] == 0


def test_a_clip_without_a_scale_gives_error_rows():
    out = DepthStage(Brightness(), {})(batch(np.zeros((2, 4, 5, 3), np.uint8)))
    assert list(out["error_type"]) == ["NotCalibrated"] * 2 and np.isnan(out["depth_hi"]).all()


def test_repeats_in_float32_are_noted():
    estimator = Brightness()
    estimator.repeated = (1,)
    out = DepthStage(estimator, CLIPS)(batch(np.zeros((2, 4, 5, 3), np.uint8)))
    assert list(out["note"]) == ["", "depth repeated in float32"]
