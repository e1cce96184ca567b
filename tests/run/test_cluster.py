"""Before and around Ray: addresses, paths and resources that cannot work are told at once."""

import atexit
import os
import socket
import time
from pathlib import Path

import psutil
import pytest
import ray

from raydepth.errors import JobError
from raydepth.job import parse_job
from raydepth.run import cluster, load
from raydepth.run.check import check_paths
from raydepth.run.cluster import connect
from raydepth.run.load import device_and_dtype
from raydepth.run.placing import NodeResources, Resources, preflight, share_of
from tests.support.runs import small_job


@pytest.mark.timeout(20)
def test_an_address_where_nothing_answers():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    began = time.monotonic()
    with pytest.raises(JobError, match=f"127.0.0.1:{port}: nothing answers there .*6379"):
        connect(small_job(["a.mp4"], Path("out")).run, f"127.0.0.1:{port}")
    assert time.monotonic() - began < 6


@pytest.mark.parametrize(
    "address", ["127.0.0.1:99999", "no.such.host.invalid:6379", "127.0.0.1:http"]
)
def test_addresses_that_are_none(address: str):
    with pytest.raises(JobError, match="nothing answers there"):
        connect(small_job(["a.mp4"], Path("out")).run, address)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("depth__truth", "truth/{frame_index}.png"),
        ("depth__model", "files:depth/{stem}.png"),
        ("depth__model", "models/depth.onnx"),
        ("depth__model", "./checkpoint"),
    ],
)
def test_relative_paths_mean_nothing_on_another_machine(field: str, value: str):
    job = small_job(["a.mp4"], Path("out"), **{field: value})
    with pytest.raises(JobError, match="is relative, and on a cluster"):
        check_paths(job)


@pytest.mark.parametrize(
    "value", ["/data/{stem}.png", "{parent}/truth/{stem}.png", "s3://bucket/{stem}.png"]
)
def test_paths_that_mean_the_same_everywhere(value: str):
    check_paths(small_job(["a.mp4"], Path("out"), depth__truth=value))


class HangsAtExit:
    def __init__(self) -> None:
        atexit.register(time.sleep, 1000)

    def pid(self) -> int:
        return os.getpid()


@pytest.mark.timeout(90)
def test_no_worker_outlives_a_run(tmp_path: Path):
    connect(small_job(["a.mp4"], tmp_path).run, None)
    worker = psutil.Process(ray.get(ray.remote(num_cpus=0)(HangsAtExit).remote().pid.remote()))
    time.sleep(2)  # nobody holds the actor any more, so Ray tells it to go, and forgets it
    assert worker.is_running()
    cluster.disconnect()
    psutil.wait_procs([worker], timeout=30)  # a killed process is there until it is reaped
    assert not worker.is_running()


def nodes(*found: tuple[float, float]) -> Resources:
    """A cluster of nodes of so many CPUs and GPUs."""
    return Resources(tuple(NodeResources(*one) for one in found))


@pytest.mark.parametrize(
    ("fields", "cluster", "error"),
    [
        # the sum would do, and Ray would wait for ever
        (
            {"gpus_per_worker": 2},
            [(8, 1), (4, 1)],
            r"2 GPUs must be on one node .*room for 0 of 1 .*largest node has 1 GPUs and 8 CPUs",
        ),
        ({"gpus_per_worker": 2, "workers": 2}, [(8, 3), (8, 1)], "room for 1 of 2 workers"),
        ({"gpus_per_worker": 2, "workers": 2}, [(8, 3), (8, 2)], None),
        ({"gpus_per_worker": 0.6, "workers": 3}, [(8, 2)], "room for 2 of 3 workers"),
        ({"gpus_per_worker": 0.3, "workers": 7}, [(8, 2), (8, 1)], None),
        ({"gpus_per_worker": 0.1, "workers": 10}, [(8, 1)], None),
        ({"gpus_per_worker": 1.5}, [(8, 4)], "got 1.5; expected a whole number"),
        ({"gpus_per_worker": 1}, [(0.5, 1), (0.5, 0)], r"1 whole CPUs \(one to decode\), .*hold 0"),
        ({"gpus_per_worker": 1}, [(0, 1), (1, 0)], None),
        ({"gpus_per_worker": 1, "decode": "in_actor"}, [(0, 1)], None),
        (
            {"workers": 3},
            [(1.5, 0), (2.5, 0)],
            r"4 whole CPUs \(3 workers and one to decode\), .*hold 3",
        ),
        ({"workers": 3}, [(2, 0), (2, 0)], None),
        ({"workers": 3}, [(1, 0), (1, 0)], "required 4 CPUs"),
    ],
)
def test_every_worker_finds_a_node(fields, cluster, error):
    run = small_job(["a.mp4"], Path("out"), **{f"run__{k}": v for k, v in fields.items()}).run
    if error is None:
        preflight(run, nodes(*cluster))
    else:
        with pytest.raises(JobError, match=error):
            preflight(run, nodes(*cluster))


@pytest.mark.parametrize(
    ("fields", "cluster", "shares"),
    [
        ({"workers": 8}, [(8, 0)], [8]),
        ({"workers": 8}, [(8, 0)] * 4, [2] * 4),
        ({"workers": 6, "gpus_per_worker": 1}, [(16, 4), (8, 2), (8, 0)], [4, 2, 6]),
        ({"workers": 9, "gpus_per_worker": 1, "min_workers": 1}, [(4, 1)], [1]),
    ],
)
def test_threads_are_shared_by_the_workers_of_a_node(monkeypatch, fields, cluster, shares):
    job = small_job(
        ["a.mp4"],
        Path("out"),
        run__threads=None,
        run__logical_gpus=8,
        **{f"run__{k}": v for k, v in fields.items()},
    )
    found = {str(i): NodeResources(*one) for i, one in enumerate(cluster)}
    assert [share_of(job.run, found, name) for name in found] == shares
    monkeypatch.setattr(load, "available_cpus", lambda: 16)
    threads: list[int] = []
    monkeypatch.setattr("torch.set_num_threads", threads.append)
    device_and_dtype(job, workers_here=shares[0])
    assert threads == [16 // shares[0]]


def test_fewer_workers_may_do_at_the_start():
    four = {"run__workers": 4, "run__gpus_per_worker": 1, "run__logical_gpus": 4}
    small = nodes((2, 1))
    with pytest.raises(
        JobError, match=r"run.workers x run.gpus_per_worker: required 4 GPUs, available 1"
    ):
        preflight(small_job(["a.mp4"], Path("out"), **four).run, small)
    preflight(small_job(["a.mp4"], Path("out"), **four, run__min_workers=1).run, small)
    with pytest.raises(JobError, match=r"run.min_workers x .*required 2 GPUs, available 1"):
        preflight(small_job(["a.mp4"], Path("out"), **four, run__min_workers=2).run, small)
    with pytest.raises(JobError, match=r"min_workers \(5\) must not exceed workers \(4\)"):
        parse_job(
            {
                "schema_version": 1,
                "input": {"paths": ["a"]},
                "output": {"path": "o"},
                "run": {"workers": 4, "min_workers": 5},
            }
        )
