"""Death inside a commit, at every line of the code that commits a file and at any byte of it: all
of it is there, or none.
"""

import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.stages import stand_in
from raydepth.output import folder as folder_module
from raydepth.output.folder import OutputFolder
from raydepth.output.ledger import Ledger
from raydepth.output.names import Listed, delete_temporaries
from raydepth.output.settings import Output
from raydepth.output.shards import FRAMES, batch_table, encode_pictures, shard_name, write_shard

pytestmark = pytest.mark.timeout(120)

PART = "0123456789abcdef/000000-0000"
LISTED = Listed(
    frozenset({shard_name(PART), *(f"images/0123456789abcdef/{i:06d}" for i in range(3))})
)


def rows(count: int = 3) -> pa.Table:
    text = {
        "video": "0123456789abcdef",
        "path": "clip.mp4",
        "image": "",
        "status": "ok",
        "error_type": "",
    }
    text |= {"error_message": "", "note": "", "depth_kind": ""}
    batch = {name: np.full(count, value, object) for name, value in text.items()}
    batch |= {name: np.arange(count) for name in ("frame_index", "pts", "attempts")}
    batch |= {
        name: np.zeros(count, np.int64) for name in ("segment", "part", "height", "width", "seed")
    }
    batch["frame_id"] = np.array([f"0123456789abcdef:{i}" for i in range(count)], object)
    batch["time_s"] = np.arange(count, dtype=np.float64)
    batch["rgb"] = np.random.default_rng(0).integers(0, 255, (count, 48, 64, 3), np.uint8)
    batch = stand_in(batch)
    return batch_table(batch, encode_pictures({"edited": picture} for picture in batch["edited"]))


def commit(out: Path, images: str = "both") -> None:
    write_shard(
        OutputFolder.at(str(out)),
        PART,
        [rows()],
        Output(path=str(out), images=images, keep=["edited"]),
    )


def in_child(work: Callable[[], None]) -> int:
    """Does it in a forked process; returns what killed that (a signal's number), or 0."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    deadline = time.monotonic() + 20
    while True:
        ended, state = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.WTERMSIG(state) if os.WIFSIGNALED(state) else 0
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            raise AssertionError("the child hangs")
        time.sleep(0.001)


def dying_at_line(number: int, work: Callable[[], None]) -> Callable[[], None]:
    """``work``, killed when it comes to the n-th line that it executes in output/folder.py."""
    left = number

    def trace(frame, event, _):
        nonlocal left
        if frame.f_code.co_filename != folder_module.__file__:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    def traced() -> None:
        sys.settrace(trace)
        work()

    return traced


def check(out: Path, whole: Path) -> bool:
    """The shard is whole or not there; doing it again gives the same files. Returns whether it was
    there.
    """
    folder = OutputFolder.at(str(out))
    there = folder.exists(shard_name(PART))
    ledger = Ledger.read(folder)
    assert not ledger.damaged
    assert len(ledger.rows) == (3 if there else 0)
    assert set(folder.files(FRAMES)) <= {shard_name(PART)}, "a temporary counts as a shard"
    delete_temporaries(folder, LISTED)
    commit(out)
    assert contents(out) == contents(whole)
    return there


def contents(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    commit(out)
    return out


def test_killed_at_every_line(whole: Path, tmp_path: Path):
    died, found = 0, []
    for line in range(1, 2000):
        out = tmp_path / str(line)
        if in_child(dying_at_line(line, lambda out=out: commit(out))) == 0:
            break
        died += 1
        found.append(check(out, whole))
    assert died > 50, "it was not traced"
    assert found == sorted(found), "a shard that was there is gone at a later line"
    assert not found[0]
    assert found[-1]


@settings(max_examples=30, deadline=None)
@given(fraction=st.floats(0, 1))
def test_killed_at_any_byte(whole: Path, tmp_path_factory: pytest.TempPathFactory, fraction: float):
    """SIGXFSZ: the kernel kills the process in the middle of a write."""
    out = tmp_path_factory.mktemp("bytes")
    size = (whole / shard_name(PART)).stat().st_size

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        limit = int(fraction * (size - 1))
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        commit(out)

    assert in_child(work) == signal.SIGXFSZ
    assert not check(out, whole)
