"""The end of a run with ``output.video``: the report stands first, and the videos are written until
the deadline or Ctrl-C; no Ray.
"""

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import raydepth.output.video
from raydepth.output import record
from raydepth.output.folder import OutputFolder
from raydepth.output.ledger import Ledger
from raydepth.output.names import Listed, Moves
from raydepth.output.plan import write_plan
from raydepth.run.ending import End, Outcome, edited_videos, finish, outcome, report
from raydepth.run.prepare import Changes, Source, Work
from tests.frames.barcodes import make_clip
from tests.output.finished import finished
from tests.support.runs import small_job


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """Three clips whose frames are all done."""
    parts = [
        part
        for number in range(3)
        for part in finished(tmp_path / "out", make_clip(tmp_path / f"{number}.mp4", 8 + number))
    ]
    folder = OutputFolder.at(str(tmp_path / "out"))
    job = small_job(str(tmp_path / "*.mp4"), tmp_path / "out", output__video=True)
    record.record_job(folder, job.tree())
    write_plan(folder, parts, [])
    source = Source([part.segment for part in parts], parts, [])
    changes = Changes(job, source, folder, Listed(), frozenset(), {}, False, Moves((), ()))
    return Work(job, folder, lambda: False, source, Ledger({}), [], changes, None)


def ended(work: Work, started: float | None = None) -> tuple[Outcome, list[str]]:
    """What the end of a run comes to, and what it printed."""
    printed: list[str] = []
    started = time.monotonic() if started is None else started
    end = End(None, 27, 0)
    videos = edited_videos(work)
    written = report(work, end, videos, 1.0)
    stopped, videos = finish(work, end.stopped, written, videos, started, printed.append)
    return outcome(work, written, stopped, videos), printed


def videos_in_report(work: Work) -> list[dict]:
    tree = json.loads((Path(work.folder.root) / "report/report.json").read_text())
    return tree["edited_videos"]


def test_report_and_benchmark_know_the_videos(work: Work):
    result, printed = ended(work)
    assert (result.stopped, result.videos_left, result.videos_failed) == (None, 0, 0)
    assert len(printed) == 3
    out = Path(work.folder.root)
    page = (out / "report/index.html").read_text()
    for clip in videos_in_report(work):
        assert (out / clip["file"]).is_file() and f'href="../{clip["file"]}"' in page
    assert json.loads((out / "benchmark.json").read_text())["bytes"] > sum(
        path.stat().st_size for path in out.glob("videos/*")
    )


def test_one_bad_clip_costs_its_video_alone_and_is_named(
    work: Work, monkeypatch: pytest.MonkeyPatch
):
    right = raydepth.output.video.write_video

    def write_video(path: str, parts: list, frames: Callable, *, crf: int) -> str | None:
        assert (Path(work.folder.root) / "report/index.html").is_file()  # it stands already
        if parts[0].segment.path.endswith("1.mp4"):
            raise RuntimeError("a stream that nobody foresaw")
        return right(path, parts, frames, crf=crf)

    monkeypatch.setattr("raydepth.output.video.write_video", write_video)
    result, printed = ended(work)
    assert (result.stopped, result.videos_left, result.videos_failed) == (None, 0, 1)
    assert sum("a stream that nobody foresaw" in line for line in printed) == 1
    assert [bool(clip["file"]) for clip in videos_in_report(work)] == [True, False, True]
    page = (Path(work.folder.root) / "report/index.html").read_text()
    assert "a stream that nobody foresaw" in page and "1 could not be written" in page


def test_at_the_deadline_videos_are_left_for_the_next_run(work: Work):
    late = replace(work, job=small_job(work.job.input.paths, Path(work.folder.root),
                                       output__video=True, run__max_hours=1.0))  # fmt: skip
    result, printed = ended(late, started=time.monotonic() - 3601)
    assert (result.stopped, result.videos_left) == ("deadline", 3)
    assert "3 videos are left" in printed[-1]
    assert {clip["file"] for clip in videos_in_report(work)} == {None}
    result, _ = ended(work)
    assert (result.stopped, result.videos_left) == (None, 0)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_drops_what_is_being_written(
    work: Work, monkeypatch: pytest.MonkeyPatch, sent: signal.Signals
):
    right = raydepth.output.video.shown_frames

    def endless(folder: OutputFolder, parts: list, name: str) -> object:
        os.kill(os.getpid(), sent)
        while True:
            yield from right(folder, parts, name)
            time.sleep(0.01)

    monkeypatch.setattr("raydepth.output.video.shown_frames", endless)
    result, printed = ended(work)
    assert (result.stopped, result.videos_left) == ("interrupt", 3)
    assert "interrupted: 3 videos are left" in printed[-1]
    assert list((Path(work.folder.root) / "videos").iterdir()) == []
