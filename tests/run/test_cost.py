"""Jobs of the slow method that their deadline has no room for are refused with figures; sampled
frames are what fits.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from raydepth.compose.featglac.lanes import lay_out
from raydepth.compose.registry import count_evaluations
from raydepth.edits.alignment import thumbnail
from raydepth.edits.clip import ClipEdit
from raydepth.edits.registry import load_edit
from raydepth.errors import JobError
from raydepth.frames.find import find_segments
from raydepth.job import Job
from raydepth.output.folder import OutputFolder
from raydepth.output.plan import cut_parts
from raydepth.output.record import BENCHMARK, costs
from raydepth.run.cost import check_deadline, lanes_per_frame, mean_pixels, seconds_per_frame
from tests.support.clips import write_clip
from tests.support.runs import small_job
from tests.support.scenes import SCALE

SD = 512 * 512


def grad_job(out: Path, clip: str = "a.mp4", **fields) -> Job:
    plain = {"compose__method": "featglac-grad", "run__gpus_per_worker": 1}
    return small_job(
        [clip],
        out,
        **plain | {"compose__model": "stable-diffusion-v1-5/stable-diffusion-v1-5"} | fields,
    )


@pytest.mark.parametrize(
    ("grad", "table"),  # "Cost in U-Net evaluations": seconds on a T4
    [({}, 160), ({"references": "invert"}, 43), ({"recipe": "lite"}, 9)],
)
def test_seconds_are_those_of_the_cost_table(tmp_path, grad, table):
    seconds, source = seconds_per_frame(grad_job(tmp_path, compose__grad=grad), SD)
    assert seconds == pytest.approx(table, rel=0.04) and "T4" in source


def test_lanes_follow_the_layers_of_the_edit(tmp_path):
    kv = {"compose__method": "featglac-kv", "compose__steps": 10, "compose__strength": 1.0}
    assert lanes_per_frame(grad_job(tmp_path, **kv)) == 30
    assert lanes_per_frame(grad_job(tmp_path, edit={"kind": "remove"}, **kv)) == 20


def test_too_long_a_job_is_refused_with_the_sampling_that_fits(tmp_path):
    job = grad_job(tmp_path, run__max_hours=2.0)  # 155.96 s a frame
    with pytest.raises(JobError) as error:
        check_deadline(job, 25_000, SD)
    message = str(error.value)
    assert "1083.06 h for 25000 frames" in message and "run.max_hours is 2" in message
    assert "compose.every: 544 to" in message
    check_deadline(
        grad_job(tmp_path, run__max_hours=2.0, compose__every=544), -(-25_000 // 544), SD
    )
    with pytest.raises(JobError, match=r"compose\.every: 544 to"):
        check_deadline(grad_job(tmp_path, run__max_hours=2.0, compose__every=10), 2500, SD)
    with pytest.raises(JobError, match="not one frame fits"):
        check_deadline(grad_job(tmp_path, run__max_hours=0.01), 1, SD)
    check_deadline(grad_job(tmp_path), 25_000, SD)  # no deadline
    check_deadline(
        grad_job(tmp_path, run__max_hours=2.0, compose__method="featglac-kv"), 25_000, SD
    )


def test_on_a_cpu_only_what_was_measured_is_known(tmp_path):
    job = grad_job(tmp_path, run__gpus_per_worker=0, run__max_hours=1.0)
    check_deadline(job, 10**6, SD)
    folder = OutputFolder.at(str(tmp_path))
    folder.prepare()
    write_measured(folder, job, 36.0)
    check_deadline(job, 100, SD)
    with pytest.raises(JobError, match=r"1\.01 h for 101 frames .* measured by an earlier run"):
        check_deadline(job, 101, SD)


def write_measured(folder: OutputFolder, job: Job, seconds: float) -> None:
    """``benchmark.json`` as a run of this job leaves it."""
    measured = {"worker_seconds_per_frame": seconds, "measured_for": costs(job.tree())}
    folder.write(BENCHMARK, json.dumps(measured).encode())


@pytest.mark.parametrize(
    ("before", "field"),
    [
        ({"compose": {"method": "paste"}}, "compose.method"),
        ({"compose__grad": {"recipe": "lite"}}, "compose.grad.recipe"),
        ({"edit__kind": "remove"}, "edit.kind"),
        ({"input__size": 32}, "input.size"),
        ({"output__size": "source"}, "output.size"),
        ({"run__gpus_per_worker": 0}, "run.gpus_per_worker"),
        ({"evaluate__reestimate_every": 1}, "evaluate.reestimate_every"),
        (None, "job"),
    ],
)
def test_what_another_job_took_is_not_believed(tmp_path, before, field):
    job = grad_job(tmp_path, run__max_hours=1.0)
    folder = OutputFolder.at(str(tmp_path))
    folder.prepare()
    if before is None:
        folder.write(BENCHMARK, b'{"worker_seconds_per_frame": 0.01}')
    elif "compose" in before:
        write_measured(folder, small_job(["a.mp4"], tmp_path, **before), 0.01)
    else:
        write_measured(folder, grad_job(tmp_path, **before), 0.01)
    seconds, source = seconds_per_frame(job, SD)
    assert seconds is not None and seconds > 1
    assert "is another job's: " in source and field in source
    with pytest.raises(JobError, match=r"would take .* estimated for SD 1\.5"):
        check_deadline(job, 20_000, SD)


def test_the_same_job_with_other_frames_is_believed(tmp_path):
    folder = OutputFolder.at(str(tmp_path))
    folder.prepare()
    write_measured(folder, grad_job(tmp_path, input__limit=32), 3.5)
    job = grad_job(tmp_path, "b.mp4", compose__every=9, run__workers=2, run__max_hours=3.0)
    assert seconds_per_frame(job, SD)[0] == 3.5


@pytest.mark.parametrize("matted", [True, False])
def test_an_insertions_layers_are_those_that_it_makes(
    tmp_path, scene, make_batch, make_object, matted
):
    section = {"kind": "insert", "object": make_object(), "point": [0.63, 0.8], "height": 0.5}
    kv = {"method": "featglac-kv", "steps": 10, "strength": 1.0, "alpha_matting": matted}
    job = small_job(["a.mp4"], tmp_path, edit=section, compose=kv)
    rgb, depth = scene(1)
    clips = {"v": (SCALE, ClipEdit(0.5, thumbnail(depth[0]), None))}
    builder = load_edit(job.edit, job.layers, clips, matte=job.compose.matte_edges)
    plan = builder(make_batch(rgb, depth))
    layers = [layer.rgb for layer in plan.stack.layers]
    lanes = lay_out(rgb, plan.stack.flatten(), layers, np.zeros(1, np.int64))
    assert len(lanes.reference_picture) == (3 if matted else 2)
    assert lanes_per_frame(job) == count_evaluations(job.compose, len(lanes.reference_picture))


def test_every_video_counts_with_its_own_size(tmp_path):
    clips = [
        str(write_clip(tmp_path / "high.mp4", frames=4, height=128, width=64)),
        str(write_clip(tmp_path / "wide.mp4", frames=12, height=64, width=192)),
    ]
    for paths in (clips, clips[::-1]):
        segments = find_segments(small_job(paths, tmp_path / "out").input).segments
        parts = cut_parts(segments, batch=4, shard_frames=8, limit=None)
        assert mean_pixels(parts) == (4 * 64 * 128 + 12 * 64 * 192) / 16


def test_every_is_a_stride_on_top(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", frames=24)

    def frames(**fields):
        segments = find_segments(
            (made := grad_job(tmp_path / "out", str(clip), **fields)).input, made.compose.every
        ).segments
        return [index for segment in segments for index in segment.frame_index.tolist()]

    assert frames(input__stride=2, compose__every=5) == frames(input__stride=10)
    assert frames(compose__every=7)[:3] == [0, 7, 14]
