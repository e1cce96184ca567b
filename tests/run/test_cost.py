"""Jobs of the slow method that their deadline has no room for are refused with figures; sampled
frames are what fits.
"""

from pathlib import Path

import pytest

from raydepth.errors import JobError
from raydepth.frames.find import find_segments
from raydepth.job import Job
from raydepth.output.folder import OutputFolder
from raydepth.output.record import BENCHMARK
from raydepth.run.cost import check_deadline, lanes_per_frame, seconds_per_frame
from tests.support.clips import write_clip
from tests.support.runs import small_job

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
    folder.write(BENCHMARK, b'{"worker_seconds_per_frame": 36.0}')
    check_deadline(job, 100, SD)
    with pytest.raises(JobError, match=r"1\.01 h for 101 frames .* measured by an earlier run"):
        check_deadline(job, 101, SD)


def test_every_is_a_stride_on_top(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", frames=24)

    def frames(**fields):
        segments = find_segments(
            (made := grad_job(tmp_path / "out", str(clip), **fields)).input, made.compose.every
        ).segments
        return [index for segment in segments for index in segment.frame_index.tolist()]

    assert frames(input__stride=2, compose__every=5) == frames(input__stride=10)
    assert frames(compose__every=7)[:3] == [0, 7, 14]
