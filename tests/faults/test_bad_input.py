"""A whole run on a folder of everything that is bad beside one good clip, and a run on bad depth
files: frames or rows, never a crash.
"""

import json
import os
import pickle
import shutil
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from raydepth.files.text import utf8
from raydepth.frames.find import find_segments
from raydepth.job import Job
from raydepth.output.folder import OutputFolder
from raydepth.output.ledger import status
from raydepth.output.plan import cut_parts, read_plan
from raydepth.run.pipeline import Outcome, build_steps, run
from raydepth.run.tracker import Tracker
from raydepth.run.worker import Worker
from tests.faults.bad_videos import STRANGE, flipped, truncated
from tests.faults.test_bad_pictures import Trap, lying_header
from tests.frames.barcodes import barcode
from tests.support.clips import write_clip
from tests.support.runs import results, small_job

pytestmark = pytest.mark.timeout(200)

GOOD_FRAMES = 6
REFUSED = [
    "zero length.mp4",
    "text.mp4",
    "noise.mp4",
    "archive.mp4",
    "playlist.mp4",
    "concat.mp4",
    "sound only.mp4",
    "index only.mp4",
    "says 16000 x 16000.gif",
    "says 2^31 x 2^31.y4m",
    "says 1000 million frames.mp4",
]
READ = [
    "one pixel.mkv",
    "two pixels.mp4",
    "a line of 4096 pixels.mkv",
    "10 bit HDR.mp4",
    "alpha ffv1.mkv",
    "interlaced.ts",
    "1000 a second.mkv",
    "repeating stamps.mkv",
    "negative stamps.mkv",
    "stamps near the end of 64 bits.nut",
    "animation.gif",
]


@pytest.fixture(scope="module")
def bad_folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The good clip and the folder that it lies in among the bad."""
    av.logging.set_level(None)
    work, folder = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("all kinds")
    good = write_clip(folder / "good.mp4", frames=GOOD_FRAMES)
    for name in [*REFUSED, *READ]:
        STRANGE[name][0](work / name).rename(folder / name)
    for made in (
        truncated(work, "faststart.mp4", 8),
        truncated(work, "moov last.mp4", 5),
        truncated(work, "h264.ts", 5),
        flipped(work, "h264.mkv", "0.5"),
        flipped(work, "mpeg4.avi", "everywhere"),
    ):
        made.rename(folder / made.name)
    (folder / "loop.mp4").symlink_to("loop.mp4")
    (folder / "nowhere.mp4").symlink_to("gone.mp4")
    os.mkfifo(folder / "pipe.mp4")
    for i, name in enumerate(
        (
            "<script>alert(1)<.mp4",
            "two\nlines \x1b[31m.mp4",
            os.fsdecode(b"\xff.mp4"),
            "{stem} %d.mp4",
        )
    ):
        write_clip(folder / name, frames=2, seed=10 + i)
    pictures = folder / "pictures"
    pictures.mkdir()
    for i in range(4):
        Image.fromarray(barcode(i, 48, 64 if i < 3 else 48)).save(pictures / f"{i}.png")
    (pictures / "1.png").write_bytes(b"no picture")
    return good, folder


@pytest.fixture(scope="module")
def outcome(
    bad_folder: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Outcome, Path, list[str]]:
    _, folder = bad_folder
    out, printed = tmp_path_factory.mktemp("out"), []
    return run(small_job([str(folder)], out, input__size=32), echo=printed.append), out, printed


@pytest.mark.timeout(200)
def test_every_file_has_frames_or_a_row(
    outcome: tuple[Outcome, Path, list[str]], bad_folder: tuple[Path, Path]
) -> None:
    ended, out, printed = outcome
    table = results(out)
    plan = read_plan(OutputFolder.at(str(out))).to_pylist()
    # Nothing is missing, nothing is there twice, and the counts are those of the rows.
    assert ended.stopped is None and ended.frames["missing"] == 0
    ids = table["frame_id"].to_pylist()
    assert sorted(ids) == sorted(row["frame_id"] for row in plan if row["frame_id"])
    assert len(set(ids)) == len(ids)
    refused = [row for row in plan if not row["frame_id"]]
    failed = table["status"].to_pylist().count("error")
    assert ended.frames["failed"] == failed > 0
    assert len(ended.unreadable) == len(refused) > 0  # apart from the frames, by name
    assert ended.frames["done"] == len(ids) - failed
    state = status(OutputFolder.at(str(out)))
    assert state["frames"] == ended.frames
    named = [(row["path"], row["error_type"], row["error_message"]) for row in refused]
    for told in (state, json.loads((out / "report" / "report.json").read_text())):
        assert [tuple(source.values()) for source in told["unreadable"]] == named
    # Every file of the folder is spoken of.
    told = {
        os.path.basename(path)
        for path in [*table["path"].to_pylist(), *(row["path"] for row in refused)]
    }
    assert told == {utf8(name) for name in os.listdir(bad_folder[1])} - {"pipe.mp4"}
    reasons = {os.path.basename(row["path"]): row["error_type"] for row in refused}
    assert set(REFUSED) | {"loop.mp4", "nowhere.mp4", "5 tenths of moov last.mp4"} <= reasons.keys()
    assert reasons["8 tenths of faststart.mp4"] == "Truncated"
    for row in refused:
        assert any(
            os.path.basename(row["path"])[:12] in line or "\n" in row["path"] for line in printed
        )
    assert all(line.isprintable() for line in printed)


def test_strange_files_are_edited(outcome: tuple[Outcome, Path, list[str]]) -> None:
    rows = results(outcome[1]).to_pylist()
    for name in READ:
        mine = [row for row in rows if os.path.basename(row["path"]) == name]
        assert [row["frame_index"] for row in mine] == list(range(STRANGE[name][1]))  # type: ignore[arg-type]
        if (
            name != "a line of 4096 pixels.mkv"
        ):  # one line is no picture to a depth model: done or failed, with a reason
            assert {row["status"] for row in mine} == {"ok"}, (
                name,
                mine[0]["error_type"],
                mine[0]["error_message"],
            )
        assert all(row["status"] == "ok" or row["error_message"] for row in mine)
    pictures = [row for row in rows if os.path.basename(row["path"]) == "pictures"]
    assert [row["status"] for row in pictures] == ["ok", "error", "ok", "ok"]


def edit_here(job: Job) -> None:
    """What a run does to one clip, by the same workers in this process instead of on Ray."""
    tracker, folder = Tracker(), OutputFolder.at(job.output.path)
    segments = find_segments(job.input, job.compose.every).segments
    parts = cut_parts(
        segments, batch=job.run.batch, shard_frames=job.output.shard_frames, limit=None
    )
    tracker.expect({segments[0].video: segments}, {})
    tracker.open()
    worker = Worker(job, folder, {}, tracker, build_steps)
    assert not list(worker({"calibrate": np.array([segments[0].video])}))
    tracker.keep(list(tracker.measured()))
    row = {"calibrate": np.array([""]), "parts": np.array([pickle.dumps(parts)], object)}
    assert sum(row["done"][0] for row in worker(row)) == GOOD_FRAMES


def test_the_good_clip_is_as_if_it_were_alone(
    outcome: tuple[Outcome, Path, list[str]], bad_folder: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "alone").mkdir()
    alone = shutil.copy(bad_folder[0], tmp_path / "alone" / "good.mp4")
    edit_here(small_job([str(alone)], tmp_path / "out", input__size=32))
    expected = results(tmp_path / "out").drop_columns("path")
    table = results(outcome[1])
    mine = table.filter([path == str(bad_folder[0]) for path in table["path"].to_pylist()])
    assert mine.num_rows == GOOD_FRAMES
    different = [
        name
        for name in expected.column_names
        if mine[name].combine_chunks().to_pylist() != expected[name].to_pylist()
    ]
    assert not different


def test_the_report_of_it_all(outcome: tuple[Outcome, Path, list[str]]) -> None:
    ended, out, _ = outcome
    tree = json.loads((out / "report" / "report.json").read_text(encoding="utf-8"))
    assert tree["frames"] == ended.frames
    page = (out / "report" / "index.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)&lt;" in page and "<script" not in page


@pytest.mark.timeout(200)
def test_a_run_on_bad_depth_files(tmp_path: Path) -> None:
    """Depth and truth from files of which most are bad: each costs its own frame, none runs
    anything.
    """
    clip = write_clip(tmp_path / "clip.mp4", frames=10)
    depth, truth = tmp_path / "depth", tmp_path / "truth"
    depth.mkdir()
    truth.mkdir()
    good = np.tile(np.linspace(1, 4, 64, dtype=np.float32), (48, 1))
    for i in range(10):
        np.save(depth / f"{i}.npy", good + i / 100)
        cv2.imwrite(str(truth / f"{i}.png"), (good * 1000).astype(np.uint16))
    np.save(depth / "1.npy", np.full_like(good, np.nan))
    np.save(depth / "2.npy", good.T)
    np.save(depth / "3.npy", good * 1e6)
    (depth / "4.npy").unlink()
    (depth / "5.npy").write_text("not an array")
    np.save(depth / "6.npy", np.array([[Trap()]], object), allow_pickle=True)
    (depth / "7.npy").write_bytes(lying_header("(1000000, 1000000)"))
    cv2.imwrite(str(truth / "0.png"), np.ones((48, 64), np.uint8))
    (truth / "8.png").write_bytes(b"no picture")
    printed: list[str] = []
    fields = {
        "depth__model": f"files:{depth}/{{frame_index}}.npy",
        "depth__truth": f"{truth}/{{frame_index}}.png",
    }
    ended = run(small_job(clip, tmp_path / "out", **fields), echo=printed.append)
    assert ended.frames == {"total": 10, "done": 3, "failed": 7, "missing": 0}
    assert ended.errors == {"UnreadableDepthFile": 5, "EmptyDepthFile": 1, "MissingDepthFile": 1}
    table = results(tmp_path / "out")
    assert table["frame_index"].to_pylist() == list(range(10))
    assert [i for i, state in enumerate(table["status"].to_pylist()) if state == "ok"] == [0, 8, 9]
    for i in range(1, 8):
        assert f"{depth}/{i}.npy" in table["error_message"][i].as_py()
    measured = [value is not None for value in table["rmse_truth"].to_pylist()]
    assert measured == [i == 9 for i in range(10)]  # 0 and 8 have no truth that can be read
    assert not Path("unpickled").exists()
