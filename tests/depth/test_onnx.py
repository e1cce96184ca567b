"""FastDepth equals its authors' prediction; every picture -> map signature works, others are
refused.
"""

import json
import sys

import numpy as np
import pytest

from raydepth.depth.registry import load_depth
from raydepth.depth.settings import Depth
from raydepth.errors import JobError
from tests.depth.tiny import batch, frames, mean_model, onnx_model

pytest.importorskip("onnxruntime")


def test_fastdepth_equals_the_authors_prediction(data):
    rgb = np.rint(np.load(data / "rgbd/nyu/rgb.npy") * 255).astype(np.uint8)
    estimator = load_depth(Depth(model=str(data / "weights/fastdepth_7.onnx")))
    maps = estimator(batch(np.stack([rgb, rgb[:, ::-1]])))
    assert estimator.kind == "depth_m"
    # Metres up to 4.8, which theirs and this processor round in dozens of layers: 2e-6 apart here.
    assert np.abs(maps[0] - np.load(data / "rgbd/nyu/pred.npy")[0, 0]).max() <= 1e-4


def test_fastdepth_at_other_sizes(data):
    """Resized to the fixed input and back: the same scene, the same metres."""
    import cv2

    rgb = np.rint(np.load(data / "rgbd/nyu/rgb.npy") * 255).astype(np.uint8)
    wide = cv2.resize(rgb, (320, 240), interpolation=cv2.INTER_CUBIC)
    estimator = load_depth(Depth(model=str(data / "weights/fastdepth_7.onnx")))
    expected = cv2.resize(np.load(data / "rgbd/nyu/pred.npy")[0, 0], (320, 240))
    assert np.median(np.abs(estimator(batch(wide[None]))[0] / expected - 1)) < 0.03
    with pytest.raises(JobError, match=r"input_size: got 256, but .* 224x224"):
        load_depth(Depth(model=str(data / "weights/fastdepth_7.onnx"), input_size=256))


@pytest.mark.parametrize(
    "shape", [["n", 3, "h", "w"], [1, 3, "h", "w"], [1, 3, 60, 100], ["n", 3, 32, 48]]
)
def test_signatures_with_three_channels(tmp_path, shape):
    rgb = frames(3, 60, 100)
    maps = load_depth(Depth(model=mean_model(tmp_path / "m.onnx", shape), kind="disparity_rel"))(
        batch(rgb)
    )
    assert maps.shape == (3, 60, 100) and maps.dtype == np.float32
    assert np.abs(maps - rgb.mean(-1) / 255).max() < (0.06 if shape[2] == 32 else 1e-5)


def test_one_channel_is_luma(tmp_path):
    rgb = frames(2, 40, 50)
    maps = load_depth(
        Depth(model=mean_model(tmp_path / "m.onnx", ["n", 1, "h", "w"]), kind="disparity_rel")
    )(batch(rgb))
    assert np.allclose(maps, rgb @ np.array([0.299, 0.587, 0.114]) / 255, atol=1e-5)


def test_a_dynamic_model_that_needs_multiples_gets_them(tmp_path):
    """Patches of 14: cutting the picture into them fails at any other size."""
    nodes = [
        ("ReduceMean", ["rgb"], "grey", {"axes": [1], "keepdims": 1}),
        ("SpaceToDepth", ["grey"], "patches", {"blocksize": 14}),
        ("DepthToSpace", ["patches"], "depth", {"blocksize": 14}),
    ]
    path = onnx_model(
        tmp_path / "m.onnx", nodes, {"rgb": ["n", 3, "h", "w"]}, "depth", ["n", 1, "h", "w"]
    )
    estimator = load_depth(Depth(model=path, kind="disparity_rel"))
    assert estimator.preprocessing.input_size(60, 100) == (56, 98)
    rgb = frames(1, 60, 100)
    assert np.abs(estimator(batch(rgb)) - rgb.mean(-1) / 255).max() < 0.05
    assert load_depth(Depth(model=path, input_size=42)).preprocessing.input_size(60, 100) == (
        42,
        70,
    )


def test_a_preprocessor_file_beside_the_model_is_obeyed(tmp_path):
    path = mean_model(tmp_path / "m.onnx", ["n", 3, "h", "w"])
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5] * 3, "image_std": [0.25] * 3})
    )
    rgb = frames(1, 40, 50)
    assert np.allclose(
        load_depth(Depth(model=path, kind="disparity_rel"))(batch(rgb)),
        (rgb.mean(-1) / 255 - 0.5) / 0.25,
        atol=1e-4,
    )


def test_zero_metres_are_no_reading(tmp_path):
    """Dead units answer 0 m, which as the nearest thing of all would swap the layers."""
    rgb = np.full((1, 20, 30, 3), 128, np.uint8)
    rgb[0, 5:10, 5:10] = 0
    maps = load_depth(Depth(model=mean_model(tmp_path / "m.onnx", ["n", 3, "h", "w"])))(batch(rgb))
    assert np.allclose(maps, 128 / 255)


def test_wrong_models_are_refused(tmp_path):
    with pytest.raises(
        JobError, match=r"expected one input tensor\(float\).*got rgb tensor\(uint8\)"
    ):
        bytes_in = onnx_model(
            tmp_path / "a.onnx",
            [("Identity", ["rgb"], "c", {})],
            {"rgb": [1, 3, 8, 8]},
            "c",
            [1, 3, 8, 8],
            element=2,
        )
        load_depth(Depth(model=bytes_in))
    with pytest.raises(
        JobError, match=r"expected one input .*got rgb tensor\(float\) \[1, 4, 8, 8\]"
    ):
        load_depth(Depth(model=mean_model(tmp_path / "b.onnx", [1, 4, 8, 8])))
    two = onnx_model(
        tmp_path / "c.onnx",
        [("Add", ["a", "b"], "c", {})],
        {"a": [1, 3, 8, 8], "b": [1, 3, 8, 8]},
        "c",
        [1, 3, 8, 8],
    )
    with pytest.raises(JobError, match=r"expected one input .*got a tensor.*, b tensor"):
        load_depth(Depth(model=two))
    same = onnx_model(
        tmp_path / "d.onnx", [("Neg", ["a"], "c", {})], {"a": [1, 3, 8, 8]}, "c", [1, 3, 8, 8]
    )
    with pytest.raises(
        JobError, match=r"expected a map \[N,1,h,w\].*got c tensor\(float\) \[1, 3, 8, 8\]"
    ):
        load_depth(Depth(model=same))
    (tmp_path / "e.onnx").write_text("no model")
    with pytest.raises(JobError, match="not a model that onnxruntime can read"):
        load_depth(Depth(model=str(tmp_path / "e.onnx")))
    with pytest.raises(JobError, match=r"no file .*nowhere.onnx"):
        load_depth(Depth(model="nowhere.onnx"))


def test_without_onnxruntime_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(JobError, match=r"install raydepth\[onnx\]"):
        load_depth(Depth(model="m.onnx"))
