"""Files in an output folder that no run wrote are never changed, whatever runs do; and a frame that
was good stays good.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings

from raydepth.errors import JobError
from raydepth.frames.sources import UnreadableSource
from raydepth.output.folder import LOCK, MARKER, NAMES, OutputFolder
from raydepth.output.ledger import status
from raydepth.output.names import Listed, entry, planned_entries, prune
from raydepth.output.plan import cut_parts, write_plan
from raydepth.output.settings import Output
from raydepth.run.prepare import Source, plan_changes
from tests.support.folders import VIDEOS, Model, Run, do_run, segment, source, stories
from tests.support.runs import small_job

A, B, C = VIDEOS


@pytest.fixture(scope="module", autouse=True)
def no_power_cuts() -> Iterator[None]:
    """Nothing here is about the disk's own memory, for which every small file would be waited."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, raydepth's lock aside, which any run may leave."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != LOCK
    }


def model(out: Path) -> Model:
    def put(name: str, data: bytes) -> None:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(data)

    return Model(str(out), lambda: tree(out), put)


@settings(max_examples=40, deadline=None)
@given(stories)
@example([Run((A, B)), "videos/mine.mp4", Run((A,), overwrite=True)])
@example([Run((A, B)), Run((B,)), Run((A, B)), Run((C,), overwrite=True)])
@example([Run((A,)), "videos/dog.mp4", Run((A,), video=True, overwrite=True)])
@example([Run((A,), video=True), Run((A, B), video=True), Run((B,)), Run((A, C), video=True)])
@example(["videos/mine.mp4", Run((A,)), Run((A,), overwrite=True)])
def test_whatever_runs_do(tmp_path_factory: pytest.TempPathFactory, story: list[str | Run]) -> None:
    model(tmp_path_factory.mktemp("folder") / "out").play(story)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("foreign", "named"),
    [
        ("videos/a.mp4", "videos/"),
        ("job.yaml", "job.yaml"),
        (".git/config", ".git/"),
        ("deep/down/notes.txt", "deep/"),
        (".lock", ".lock"),
    ],
)
def test_a_folder_of_somebodys_is_refused(
    tmp_path: Path, foreign: str, named: str, overwrite: bool
) -> None:
    (tmp_path / foreign).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / foreign).write_text("mine")
    with pytest.raises(JobError, match=rf"output\.path: .*raydepth's \({named}\).*name a new"):
        do_run(str(tmp_path), Run((A,), overwrite=overwrite))
    found = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert found == [tmp_path / foreign] and found[0].read_text() == "mine"


def test_a_project_folder_by_the_command_line(tmp_path: Path) -> None:
    """The input and the job file lie in the folder that the output would go to: exit code 2."""
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(b"not even a video")
    job = small_job(["videos/a.mp4"], Path("."))
    (tmp_path / "job.yaml").write_text(json.dumps(job.model_dump(mode="json")))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    done = subprocess.run(
        [sys.executable, "-m", "raydepth", "run", "job.yaml", "--overwrite"],
        capture_output=True, text=True, cwd=tmp_path, timeout=100,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    """So is one with what file systems leave there, and one that is not there."""
    killed = f".{MARKER}.{'0' * 32}.tmp"
    lefts = {"lost": "lost+found/x", "mac": ".DS_Store", "sub": None, "new": "", "killed": killed}
    for name, left in lefts.items():
        folder = tmp_path / name
        if left:
            (folder / left).parent.mkdir(parents=True)
            (folder / left).write_bytes(b"")
        elif left is None:
            (folder / "frames" / "deep").mkdir(parents=True)
        do_run(str(folder), Run((A,)))
        assert (folder / MARKER).is_file() and (folder / NAMES).is_file()
    assert not (tmp_path / "killed" / killed).exists()


def test_a_run_that_is_refused_leaves_no_folder(tmp_path: Path) -> None:
    folder = OutputFolder.at(str(tmp_path / "new" / "out"))
    with pytest.raises(JobError), folder.taken():
        assert folder.exists(MARKER)
        raise JobError("the deadline has no room for it")
    assert not list(tmp_path.iterdir())


def test_the_record_of_the_job_is_no_job_file_of_the_users(tmp_path: Path) -> None:
    """Editing it and running it would be the same job as the record, whatever was edited."""
    do_run(str(tmp_path), Run((A,)))
    mine = (tmp_path / "job.yaml").read_text() + "# mine\n"
    (tmp_path / "job.yaml").write_text(mine)
    for overwrite in (False, True):
        with pytest.raises(JobError, match=r"job\.yaml, raydepth's record .*was changed"):
            do_run(str(tmp_path), Run((A,), overwrite=overwrite))
    assert (tmp_path / "job.yaml").read_text() == mine


def test_what_the_job_reads_is_not_written_to(tmp_path: Path) -> None:
    """A result of an earlier run there can be an input, but not of a run that deletes it."""
    out = tmp_path / "out"
    do_run(str(out), Run((A,), video=True))
    earlier = segment(B).__class__(**vars(segment(B)) | {"path": f"{out}/videos/dog.mp4"})
    there = Source([earlier], cut_parts([earlier], batch=1, shard_frames=2, limit=None), [])
    job = small_job(["/clips"], out, output__overwrite=True)
    with pytest.raises(JobError, match=r"input\.paths: .*dog\.mp4 lies in the output folder"):
        plan_changes(job, there, OutputFolder.at(str(out)))
    (tmp_path / "link").symlink_to(out)
    report = f"{tmp_path}/link/report/index.html"
    insert = {"kind": "insert", "object": report, "at": 0.5, "point": [0.5, 0.5]}
    job = job.model_copy(update={"edit": small_job(["/clips"], out, edit=insert).edit})
    mine = Source([segment(B)], there.parts, [])
    with pytest.raises(JobError, match=r"edit\.object: .* lies in the output folder"):
        plan_changes(job, mine, OutputFolder.at(str(out)))


def test_temporaries_of_killed_writers_are_deleted_and_no_others(tmp_path: Path) -> None:
    do_run(str(tmp_path), Run((A,), images="both"))
    mark = "0123456789abcdef" * 2
    ours = [f"frames/{A}/.000000-0000.parquet.{mark}.tmp", f".job.yaml.{mark}.tmp",
            f"images/dog/.000000_edited.png.{mark}.tmp"]  # fmt: skip
    others = [f"frames/{A}/.mine.parquet.{mark}.tmp", f".notes.{mark}.tmp", "work.tmp", ".x.tmp",
              f"data/.job.yaml.{mark}.tmp"]  # fmt: skip
    (tmp_path / "data").mkdir()
    for name in (*ours, *others):
        (tmp_path / name).write_bytes(b"x")
    do_run(str(tmp_path), Run((A,), images="both"))
    left = tree(tmp_path)
    assert not left.keys() & set(ours) and left.keys() >= set(others)


def test_files_with_names_that_are_no_utf8(tmp_path: Path) -> None:
    do_run(str(tmp_path), Run((A, B)))
    mine = [tmp_path / "frames" / os.fsdecode(b"\xff.parquet"), tmp_path / os.fsdecode(b"\xff")]
    for file in mine:
        file.write_bytes(b"mine")
    for asked in (Run((A,)), Run((A, B), overwrite=True)):
        do_run(str(tmp_path), asked)
        assert status(OutputFolder.at(str(tmp_path)))["damaged"] == []
        assert all(file.read_bytes() == b"mine" for file in mine)


def test_entries_cover_what_is_written(tmp_path: Path) -> None:
    """Every file of a run is listed before it is written, also in folders of other names."""
    do_run(str(tmp_path), Run((A, B), images="both", layers=True, video=True))
    listed = Listed.read(OutputFolder.at(str(tmp_path)))
    assert {name for name in tree(tmp_path) if not listed.holds(name)} == {MARKER, NAMES}
    for name in (
        "report/pictures/mine.jpg",
        "report/figures/x.png",
        "images/x/y/000000_edited.png",
    ):
        assert entry(name) == name
    assert not listed.holds("images/x/000000_edited.png")


def test_the_list_of_a_long_job_is_small(tmp_path: Path) -> None:
    long = segment(A).__class__(
        **vars(segment(A)) | dict.fromkeys(("frame_index", "pts", "time_s"), np.arange(125_000))
    )
    parts = cut_parts([long], batch=4, shard_frames=32, limit=None)
    folder = OutputFolder.at(str(tmp_path))
    folder.prepare()
    planned = planned_entries(
        parts, Output(path="x", images="both"), {A: "dog"}, measures_clips=True, cuts_object=True
    )
    Listed(frozenset(planned)).write(folder)
    assert len(Listed.read(folder).entries) > 125_000
    assert (tmp_path / NAMES).stat().st_size < 1_000_000


def test_a_damaged_list_is_refused(tmp_path: Path) -> None:
    do_run(str(tmp_path), Run((A,)))
    (tmp_path / NAMES).write_bytes(b"damaged")
    before = tree(tmp_path)
    with pytest.raises(JobError, match=f"{NAMES} is damaged"):
        do_run(str(tmp_path), Run((A,), overwrite=True))
    assert tree(tmp_path) == before


def test_sources_that_are_gone(tmp_path: Path) -> None:
    """They are named, their results kept aside and used again; ``prune`` deletes them."""
    do_run(str(tmp_path), Run((A, B), video=True))
    folder = OutputFolder.at(str(tmp_path))
    shards = {name: data for name, data in tree(tmp_path).items() if name.startswith("frames/")}
    do_run(str(tmp_path), Run((A, C), video=True))
    assert set(folder.files("frames")) == set(folder.files(f"frames/{A}")) | set(
        folder.files(f"frames/{C}")
    )
    assert not (tmp_path / "videos" / f"dog-{B}.mp4").exists()
    assert status(folder)["gone"] == [{"path": source(B), "video": B, "frames": 4}]
    assert status(folder)["frames"] == {"total": 8, "done": 8, "failed": 0, "missing": 0}
    do_run(str(tmp_path), Run((A, B), video=True))
    assert shards == {
        name: data for name, data in tree(tmp_path).items() if name.startswith("frames/")
    }
    assert [gone["video"] for gone in status(folder)["gone"]] == [C]
    (tmp_path / "gone" / "mine.txt").write_text("mine")
    assert prune(folder) == 3  # two shards, a video
    assert status(folder)["gone"] == []
    assert [name for name in tree(tmp_path) if name.startswith("gone/")] == ["gone/mine.txt"]
    assert set(shards) <= tree(tmp_path).keys()


def test_frames_behind_a_smaller_limit_do_not_count(tmp_path: Path) -> None:
    do_run(str(tmp_path), Run((A, B)))
    do_run(str(tmp_path), Run((A, B), limit=3))
    state = status(OutputFolder.at(str(tmp_path)))
    assert state["frames"] == {"total": 3, "done": 3, "failed": 0, "missing": 0}
    assert state["gone"] == []


def test_unreadable_sources_are_no_failed_frames(tmp_path: Path) -> None:
    folder = OutputFolder.at(str(tmp_path))
    folder.prepare()
    parts = cut_parts([segment(A)], batch=1, shard_frames=2, limit=None)
    write_plan(folder, parts, [UnreadableSource("/x.mp4", "EmptyFile", "/x.mp4 is empty")])
    state = status(folder)
    assert state["frames"] == {"total": 4, "done": 0, "failed": 0, "missing": 4}
    assert state["errors"] == {}
    assert state["unreadable"] == [
        {"path": "/x.mp4", "error_type": "EmptyFile", "error_message": "/x.mp4 is empty"}
    ]
