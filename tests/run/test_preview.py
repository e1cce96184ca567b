"""``raydepth preview``: the frame as a run would edit it, without Ray, and fast the second time."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from raydepth.errors import JobError
from raydepth.frames.find import find_segments
from raydepth.job import Job
from raydepth.output import record
from raydepth.output.folder import OutputFolder
from raydepth.run import preview as module
from raydepth.run import remembered
from raydepth.run.identity import identify
from raydepth.run.preview import (
    calibration,
    edited_frame,
    kept_calibration,
    load_models,
    preview,
)
from raydepth.run.shown import choose_frame, choose_video, followed, named
from tests.support.clips import write_clip
from tests.support.runs import calibrate_here, small_job, steps_here


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", frames=12)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def job_of(clip: Path, folder: Path, **fields: Any) -> Job:
    return small_job(clip, folder / "out", **({"edit": {"kind": "remove"}} | fields))


def forbidden(*arguments: object, **options: object) -> None:
    raise AssertionError("this was to be remembered")


def test_a_frame_is_edited_to_the_bit_as_a_run_does(clip: Path, tmp_path: Path):
    job = job_of(clip, tmp_path)
    segments = find_segments(job.input).segments
    shown, loaded = choose_frame(job, segments, 0.25), identify(job)
    home, kept = kept_calibration(job, shown, loaded)
    assert (home is job, kept) == (False, None)
    models = load_models(home, loaded)
    fixed = calibration(home, shown, models, print)
    assert kept_calibration(job, shown, loaded) == (home, fixed)
    assert fixed == calibrate_here(job, segments)
    batch = edited_frame(home, shown, models, fixed)
    expected = next(remembered.batches(shown.segment, 1))
    for step in steps_here(job, segments[0].video, fixed):
        expected = step(expected)
    assert batch["frame_index"][0] == 6
    for name in ("rgb", "inv_depth", "alphas", "background", "edited", "region"):
        assert np.array_equal(batch[name], expected[name]), name


def test_the_second_call_loads_no_depth_model_and_decodes_nothing(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lines: list[list[str]] = [[], []]
    job = job_of(clip, tmp_path)
    picture = preview(job, points=[(0.4, 0.6)], echo=lines[0].append)
    assert picture == Path("preview-clip.png")
    first = picture.read_bytes()
    monkeypatch.setattr(module, "load_depth", forbidden)
    monkeypatch.setattr("raydepth.frames.decode.decode", forbidden)
    preview(job, points=[(0.4, 0.6)], echo=lines[1].append)
    assert picture.read_bytes() == first
    assert lines[0] == lines[1]
    assert not (tmp_path / "out").exists()
    # Other planes are resolved on the same samples.
    preview(job_of(clip, tmp_path, layers={"at": 0.7}), echo=lines[1].append)
    assert any("layers.at: 0.7, here 0.700" in line for line in lines[1])


def test_what_is_said(clip: Path, tmp_path: Path):
    said: list[str] = []
    job = job_of(clip, tmp_path, layers={"at": 0.5}, depth={"calibration_frames": 16})
    preview(job, time_s=0.0, points=[(0.1, 0.9), (1.0, 1.0)], echo=said.append)
    text = "\n".join(said)
    assert said[0] == "clip.mp4, 0.00 s, frame 0"
    assert "layers.at: 0.5, here 0.500" in text
    assert "the edit may change" in text
    assert "A  0.1,0.9: inverse depth" in text
    assert "B  1,1: inverse depth" in text
    assert "of 8 sampled frames, a run takes 12" in text  # the clip has no more


def test_it_says_what_the_verdict_would(clip: Path, tmp_path: Path):
    said: list[str] = []
    preview(job_of(clip, tmp_path, layers={"at": -9.0}), echo=said.append)
    assert any(line.startswith("amber: ") and "layers.at" in line for line in said)


def test_a_clicked_thing_is_shown_in_its_frame(clip: Path, tmp_path: Path):
    said: list[str] = []
    for i in range(12):
        depth = np.full((96, 128), 3000, np.uint16)
        depth[32:88, 4 + 2 * i : 36 + 2 * i] = 1000
        cv2.imwrite(str(tmp_path / f"{i}.png"), depth)
    thing = {"name": "box", "point": [0.3, 0.7], "at_s": 0.25}
    job = job_of(
        clip,
        tmp_path,
        depth={"model": f"files:{tmp_path}/{{frame_index}}.png", "calibration_frames": 2},
        layers={"things": [thing]},
        edit={"kind": "remove", "things": ["box"]},
    )
    preview(job, points=[(0.3, 0.7), (0.9, 0.1)], echo=said.append)
    assert said[0] == "clip.mp4, 0.25 s, frame 6"
    assert any(line.startswith("things: box seen, inverse depth") for line in said)
    assert "layers: box, in the place of layers.at" in said
    assert [("box" in line, "no thing" in line) for line in said[-2:]] == [
        (True, False),
        (False, True),
    ]
    assert not (tmp_path / "out").exists()


def test_what_a_run_has_fixed_is_taken(clip: Path, tmp_path: Path):
    job = job_of(clip, tmp_path)
    segments, loaded = find_segments(job.input).segments, identify(job)
    shown = choose_frame(job, segments, None)
    fixed = calibrate_here(job, segments)
    assert fixed is not None
    folder = OutputFolder.at(job.output.path)
    record.record_job(folder, job.tree(), loaded)
    record.write_calibrations(folder, {shown.shot: fixed})
    assert kept_calibration(job, shown, loaded) == (job, fixed)
    other = job_of(clip, tmp_path, layers={"at": 0.6})
    home, kept = kept_calibration(other, shown, loaded)
    assert (home == other, kept) == (False, None)


def test_frames_and_depth_that_are_damaged_in_the_cache_are_made_again(clip: Path, tmp_path: Path):
    job = job_of(clip, tmp_path)
    first = preview(job, echo=lambda line: None).read_bytes()
    kept = list((tmp_path / "cache").rglob("*.npy"))
    assert len(kept) >= 4
    for file in kept:
        file.write_bytes(file.read_bytes()[:-1])
    for file in (tmp_path / "cache").rglob("calibrations.json"):
        file.unlink()
    assert preview(job, echo=lambda line: None).read_bytes() == first


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"time_s": 99.0}, "--time 99: expected seconds from 0.00 to 0.46"),
        ({"time_s": -3.0}, "--time -3"),
        ({"video": "clop.mp4"}, "is clip.mp4 meant"),
        ({"out": Path("sheet.jpg")}, "ends in .png"),
        ({"out": Path("/proc/1/sheet.png")}, "cannot be written"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_written(
    options: dict[str, Any], said: str, clip: Path, tmp_path: Path
):
    with pytest.raises(JobError) as error:
        preview(job_of(clip, tmp_path), echo=lambda line: None, **options)
    assert said in str(error.value)
    assert list(tmp_path.glob("*.png")) == []


def test_sources_are_named_by_path_name_or_stem(tmp_path: Path):
    paths = [str(tmp_path / name) for name in ("a/dog.mp4", "b/dog.mp4", "b/cups.mp4")]
    assert named(paths, "cups.mp4") == named(paths, "cups") == paths[2]
    assert named(paths, "a/dog.mp4") == paths[0]
    with pytest.raises(JobError, match="several sources"):
        named(paths, "dog.mp4")
    uris = ["s3://bucket/clips/dog.mp4", "s3://bucket/clips/cat.mp4"]
    assert named(uris, "cat") == named(uris, uris[1]) == uris[1]


def test_without_a_name_the_first_that_can_be_read_is_shown(clip: Path, tmp_path: Path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    job = job_of(clip, tmp_path, input={"paths": [str(tmp_path / "a.mp4"), str(clip)], "size": 64})
    assert choose_video(job, None)[0].input.paths == [str(clip)]
    with pytest.raises(JobError, match="no frames to edit"):
        choose_video(job, "a.mp4")


def test_the_frame_is_that_of_a_click_or_in_the_middle_of_the_first_shot(
    clip: Path, tmp_path: Path
):
    cuts = {"paths": [str(clip)], "size": 64, "shots": [0.34]}  # 8 frames, then 4
    job = job_of(clip, tmp_path, input=cuts)
    segments = find_segments(job.input).segments
    middle, second = choose_frame(job, segments, None), choose_frame(job, segments, 0.4)
    assert (middle.row, middle.shots, middle.time_s) == (4, 2, pytest.approx(4 / 24))
    assert (second.row, second.shot) == (2, f"{segments[0].video}.1")
    thing = {"name": "box", "point": [0.5, 0.5]}
    clicked = job_of(clip, tmp_path, input=cuts, layers={"things": [thing | {"at_s": 0.375}]})
    assert choose_frame(clicked, segments, None).time_s == pytest.approx(9 / 24)
    early = job_of(clip, tmp_path, input=cuts, layers={"things": [thing | {"at_s": 0.1}]})
    frames = followed(early, choose_frame(early, segments, 0.25))
    assert np.concatenate([one.frame_index for one in frames]).tolist() == [2, 3, 4, 5, 6]


def test_the_program_needs_no_ray_and_the_second_time_no_torch(clip: Path, tmp_path: Path):
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(job_of(clip, tmp_path).tree()))
    code = (
        f"import sys; sys.argv = ['raydepth', 'preview', '{file}', '--at', '0.5,0.5']\n"
        "from raydepth import cli\n"
        "try: cli.main()\n"
        "except SystemExit as end: print(end.code)\n"
        "heavy = ('ray', 'diffusers', 'matplotlib', 'torch')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    ends = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=True
        )
        assert done.stderr == ""
        ends.append(done.stdout.splitlines()[-3:])
    assert ends[0] == ["sheet: preview-clip.png", "0", "['torch']"]
    assert ends[1] == ["sheet: preview-clip.png", "0", "[]"]
    assert cv2.imread("preview-clip.png").shape[1] == 1600
