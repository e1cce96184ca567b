"""Any shard or record of an output folder, whole or damaged, is read or refused in words."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from raydepth.errors import JobError
from raydepth.evaluate.fold import fold
from raydepth.frames.probe import probe
from raydepth.frames.segments import plan_segments
from raydepth.job import parse_job
from raydepth.output import record
from raydepth.output.clip_videos import RECORD, recorded_videos
from raydepth.output.folder import OutputFolder
from raydepth.output.ledger import Ledger, status
from raydepth.output.plan import Part, cut_parts, read_plan, write_plan
from raydepth.output.shards import (
    FRAMES,
    DamagedShard,
    read_shard,
    read_shards,
    shard_name,
    write_shard,
)
from raydepth.run.summary import rebuild
from tests.safety.fuzzing import check_refusal, quick
from tests.support.clips import write_clip
from tests.support.runs import small_job

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[OutputFolder, list[Part], dict[str, bytes]]:
    """An output folder of twelve frames in three shards, all done but one, made by the real writers
    without a run.
    """
    home = tmp_path_factory.mktemp("finished")
    clip = write_clip(home / "clip.mp4", frames=12)
    job = small_job(clip, home / "out", run__batch=2)
    folder = OutputFolder.at(str(home / "out"))
    folder.prepare()
    parts = cut_parts(plan_segments(probe(str(clip)), size=64), batch=2, shard_frames=4, limit=None)
    write_plan(folder, parts, [])
    record.record_job(folder, job.tree())
    video = parts[0].segment.video
    clips = {
        "depth": {"estimator": "builtin", "kind": "disparity_rel", "lo": 0.0, "hi": 1.0},
        "planes": [0.5],
    }
    folder.write(record.CALIBRATIONS, json.dumps({video: clips}).encode())
    folder.write(
        record.BENCHMARK, json.dumps({"frames_per_second": 2.0, "wall_seconds": 6.0}).encode()
    )
    for part in parts:
        write_shard(folder, part.name, [shard_table(part)], job.output)
    made = {"video": video, "path": str(clip), "outcome": "12 frames; no audio"}
    folder.write(RECORD, json.dumps([made]).encode())
    rebuild(folder)
    names = [
        *folder.files(FRAMES),
        "segments.parquet",
        *(record.JOB, record.ENVIRONMENT, record.CALIBRATIONS, record.BENCHMARK, RECORD),
    ]
    return folder, parts, {name: folder.read(name) for name in names}


def shard_table(part: Part) -> pa.Table:
    rows = slice(part.start, part.stop)
    n, failed = part.frames, [index == 5 for index in part.segment.frame_index[rows]]
    picture = np.random.default_rng(0).bytes(300)
    return pa.table(
        {
            "frame_id": part.frame_ids,
            "video": [part.segment.video] * n,
            "path": [part.segment.path] * n,
            "frame_index": part.segment.frame_index[rows],
            "pts": part.segment.pts[rows],
            "time_s": part.segment.time_s[rows],
            "segment": pa.array([0] * n, pa.int32()),
            "part": pa.array([part.number] * n, pa.int32()),
            "status": ["error" if bad else "ok" for bad in failed],
            "error_type": ["DecodeError" if bad else "" for bad in failed],
            "error_message": ["lost" if bad else "" for bad in failed],
            "note": [""] * n,
            "attempts": pa.array([1] * n, pa.int32()),
            "seconds_depth": pa.array([0.1] * n, pa.float32()),
            "rmse_outside": pa.array([0.0] * n, pa.float64()),
            "edited_png": pa.array([picture] * n, pa.binary()),
        }
    )


def restore(folder: OutputFolder, files: dict[str, bytes]) -> None:
    folder.delete(folder.files(FRAMES))
    for name, data in files.items():
        folder.write(name, data)


def check_ledger(folder: OutputFolder, parts: list[Part], damaged: set[str]) -> None:
    """Damaged shards are named, their parts are to do again, all others are not, and the counts add
    up.
    """
    ledger = Ledger.read(folder)
    assert set(ledger.damaged) == damaged
    todo = ledger.todo(parts, attempts=1)
    assert {shard_name(part.name) for part in todo} == damaged & {
        shard_name(part.name) for part in parts
    }
    state = status(folder)
    lost = sum(part.frames for part in todo)
    assert state["frames"]["missing"] == lost
    assert (
        sum(state["frames"][key] for key in ("done", "failed", "missing"))
        == state["frames"]["total"]
        == 12
    )
    assert state["damaged"] == sorted(damaged)


@settings(quick, max_examples=60)
@given(which=st.integers(0, 2), cut=st.floats(0, 1, exclude_max=True))
def test_a_truncated_shard_is_work_to_do(finished: Any, which: int, cut: float) -> None:
    folder, parts, files = finished
    restore(folder, files)
    name = shard_name(parts[which].name)
    folder.write(name, files[name][: int(len(files[name]) * cut)])
    with pytest.raises(DamagedShard, match=f"{name} is not a readable shard .*run the job again"):
        read_shard(folder, name)
    check_ledger(folder, parts, {name})


@settings(quick, max_examples=100)
@given(
    which=st.integers(0, 2),
    flips=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=4
    ),
)
def test_flipped_bytes_in_a_shard_are_noticed_or_harmless(
    finished: Any, which: int, flips: list
) -> None:
    """Checksums of pages tell what has changed; a row that reads differently from what was written
    does not pass.
    """
    folder, parts, files = finished
    restore(folder, files)
    name = shard_name(parts[which].name)
    data = bytearray(files[name])
    for place, value in flips:
        data[int(place * len(data))] ^= value
    folder.write(name, bytes(data))
    try:
        table = read_shard(folder, name)
    except DamagedShard:
        check_ledger(folder, parts, {name})
    else:
        good = shard_table(parts[which]).select(table.column_names)
        assert table.to_pylist() == good.to_pylist()
    fold(read_shards(folder, damaged=[]))


@settings(quick, max_examples=60)
@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_among_the_shards(finished: Any, data: bytes, magic: bool) -> None:
    folder, parts, files = finished
    restore(folder, files)
    folder.write("frames/foreign.parquet", b"PAR1" + data + b"PAR1" if magic else data)
    check_ledger(folder, parts, {"frames/foreign.parquet"})


def parquet(columns: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


FOREIGN = {
    "other columns": {"x": [1, 2]},
    "no columns": {},
    "no rows and no columns of ours": {"frame_id": pa.array([], pa.string())},
    "ids that are numbers": {"frame_id": [1]},
    "without a status": {"frame_id": None, "drop": "status"},
    "a status that is null": {"status": pa.array([None], pa.string())},
    "a status that is none": {"status": ["perhaps"]},
    "attempts as text": {"attempts": ["1"]},
    "attempts as fractions": {"attempts": [1.0]},
    "a time that is null": {"time_s": pa.array([None], pa.float64())},
    "a figure as text": {"rmse_outside": ["large"]},
    "seconds as lists": {"seconds_depth": pa.array([[0.1]])},
    "ids as dictionaries": {"frame_id": pa.array(["v:0"]).dictionary_encode()},
    "text that is not UTF-8": {
        "note": pa.Array.from_buffers(
            pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")]
        )
    },
}


@pytest.mark.parametrize("name", FOREIGN)
def test_other_parquet_files_among_the_shards(finished: Any, name: str) -> None:
    folder, parts, files = finished
    restore(folder, files)
    columns: dict[str, Any] = dict(FOREIGN[name])
    if len(columns) == 1 and "x" not in columns and "no rows" not in name:
        whole = {c: v.combine_chunks() for c, v in zip(*_first_row(parts[0]), strict=True)}
        columns = whole | columns
    elif drop := columns.pop("drop", None):
        columns = {c: v for c, v in zip(*_first_row(parts[0]), strict=True) if c != drop}
    folder.write("frames/aside/foreign.parquet", parquet(columns))
    check_ledger(folder, parts, {"frames/aside/foreign.parquet"})
    rebuild(folder)


def _first_row(part: Part) -> tuple[list[str], list[pa.ChunkedArray]]:
    table = shard_table(part).slice(0, 1).combine_chunks()
    return table.column_names, table.columns


def test_a_copy_of_a_shard_counts_nothing_twice(finished: Any) -> None:
    folder, parts, files = finished
    restore(folder, files)
    folder.write("frames/copy of a shard.parquet", files[shard_name(parts[0].name)])
    check_ledger(folder, parts, set())
    tree = json.loads((Path(folder.root) / "report" / "report.json").read_text())
    assert (tree["frames"]["done"], tree["frames"]["failed"]) == (11, 1)


def test_damage_in_pictures_is_noticed_where_they_are_read(finished: Any) -> None:
    folder, parts, files = finished
    restore(folder, files)
    name = shard_name(parts[0].name)
    picture = np.random.default_rng(0).bytes(300)
    assert picture in files[name]
    folder.write(name, files[name].replace(picture, picture[:-1] + b"\0"))
    assert read_shard(folder, name).num_rows == 4  # figures and ids are whole
    with pytest.raises(DamagedShard):
        read_shard(folder, name, pictures=True)
    rebuild(folder)


@settings(quick, max_examples=40)
@given(
    name=st.sampled_from(
        [
            "segments.parquet",
            "job.yaml",
            "environment.json",
            "calibrations.json",
            "benchmark.json",
            RECORD,
        ]
    ),
    data=st.binary(max_size=60)
    | st.floats(0, 1, exclude_max=True)
    | st.sampled_from(
        [
            b"[]",
            b"{}",
            b"null",
            b"5",
            b'"x"',
            b"[" * 5000,
            b'{"a": ' * 3000,
            b"\xff\xfe",
            b'{"x": {"depth": {}}}',
        ]
    ),
)
def test_damaged_records_are_named_or_made_anew(
    finished: Any, name: str, data: bytes | float
) -> None:
    folder, _, files = finished
    restore(folder, files)
    folder.write(
        name, files[name][: int(len(files[name]) * data)] if isinstance(data, float) else data
    )
    job = parse_job(yaml.safe_load(files["job.yaml"]))
    for read in (
        lambda: status(folder),
        lambda: record.read_job(folder),
        lambda: record.read_environment(folder),
        lambda: record.check_same_job(folder, job.tree()),
        lambda: record.read_calibrations(folder),
        lambda: record.read_benchmark(folder),
        lambda: recorded_videos(folder, read_plan(folder), {}),
    ):
        try:
            read()
        except JobError as error:
            assert name in str(error) or "holds frames of another job" in str(error)
            check_refusal(error)
    assert not Ledger.read(folder).damaged  # the frames are not in doubt


@pytest.mark.parametrize(
    "name", ["segments.parquet", "job.yaml", "environment.json", "calibrations.json"]
)
def test_records_that_are_gone_or_half_there_are_refused_with_advice(
    finished: Any, name: str
) -> None:
    folder, _, files = finished
    restore(folder, files)
    folder.write(name, files[name][: len(files[name]) // 2])
    job = parse_job(yaml.safe_load(files["job.yaml"]))
    read = {
        "segments.parquet": lambda: read_plan(folder),
        "calibrations.json": lambda: record.read_calibrations(folder),
    }.get(name, lambda: record.check_same_job(folder, job.tree()))
    with pytest.raises(JobError, match=f"{name} is damaged|holds frames of another job"):
        read()
    if name in ("segments.parquet", "environment.json"):
        with pytest.raises(JobError, match=f"{name} is damaged"):
            rebuild(folder)
    if name.startswith(("job", "env")):
        folder.filesystem.delete_file(folder.path(name))
        with pytest.raises(JobError, match=f"{name} is gone"):
            read()


def test_read_shards_streams_the_good_ones(finished: Any) -> None:
    folder, _, files = finished
    restore(folder, files)
    folder.write("frames/0.parquet", b"")
    damaged: list[str] = []
    assert sum(table.num_rows for table in read_shards(folder, damaged=damaged)) == 12
    assert damaged == ["frames/0.parquet"]
