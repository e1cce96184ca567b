"""Edits on a real Ray with two logical GPUs: fillers of whole clips, the gradient form, odd
sources, and a resumed insertion.
"""

from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from raydepth.job import Job
from raydepth.output.codecs import decode_alpha, decode_rgb
from raydepth.run.pipeline import run
from tests.faults.processes import kill_and_outlive, shards, start, wait_for
from tests.frames.barcodes import make_clip
from tests.support.clips import write_clip
from tests.support.runs import differing, results, small_job
from tests.support.tiny_sam import write_sam

pytestmark = pytest.mark.timeout(280)

GPUS = {
    "run__gpus_per_worker": 1,
    "run__workers": 2,
    "run__logical_gpus": 2,
    "evaluate__reestimate_every": 0,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def still(folder: Path) -> Path:
    """Two seconds of a box that moves before a wall, the camera still."""
    return write_clip(folder / "still.mp4", frames=26)


@pytest.fixture(scope="module")
def pan(folder: Path) -> Path:
    """A camera that pans over a textured wall, 3 pixels a frame."""
    rough = np.random.default_rng(4).integers(40, 200, (24, 60, 3)).astype(np.uint8)
    wall = cv2.resize(rough, (300, 120), interpolation=cv2.INTER_CUBIC)
    crop = lambda i: np.ascontiguousarray(wall[10:106, 3 * i : 3 * i + 128])  # noqa: E731
    return make_clip(folder / "pan.mp4", 32, size=(96, 128), picture=crop)


def finished(job: Job) -> list[dict]:
    """The rows of a run in which every frame is done."""
    printed: list[str] = []
    outcome = run(job, echo=printed.append)
    assert outcome.frames["done"] == outcome.frames["total"] > 0, "\n".join(printed)
    assert Path(outcome.report).is_file()
    return results(Path(job.output.path)).to_pylist()


def inside(row: dict) -> np.ndarray:
    return cv2.erode((decode_alpha(row["near_png"]) > 0).astype(np.uint8), np.ones((3, 3))) > 0


def test_plates_of_odd_sources(still: Path, folder: Path, tmp_path: Path):
    """Beside a clip: one of one frame, a folder of one picture, a portrait and a very wide one;
    each as picture and video.
    """
    one = write_clip(folder / "one.mp4", frames=1, seed=1)
    portrait = write_clip(folder / "portrait.mp4", frames=4, height=128, width=56, seed=2)
    wide = write_clip(folder / "wide.mp4", frames=4, height=64, width=152, seed=3)
    (folder / "single").mkdir()
    picture = np.full((70, 90, 3), (60, 90, 70), np.uint8)
    cv2.circle(picture, (45, 50), 15, (200, 60, 40), -1)
    Image.fromarray(picture).save(folder / "single" / "a.png")
    sources = [str(path) for path in (still, one, folder / "single", portrait, wide)]
    job = small_job(
        sources, tmp_path, **GPUS, edit={"kind": "remove"}, output__video=True,
        layers={"at": {"quantile": 0.7}, "fill": {"method": "plate", "dilate": 3}},
    )  # fmt: skip
    rows = finished(job)
    assert len(rows) == 26 + 1 + 1 + 4 + 4
    sizes = {Path(row["path"]).name: decode_rgb(row["edited_png"]).shape[:2] for row in rows}
    assert sizes == {
        "still.mp4": (64, 86),
        "one.mp4": (64, 86),
        "single": (64, 82),
        "portrait.mp4": (146, 64),
        "wide.mp4": (64, 152),
    }
    for row in rows:
        rgb, edited = decode_rgb(row["rgb_png"]), decode_rgb(row["edited_png"])
        near = decode_alpha(row["near_png"]) > 0
        if not near.any() or near.all():
            assert np.array_equal(rgb, edited) and "near layer" in row["note"]
        else:
            assert (edited != rgb)[near].any() and row["rmse_outside"] == 0
    counts = {}
    for path in (tmp_path / "videos").iterdir():
        with av.open(str(path)) as video:
            counts[path.stem] = sum(1 for _ in video.decode(video=0))
    assert sorted(counts.values()) == [1, 1, 4, 4, 26]
    # One plate for all frames: where two frames both show it, they are equal.
    clip = [row for row in rows if row["path"].endswith("still.mp4")]
    for one_row, other in pairwise(clip):
        if not one_row["note"] and not other["note"]:
            both = inside(one_row) & inside(other)
            assert np.array_equal(
                decode_rgb(one_row["edited_png"])[both], decode_rgb(other["edited_png"])[both]
            )


def test_the_gradient_form_and_filling_by_diffusion_on_sampled_frames(still: Path, tmp_path: Path):
    """``lite`` on every third frame: those frames, each with a new background, and behind its near
    layer the filled old one.
    """
    grad = {"recipe": "lite", "steps": 6, "strength": 0.5, "checkpointing": True}
    fill = {"method": "diffusion", "model": "builtin", "steps": 6, "dilate": 3}
    job = small_job(
        still,
        tmp_path,
        **GPUS,
        edit={"kind": "background", "source": "#2040c0"},
        run__batch=2,
        output__shard_frames=2,
        layers={"at": {"quantile": 0.7}, "fill": fill},
        compose={"method": "featglac-grad", "every": 3, "grad": grad},
    )
    rows = finished(job)
    assert [row["frame_index"] for row in rows] == list(range(0, 26, 3))
    blue = np.float32((32, 64, 192))
    for row in rows:
        rgb, edited, background = (
            decode_rgb(row[f"{kind}_png"]) for kind in ("rgb", "edited", "background")
        )
        near = decode_alpha(row["near_png"]) > 0
        far = cv2.dilate(near.astype(np.uint8), np.ones((9, 9))) == 0
        assert far.mean() > 0.3 and row["rmse_outside"] == 0
        assert np.abs(edited[far] - blue).mean() < 0.6 * np.abs(rgb[far] - blue).mean()
        hole = cv2.dilate(near.astype(np.uint8), np.ones((7, 7))) > 0
        assert (background != rgb).any(-1)[near].mean() > 0.9
        assert np.array_equal(background[~hole], rgb[~hole])


@pytest.mark.slow
def test_an_insertion_in_the_scene_goes_on_to_the_same_bytes(pan: Path, tmp_path: Path):
    """Tracked once, cut out once by a segmentation model, killed half-way by kill -9, and finished
    by the next run.
    """
    Image.fromarray(np.full((40, 40, 3), (230, 30, 200), np.uint8)).save(tmp_path / "thing.png")
    model = write_sam(tmp_path / "sam")
    insert = {
        "kind": "insert", "object": str(tmp_path / "thing.png"), "segment": {"model": model},
        "at": 5.0, "box": [0.65, 0.3, 0.95, 0.8],
    }  # fmt: skip

    def job(out: Path) -> Job:
        compose = {"method": "featglac-kv", "steps": 10, "strength": 0.4}
        return small_job(pan, out, **GPUS, edit=insert, compose=compose, output__shard_frames=4)

    rows = finished(job(tmp_path / "whole"))
    places = []
    for row in rows:
        changed = (decode_rgb(row["edited_png"]) != decode_rgb(row["rgb_png"])).any(-1)
        if not row["note"]:
            places.append((row["frame_index"], np.flatnonzero(changed.any(0)).mean()))
    (first, start_x), (last, end_x) = places[0], places[-1]
    assert last - first > 8 and (start_x - end_x) / (last - first) == pytest.approx(
        2, abs=0.4
    )  # 3 of 96 pixels high
    out = tmp_path / "out"
    process = start(job(out), tmp_path, editor=None)
    wait_for(lambda: shards(out) >= 2)
    kill_and_outlive(process)
    assert 2 <= shards(out) < 8, "it was killed too late to test anything"
    kept = (out / "object.png").stat().st_mtime_ns
    assert start(job(out), tmp_path, editor=None).wait(200) == 0, (tmp_path / "log").read_text()
    assert not differing(out, tmp_path / "whole")
    assert (out / "object.png").stat().st_mtime_ns == kept
    assert (out / "object.png").read_bytes() == (tmp_path / "whole" / "object.png").read_bytes()
