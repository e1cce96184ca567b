"""The whole flow on a real Ray: one small clip through every step, two logical GPUs, and the ways a
run ends.
"""

import json
import shutil
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from raydepth.errors import JobError
from raydepth.output.codecs import decode_alpha, decode_depth, decode_rgb
from raydepth.output.folder import OutputFolder
from raydepth.output.ledger import status
from raydepth.run.calibrator import sample_frames
from raydepth.run.pipeline import run
from tests.support.clips import write_clip
from tests.support.runs import differing, results, small_job

pytestmark = pytest.mark.timeout(280)


def quiet(line: str) -> None:
    """Progress goes nowhere."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "box über wall.mp4", frames=26)


@pytest.fixture(scope="module")
def plain(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of one undisturbed run of the small job, one worker, one thread."""
    out = tmp_path_factory.mktemp("plain") / "out"
    assert run(small_job(clip, out), echo=quiet).frames["done"] == 26
    return out


def test_every_frame_goes_through_every_step_once(clip: Path, tmp_path: Path):
    out = tmp_path / "out"
    outcome = run(small_job(clip, out, compose__method="featglac-kv", compose__steps=4), echo=quiet)
    assert outcome.frames == {"total": 26, "done": 26, "failed": 0, "missing": 0}
    assert outcome.stopped is None
    table = results(out)
    assert table["frame_index"].to_pylist() == list(range(26))
    assert len(set(table["frame_id"].to_pylist())) == 26
    assert set(table["status"].to_pylist()) == {"ok"}
    # One scale and one threshold for the clip: nothing flickers.
    assert len({tuple(value) for value in table["threshold"].to_pylist()}) == 1
    assert len(set(table["depth_lo"].to_pylist())) == 1
    for row in table.to_pylist():
        rgb, edited = decode_rgb(row["rgb_png"]), decode_rgb(row["edited_png"])
        near = decode_alpha(row["near_png"])
        inv_depth = decode_depth(row["depth_png16"], row["depth_offset"], row["depth_scale"])
        assert rgb.shape == edited.shape == (64, 86, 3)
        assert near.shape == inv_depth.shape == (64, 86)
        assert row["rmse_outside"] == 0.0  # paste_back: the source's pixels exactly
        assert (row["rmse_target_depth"] is not None) == (row["frame_index"] % 4 == 0)
        assert (row["rmse_round_trip"] is not None) == (row["frame_index"] % 4 == 0)
    # 26 frames in parts of 8: three shards of 8 and one of 2.
    assert sorted(table["part"].to_pylist()) == [0] * 8 + [1] * 8 + [2] * 8 + [3] * 2
    report = json.loads((out / "report" / "report.json").read_text())
    assert report["schema_version"] == 1
    assert (out / "report" / "index.html").stat().st_size > 4000
    benchmark = json.loads((out / "benchmark.json").read_text())
    assert benchmark["frames_edited"] == 26
    assert benchmark["restarts"] == 0
    assert {"compose.method", "depth.model", "run.dtype"} <= benchmark["measured_for"].keys()
    assert {"decode", "depth", "compose"} <= benchmark["seconds_per_frame_per_stage"].keys()
    assert status(OutputFolder.at(str(out)))["frames"]["done"] == 26


def test_two_workers_on_two_logical_gpus_give_the_same_bytes_as_one(
    clip: Path, plain: Path, tmp_path: Path
):
    job = {"run__gpus_per_worker": 1, "run__workers": 2, "run__logical_gpus": 2}
    for decode in ("stream", "in_actor"):
        outcome = run(small_job(clip, tmp_path / decode, **job, run__decode=decode), echo=quiet)
        assert outcome.frames["done"] == 26
        assert not differing(tmp_path / decode, plain)


def test_more_workers_than_the_machine_has_are_refused(clip: Path, tmp_path: Path):
    with pytest.raises(JobError, match=r"required 3 GPUs, available 2"):
        run(
            small_job(clip, tmp_path, run__gpus_per_worker=1, run__workers=3, run__logical_gpus=2),
            echo=quiet,
        )
    with pytest.raises(JobError, match=r"required 65 CPUs .* available"):
        run(small_job(clip, tmp_path, run__workers=64), echo=quiet)
    assert not (tmp_path / "frames").exists()


def test_a_deadline_stops_and_the_next_run_goes_on(clip: Path, plain: Path, tmp_path: Path):
    stopped = run(small_job(clip, tmp_path, run__max_hours=1e-9), echo=quiet)
    assert stopped.stopped == "deadline"
    assert stopped.frames == {"total": 26, "done": 0, "failed": 0, "missing": 26}
    assert stopped.report is None
    assert not list(tmp_path.iterdir()), "the models were loading still"
    finished = run(small_job(clip, tmp_path), echo=quiet)
    assert finished.frames == {"total": 26, "done": 26, "failed": 0, "missing": 0}
    assert not differing(tmp_path, plain)
    began = time.monotonic()
    assert run(small_job(clip, tmp_path), echo=quiet).frames["done"] == 26
    assert time.monotonic() - began < 30  # nothing to do: Ray is not even started


def test_the_rest_of_the_job_goes_on_beside_unreadable_files(clip: Path, tmp_path: Path):
    empty, text, cut = tmp_path / "empty.mp4", tmp_path / "text.mp4", tmp_path / "cut.mp4"
    empty.write_bytes(b"")
    text.write_text("this is not a video")
    cut.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    printed: list[str] = []
    job = small_job([str(clip), str(empty), str(text), str(cut)], tmp_path / "out")
    outcome = run(job, echo=printed.append)
    assert outcome.frames["done"] == 26
    assert outcome.frames == {"total": 26, "done": 26, "failed": 0, "missing": 0}
    assert len(outcome.unreadable) == 3
    assert sum(str(path) in line for line in printed for path in (empty, text, cut)) == 3


def test_a_folder_of_another_job_is_refused_with_the_difference(
    clip: Path, plain: Path, tmp_path: Path
):
    out = tmp_path / "out"
    shutil.copytree(plain, out)
    with pytest.raises(JobError, match=r"layers\.feather: 0\.0 there, 0\.1 here"):
        run(small_job(clip, out, layers__feather=0.1), echo=quiet)
    with pytest.raises(JobError, match="required 9 GPUs"):  # refused before anything is deleted
        run(small_job(clip, out, run__gpus_per_worker=9, output__overwrite=True), echo=quiet)
    assert not differing(out, plain)
    # Where results don't change, the folder goes on; overwrite starts anew.
    run(small_job(clip, out, run__attempts=3), echo=quiet)
    assert not differing(out, plain)
    run(small_job(clip, out, layers__feather=0.1, output__overwrite=True), echo=quiet)
    assert "near_png" in differing(out, plain)


def test_a_folder_in_use_is_refused(clip: Path, tmp_path: Path):
    folder = OutputFolder.at(str(tmp_path))
    lock = folder.lock()
    assert lock is not None
    with lock, pytest.raises(JobError, match="in use by another run"):
        run(small_job(clip, tmp_path), echo=quiet)


def test_limit_stride_time_range_and_png_files(clip: Path, tmp_path: Path):
    out = tmp_path / "out"
    settings = {"input__limit": 5, "input__stride": 3, "input__start_s": 0.25}
    run(
        small_job(clip, out, **settings, output__images="png", output__keep=["edited", "rgb"]),
        echo=quiet,
    )
    table = results(out)
    assert table["frame_index"].to_pylist() == [6, 9, 12, 15, 18]
    assert "edited_png" not in table.column_names
    (pictures,) = (out / "images").iterdir()
    files = sorted(path.name for path in pictures.iterdir())
    assert files == sorted(
        f"{i:06d}_{kind}.png" for i in (6, 9, 12, 15, 18) for kind in ("rgb", "edited")
    )
    assert list((out / "report" / "pictures").iterdir())
    with pytest.raises(JobError, match="no frames to edit"):
        run(small_job(clip, tmp_path / "none", input__start_s=99.0), echo=quiet)
    assert not (tmp_path / "none").exists()


def test_calibration_samples_the_whole_clip_and_its_first_frame(clip: Path, tmp_path: Path):
    from raydepth.frames.find import find_segments

    segments = find_segments(small_job(clip, tmp_path).input).segments
    sampled = np.concatenate([segment.frame_index for segment in sample_frames(segments, 5)])
    assert sampled.tolist() == [0, 6, 12, 19, 25]
    assert sum(len(segment.pts) for segment in sample_frames(segments, 500)) == 26


def test_the_embedded_ray_listens_on_loopback_only(clip: Path, tmp_path: Path):
    """Nothing of a run can be reached from outside the machine."""
    seen: set[str] = set()

    def look(line: str) -> None:
        me = psutil.Process()
        for process in [me, *me.children(recursive=True)]:
            with suppress(psutil.Error):
                found = (
                    c.laddr.ip
                    for c in process.net_connections("inet")
                    if c.status == psutil.CONN_LISTEN
                )
                seen.update(found)

    run(
        small_job(clip, tmp_path / "out"), echo=look
    )  # looks when Ray is up, when frames are edited, and at the end
    assert seen
    assert seen <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
