"""Several nodes of a real Ray cluster on this machine: more of them, late ones, slow ones, and one
that dies with frames in it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ray.cluster_utils import Cluster

from raydepth.job import Job
from tests.faults.conftest import FRAMES
from tests.faults.processes import shards, start, wait_for
from tests.support.runs import differing, results

pytestmark = pytest.mark.timeout(200)

SLOW = "tests.faults.editors:Slow"
GATHERING = "tests.faults.editors:Gathering"


@pytest.fixture(scope="module")
def meeting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder where workers meet; named by the environment that nodes inherit."""
    folder = tmp_path_factory.mktemp("roles")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYDEPTH_TEST_ROLES", str(folder))
        yield folder


@pytest.fixture
def roles(meeting: Path) -> Path:
    """The same, empty."""
    for file in meeting.iterdir():
        file.unlink()
    return meeting


@pytest.fixture(scope="module")
def cluster(meeting: Path) -> Iterator[Cluster]:
    """A head node with two CPUs and no GPU; tests add nodes of one CPU and one logical GPU."""
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 2, "num_gpus": 0, "object_store_memory": 10**8},
    )
    yield cluster
    cluster.shutdown()


@contextmanager
def gpu_nodes(cluster: Cluster, count: int) -> Iterator[list]:
    nodes = [add(cluster) for _ in range(count)]
    try:
        yield nodes
    finally:
        for node in set(cluster.worker_nodes):
            cluster.remove_node(node, allow_graceful=False)


def add(cluster: Cluster):
    return cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=10**8)


def on_gpus(job: Callable[..., Job], out: Path, workers: int, **fields) -> Job:
    gpus = {"run__workers": workers, "run__gpus_per_worker": 1, "run__logical_gpus": workers}
    return job(out, **gpus, **fields)


@pytest.mark.parametrize("count", [pytest.param(2, marks=pytest.mark.slow), 4])
def test_nodes(
    cluster: Cluster,
    job: Callable[..., Job],
    undisturbed: Path,
    roles: Path,
    tmp_path: Path,
    count: int,
):
    """CPU and GPU nodes mixed: decoding on all of them, one worker on each GPU node; the bytes are
    those of one machine.
    """
    out = tmp_path / "out"
    (roles / "expected").write_text(str(count))
    with gpu_nodes(cluster, count):
        process = start(
            on_gpus(job, out, count), tmp_path, "--address", cluster.address, editor=GATHERING
        )
        assert process.wait(150) == 0, (tmp_path / "log").read_text()
    assert len(list(roles.glob("worker*"))) == count
    assert not differing(out, undisturbed)


def test_a_node_that_joins_late(
    cluster: Cluster, job: Callable[..., Job], undisturbed: Path, roles: Path, tmp_path: Path
):
    out = tmp_path / "out"
    (roles / "expected").write_text("1")
    with gpu_nodes(cluster, 1):
        late = on_gpus(job, out, 2, run__min_workers=1)
        process = start(late, tmp_path, "--address", cluster.address, editor=GATHERING)
        wait_for(lambda: shards(out) >= 1)
        (roles / "expected").write_text("2")
        add(cluster)
        assert process.wait(150) == 0, (tmp_path / "log").read_text()
    assert len(list(roles.glob("worker*"))) == 2
    assert not differing(out, undisturbed)


def test_a_node_that_dies_while_it_holds_frames(
    cluster: Cluster, job: Callable[..., Job], undisturbed: Path, tmp_path: Path
):
    """Also where what is left is too small for all workers: the run ends on the node that lives."""
    out = tmp_path / "out"
    with gpu_nodes(cluster, 2) as nodes:
        process = start(on_gpus(job, out, 2), tmp_path, "--address", cluster.address, editor=SLOW)
        wait_for(lambda: shards(out) >= 2)
        cluster.remove_node(nodes[0], allow_graceful=False)
        assert process.wait(150) == 0, (tmp_path / "log").read_text()
    assert not differing(out, undisturbed)


@pytest.mark.slow
def test_a_slow_node_holds_nobody_up(
    cluster: Cluster, job: Callable[..., Job], roles: Path, tmp_path: Path
):
    out = tmp_path / "out"
    (roles / "expected").write_text("2")
    with gpu_nodes(cluster, 2):
        process = start(
            on_gpus(job, out, 2, output__shard_frames=4),
            tmp_path,
            "--address",
            cluster.address,
            editor="tests.faults.editors:OneSlow",
        )
        assert process.wait(150) == 0
    rows = results(out)
    assert len(set(rows["frame_id"].to_pylist())) == rows.num_rows == FRAMES
    tables = [
        pq.read_table(path, columns=["seconds_compose"]) for path in out.glob("frames/*/*.parquet")
    ]
    slow = sum(
        seconds > 0.2 for table in tables for seconds in table["seconds_compose"].to_pylist()
    )
    assert 4 <= slow <= 20, f"the slow node made {slow} of {FRAMES} frames"
