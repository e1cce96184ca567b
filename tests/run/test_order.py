"""What a frame becomes does not depend on what its worker did before: clips and parts in two orders
on one worker, without Ray.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from raydepth.frames.find import find_segments
from raydepth.job import Job
from raydepth.output.folder import OutputFolder
from raydepth.output.plan import Part, cut_parts
from raydepth.run.calibrator import ClipCalibrator
from raydepth.run.decoder import Decoder
from raydepth.run.editor import PartEditor
from raydepth.run.load import WorkerModels, load_worker
from raydepth.run.pipeline import build_steps
from raydepth.run.tracker import Attempt, Tracker
from tests.support.clips import write_clip
from tests.support.runs import differing, results, small_job

KV = {"method": "featglac-kv", "steps": 2, "strength": 1.0}
JOBS: dict[str, dict[str, Any]] = {
    "aligned": {
        "edit": {"kind": "background", "source": "scene.mp4", "depth": "aligned"},
        "compose__light": {"colour": 0.5, "brightness": 0.5},
    },
    "plate": {"edit__kind": "remove", "layers__fill__method": "plate", "compose": KV},
    "diffusion": {
        "layers__fill": {"method": "diffusion", "model": "builtin"},
        "depth__stabilise": True,
        "compose": KV | {"crop": "region"},
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A high clip and a wide one, and another as a new scene."""
    folder = tmp_path_factory.mktemp("clips")
    write_clip(folder / "high.mp4", frames=8, height=128, width=96)
    write_clip(folder / "wide.mp4", frames=8, height=80, width=160, seed=1)
    write_clip(folder / "scene.mp4", frames=20, height=96, width=128, seed=2)
    return folder


def edit(job: Job, models: WorkerModels, clips: Sequence[Sequence[Part]]) -> None:
    """Calibrates and edits clips one after the other, as one worker does."""
    tracker, out = Tracker(), OutputFolder.at(job.output.path)
    out.prepare()
    segments = find_segments(job.input).segments
    for parts in clips:
        video = parts[0].segment.video
        own = [segment for segment in segments if segment.video == video]
        clip = ClipCalibrator(job, models, tracker)(own, Attempt(1, False, {}))
        steps = build_steps(job, models, video, clip)
        editor = PartEditor(job, clip, steps, out, tracker)
        for part in parts:
            ((_, decoded),) = Decoder(job, tracker).parts([part])
            editor(part, decoded, {})


@pytest.mark.parametrize("name", JOBS)
def test_two_clips_in_both_orders_on_one_worker(
    name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(folder)
    fields = JOBS[name]
    paths = [str(folder / "high.mp4"), str(folder / "wide.mp4")]
    one, other = (small_job(paths, tmp_path / out, **fields) for out in ("one", "other"))
    parts = cut_parts(find_segments(one.input).segments, batch=4, shard_frames=4, limit=None)
    videos = list(dict.fromkeys(part.segment.video for part in parts))
    clips = [[part for part in parts if part.segment.video == video] for video in videos]
    models = load_worker(one, device="cpu", dtype="float32")
    edit(one, models, clips)
    edit(other, models, [clip[::-1] for clip in clips[::-1]])
    assert set(results(tmp_path / "one")["status"].to_pylist()) == {"ok"}
    assert results(tmp_path / "one").num_rows == 16
    assert differing(tmp_path / "one", tmp_path / "other") == []
