"""A clip of two shots, by real workers without Ray: each shot has its own scale, an object stays in
its shot, and a run that was cut off between them ends in the bytes of an undisturbed one.
"""

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from raydepth.batch import shot_id
from raydepth.frames.find import find_segments
from raydepth.job import Job
from raydepth.output.folder import OutputFolder
from raydepth.output.ledger import Ledger
from raydepth.output.plan import by_segment, cut_parts
from raydepth.output.record import ClipCalibration, read_calibrations
from raydepth.run.editor import Step
from raydepth.run.keeper import CalibrationKeeper
from raydepth.run.pipeline import build_steps, frames_by_shot
from raydepth.run.tracker import Tracker
from raydepth.run.worker import Worker
from tests.frames.barcodes import make_clip
from tests.support.runs import differing, results, small_job

CUT, FRAMES = 10, 22


class Died(Exception):
    """Stands for a process that is gone."""


class DiesBetweenShots(Worker):
    """A worker that ends when it comes to edit the second shot."""

    def steps(self, shot: str, clip: ClipCalibration | None) -> list[Step]:
        if shot.endswith(".1"):
            raise Died
        return super().steps(shot, clip)


def picture(frame: int) -> np.ndarray:
    """A bright box before a dark wall, then a dark one before a coloured wall."""
    wall, box = ((60, 50, 90), (230, 200, 80)) if frame < CUT else ((210, 160, 120), (20, 60, 30))
    shown = np.full((96, 128, 3), wall, np.uint8)
    shown[30:90, 10 + 2 * frame : 50 + 2 * frame] = box
    return shown


def edit(job: Job, kind: type[Worker] = Worker) -> int:
    """Does what is left of a job, as a run's one worker; returns how many frames were left."""
    folder = OutputFolder.at(job.output.path)
    folder.prepare()
    segments = find_segments(job.input).segments
    parts = cut_parts(segments, batch=job.run.batch, shard_frames=8, limit=None)
    todo = Ledger.read(folder).todo(parts, job.run.attempts)
    kept, wanted = read_calibrations(folder), {part.shot_id for part in todo}
    to_measure = frames_by_shot(segments, wanted - kept.keys())
    tracker = Tracker()
    tracker.expect(to_measure, {shot: kept[shot] for shot in wanted & kept.keys()})
    tracker.open()
    keeper, worker = (
        CalibrationKeeper(folder, tracker, kept),
        kind(job, folder, {}, tracker, build_steps),
    )
    for shot in to_measure:
        assert not list(worker({"calibrate": np.array([shot])}))
    keeper(last=True)
    for own in by_segment(todo):
        row = {"calibrate": np.array([""]), "parts": np.array([pickle.dumps(own)], object)}
        list(worker(row))
    return sum(part.frames for part in todo)


@pytest.mark.timeout(200)
def test_shots_are_edited_apart_and_resumed_exactly(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", FRAMES, size=(96, 128), picture=picture)
    chair = np.full((32, 16, 4), 255, np.uint8)
    chair[..., :3] = (40, 200, 40)
    cv2.imwrite(str(tmp_path / "chair.png"), chair)
    insert = {
        "kind": "insert", "object": str(tmp_path / "chair.png"), "point": [0.8, 0.9],
        "at": 2.0, "height": 0.5, "anchor": "picture",
    }  # fmt: skip
    job = small_job(clip, tmp_path / "plain", edit=insert)
    assert edit(job) == FRAMES
    rows = results(tmp_path / "plain").to_pylist()
    assert {row["status"] for row in rows} == {"ok"}
    assert [row["shot"] for row in rows] == [0] * CUT + [1] * (FRAMES - CUT)
    video = rows[0]["video"]
    scales = read_calibrations(OutputFolder.at(str(tmp_path / "plain")))
    assert set(scales) == {shot_id(video, 0), shot_id(video, 1)}
    assert scales[shot_id(video, 0)].depth != scales[shot_id(video, 1)].depth
    for row in rows:
        scale = scales[shot_id(video, row["shot"])].depth
        assert (row["depth_lo"], row["depth_hi"]) == (scale.lo, scale.hi)
        assert row["seed"] == rows[0]["seed"]
    assert all(row["rmse_all"] > 5 for row in rows[:CUT])
    wanted = "the object is in the first shot (edit.shot): this is shot 1"
    assert all(row["rmse_all"] == 0 and wanted in row["note"] for row in rows[CUT:])

    job = small_job(clip, tmp_path / "out", edit=insert)
    with pytest.raises(Died):
        edit(job, DiesBetweenShots)
    assert edit(job) == FRAMES - CUT
    assert not differing(tmp_path / "out", tmp_path / "plain")
