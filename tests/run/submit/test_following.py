"""``raydepth submit`` against a dashboard that misbehaves, and on a terminal."""

import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from raydepth.errors import JobError
from raydepth.job import load_job
from raydepth.run.submit import client as submission
from tests.run.submit.user import environment, write_job

pytestmark = pytest.mark.timeout(280)


class Dashboard(ThreadingHTTPServer):
    """Speaks as much of Ray's job interface as ``submit`` uses; every answer about the job comes
    from a script.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.script: list[tuple[str, str | None, int | None] | None] = []
        """(status, log, exit code) of a look at the job, in order; None drops the connection. The
        last one stays."""
        self.now: tuple[str, str | None, int | None] = ("PENDING", "", None)
        self.jobs: dict[str, dict[str, Any]] = {}
        self.packages: dict[str, int] = {}
        self.stopped: list[str] = []

    def details(self, name: str) -> dict[str, Any]:
        status, _, code = self.now
        return {
            "type": "SUBMISSION",
            "job_id": None,
            "submission_id": name,
            "status": status,
            "driver_exit_code": code,
            "entrypoint": "",
            "message": "the reason",
            "metadata": self.jobs[name]["metadata"],
        }


class _Answers(BaseHTTPRequestHandler):
    server: Dashboard

    def log_message(self, *_: object) -> None: ...

    def reply(self, content: Any, status: int = 200) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def do_GET(self) -> None:
        path, dashboard = self.path.rstrip("/"), self.server
        if path == "/api/version":
            self.reply(
                {"ray_version": "2.60.0", "version": "4", "ray_commit": "", "session_name": ""}
            )
        elif path.startswith("/api/packages"):
            known = path.split("/")[-1] in dashboard.packages
            self.reply({}, 200 if known else 404)
        elif path == "/api/jobs":
            self.reply([dashboard.details(name) for name in dashboard.jobs])
        elif path.endswith("/logs"):
            log = dashboard.now[1]
            self.reply({"logs": log}, 500 if log is None else 200)
        else:
            step = dashboard.script.pop(0) if dashboard.script else dashboard.now
            if step is None:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            dashboard.now = step
            self.reply(dashboard.details(path.split("/")[-1]))

    def do_PUT(self) -> None:
        length = int(self.headers["Content-Length"])
        self.rfile.read(length)
        self.server.packages[self.path.split("/")[-1]] = length
        self.reply({})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.endswith("/stop"):
            self.server.stopped.append(self.path.split("/")[-2])
            self.server.now = ("STOPPED", self.server.now[1], None)
            self.reply({"stopped": True})
        else:
            request = json.loads(body)
            self.server.jobs[request["submission_id"]] = request
            self.reply(
                {"job_id": request["submission_id"], "submission_id": request["submission_id"]}
            )


@pytest.fixture
def dashboard() -> Iterator[Dashboard]:
    server = Dashboard()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(submission, "POLL_S", 0.01)
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(folder))


def submit(folder: Path, dashboard: Dashboard, **options: Any) -> tuple[int, str]:
    printed: list[str] = []
    job = load_job(folder / write_job(folder, "job"), ["output.path=s3://bucket/out"])
    code = submission.submit(job, dashboard.address, name="my job", echo=printed.append, **options)
    return code, "".join(printed)


@pytest.mark.parametrize(
    ("status", "code", "exit_code", "words"),
    [
        ("SUCCEEDED", 0, 0, ""),
        ("FAILED", 3, 3, ""),
        ("FAILED", 75, 75, ""),
        ("FAILED", 2, 2, ""),
        ("FAILED", 1, 1, ""),
        ("FAILED", -9, 1, "raydepth was killed there (exit code -9)"),
        ("FAILED", 127, 2, "no python on the head node's PATH"),
        ("FAILED", None, 1, "FAILED: the reason"),
        ("STOPPED", None, 1, "submit the same job again to go on"),
    ],
)
def test_exit_codes(
    status: str,
    code: int | None,
    exit_code: int,
    words: str,
    dashboard: Dashboard,
    folder: Path,
    quick: None,
):
    dashboard.script = [("RUNNING", "begun\n", None), (status, "begun\nended\n", code)]
    got, printed = submit(folder, dashboard)
    assert got == exit_code
    assert printed.endswith("begun\nended\n") if not words else words in printed


def test_the_log_survives_broken_connections(dashboard: Dashboard, folder: Path, quick: None):
    lines = [f"line {i} é\n" for i in range(6)]
    dashboard.script = [
        ("PENDING", "", None),
        None,
        ("RUNNING", lines[0], None),
        ("RUNNING", lines[0] + lines[1][:3], None),
    ]
    dashboard.script += [
        None,
        None,
        ("RUNNING", "".join(lines[:5]), None),
        None,
        ("SUCCEEDED", "".join(lines), 0),
    ]
    code, printed = submit(folder, dashboard)
    assert code == 0
    assert printed.endswith("".join(lines))
    assert all(printed.count(line) == 1 for line in lines)


def test_a_cluster_that_is_gone_is_given_up_but_not_at_once(
    dashboard: Dashboard, folder: Path, quick: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(submission, "LOST_S", 0.5)
    dashboard.script = [("RUNNING", "begun\n", None), *[None] * 100_000]
    began = time.monotonic()
    code, printed = submit(folder, dashboard)
    assert code == 1
    assert time.monotonic() - began >= 0.5
    assert "the job may go on" in printed
    assert "ray job logs --follow raydepth-my-job-" in printed


def test_a_log_that_is_gone_with_its_node_does_not_hide_the_end(
    dashboard: Dashboard, folder: Path, quick: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(submission, "LOST_S", 0.3)
    dashboard.script = [("RUNNING", "begun\n", None), ("FAILED", None, 3)]
    code, printed = submit(folder, dashboard)
    assert code == 3
    assert printed.endswith("begun\n")


def test_what_is_sent(dashboard: Dashboard, folder: Path, quick: None):
    code, printed = submit(folder, dashboard, detach=True)
    assert code == 0
    ((name, request),) = dashboard.jobs.items()
    assert name in printed
    assert request["entrypoint"] == "python -m raydepth.run.submit.entrypoint .raydepth/job.yaml"
    assert len(dashboard.packages) == 2
    assert max(dashboard.packages.values()) < 40e6  # the builtin models are most of it
    # The cluster has both packages now; another submission to the same place is refused while the
    # first is not over ...
    with pytest.raises(JobError, match=f"written by {name}, which has not ended"):
        submit(folder, dashboard, detach=True)
    # ... and sends nothing again afterwards.
    dashboard.now, dashboard.packages = ("FAILED", "", 1), dict.fromkeys(dashboard.packages, 0)
    submit(folder, dashboard, detach=True)
    assert list(dashboard.packages.values()) == [0, 0]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:8265", "expected the cluster's dashboard, as http://HOST:8265"),
        ("ray://127.0.0.1:10001", "expected the cluster's dashboard, as http://HOST:8265"),
        ("http://127.0.0.1:1", "no Ray dashboard answers there"),
        ("http://nowhere.invalid:8265", "no Ray dashboard answers there"),
        ("http://127.0.0.1:99999", "no Ray dashboard answers there"),
        ("http://", "expected the cluster's dashboard"),
    ],
)
def test_wrong_addresses(address: str, words: str, folder: Path, quick: None):
    job = load_job(folder / write_job(folder, "job"))
    with pytest.raises(JobError) as refused:
        submission.submit(job, address, name="job", echo=print)
    assert words in str(refused.value)


def test_a_server_that_never_answers_is_no_hang(
    folder: Path, quick: None, monkeypatch: pytest.MonkeyPatch
):
    assert submission.FIRST_ANSWER_S < 10
    monkeypatch.setattr(submission, "FIRST_ANSWER_S", 0.5)
    job = load_job(folder / write_job(folder, "job"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(JobError, match="no Ray dashboard answers there"):
            submission.submit(
                job, f"http://127.0.0.1:{silent.getsockname()[1]}", name="job", echo=print
            )
        assert time.monotonic() - began < 10


def test_another_server_than_a_dashboard(folder: Path, quick: None):
    job = load_job(folder / write_job(folder, "job"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    with pytest.raises(JobError, match="no Ray dashboard answers there"):
        submission.submit(job, f"http://127.0.0.1:{server.server_port}", name="job", echo=print)
    server.shutdown()
    server.server_close()


class Terminal:
    """``raydepth submit`` on a terminal."""

    def __init__(self, folder: Path, dashboard: Dashboard, *options: str) -> None:
        job = write_job(folder, "job")
        arguments = [
            "submit",
            job,
            "--set",
            "output.path=s3://bucket/out",
            "--address",
            dashboard.address,
        ]
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            command = [sys.executable, "-m", "raydepth", *arguments, *options]
            os.execvpe(sys.executable, command, environment(folder))
        self.printed = ""

    def until(self, words: str) -> None:
        deadline = time.monotonic() + 60
        while words not in self.printed:
            assert time.monotonic() < deadline, self.printed
            if select.select([self._terminal], [], [], 0.1)[0]:
                self.printed += os.read(self._terminal, 4096).decode()
        self.printed = self.printed.split(words, 1)[1]

    def type(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def exit_code(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        os.close(self._terminal)
        return os.waitstatus_to_exitcode(status)


PROMPT = "[s]top / [l]eave it running / [c]ontinue following: "


def test_ctrl_c_on_a_terminal_asks(dashboard: Dashboard, folder: Path):
    dashboard.script = [("RUNNING", "begun\n", None)]
    terminal = Terminal(folder, dashboard)
    terminal.until("begun")
    terminal.type("\x03")
    terminal.until(PROMPT)
    dashboard.now = ("RUNNING", "begun\nand on\n", None)
    terminal.type("c\n")
    terminal.until("and on")
    terminal.type("\x03")
    terminal.until(PROMPT)
    time.sleep(1)  # readline shows its prompt a moment before a signal can end its waiting
    terminal.type("\x03")
    terminal.until("left running on the cluster")
    terminal.until("ray job stop raydepth-job-")
    assert terminal.exit_code() == 1
    assert dashboard.stopped == []


def test_ctrl_c_on_a_terminal_and_stop(dashboard: Dashboard, folder: Path):
    dashboard.script = [("RUNNING", "begun\n", None)]
    terminal = Terminal(folder, dashboard)
    terminal.until("begun")
    terminal.type("\x03")
    terminal.until(PROMPT)
    terminal.type("s\n")
    terminal.until("stopped; what is done is kept")
    assert terminal.exit_code() == 1
    assert dashboard.stopped == list(dashboard.jobs)


def test_ctrl_c_without_a_terminal_leaves_the_job(dashboard: Dashboard, folder: Path):
    dashboard.script = [("RUNNING", "begun\n", None)]
    job = write_job(folder, "job")
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "raydepth",
            "submit",
            job,
            "--set",
            "output.path=s3://b/o",
            "--address",
            dashboard.address,
        ],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line == "begun\n":
            break
    process.send_signal(signal.SIGINT)
    rest = process.stdout.read()
    assert process.wait(30) == 1
    assert "left running on the cluster" in rest
    assert dashboard.stopped == []
