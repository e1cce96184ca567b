"""Whatever a later run meets, a frame that was good stays good: its row, its pictures and its
layers stay as they are.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raydepth.batch import Batch
from raydepth.depth.calibrate import Calibration
from raydepth.frames.segments import Segment
from raydepth.job import Job
from raydepth.output.folder import OutputFolder
from raydepth.output.layers import layers_name, read_layers
from raydepth.output.ledger import Ledger
from raydepth.output.plan import Part, cut_parts
from raydepth.output.record import ClipCalibration
from raydepth.output.shards import ClipShards, image_name, named_shards, read_shard, shard_name
from raydepth.run.editor import PartEditor
from raydepth.run.tracker import Tracker
from tests.support.runs import small_job

FRAMES, VIDEO = 10, "0123456789abcdef"
SEGMENT = Segment(
    video=VIDEO, path="v.mp4", kind="video", index=0, height=4, width=4,
    orientation=(0, 0, 0, 0), time_base=Fraction(1, 25), stream=0, frame_index=np.arange(FRAMES),
    pts=np.arange(FRAMES), time_s=np.arange(FRAMES) / 25, seek_pts=np.arange(1),
    seek_index=np.arange(1),
)  # fmt: skip
CLIP = ClipCalibration(Calibration("none", "disparity_rel", 0.0, 1.0), (0.5,))


@dataclass(frozen=True)
class Run:
    """One run of the job, and what it meets."""

    batch: int = 4
    limit: int | None = None
    raising: frozenset[int] = frozenset()
    """Frames on which a step raises."""
    undecoded: frozenset[int] = frozenset()
    """Frames that the decoder gives as errors."""
    damaged: int | None = None
    """Number of the shard that is damaged before it."""
    attempts: int = 20


def decoded(part: Part, size: int, undecoded: frozenset[int]) -> Iterator[Batch]:
    for start in range(part.start, part.stop, size):
        index = np.arange(start, min(start + size, part.stop))
        bad = np.isin(index, list(undecoded))
        text = {"video": VIDEO, "path": "v.mp4", "error_message": "", "note": ""}
        yield {
            "frame_id": np.array([f"{VIDEO}:{i}" for i in index], object),
            **{name: np.full(len(index), value, object) for name, value in text.items()},
            "frame_index": index,
            "pts": index,
            "time_s": index / 25,
            "rgb": np.where(bad, 0, 7).astype(np.uint8)[:, None, None, None]
            * np.ones((1, 4, 4, 3), np.uint8),
            "status": np.where(bad, "error", "ok").astype(object),
            "error_type": np.where(bad, "DecodeTimeout", "").astype(object),
        }


def run(out: Path, number: int, given: Run) -> None:
    """As the driver and a worker do it; every result shows the number of its run."""

    def edit(batch: Batch) -> Batch:
        bad = np.isin(batch["frame_index"], list(given.raising)) & batch["rgb"].any(axis=(1, 2, 3))
        if bad.any():
            raise OSError("the mount is gone")
        edited = np.full_like(batch["rgb"], 10 * number)
        count = len(edited)
        return batch | {
            "edited": edited,
            "layer_names": np.full((count, 1), "far", object),
            "layer_rgb": edited[:, None],
            "layer_alpha": np.ones((count, 1, 4, 4), np.float32),
            "layer_inv_depth": np.zeros((count, 1, 4, 4), np.float32),
            "rmse_all": np.full(count, float(number)),
        }

    folder, job = OutputFolder.at(str(out)), job_of(out, given)
    ledger = Ledger.read(folder)
    parts = cut_parts([SEGMENT], batch=given.batch, shard_frames=3, limit=given.limit)
    todo = ledger.todo(parts, given.attempts)
    tried = {frame: ledger.tried(frame) for part in todo for frame in part.frame_ids}
    editor = PartEditor(job, CLIP, [edit], folder, Tracker(), elsewhere=ledger.elsewhere(todo))
    counts = [0, 0]
    for part in todo:
        result = editor(part, decoded(part, given.batch, given.undecoded), tried)
        counts[0] += int(result["done"])
        counts[1] += int(result["failed"])
    rows = Ledger.read(folder).rows
    states = [rows[frame][0] for part in todo for frame in part.frame_ids]
    assert counts == [states.count("ok"), states.count("error")]


def job_of(out: Path, given: Run) -> Job:
    fields: dict[str, Any] = {"output__images": "both", "output__keep": ["edited"]}
    fields |= {"output__layers": True, "run__batch": given.batch, "run__attempts": given.attempts}
    return small_job(out / "none.mp4", out, **fields)


def good(out: Path) -> dict[str, tuple]:
    """Of every good frame: its row with its pictures, its PNG file, its exported layers."""
    folder = OutputFolder.at(str(out))
    found: dict[str, tuple] = {}
    for name, _ in named_shards(folder, damaged=[]):
        for row in read_shard(folder, name, pictures=True).to_pylist():
            if row["status"] != "ok":
                continue
            assert row["frame_id"] not in found, "two shards have done one frame"
            picture = folder.read(image_name(VIDEO, row["frame_index"], "edited"))
            layers = layers_name(VIDEO, row["frame_index"])
            files = {file: folder.read(file) for file in folder.files(layers)}
            found[row["frame_id"]] = (row, picture, files)
            assert row["edited_png"] == picture
            shown = read_layers(str(out / layers)).layers[0].rgb[0]
            level = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
            assert (shown == level).all() and level[0, 0, 0] == 10 * row["rmse_all"]
    return found


some = st.frozensets(st.integers(0, FRAMES - 1))
runs = st.builds(
    Run,
    batch=st.integers(1, 5),
    limit=st.none() | st.integers(1, FRAMES),
    raising=some | st.just(frozenset(range(FRAMES))),
    undecoded=some,
    damaged=st.none() | st.none() | st.integers(0, 3),
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(sequence=st.lists(runs, min_size=2, max_size=4))
def test_a_frame_that_was_good_stays_good_and_equal(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, sequence: list[Run]
):
    monkeypatch.setattr("os.fsync", lambda handle: None)
    out = tmp_path_factory.mktemp("out")
    folder = OutputFolder.at(str(out))
    for number, given_run in enumerate(sequence, 1):
        shards = list(folder.files("frames"))
        if given_run.damaged is not None and given_run.damaged < len(shards):
            folder.write(shards[given_run.damaged], b"nonsense")
        before = good(out)
        run(out, number, given_run)
        after = good(out)
        assert {frame: after.get(frame) for frame in before} == before
        fails = given_run.raising | given_run.undecoded
        wanted = range(FRAMES if given_run.limit is None else given_run.limit)
        assert {f"{VIDEO}:{i}" for i in wanted if i not in fails} <= after.keys()
        # What reads a clip by its parts finds its frames, however they were cut when done.
        clip = ClipShards(folder, VIDEO)
        parts = cut_parts([SEGMENT], batch=given_run.batch, shard_frames=3, limit=None)
        shown = [clip.done(p.name, p.frame_ids, ("edited_png",)) for p in parts]
        assert {frame for rows in shown for frame in rows} == after.keys()


def test_a_retry_that_fails_everywhere_costs_nothing_and_edits_only_what_is_left(tmp_path: Path):
    everything = frozenset(range(FRAMES))
    run(tmp_path, 1, Run(raising=frozenset({1})))
    before = good(tmp_path)
    assert len(before) == FRAMES - 1
    untouched = (tmp_path / shard_name(f"{VIDEO}/000000-0001")).stat().st_mtime_ns
    run(tmp_path, 2, Run(raising=everything))
    run(tmp_path, 3, Run(undecoded=everything))
    assert good(tmp_path) == before
    assert Ledger.read(OutputFolder.at(str(tmp_path))).rows[f"{VIDEO}:1"][1] == 3
    assert (tmp_path / shard_name(f"{VIDEO}/000000-0001")).stat().st_mtime_ns == untouched
    run(tmp_path, 4, Run())
    assert [row["rmse_all"] for row, *_ in good(tmp_path).values()] == [1, 4] + [1] * 8


def test_a_quarantined_frame_stays_when_its_neighbour_is_tried(tmp_path: Path):
    first, folder = f"{VIDEO}:1", OutputFolder.at(str(tmp_path))
    for number in (1, 2):
        run(tmp_path, number, Run(limit=2, raising=frozenset({1})))
    run(tmp_path, 3, Run(attempts=2))  # decodes and edits the part again, for frames 2 and 3
    assert Ledger.read(folder).rows[first] == ("error", 2, "OSError")
    assert good(tmp_path).keys() == {f"{VIDEO}:{i}" for i in range(FRAMES)} - {first}
    run(tmp_path, 4, Run(attempts=3))
    assert Ledger.read(folder).rows[first][0] == "ok"


def test_a_shard_that_the_storage_does_not_give_is_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run(tmp_path, 1, Run(raising=frozenset({1})))
    shard = tmp_path / shard_name(f"{VIDEO}/000000-0000")
    before = shard.read_bytes()

    def broken(*args, **kwargs):
        raise OSError("input/output error")

    folder, job = OutputFolder.at(str(tmp_path)), job_of(tmp_path, Run())
    (part, *_) = cut_parts([SEGMENT], batch=4, shard_frames=3, limit=None)
    editor = PartEditor(job, CLIP, [], folder, Tracker())
    monkeypatch.setattr("raydepth.output.ledger.read_shard", broken)
    with pytest.raises(OSError, match="input/output"):
        editor(part, decoded(part, 4, frozenset()), {})
    assert shard.read_bytes() == before
