"""Pictures and videos of a finished run are made from its shards, equal to those of a run that was
asked for them; nothing is edited again, and nobody's files are touched. No Ray.
"""

import json
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import pytest

from raydepth import cli
from raydepth.errors import JobError
from raydepth.output import record
from raydepth.output.clip_names import name_clips
from raydepth.output.folder import LOCK, OutputFolder
from raydepth.output.ledger import Ledger
from raydepth.output.names import Listed, planned_entries
from raydepth.output.pictures import pictures_left, write_pictures
from raydepth.output.plan import Part, write_plan
from raydepth.output.shards import FRAMES
from raydepth.run.ending import End, edited_videos, finish, outcome, report
from raydepth.run.export import Asked, export
from raydepth.run.prepare import Source, Work, plan_changes
from tests.frames.barcodes import make_clip
from tests.output.finished import finished
from tests.support.runs import small_job


def made(tmp_path: Path, out: str = "out", images: str = "parquet", **fields: object) -> Path:
    """A finished run of two clips, one frame of which has failed."""
    folder, parts = OutputFolder.at(str(tmp_path / out)), []
    folder.prepare()
    for number in range(2):
        clip = tmp_path / f"{number}.mp4"
        if not clip.exists():
            make_clip(clip, 8 + number, audio=True)
        parts += finished(tmp_path / out, clip, failed=(3,), images=images, name=str(number))
    job = job_of(tmp_path, out, images=images, **fields)
    record.record_job(folder, job.tree())
    write_plan(folder, parts, [])
    names = name_clips([part.segment for part in parts], {})
    planned = planned_entries(parts, job.output, names, measures_clips=False, cuts_object=False)
    job_yaml = folder.read(record.JOB)
    Listed(frozenset(planned)).with_run(folder, planned, job_yaml, names).write(folder)
    return tmp_path / out


def job_of(tmp_path: Path, out: str = "out", **output: object):
    fields = {"keep": ["edited"]} | output
    return small_job(
        str(tmp_path / "[01].mp4"), tmp_path / out,
        **{f"output__{name}": value for name, value in fields.items()},
    )  # fmt: skip


def files(folder: Path, below: str) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted((folder / below).rglob("*"))
        if path.is_file() and path.name != LOCK
    }


def run_again(tmp_path: Path, **output: object) -> Work:
    """What a run of the job does with a folder whose frames are all done, up to the end."""
    job = job_of(tmp_path, **output)
    folder = OutputFolder.at(job.output.path)
    parts = parts_of(tmp_path)
    source = Source([part.segment for part in parts], parts, [])
    with ExitStack() as stack:
        stack.enter_context(folder.taken())
        changes = plan_changes(job, source, folder)
        work = Work(job, folder, lambda: False, source, Ledger({}), [], changes, None)
        work.take_over(lambda line: None)
    return work


def parts_of(tmp_path: Path) -> list[Part]:
    elsewhere = tmp_path / "unused"
    return [part for number in range(2) for part in finished(elsewhere, tmp_path / f"{number}.mp4")]


def test_files_of_an_export_are_those_of_a_run_that_was_asked_for_them(tmp_path: Path) -> None:
    asked = made(tmp_path, "asked", images="both")
    there = made(tmp_path)
    shards, said = files(there, FRAMES), []
    assert export(str(there), Asked("png"), to=None, echo=said.append) == 0
    assert said == ["images/0: 7 pictures", "images/1: 8 pictures"]
    assert files(there, "images") == files(asked, "images") and len(files(there, "images")) == 15
    assert files(there, FRAMES) == shards
    assert record.read_job(OutputFolder.at(str(there)))["output"]["images"] == "both"
    said.clear()
    export(str(there), Asked("png"), to=None, echo=said.append)
    assert said == []  # all are there


def test_videos_of_an_export_and_of_another_folder(tmp_path: Path) -> None:
    there, to = made(tmp_path), tmp_path / "to"
    before = files(there, "")
    for place in (str(to), None):
        assert export(str(there), Asked(video=True, crf=30), to=place, echo=print) == 0
        if place:
            assert files(there, "") == before
    assert files(to, "videos") == files(there, "videos")
    assert sorted(files(to, "videos")) == ["videos/0.mp4", "videos/1.mp4"]
    output = record.read_job(OutputFolder.at(str(there)))["output"]
    assert (output["video"], output["crf"], output["images"]) == (True, 30, "parquet")
    work = run_again(tmp_path, video=True, crf=30)
    assert [clip.outcome[:8] for clip in edited_videos(work)] == ["8 frames", "9 frames"]


def test_jpeg(tmp_path: Path) -> None:
    there = made(tmp_path)
    export(str(there), Asked("jpeg"), to=str(tmp_path / "to"), echo=print)
    export(str(there), Asked("png"), to=str(tmp_path / "to"), echo=print)
    exact, near = (
        cv2.imread(str(tmp_path / "to" / f"images/0/000000_edited.{ending}")).astype(np.float64)
        for ending in ("png", "jpg")
    )
    assert exact.shape == near.shape and np.abs(exact - near).mean() < 4
    assert files(tmp_path / "to", "images/0")["images/0/000000_edited.jpg"][:3] == b"\xff\xd8\xff"


def test_what_was_cut_short_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = made(tmp_path)
    right, left = OutputFolder.write, [6]

    def write(self: OutputFolder, name: str, data: bytes) -> None:
        if name.startswith("images/"):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
        right(self, name, data)

    monkeypatch.setattr(OutputFolder, "write", write)
    with pytest.raises(KeyboardInterrupt):
        export(str(there), Asked("png"), to=None, echo=print)
    monkeypatch.undo()
    some = files(there, "images")
    assert 0 < len(some) < 15
    export(str(there), Asked("png"), to=None, echo=print)
    assert len(files(there, "images")) == 15 and some.items() <= files(there, "images").items()


def test_a_run_with_another_output_makes_it_of_what_is_there(tmp_path: Path) -> None:
    asked, there = made(tmp_path, "asked", images="both"), made(tmp_path)
    work = run_again(tmp_path, images="png", video=True)
    said: list[str] = []
    written = report(work, End(None, 0, 0), edited_videos(work), 1.0)
    stopped, videos = finish(work, None, written, [], float("inf"), said.append)
    result = outcome(work, written, stopped, videos)
    assert (stopped, result.videos_left, result.pictures_left) == (None, 0, 0)
    assert files(there, "images") == files(asked, "images")
    assert len(said) == 4 and len(files(there, "videos")) == 2
    run_again(tmp_path, images="parquet")  # the shards still hold them


def test_a_deadline_leaves_pictures_to_the_next_run(tmp_path: Path) -> None:
    made(tmp_path)
    work = run_again(tmp_path, images="both")
    job = work.job.model_copy(update={"run": work.job.run.model_copy(update={"max_hours": 1e-9})})
    late = Work(job, *(getattr(work, name) for name in list(vars(work))[1:]))
    said: list[str] = []
    written = report(late, End(None, 0, 0), [], 1.0)
    stopped, _ = finish(late, None, written, [], 0.0, said.append)
    assert outcome(late, written, stopped, []).pictures_left == 15
    assert (stopped, said) == (
        "deadline",
        ["deadline: 15 pictures are left; run the same command again to go on"],
    )
    list(write_pictures(work.folder, work.names, ["edited"]))
    assert pictures_left(work.folder, work.names, ["edited"]) == 0


@pytest.mark.parametrize(
    ("there", "here", "words"),
    [
        ({"images": "none"}, {"images": "both"}, r"output\.images: both needs .*edited of 15"),
        ({"images": "png"}, {"images": "both"}, r"output\.images: both needs .*images: png"),
        ({}, {"keep": ["edited", "depth"]}, r"do not hold \(depth of 15 frames"),
        ({}, {"layers": True}, r"output\.layers: False there.*shards hold no layers"),
        ({}, {"size": "source"}, r"output\.size: .*shards hold no pictures of the other size"),
    ],
)
def test_what_the_shards_do_not_hold_is_refused(
    tmp_path: Path, there: dict, here: dict, words: str
) -> None:
    before = files(made(tmp_path, **there), "")
    with pytest.raises(JobError, match=words):
        run_again(tmp_path, **here)
    assert files(tmp_path / "out", "") == before


def test_an_export_is_refused_before_anything_is_changed(tmp_path: Path) -> None:
    there, none = made(tmp_path), made(tmp_path, "none", images="none")
    with pytest.raises(JobError, match="do not hold edited of 15 frames"):
        export(str(none), Asked(video=True), to=None, echo=print)
    with pytest.raises(JobError, match="do not hold depth of 15 frames"):
        export(str(there), Asked("png", keep=["depth"]), to=None, echo=print)
    with pytest.raises(JobError, match="no raydepth run has started there"):
        export(str(tmp_path / "nothing"), Asked("png"), to=None, echo=print)
    with pytest.raises(JobError, match="a run writes there"):
        export(str(there), Asked("png"), to=str(none), echo=print)
    (there / "images" / "0").mkdir(parents=True)
    (there / "images" / "0" / "000000_edited.png").write_bytes(b"mine")
    with pytest.raises(JobError, match="was not written by raydepth"):
        export(str(there), Asked("png"), to=None, echo=print)
    (tmp_path / "0.mp4").unlink()
    with pytest.raises(JobError, match=r"0\.mp4 is not what it was .* or is not there"):
        export(str(there), Asked(video=True), to=None, echo=print)
    assert files(there, "images") == {"images/0/000000_edited.png": b"mine"}
    assert not (tmp_path / "nothing").exists()


def test_two_runs_do_not_export_into_one_folder(tmp_path: Path) -> None:
    first, second = made(tmp_path), made(tmp_path, "other", images="both")
    export(str(first), Asked("png"), to=str(tmp_path / "to"), echo=print)
    with pytest.raises(JobError, match="holds the export of another run"):
        export(str(second), Asked("png"), to=str(tmp_path / "to"), echo=print)


def test_by_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    there = made(tmp_path)

    def call(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["raydepth", "export", str(there), *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0)

    assert call() == cli.WRONG and "nothing is asked for" in capsys.readouterr().err
    assert call("--images", "png", "--keep", "edges") == cli.WRONG
    assert "--keep edges: expected edited, depth" in capsys.readouterr().err
    assert call("--images", "png", "--keep", "edited", "--video", "--crf", "30") == cli.OK
    assert len(capsys.readouterr().out.splitlines()) == 4
    tree = json.loads((there / "report/report.json").read_text())
    assert [clip["file"] for clip in tree["edited_videos"]] == ["videos/0.mp4", "videos/1.mp4"]
