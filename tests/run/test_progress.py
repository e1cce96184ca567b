"""A run says what it is at: phases by name, a rate and a time left that hold, on one line of a
terminal that is left as it was, and in few lines elsewhere. No Ray.
"""

import errno
import os
import pty
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import pytest

from raydepth.models.names import NamedModel
from raydepth.run.fetching import Fetching
from raydepth.run.monitor import state_of
from raydepth.run.pace import Pace
from raydepth.run.terminal import Terminal
from raydepth.run.tracker import Tracker

ROOT = Path(__file__).resolve().parents[2]


def played(
    frames: int, batch: int, s_per_frame: float, *, workers: int = 1, start_s: float = 25.0
) -> list[tuple[float, int]]:
    """Moments at which a uniform job has finished so many frames, a worker at a time."""
    done, moments = 0, []
    for round_ in range(1, frames // (batch * workers) + 2):
        for worker in range(workers):
            if done < frames:
                done = min(done + batch, frames)
                moments.append((start_s + round_ * batch * s_per_frame + worker * 0.1, done))
    return moments


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize(("batch", "s_per_frame"), [(1, 0.5), (4, 0.3), (8, 2.0)])
def test_time_left_holds_after_a_tenth_of_the_frames(
    batch: int, s_per_frame: float, workers: int
) -> None:
    """However long the start was, seen every fifth of a second as a run does."""
    frames = 400
    moments = played(frames, batch, s_per_frame, workers=workers)
    end, pace, now = moments[-1][0], Pace(), 0.0
    while (now := now + 0.2) < end * 0.95:
        finished = max((done for at, done in moments if at <= now), default=0)
        pace.see(now, finished)
        if finished >= frames / 10:
            left = pace.left_s(frames)
            if left is None:  # the second batches are just coming out
                assert finished < frames / 10 + batch * workers
                continue
            assert abs(left - (end - now)) < 0.2 * (end - now) + batch * s_per_frame
    assert pace.rate == pytest.approx(workers / s_per_frame, rel=0.1)


def test_time_of_calibration_is_none_of_editing() -> None:
    pace = Pace()
    for second in range(10):
        pace.see(second, second)
    for second in range(10, 60):
        pace.see(second, 9, editing=False)
    pace.see(60, 10)
    assert pace.rate == pytest.approx(1.0) and pace.left_s(20) == pytest.approx(10.0)


def test_a_rate_is_of_the_last_quarter_of_an_hour() -> None:
    pace, finished = Pace(), 0
    for second in range(0, 7200, 2):
        finished += 8 if second < 3600 else 2
        pace.see(second, finished)
    assert pace.rate == pytest.approx(1.0) and len(pace._seen) <= 1001


def test_phases_by_name() -> None:
    tracker, pace, clock = Tracker(), Pace(), count()
    tracker.expect({shot: [] for shot in ("a", "a.1", "b")}, {})

    def state() -> tuple[str, str]:
        snapshot = tracker.snapshot()
        pace.see(next(clock), snapshot.done)
        return state_of(snapshot, pace, 20, lambda: ("fetching models", "owner/one 1.0 MB"))

    assert state() == ("fetching models", "owner/one 1.0 MB")
    tracker.starting()
    tracker.started()
    tracker.claim("calibrate a", "me")
    assert state() == ("calibrating", "shot 1 of 3")
    tracker.calibrated("a", None)
    tracker.keep(["a"])
    tracker.finish("calibrate a", 0, 0)
    tracker.claim("calibrate a.1", "me")
    tracker.doing("calibrate a.1", "tracking things, frame 120 of 289")
    assert state() == ("calibrating", "shot 2 of 3: tracking things, frame 120 of 289")
    tracker.begin("a/000000-0000")
    assert state() == ("editing", "0/20 frames  - frames/s  --:-- left  0 failed")
    for done in (4, 8):
        tracker.tick("a/000000-0000", done)
        state()
    phase, detail = state()
    assert phase == "editing" and detail.startswith("8/20 frames  4.00 frames/s  0:02 left")
    tracker.finish("a/000000-0000", 7, 1)
    assert state()[1].endswith(
        "1 failed  calibrating shot 2 of 3: tracking things, frame 120 of 289"
    )


def test_without_a_terminal_a_line_a_minute_and_one_at_each_phase() -> None:
    lines: list[str] = []
    now = [0.0]
    line = Terminal(lines.append, clock=lambda: now[0])
    line.begin("probing")
    for second in range(150):
        now[0] = float(second)
        line.begin("editing", f"{second}/150 frames")
    line.say("a note")
    line.close()
    assert lines == [
        "probing", "editing: 0/150 frames", "editing: 60/150 frames", "editing: 120/150 frames",
        "a note",
    ]  # fmt: skip


def test_models_that_come_from_the_hub_are_named_with_their_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("raydepth.run.fetching.cached_commit", lambda name, file: None)
    model = NamedModel("depth.model", "owner/some@main", "hub", "depth")
    fetching = Fetching([model])
    assert fetching() == ("loading models", "")
    blobs = tmp_path / "models--owner--some" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "abc.incomplete").write_bytes(b"x" * 2_500_000)
    assert fetching() == ("fetching models", "owner/some 2.5 MB")


_RUN = """
import sys, time
from raydepth.run.log import speak
from raydepth.run.terminal import begin, shown

if "-v" in sys.argv:
    speak()
with shown(lambda line: print(line, flush=True)) as line:
    begin("starting Ray")
    time.sleep(0.6)
    line.say("3 frames of 1 videos; 3 to do")
    begin("editing", "1/3 frames  " + "wide " * 40)
    time.sleep(0.6)
    if "fail" in sys.argv:
        raise ZeroDivisionError
    if "wait" in sys.argv:
        print("waiting", flush=True)
        time.sleep(60)
print("end", flush=True)
"""


def in_a_terminal(*arguments: str, interrupt: bool = False, **environment: str) -> tuple[str, int]:
    """All that the program wrote to a terminal of 60 columns, and its exit code."""
    main, other = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _RUN, *arguments], cwd=ROOT, stdin=other, stdout=other, stderr=other,
        env=os.environ | {"COLUMNS": "60", "LINES": "20", "TERM": "xterm-256color"} | environment,
    )  # fmt: skip
    os.close(other)
    written, started = b"", time.monotonic()
    while time.monotonic() - started < 60:
        try:
            some = os.read(main, 4096)
        except OSError as error:
            assert error.errno == errno.EIO  # the program has closed its end
            break
        written += some
        if not some:
            break
        if interrupt and b"waiting" in written:
            process.send_signal(signal.SIGINT)
            interrupt = False
    os.close(main)
    return written.decode(), process.wait(30)


ERASED = "\x1b[2K"


@pytest.mark.timeout(120)
def test_one_line_of_a_terminal_is_rewritten_and_given_back() -> None:
    written, code = in_a_terminal()
    assert code == 0 and "starting Ray" in written and "editing" in written
    assert "\x1b[?25l" not in written  # the cursor is never hidden
    assert written.replace("\r", "").endswith("end\n")
    last = written.rindex("editing")
    assert ERASED in written[last:]  # what is left is what was said
    assert "wide wide" in written and "\u2026" in written  # cut to the terminal's width
    assert all(len(row) < 400 for row in written.split("\n"))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", ["fail", "wait"])
def test_errors_and_ctrl_c_give_the_line_back(how: str) -> None:
    written, code = in_a_terminal(how, interrupt=how == "wait")
    word = "ZeroDivisionError" if how == "fail" else "KeyboardInterrupt"
    assert code != 0 and word in written
    between = written[written.rindex("editing") : written.index("Traceback")]
    assert ERASED in between


@pytest.mark.timeout(120)
def test_no_color_and_a_dumb_terminal() -> None:
    written, _ = in_a_terminal(NO_COLOR="1")
    assert "starting Ray" in written and "\x1b[3" not in written and "38;" not in written
    written, _ = in_a_terminal("-v")  # the log has the terminal
    assert "\x1b" not in written
    written, _ = in_a_terminal(TERM="dumb")
    assert "\x1b" not in written
    assert written.replace("\r", "").splitlines()[:2] == [
        "starting Ray",
        "3 frames of 1 videos; 3 to do",
    ]
