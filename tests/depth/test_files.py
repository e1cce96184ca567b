"""Depth files: patterns, readings, holes, and rows whose file is missing."""

import cv2
import numpy as np
import pytest

from raydepth.depth.calibrate import Calibration
from raydepth.depth.files import DepthFiles, fill_nearest, read_depth
from raydepth.depth.registry import load_depth
from raydepth.depth.settings import Depth
from raydepth.depth.stage import DepthStage
from raydepth.errors import JobError
from tests.depth.tiny import batch, frames


def test_sixteen_bit_pictures_and_arrays(tmp_path):
    stored = np.array([[1000, 0], [2500, 65535]], np.uint16)
    cv2.imwrite(str(tmp_path / "d.png"), stored)
    np.save(tmp_path / "d.npy", np.array([[1.0, 0.0], [np.nan, -2.0]]))
    np.save(tmp_path / "i.npy", stored)
    metres = [[1.0, np.nan], [2.5, 65.535]]
    assert np.allclose(read_depth(str(tmp_path / "d.png"), 0.001), metres, equal_nan=True)
    assert np.allclose(read_depth(str(tmp_path / "i.npy"), 0.001), metres, equal_nan=True)
    assert np.array_equal(
        read_depth(str(tmp_path / "d.npy"), 0.001), [[1, np.nan], [np.nan, np.nan]], equal_nan=True
    )


def test_unreadable_files(tmp_path):
    cv2.imwrite(str(tmp_path / "8bit.png"), np.zeros((4, 4), np.uint8))
    (tmp_path / "text.png").write_text("no picture")
    np.save(tmp_path / "rgb.npy", np.zeros((4, 4, 3)))
    for name, message in (
        ("8bit.png", "got 8 bits"),
        ("text.png", "got no picture"),
        ("rgb.npy", r"float64 \[4, 4, 3\]"),
    ):
        with pytest.raises(ValueError, match=message):
            read_depth(str(tmp_path / name), 0.001)
    with pytest.raises(FileNotFoundError, match=r"no depth file .*gone.png"):
        read_depth(str(tmp_path / "gone.png"), 0.001)


def test_every_name_of_the_pattern():
    columns = batch(
        frames(2, 8, 8),
        frame_index=np.array([7, 30]),
        pts=np.array([0, 512]),
        path=np.array(["in/a.mp4", "in/b"], object),
        image=np.array(["", "in/b/x.1.jpg"], object),
    )
    files = DepthFiles("{parent}/d/{stem}_{frame_index:06d}_{pts}_{image}.png")
    assert [files.path(columns, i) for i in (0, 1)] == [
        "in/d/a_000007_0_.png",
        "in/d/b_000030_512_x.1.png",
    ]


@pytest.mark.parametrize(
    "pattern", ["{frame}.png", "{stem.png", "{0}.npy", "{stem}.jpg", "{stem:06d}.png"]
)
def test_malformed_patterns_are_refused(pattern):
    with pytest.raises(JobError, match=r"depth files .*(allowed: {parent}|ends in .png)"):
        DepthFiles(pattern)


def test_readings_at_working_size_with_holes_kept_or_filled(tmp_path):
    depth = np.array([[1000, 2000], [0, 4000]], np.uint16)
    cv2.imwrite(str(tmp_path / "v_0.png"), depth)
    columns = batch(frames(1, 4, 6))
    pattern = f"{tmp_path}/{{stem}}_{{frame_index}}.png"
    truth = DepthFiles(pattern)(columns)[0]
    assert np.array_equal(truth[:2], np.repeat([[1, 2]], 2, 0).repeat(3, 1).astype(np.float32))
    assert np.isnan(truth[2:, :3]).all() and (truth[2:, 3:] == 4).all()
    filled = load_depth(Depth(model=f"files:{pattern}"))(columns)[0]
    assert np.isfinite(filled).all() and np.array_equal(filled[:2], truth[:2])
    assert set(filled[2:, :3].ravel()) <= {1, 2, 4} and filled[2, 0] == 1 and filled[3, 2] == 4


def test_the_nearest_reading_fills_a_hole():
    rng = np.random.default_rng(0)
    depth = rng.random((30, 40)).astype(np.float32)
    depth[rng.random(depth.shape) < 0.9] = np.nan
    filled, known = fill_nearest(depth), np.argwhere(~np.isnan(depth))
    assert np.array_equal(filled[~np.isnan(depth)], depth[~np.isnan(depth)])
    for point in np.argwhere(np.isnan(depth))[::17]:
        distances = np.hypot(*(known - point).T)
        values = [
            depth[tuple(k)] for k in known[distances <= distances.min() + 0.35]
        ]  # OpenCV's distance is good to 2 %
        assert filled[tuple(point)] in values
    assert np.isnan(fill_nearest(np.full((3, 3), np.nan, np.float32))).all()


def test_a_missing_file_is_an_error_row_that_names_it(tmp_path):
    cv2.imwrite(str(tmp_path / "v_0.png"), np.full((8, 8), 2000, np.uint16))
    cv2.imwrite(str(tmp_path / "v_2.png"), np.zeros((8, 8), np.uint16))
    (tmp_path / "v_3.png").write_text("torn")
    pattern = f"{tmp_path}/{{stem}}_{{frame_index}}.png"
    stage = DepthStage(
        load_depth(Depth(model=f"files:{pattern}")), {"v": Calibration("f", "depth_m", 0.0, 1.0)}
    )
    out = stage(batch(frames(4, 8, 8)))
    assert list(out["status"]) == ["ok", "error", "error", "error"]
    assert list(out["error_type"]) == [
        "",
        "MissingDepthFile",
        "EmptyDepthFile",
        "UnreadableDepthFile",
    ]
    assert f"{tmp_path}/v_1.png" in out["error_message"][1]
    assert (out["inv_depth"][0] == 0.5).all() and (out["inv_depth"][1:] == 0).all()


def test_image_names_asked_of_a_video():
    files = DepthFiles("{image}.png", fill=True)
    columns = batch(frames(1, 8, 8), image=np.array([""], object))
    assert np.isnan(files(columns)).all()
    assert files.explain(columns, 0) == (
        "MissingDepthFile",
        "pattern {image}.png asks for {image}, but the source is not a folder of pictures",
    )


def test_sensor_depth_of_a_real_sequence(data):
    folder = data / "rgbd/sequence/color"
    columns = batch(
        np.zeros((2, 240, 320, 3), np.uint8),
        path=np.array([str(folder)] * 2, object),
        image=np.array([f"{folder}/00000.jpg", f"{folder}/00004.jpg"], object),
    )
    truth = DepthFiles("{parent}/depth/{image}.png")(columns)
    assert 0.02 < np.isnan(truth).mean() < 0.6
    assert 0.3 < np.nanmin(truth) < np.nanmax(truth) < 10
