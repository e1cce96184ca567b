"""Faults that leave every frame done: each makes the run amber for its own reason, and a good job
stays green.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from raydepth.batch import Batch, ok_rows
from raydepth.cli import main
from raydepth.evaluate.verdict import Verdict, judge
from raydepth.frames.probe import probe
from raydepth.frames.segments import plan_segments
from raydepth.job import Job
from raydepth.layers.things.stage import ThingStage
from raydepth.output.folder import OutputFolder
from raydepth.output.plan import cut_parts
from raydepth.output.shards import FRAMES, batch_table, read_shard
from raydepth.run.decoder import Decoder
from raydepth.run.editor import edit_batch
from raydepth.run.tracker import Tracker
from tests.support.clips import write_clip
from tests.support.runs import calibrate_here, edit_first_part, small_job, steps_here

FRAMES_IN_CLIP = 16
NEAR = {
    "layers__at": 0.5,
    "layers__fill": {"method": "plate", "dilate": 9},
    "depth__calibration_frames": 8,
    "edit": {"kind": "remove"},
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A box that moves before a wall."""
    return write_clip(tmp_path_factory.mktemp("clips") / "box.mp4", frames=FRAMES_IN_CLIP)


def depth_of(index: int, box: float = 0.9) -> np.ndarray:
    """The clip's depth, larger = nearer: a wall that slopes, and the box before it."""
    depth = np.tile(np.linspace(0.1, 0.3, 128, dtype=np.float32), (96, 1))
    x = 4 + index * 2
    depth[96 // 3 : -8, x : x + 32] = box
    return depth


def job_with(clip: Path, out: Path, maps: list[np.ndarray], **fields: Any) -> Job:
    """A job whose depth is read from these maps."""
    folder = out / "depth"
    folder.mkdir(parents=True)
    for index, depth in enumerate(maps):
        np.save(folder / f"{index:06d}.npy", depth)
    return small_job(
        clip, out / "run", depth__model=f"files:{folder}/{{frame_index:06d}}.npy",
        depth__kind="disparity_rel", evaluate__reestimate_every=0, **fields,
    )  # fmt: skip


def verdict(job: Job) -> Verdict:
    edit_first_part(job)
    folder = OutputFolder.at(job.output.path)
    tables = [read_shard(folder, name) for name in folder.files(FRAMES)]
    return judge(tables, job.model_dump(mode="json"))


MAPS = [depth_of(index) for index in range(FRAMES_IN_CLIP)]


def test_a_good_job_is_green(clip: Path, tmp_path: Path) -> None:
    good = NEAR | {"edit": {"kind": "background", "source": "#2040c0"}}
    found = verdict(job_with(clip, tmp_path, MAPS, **good))
    assert found.colour == "green" and not found.odd, found


@pytest.fixture(scope="module")
def disc(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("object") / "disc.png"
    Image.new("RGBA", (20, 20), (200, 30, 30, 255)).save(file)
    return str(file)


WAVERING = [depth * (1.25 if index % 2 else 0.8) for index, depth in enumerate(MAPS)]


@pytest.mark.parametrize(
    ("maps", "fields", "rule"),
    [
        (MAPS, NEAR | {"layers__at": -1.0}, "near_everywhere"),
        (MAPS, NEAR | {"layers__at": 3.0}, "near_nowhere"),
        (MAPS, NEAR | {"layers__at": 0.08}, "hole_over_half"),
        (WAVERING, NEAR, "depth_wavers"),
    ],
)
def test_what_is_wrong_with_depth_or_planes_is_amber(
    clip: Path, tmp_path: Path, maps: list[np.ndarray], fields: dict[str, Any], rule: str
) -> None:
    found = verdict(job_with(clip, tmp_path, maps, **fields))
    assert found.colour == "amber", found
    assert rule in [reason.rule for reason in found.reasons]


@pytest.mark.parametrize(
    ("at", "point", "rule"),
    [(-5.0, [0.5, 0.9], "object_hidden"), (0.5, [4.0, 4.0], "object_outside")],
)
def test_an_object_that_nobody_sees_is_amber(
    clip: Path, tmp_path: Path, disc: str, at: float, point: list[float], rule: str
) -> None:
    edit = {"kind": "insert", "object": disc, "at": at, "point": point, "anchor": "picture"}
    found = verdict(job_with(clip, tmp_path, MAPS, edit=edit))
    assert [reason.rule for reason in found.reasons] == [rule]
    assert found.reasons[0].frames == 8


def test_an_object_in_front_is_green(clip: Path, tmp_path: Path, disc: str) -> None:
    edit = {"kind": "insert", "object": disc, "at": 3.0, "point": [0.5, 0.9], "anchor": "picture"}
    assert verdict(job_with(clip, tmp_path, MAPS, edit=edit)).colour == "green"


class LosesTrack:
    """In the place of the thing stage: the box is tracked for so many frames of the clip."""

    def __init__(self, frames: int) -> None:
        self.frames = frames

    def __call__(self, batch: Batch) -> Batch:
        count, size = len(batch["rgb"]), batch["rgb"].shape[1:3]
        alpha = np.zeros((count, 1, *size), np.float32)
        state = np.full((count, 1), "lost", object)
        for row in ok_rows(batch):
            if batch["frame_index"][row] < self.frames:
                state[row, 0] = "seen"
                alpha[row, 0] = batch["inv_depth"][row] > 0.5
        return batch | {
            "thing_names": np.full((count, 1), "box", object),
            "thing_alpha": alpha,
            "thing_inv_depth": np.full((count, 1), 0.9, np.float32),
            "thing_state": state,
            "thing_iou": np.full((count, 1), 0.95),
        }


@pytest.mark.parametrize("tracked", [16, 5])
def test_a_track_that_is_lost_in_the_middle_is_amber_and_named(
    clip: Path, tmp_path: Path, tracked: int
) -> None:
    fields = NEAR | {"edit": {"kind": "remove", "things": ["box"]}, "layers__fill": {}}
    job = job_with(
        clip, tmp_path, MAPS, layers__things=[{"name": "box", "point": [0.1, 0.6]}], **fields
    )
    segments = plan_segments(probe(job.input.paths[0]), size=job.input.size)
    shot = calibrate_here(job_with(clip, tmp_path / "plain", MAPS, layers__at=0.5), segments)
    steps = [
        LosesTrack(tracked) if isinstance(step, ThingStage) else step
        for step in steps_here(job, segments[0].video, shot)
    ]
    parts = cut_parts(segments, batch=job.run.batch, shard_frames=16, limit=None)
    tables = []
    for _, batches in Decoder(job, Tracker()).parts(parts):
        for batch in batches:
            edited = edit_batch(steps, batch)
            assert set(edited["status"]) == {"ok"}, edited["error_message"]
            edited["attempts"] = np.ones(len(edited["status"]), np.int64)
            tables.append(batch_table(edited, {}))
    found = judge(tables, job.model_dump(mode="json"))
    lost = [reason for reason in found.reasons if reason.rule == "things_lost"]
    assert len(lost) == (tracked < FRAMES_IN_CLIP)
    for reason in lost:
        assert "box" in reason.what and reason.frames == FRAMES_IN_CLIP - tracked
        assert reason.first[0]["frame_index"] == tracked


def test_run_status_report_and_page_say_the_same(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through Ray: the exit code stays, and every place says amber, why, where and what to do."""
    job = job_with(clip, tmp_path, MAPS, **NEAR | {"layers__at": -1.0, "input__limit": 8})
    file = tmp_path / "job.yaml"
    file.write_text(json.dumps(job.model_dump(mode="json", exclude_none=True)))

    def call(*words: str) -> str:
        with pytest.raises(SystemExit) as ended, pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.argv", ["raydepth", *words])
            main()
        said = capsys.readouterr()
        assert ended.value.code == 0, said
        return said.out

    out = tmp_path / "run"
    sentence = "near layer covers 100 % of the frame in 8 frames (100%; first box.mp4 at 0.00 s)"
    for said in (call("run", str(file)), call("status", str(out))):
        assert f"amber: {sentence}: set layers.at" in said
        assert "note in 8 frames (first box.mp4 at 0.00 s): full near layer" in said
    state = json.loads(call("status", str(out), "--json"))["verdict"]
    tree = json.loads((out / "report" / "report.json").read_text())["verdict"]
    assert state == tree and tree["colour"] == "amber"
    assert [reason["rule"] for reason in tree["reasons"]] == ["near_everywhere"]
    page = (out / "report" / "index.html").read_text()
    assert "Amber: this is likely not what was asked" in page
    assert "Near layer covers 100 % of the frame" in page and "full near layer" in page
