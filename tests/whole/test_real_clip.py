"""The onnx job on a real clip with real pretrained weights, where ../shared/data is there."""

from pathlib import Path

import numpy as np
import pytest

from raydepth.job import load_job
from raydepth.output.codecs import decode_alpha, decode_rgb
from raydepth.run.pipeline import run
from tests.support.runs import results

JOBS = Path(__file__).resolve().parents[2] / "jobs"


@pytest.mark.timeout(280)
def test_lifting_the_near_layer_out_of_cups(data: Path, tmp_path: Path):
    job = load_job(
        JOBS / "onnx.yaml",
        [
            f"input.paths=[{data}/videos/cups.mp4]",
            f"depth.model={data}/weights/fastdepth_7.onnx",
            f"layers.fill.model={data}/weights/migan_pipeline_v2.onnx",
            "input.size=128",
            "input.stride=75",
            "layers.at={point: [0.52, 0.55]}",
            "layers.fill.max_hole=0.8",  # the slab of depth takes more than half of the frame
            "edit.kind=remove",
            "compose.steps=4",
            "run.batch=4",
            f"output.path={tmp_path}",
        ],
    )
    assert run(job, echo=lambda line: None).frames == {
        "total": 4,
        "done": 4,
        "failed": 0,
        "missing": 0,
    }
    first = results(tmp_path).to_pylist()[0]
    rgb, near = decode_rgb(first["rgb_png"]), decode_alpha(first["near_png"]) > 0
    edited, background = decode_rgb(first["edited_png"]), decode_rgb(first["background_png"])
    red = (rgb[..., 0] > 150) & (rgb[..., 1] < 60)
    # The middle cup stands in the near layer, and is gone from the filled background and from the
    # result.
    cup = np.zeros_like(red)
    cup[52:96, 100:130] = True
    assert (near & cup & red).sum() > 0.6 * (cup & red).sum() > 100
    for picture in (background, edited):
        assert ((picture[..., 0] > 150) & (picture[..., 1] < 60) & near & cup).sum() < 0.1 * (
            near & cup
        ).sum()
    assert first["rmse_outside"] == 0.0
