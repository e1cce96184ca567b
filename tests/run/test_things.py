"""A job's things on a worker, without Ray: clicks, mask files and words find their frames; resumes
and bad input.
"""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from raydepth.errors import JobError
from raydepth.frames.find import find_segments
from raydepth.job import Job
from raydepth.layers.things.protocol import Found
from raydepth.layers.things.settings import Thing
from raydepth.output.folder import OutputFolder
from raydepth.output.things import ThingTracks
from raydepth.run.calibrator import ClipCalibrator
from raydepth.run.check import check_models
from raydepth.run.check_things import check_things
from raydepth.run.decoder import Decoder
from raydepth.run.load import load_worker
from raydepth.run.steps import build_steps
from raydepth.run.things import SmallShot, ThingTracker, chosen, clicked_row
from raydepth.run.tracker import Attempt, Tracker
from tests.support.clips import write_clip
from tests.support.runs import small_job

BOX = [0.05, 0.3, 0.2, 0.95]
"""Where the bright box of the clip is at its beginning, about."""


class Bright:
    """Finds what is bright and orange, as the box of the clip is."""

    name, every = "bright", 4

    def __call__(self, picture, prompts):
        red, _, blue = (picture.rgb[..., i].astype(int) for i in range(3))
        mask = red - blue > 90
        return [Found(mask, 1.0) for _ in prompts]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "in" / "a.mp4", frames=26)


def segments_of(job: Job):
    return find_segments(job.input, 1).segments


def tracked(job: Job, finder=None):
    models = load_worker(job, device="cpu", dtype="float32")
    models = replace(models, things=ThingTracker(job, Bright(), finder))
    segments = segments_of(job)
    OutputFolder.at(job.output.path).prepare()
    return models, segments, ClipCalibrator(job, models, Tracker())(segments, Attempt(1, False, {}))


def test_a_click_is_tracked_and_every_frame_gets_its_mask(clip: Path, tmp_path: Path):
    job = small_job(clip, tmp_path / "out", layers__things=[{"name": "box", "box": BOX}])
    models, segments, measured = tracked(job)
    assert measured.things.counts == {"box": {"seen": 26, "hidden": 0, "lost": 0, "absent": 0}}
    assert measured.things.segmenter == "bright"
    steps = build_steps(job, models, segments[0].video, measured)
    from raydepth.output.plan import cut_parts

    parts = cut_parts(segments, batch=4, shard_frames=8, limit=None)
    _, decoded = next(Decoder(job, Tracker()).parts(parts[:1]))
    batch = next(iter(decoded))
    for step in steps:
        batch = step(batch)
    assert batch["thing_state"].tolist() == [["seen"]] * 4
    assert batch["thing_names"].tolist() == [["box"]] * 4
    for rgb, alpha in zip(batch["rgb"], batch["thing_alpha"][:, 0], strict=True):
        orange = rgb[..., 0].astype(int) - rgb[..., 2] > 90
        assert (alpha[orange] > 0.5).mean() > 0.9 and (alpha[~orange] < 0.5).mean() > 0.95
    assert np.isfinite(batch["thing_inv_depth"]).all()
    assert (np.abs(np.diff(batch["thing_inv_depth"][:, 0])) < 0.1).all()


def files_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "things").iterdir())}


def test_a_track_that_was_cut_short_is_redone_to_the_same_bytes(clip: Path, tmp_path: Path):
    things = [{"name": "box", "box": BOX, "at_s": 0.5}]
    job = small_job(clip, tmp_path / "out", layers__things=things)
    tracked(job)
    whole = files_of(tmp_path / "out")
    other = small_job(clip, tmp_path / "other", layers__things=things)
    models, segments, _ = tracked(other)
    for name in list(files_of(tmp_path / "other")):
        (tmp_path / "other" / "things" / name).write_bytes(b"half of it")
    ClipCalibrator(other, models, Tracker())(segments, Attempt(2, False, {}))
    assert files_of(tmp_path / "other") == whole


def test_a_stopping_run_keeps_no_track(clip: Path, tmp_path: Path):
    job = small_job(clip, tmp_path / "out", layers__things=[{"name": "box", "box": BOX}])

    class Stopping(Tracker):
        asked = 0

        def stopping(self):
            self.asked += 1
            return self.asked > 6

    models = replace(
        load_worker(job, device="cpu", dtype="float32"), things=ThingTracker(job, Bright())
    )
    OutputFolder.at(job.output.path).prepare()
    segments = segments_of(job)
    assert ClipCalibrator(job, models, Stopping())(segments, Attempt(1, False, {})) is None
    assert not list((tmp_path / "out").glob("things/*-frames.parquet"))


def write_masks(folder: Path, count: int, size=(96, 128), first: int = 0) -> None:
    folder.mkdir(exist_ok=True)
    for index in range(first, count):
        mask = np.zeros(size, np.uint8)
        mask[size[0] // 3 : -8, 4 + 2 * index : 36 + 2 * index] = 7
        cv2.imwrite(str(folder / f"{index:06d}.png"), mask)


def masks(tmp_path: Path, **more):
    pattern = "{parent}/masks/{frame_index:06d}.png"
    return {"layers__things": [{"name": "box", "masks": pattern, "label": 7} | more]}


def test_mask_files_are_things(clip: Path, tmp_path: Path):
    write_masks(tmp_path / "in" / "masks", 20)
    job = small_job(clip, tmp_path / "out", **masks(tmp_path))
    check_models(job)
    assert check_things(job, segments_of(job)) == []
    models, segments, measured = tracked(job)
    assert measured.things.counts["box"] == {"seen": 20, "hidden": 0, "lost": 0, "absent": 6}
    steps = build_steps(job, models, segments[0].video, measured)
    batch = next(Decoder(job, Tracker()).parts(_parts(segments, slice(16, 24))))[1][0]
    for step in steps[:2]:
        batch = step(batch)
    assert batch["thing_state"].ravel().tolist() == ["seen"] * 4
    assert batch["thing_alpha"].shape == (4, 1, 64, 86)
    edge = batch["thing_alpha"][0, 0, 40]
    assert edge.max() == 1 and ((edge > 0.05) & (edge < 0.95)).any(), "soft, at the frame's size"


def _parts(segments, rows: slice):
    from raydepth.output.plan import Part

    return [Part(segments[0], 0, rows.start, rows.stop)]


@pytest.mark.parametrize(
    ("size", "count", "said"),
    [((96, 200), 26, "200x96.*86x64"), ((48, 64), 26, ""), ((96, 128), 0, "000000.png")],
)
def test_mask_files_of_another_size(clip: Path, tmp_path: Path, size, count, said):
    write_masks(tmp_path / "in" / "masks", count, size)
    job = small_job(clip, tmp_path / "out", **masks(tmp_path))
    if not said:
        assert check_things(job, segments_of(job)) == []
        return
    with pytest.raises(JobError, match=f"layers.things.0.masks: box.*{said}"):
        check_things(job, segments_of(job))


def test_a_mask_of_another_shape_costs_its_frame(clip: Path, tmp_path: Path):
    write_masks(tmp_path / "in" / "masks", 26)
    write_masks(tmp_path / "in" / "masks", 2, (96, 200), first=1)
    job = small_job(clip, tmp_path / "out", **masks(tmp_path))
    models, segments, measured = tracked(job)
    steps = build_steps(job, models, segments[0].video, measured)
    batch = next(Decoder(job, Tracker()).parts(_parts(segments, slice(0, 4))))[1][0]
    for step in steps[:2]:
        batch = step(batch)
    assert batch["status"].tolist() == ["ok", "error", "ok", "ok"]
    assert "200x96" in batch["error_message"][1] and "000001.png" in batch["error_message"][1]


@pytest.mark.parametrize("said", [{"at_s": 9.0}, {"shot": 3}])
def test_a_click_on_no_shot_is_refused(clip: Path, tmp_path: Path, said):
    job = small_job(
        clip, tmp_path / "out", layers__things=[{"name": "box", "point": [0.1, 0.6]} | said]
    )
    with pytest.raises(JobError, match=r"layers.things.0: box is in no shot.*1\.0. s in shot 0"):
        check_things(job, segments_of(job))


def test_a_click_behind_the_end_of_one_source_of_two_is_said(clip: Path, tmp_path: Path):
    write_clip(tmp_path / "in" / "b.mp4", frames=40, seed=3)
    things = [{"name": "box", "point": [0.1, 0.6], "at_s": 1.5}]
    job = small_job([str(tmp_path / "in")], tmp_path / "out", layers__things=things)
    (note,) = check_things(job, segments_of(job))
    assert note.path.endswith("a.mp4") and "box is not clicked in it" in note.text


def test_which_frame_is_clicked(clip: Path, tmp_path: Path):
    segments = segments_of(small_job(clip, tmp_path / "out"))

    def row(**said):
        return clicked_row(Thing(name="box", point=[0.5, 0.5], **said), segments)

    assert row() == 0 and row(shot=0) == 0 and row(shot=1) is None
    assert row(at_s=0.5) == 12 and row(at_s=0.51) == 12 and row(at_s=25 / 24) == 25
    assert row(at_s=1.2) is None and row(at_s=0.5, shot=1) is None


def test_clicks_of_a_file_are_for_their_source(clip: Path, tmp_path: Path):
    write_clip(tmp_path / "in" / "b.mp4", frames=30, seed=3)
    file = tmp_path / "clicks.csv"
    file.write_text("source,name,at_s,x,y,x1,y1\na.mp4,box,0,0.05,0.3,0.2,0.95\n")
    job = small_job([str(tmp_path / "in")], tmp_path / "out", layers__things=str(file))
    tracker = ThingTracker(job, Bright())
    records = {}
    OutputFolder.at(job.output.path).prepare()
    models = replace(load_worker(job, device="cpu", dtype="float32"), things=tracker)
    for segment in segments_of(job):
        measured = ClipCalibrator(job, models, Tracker())([segment], Attempt(1, False, {}))
        records[Path(segment.path).name] = measured.things
    assert records["a.mp4"].counts["box"]["seen"] == 26
    assert records["b.mp4"].counts == {"box": {"absent": 30}}
    assert "clicked" in records["b.mp4"].notes["box"]


class Finder:
    name = "words"

    def __init__(self, found):
        self.found = found

    def __call__(self, picture, text):
        height, width = picture.rgb.shape[:2]
        return [(np.array(box) * [width, height, width, height], s) for box, s in self.found]


def test_a_word_is_looked_for_in_every_shot(clip: Path, tmp_path: Path, monkeypatch):
    things = [{"name": "box", "text": "orange box"}]
    job = small_job(clip, tmp_path / "out", layers__things=[{"name": "box", "box": BOX}])
    worded = Thing.model_validate(things[0])
    layers = job.layers.model_copy(update={"things": [worded]})
    job = job.model_copy(update={"layers": layers})
    monkeypatch.setattr("raydepth.run.load.load_tracker", lambda *_: None)
    _, _, measured = tracked(job, Finder([(BOX, 0.7)]))
    assert measured.things.counts["box"]["seen"] == 26
    none = job.writing_to(str(tmp_path / "none"))
    _, _, measured = tracked(none, Finder([]))
    assert measured.things.counts == {"box": {"absent": 26}}
    assert measured.things.notes == {"box": "'orange box' was not found in this shot"}


def test_all_that_a_word_names_is_one_thing(clip: Path, tmp_path: Path, monkeypatch):
    job = small_job(clip, tmp_path / "out", layers__things=[{"name": "box", "box": BOX}])
    worded = Thing(name="box", text="box", which="all")
    job = job.model_copy(update={"layers": job.layers.model_copy(update={"things": [worded]})})
    monkeypatch.setattr("raydepth.run.load.load_tracker", lambda *_: None)
    found = [(BOX, 0.7), ([0.5, 0.3, 0.7, 0.95], 0.6)]
    _, segments, measured = tracked(job, Finder(found))
    assert measured.things.counts["box"]["seen"] == 26
    tracks = ThingTracks(OutputFolder.at(job.output.path), segments[0].video)
    assert tracks.track.names == ("box#0", "box#1") and list(tracks(3)) == ["box"]


def test_which_of_those_that_were_found():
    class Shown:
        def inv_depth(self):
            return np.tile(np.linspace(0, 1, 100, dtype=np.float32), (50, 1))

    small, large = np.array([80, 0, 90, 10]), np.array([0, 0, 40, 40])
    found = [(large, 0.3), (small, 0.9)]
    assert chosen(found, "largest", Shown()) == (0.3, [large])
    assert chosen(found, "nearest", Shown()) == (0.9, [small])
    assert chosen(found, "all", Shown())[0] == 0.9 and len(chosen(found, "all", Shown())[1]) == 2


def test_frames_come_in_reverse_and_few_are_held(clip: Path, tmp_path: Path, monkeypatch):
    from raydepth.frames.decode import batches

    monkeypatch.setattr("raydepth.run.things._HELD", 8)
    alive = {"now": 0, "most": 0}

    def counted(segment, size):
        for batch in batches(segment, size):
            alive["now"] += len(batch["status"])
            alive["most"] = max(alive.values())
            yield batch

    segments = segments_of(small_job(clip, tmp_path / "out"))
    shot = SmallShot(segments, counted, lambda batch: np.zeros((64, 86), np.float32))
    ahead = [view.picture.rgb for view in shot.forward(0)]
    assert len(ahead) == 26
    rows = []
    for view in shot.backward(20):
        alive["now"] = 0
        rows.append(view.row)
        assert np.array_equal(view.picture.rgb, ahead[view.row])
    assert rows == list(range(20, -1, -1))
    assert [view.row for view in shot.at([3, 17])] == [3, 17]
