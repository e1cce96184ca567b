"""Edited frames against what they should be: a synthetic clip's truths, through a worker's steps,
to fold and report.
"""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from raydepth.errors import JobError
from raydepth.evaluate import image
from raydepth.evaluate.fold import fold
from raydepth.evaluate.true_edits import TrueEdits
from raydepth.frames.decode import batches
from raydepth.frames.probe import probe
from raydepth.frames.segments import plan_segments
from raydepth.report.reasons import why_not_measured
from raydepth.run.check import check_models, worker_paths
from raydepth.run.editor import edit_batch
from raydepth.synth import write_clip
from tests.report.made_up import make_report
from tests.report.made_up import row as made_up_row
from tests.support.runs import calibrate_here, small_job, steps_here

NAMES = ("rmse_true_edit", "rmse_true_edit_inside", "ssim_true_edit", "ssim_true_edit_inside")


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("synth")
    write_clip(out, frames=2, size=(64, 80), seed=3, truths=True, samples=9)
    return out


def _edited(clip: Path, **fields) -> dict:
    camera = json.loads((clip / "camera.json").read_text())
    job = small_job(
        clip / "clip.mp4",
        clip / "run",
        depth__model=f"files:{clip}/depth/{{frame_index:06d}}.png",
        layers__at={"metres": camera["frames"][0]["threshold_m"]},
        layers__fill={"method": "telea", "dilate": 2},
        **fields,
    )
    source = probe(str(clip / "clip.mp4"))
    segments = plan_segments(source, size=64, stride=1, start_s=None, end_s=None)
    steps = steps_here(job, source.video, calibrate_here(job, segments))
    (batch,) = batches(segments[0], job.run.batch)
    result = edit_batch(steps, batch)
    assert set(result["status"]) == {"ok"}, result["error_message"]
    return result


def test_removing_is_measured_against_the_scene_without_its_near_objects(clip):
    removed = _edited(
        clip, edit={"kind": "remove"}, evaluate__truth="{parent}/truth/fill/{frame_index:06d}.png"
    )
    kept = _edited(clip, evaluate__truth="{parent}/truth/fill/{frame_index:06d}.png")
    for row in range(2):
        truth = np.asarray(Image.open(clip / f"truth/fill/{row:06d}.png"))
        near = np.asarray(Image.open(clip / f"truth/near/{row:06d}.png")) == 255
        assert removed["rmse_true_edit"][row] == image.rmse(removed["edited"][row], truth)
        assert removed["ssim_true_edit"][row] == image.ssim(removed["edited"][row], truth)
        inside = removed["region"][row] > 0
        assert removed["rmse_true_edit_inside"][row] == image.rmse(
            removed["edited"][row], truth, inside
        )
        assert (inside | ~near).mean() > 0.98
        assert removed["rmse_true_edit"][row] < 0.85 * kept["rmse_true_edit"][row]
        assert removed["ssim_true_edit"][row] > kept["ssim_true_edit"][row]


def test_inserting_by_insert_json_comes_near_the_truth(clip):
    edit = json.loads((clip / "truth/insert.json").read_text())
    pattern = f"{clip}/truth/insert/{{frame_index:06d}}.png"
    inserted = _edited(clip, edit=edit, evaluate__truth=pattern)
    kept = _edited(clip, evaluate__truth=pattern)
    assert inserted["rmse_true_edit"][0] < 0.9 * kept["rmse_true_edit"][0]


def test_missing_and_misshapen_pictures_are_not_measured(clip, tmp_path):
    Image.new("RGB", (80, 64)).save(tmp_path / "0.png")
    Image.new("RGB", (64, 80)).save(tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes(b"no picture")
    batch = {
        "path": np.array(["a.mp4"] * 4, object),
        "frame_index": np.arange(4),
        "pts": np.arange(4),
        "rgb": np.zeros((4, 32, 40, 3), np.uint8),
    }
    first, *others = TrueEdits(f"{tmp_path}/{{frame_index}}.png")(batch)
    assert first.shape == (32, 40, 3)
    turned, unreadable, missing = others
    assert "1.png: 64x80 pixels, expected the shape of the frame" in turned
    assert "2.png: expected a picture" in unreadable and missing == ""


def test_columns_reach_the_fold_and_the_report_says_why_there_are_none():
    rows = pa.table(
        {
            **{name: ["v"] for name in ("frame_id", "video", "path")},
            "frame_index": [0],
            "time_s": [0.0],
            "status": ["ok"],
            "error_type": [""],
            "error_message": [""],
            "attempts": [1],
            **{name: [0.5] for name in NAMES},
            "rmse_all": [float("nan")],
        }
    )
    group = fold([rows]).overall
    assert [group.get(name).mean for name in NAMES] == [0.5] * 4
    without = fold([rows.drop_columns(list(NAMES))]).overall
    assert "evaluate.truth" in why_not_measured(NAMES[0], {}, without)
    assert "could be read" in why_not_measured(NAMES[0], {"evaluate": {"truth": "x"}}, without)


def test_the_report_has_a_card_for_it_where_it_was_measured(tmp_path):
    for name, over in (
        ("with", dict(zip(NAMES, (12.5, 25.5, 0.75, 0.5), strict=True))),
        ("without", {}),
    ):
        tree = make_report(tmp_path / name, [made_up_row("a", 0, **over)])
        text = (tmp_path / name / "report/index.html").read_text(encoding="utf-8")
        assert ("Is the edit right?" in text) == (name == "with")
        assert tree["metrics"][NAMES[0]]["count"] == (name == "with")
    assert "25.5" in (tmp_path / "with/report/index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("pattern", ["{frame}.png", "{frame_index}.jpg", "{frame_index:zz}.png"])
def test_a_wrong_pattern_is_refused_before_anything_starts(pattern):
    job = small_job(Path("clip.mp4"), Path("out"), evaluate__truth=pattern)
    assert ("evaluate.truth", pattern) in worker_paths(job)
    with pytest.raises(JobError, match=r"evaluate\.truth"):
        check_models(job)


def test_ssim_inside_a_mask_is_the_mean_of_its_positions():
    rng = np.random.default_rng(0)
    one, two = rng.integers(0, 256, (2, 30, 40, 3), dtype=np.uint8)
    assert image.ssim(one, two, np.ones((30, 40), bool)) == image.ssim(one, two)
    two[:, 20:] = one[:, 20:]
    right = np.zeros((30, 40), bool)
    right[:, 26:] = True
    assert image.ssim(one, two, right) == pytest.approx(1)
    assert image.ssim(one, two) < 0.8
    assert np.isnan(image.ssim(one, two, np.zeros((30, 40), bool)))
