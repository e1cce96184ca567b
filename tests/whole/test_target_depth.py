"""The target-depth RMSE of an edit that changes nothing, through all steps without Ray: it is 0,
however depth is refined.
"""

from pathlib import Path

import pytest

from tests.support.clips import write_clip
from tests.support.runs import edit_first_part, small_job


@pytest.mark.parametrize("depth", [{}, {"guided": True}, {"stabilise": True}])
def test_a_recomposed_frame_is_at_its_target_depth(tmp_path: Path, depth: dict) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=8)
    fields = {f"depth__{name}": value for name, value in depth.items()}
    job = small_job(clip, tmp_path / "out", edit={"kind": "recompose"}, **fields)
    rows = edit_first_part(job)
    measured = [row for row in rows if row["frame_index"] % 4 == 0]
    assert len(measured) == 2
    for row in measured:
        assert row["rmse_all"] == 0
        assert row["rmse_target_depth"] == pytest.approx(0, abs=1e-5)
        assert row["rmse_target_depth_floor"] == pytest.approx(0, abs=1e-5)
