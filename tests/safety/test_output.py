"""What is read and written stays inside the output folder."""

import json
import os
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from raydepth.errors import JobError
from raydepth.frames.probe import probe
from raydepth.frames.segments import plan_segments
from raydepth.output import record
from raydepth.output.folder import OutputFolder
from raydepth.output.ledger import status
from raydepth.output.plan import cut_parts, read_plan, write_plan
from raydepth.run.summary import rebuild
from tests.support.clips import write_clip
from tests.support.runs import small_job

pytestmark = pytest.mark.timeout(60)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="./\\~ab\0\n:%", max_size=12) | st.text(max_size=20))
@example("../x")
@example("a/../../x")
@example("/etc/passwd")
@example("a//../..//x")
@example("./.././x")
def test_no_name_leaves_the_output_folder(name: str) -> None:
    folder = OutputFolder.at("/tmp/somewhere/out")
    try:
        path = folder.path(name)
    except ValueError as error:
        assert "leave the output folder" in str(error)
    else:
        assert os.path.normpath(path).startswith("/tmp/somewhere/out")
        assert (os.path.normpath(path) + "/").startswith("/tmp/somewhere/out/")


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> OutputFolder:
    """An output folder with a plan and records, before its first shard."""
    home = tmp_path_factory.mktemp("output")
    clip = write_clip(home / "clip.mp4", frames=4)
    folder = OutputFolder.at(str(home / "inner" / "out"))
    folder.prepare()
    write_plan(
        folder,
        cut_parts(plan_segments(probe(str(clip)), size=64), batch=4, shard_frames=4, limit=None),
        [],
    )
    record.record_job(folder, small_job(clip, home / "inner" / "out").tree())
    return folder


def test_video_ids_are_hexadecimal(output: OutputFolder) -> None:
    assert all(
        re.fullmatch("[0-9a-f]{16}", video) for video in read_plan(output)["video"].to_pylist()
    )


@pytest.mark.parametrize(
    "video", ["../../../evil", "/tmp/evil", "..", "a/b", "0123456789abcdeF", ""]
)
def test_a_plan_with_other_ids_is_refused(output: OutputFolder, video: str) -> None:
    plan = read_plan(output)
    changed = plan.set_column(
        plan.column_names.index("video"), "video", pa.array([video] * len(plan))
    )
    kept = output.read("segments.parquet")
    sink = pa.BufferOutputStream()
    pq.write_table(changed, sink)
    output.write("segments.parquet", sink.getvalue().to_pybytes())
    try:
        for read in (read_plan, status, rebuild):
            with pytest.raises(JobError, match="its video ids are no ids"):
                read(output)
    finally:
        output.write("segments.parquet", kept)


def test_a_hostile_shard_and_calibration_write_and_read_nothing_elsewhere(
    output: OutputFolder,
) -> None:
    home = Path(output.root).parent
    (home / "secret_rgb.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    before = {path for path in home.parent.rglob("*") if not path.is_relative_to(output.root)}
    made = {
        "status": "ok",
        "error_type": "",
        "error_message": "",
        "note": "",
        "attempts": 1,
        "time_s": 0.0,
        "frame_index": 0,
    }
    rows = [
        made | {"frame_id": f"{video}:0", "video": video, "path": path}
        for video in ("../../secret", "/etc", "..")
        for path in ("../../../etc/passwd", "file:///etc/passwd", "https://127.0.0.1/x")
    ]
    schema = pa.schema(
        [
            ("attempts", pa.int32()),
            ("frame_index", pa.int64()),
            ("time_s", pa.float64()),
            *(
                (name, pa.string())
                for name in (
                    "frame_id",
                    "video",
                    "path",
                    "status",
                    "error_type",
                    "error_message",
                    "note",
                )
            ),
        ]
    )
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink)
    output.write("frames/x/000000-0000.parquet", sink.getvalue().to_pybytes())
    scale = {"estimator": "x", "kind": "depth_m", "lo": 0.0, "hi": 1.0}
    output.write(
        "calibrations.json", json.dumps({"../../evil": {"depth": scale, "planes": [0.5]}}).encode()
    )
    rebuild(output)
    record.read_calibrations(output)
    assert {
        path for path in home.parent.rglob("*") if not path.is_relative_to(output.root)
    } == before
    assert not list(
        (Path(output.root) / "report" / "pictures").glob("*")
        if (Path(output.root) / "report" / "pictures").exists()
        else []
    )
