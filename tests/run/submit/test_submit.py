"""``raydepth submit`` against a real cluster with a token."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.run.submit.user import ROOT, environment, write_job
from tests.support.runs import differing, results

TOKEN = "a-token-of-the-tests-0123456789abcdef"
TINY = [
    *(
        "input.size=64",
        "input.limit=12",
        "compose.method=paste",
        "run.batch=4",
        "output.shard_frames=8",
    ),
    "depth.calibration_frames=2",
]

pytestmark = pytest.mark.timeout(280)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def raydepth(
    *arguments: str | Path, cwd: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "raydepth", *map(str, arguments)],
        cwd=cwd, env=environment(cwd, **variables), capture_output=True, text=True, timeout=200,
    )  # fmt: skip


def sets(*overrides: str) -> list[str]:
    return [part for override in overrides for part in ("--set", override)]


@dataclass
class Cluster:
    """A real one of one node, with a dashboard on loopback and a token."""

    dashboard: str
    gcs: str
    folder: Path
    token: dict[str, str] = field(
        default_factory=lambda: {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    )

    def logs_of(self, words: str) -> str:
        """The lines of Ray's own logs that hold these words, to see from a failed test why a job
        ended.
        """
        lines = []
        for path in sorted(self.folder.glob("session_latest/logs/**/*")):
            if path.is_file():
                lines += [
                    f"{path.name}: {line}"
                    for line in path.read_text(errors="replace").splitlines()
                    if words in line
                ]
        return "\n".join(lines)

    def get(self, path: str) -> Any:
        request = urllib.request.Request(
            self.dashboard + path, headers={"Authorization": f"Bearer {TOKEN}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="rd", dir="/tmp"))  # sockets' names must be short
    home = folder / "home"
    home.mkdir()
    port = free_port()
    variables = environment(
        home, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN, RAY_USAGE_STATS_ENABLED="0"
    )
    del variables["PYTHONPATH"]  # the nodes' raydepth comes from the submitter
    variables["PATH"] = f"{Path(sys.executable).parent}:{variables['PATH']}"
    options = {
        "port": 0,
        "dashboard-host": "127.0.0.1",
        "dashboard-port": port,
        "dashboard-agent-listen-port": 0,
        "ray-client-server-port": free_port(),
        "num-cpus": 2,
        "object-store-memory": 200_000_000,
        "temp-dir": folder,
    }
    command = [
        "ray",
        "start",
        "--head",
        "--block",
        *(f"--{name}={value}" for name, value in options.items()),
    ]
    head = subprocess.Popen(
        command, cwd=folder, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        cluster = Cluster(f"http://127.0.0.1:{port}", "", folder)

        def answers() -> bool:
            try:
                return (
                    bool(cluster.get("/api/version")) and (folder / "ray_current_cluster").exists()
                )
            except OSError:
                assert head.poll() is None, "ray start failed"
                return False

        wait_for(answers, 60)
        cluster.gcs = (folder / "ray_current_cluster").read_text().strip()
        yield cluster
    finally:
        family = [*psutil.Process(head.pid).children(recursive=True), head]
        for process in family:
            process.kill()
        head.wait(10)
        psutil.wait_procs(family[:-1], timeout=10)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_submitted_job_equals_one_that_was_run(cluster: Cluster, tmp_path: Path):
    """jobs/cluster.yaml as its first lines say; beside it ``run --address`` from outside the
    cluster's jobs.
    """
    job, ran, submitted = ROOT / "jobs/cluster.yaml", tmp_path / "ran", tmp_path / "submitted"
    # Workers of a driver that is not a submission have a current directory of their own: an
    # absolute path.
    truth = f"depth.truth={ROOT}/jobs/clips/demo_depth/{{frame_index:06d}}.png"
    attached = raydepth(
        "run",
        job,
        *sets(*TINY, truth, f"output.path={ran}"),
        "--address",
        cluster.gcs,
        cwd=ROOT,
        HOME=str(tmp_path),  # or matplotlib's folders would be left in the checkout
        **cluster.token,
    )
    assert attached.returncode == 0, attached.stderr
    done = raydepth(
        "submit",
        job,
        *sets(*TINY, f"output.path={submitted}"),
        "--address",
        cluster.dashboard,
        cwd=ROOT,
        HOME=str(tmp_path),
        **cluster.token,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (note,) = done.stderr.splitlines()
    assert "left out of the job file's compose what paste does not know: model" in note
    assert "12 done, 0 failed, 0 missing of 12 frames" in done.stdout
    assert set(differing(submitted, ran)) == {"path"}
    assert results(submitted).num_rows == 12
    assert results(submitted)["path"][0].as_py().endswith("/jobs/clips/demo.mp4")


@pytest.mark.parametrize(
    "token",
    [{}, {"RAY_AUTH_MODE": "token"}, {"RAY_AUTH_TOKEN": "another-token-0123456789abcdef-xyz"}],
)
def test_a_missing_or_wrong_token_exits_2(token: dict[str, str], cluster: Cluster, folder: Path):
    job = write_job(folder, "unauthorised")
    refused = raydepth("submit", job, "--address", cluster.dashboard, cwd=folder, **token)
    assert refused.returncode == 2
    assert "refuses this machine's token, or was sent none" in refused.stderr
    assert "RAY_AUTH_TOKEN" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_job_that_is_wrong_there_exits_2(cluster: Cluster, folder: Path):
    """Wrong in a way that only the cluster knows; the token comes from the file, and RAY_ADDRESS is
    not believed.
    """
    job = write_job(folder, "wrong", run__gpus_per_worker=1)
    (folder / ".ray").mkdir()
    (folder / ".ray/auth_token").write_text(TOKEN)
    wrong = raydepth(
        "submit", job, "--address", cluster.dashboard, cwd=folder, RAY_ADDRESS="http://127.0.0.1:1"
    )
    shutil.rmtree(folder / ".ray")
    assert wrong.returncode == 2, wrong.stdout + wrong.stderr
    assert "required 1 GPUs, available 0" in wrong.stdout


def test_stopped_by_ctrl_c_and_submitted_again(cluster: Cluster, folder: Path):
    out = folder / "stopped"
    job = write_job(  # slow by its filling alone: workers that load no models start soon
        folder, "stopped", depth__model="files:{parent}/depth/{frame_index}.npy", input__size=256,
        layers={"fill": {"radius": 45}}, output__shard_frames=4, output__keep=["edited"],
    )  # fmt: skip
    command = ["submit", job, "--address", cluster.dashboard]
    log = folder / "stopped.log"
    with open(log, "w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "raydepth", *command, "--on-interrupt", "stop"],
            cwd=folder, env=environment(folder, **cluster.token), stdout=stream, stderr=stream,
        )  # fmt: skip
    wait_for(lambda: "stop it:" in log.read_text(), 60)
    again = raydepth(*command, cwd=folder, **cluster.token)
    assert again.returncode == 2
    assert f"{out} is written by raydepth-stopped-" in again.stderr
    wait_for(lambda: list(out.glob("frames/*/[!.]*.parquet")), 120)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 1
    printed = log.read_text()
    assert "stopping the job" in printed
    assert "interrupted: finishing what is in flight" in printed
    assert "missing of 40 frames" in printed, printed + cluster.logs_of(
        "raydepth-stopped"
    )  # the run there came to its own end
    assert "stopped; what is done is kept, submit the same job again to go on" in printed
    name = printed.split("submitting as ")[1].split()[0]
    assert cluster.get(f"/api/jobs/{name}")["status"] == "STOPPED"
    kept = {path: path.stat().st_mtime_ns for path in out.glob("frames/*/[!.]*.parquet")}
    assert 1 <= len(kept) < 10, "it was stopped too late to test anything"
    resumed = raydepth(*command, cwd=folder, **cluster.token)
    assert resumed.returncode == 3, (
        resumed.stdout + resumed.stderr
    )  # a depth file is missing, as said
    assert "39 done, 1 failed, 0 missing of 40 frames" in resumed.stdout
    rows = results(out).to_pylist()
    assert [row["frame_index"] for row in rows] == list(range(40))
    assert [row["error_type"] for row in rows if row["status"] == "error"] == ["MissingDepthFile"]
    # What was finished was not done again.
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in kept.items())
