"""``raydepth submit``: packs a job, has a Ray cluster run it, follows its log, and comes back with
its exit code.
"""

import logging
import os
import re
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import raydepth
from raydepth import interrupt
from raydepth.errors import JobError
from raydepth.job import Job
from raydepth.run.submit.packing import JOB, Parcel, pack

PACK_LIMIT_MB = 50.0

STOP_WAIT_S = 600
"""What a stopped job gets to finish what is in flight; Ray's own default, 3 s, would cost a part
per worker."""

FIRST_ANSWER_S = 8.0
"""A dashboard that takes longer to say its version is none."""

POLL_S = 2.0
LOG_BYTES_PER_S = 50e3
LOST_S = 180.0
"""So long without an answer, and following is given up; the job does not notice."""

PASSED_ON = (0, 1, 2, 3, 75)
"""Exit codes of ``raydepth run``."""

OnInterrupt = Literal["ask", "stop", "leave"]

_OUTPUT = "raydepth_output"  # in a submission's metadata: what it writes to


def submit(
    job: Job,
    address: str,
    *,
    name: str,
    echo: Callable[[str], None],
    pack_limit_mb: float = PACK_LIMIT_MB,
    paths_on_cluster: bool = False,
    detach: bool = False,
    on_interrupt: OnInterrupt = "ask",
) -> int:
    """Runs a job on a cluster; submitting it again goes on where it stopped, as with ``raydepth
    run``.

    Args:
        job: the resolved job, with paths of this machine.
        address: of the cluster's dashboard, ``http://HOST:8265``.
        name: what the submission's id begins with.
        say: gets pieces of text as they come, with their line ends.
        pack_limit_mb: local files of more than so many megabytes in all are refused.
        paths_on_cluster: the job's paths are those of the nodes, nothing is packed.
        detach: return 0 once the job is accepted.
        on_interrupt: what Ctrl-C does with the job on the cluster; ``ask`` is ``leave`` where there
            is no terminal.

    Returns:
        The exit code of ``raydepth run`` there; 1 where it was stopped, left alone or lost.

    Raises:
        JobError: the job cannot be sent, there is no cluster at the address or it wants another
            token, or a submission that has not ended writes to the same output.
    """
    parcel = pack(job, limit_mb=pack_limit_mb, on_cluster=paths_on_cluster)
    with _named_address_only():
        client = _connect(address)
        _refuse_a_second(client, job.output.path, address)
        _warn_of_local_output(job.output.path, address, echo)
    submission = Submission(client, address, _new_id(name), echo)
    echo(
        f"submitting as {submission.id} with local files: {len(parcel.files)}, "
        f"{parcel.size_bytes / 1e6:.1f} MB\n"
    )
    _send(client, submission.id, parcel)
    echo(_commands(submission.id, address))
    return 0 if detach else submission.follow(on_interrupt)


@contextmanager
def _named_address_only() -> Iterator[None]:
    """Ray lets these variables override an address that was given by name: the job would go to
    another cluster.
    """
    kept = {
        key: os.environ.pop(key)
        for key in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
        if key in os.environ
    }
    try:
        yield
    finally:
        os.environ |= kept


def _connect(address: str) -> Any:
    """A ``JobSubmissionClient`` whose requests end; checks the address and the token by asking for
    the version.
    """
    if not re.match("https?://.", address):
        raise JobError(
            f"--address {address}: expected the cluster's dashboard, as http://HOST:8265"
        )
    if _has_token():
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # read when ray is imported
    try:
        import aiohttp  # noqa: F401 (of ray[default])
        import requests
        from ray.exceptions import AuthenticationError
        from ray.job_submission import JobSubmissionClient
    except ImportError as error:
        raise JobError("submit needs ray[default]; pip install 'raydepth[cluster]'") from error

    for handler in logging.getLogger("ray").handlers:
        handler.setLevel(logging.ERROR)  # its uploads are no news

    class Client(JobSubmissionClient):
        """Ray's own waits for an answer for ever."""

        def _do_request(self, *arguments: Any, **options: Any) -> Any:
            answer_s = FIRST_ANSWER_S if "/api/version" in arguments else 60
            return super()._do_request(*arguments, timeout=(5, answer_s), **options)

    try:
        return Client(address)
    except AuthenticationError as error:
        raise JobError(
            f"--address {address}: the cluster refuses this machine's token, or was sent none; put "
            "the one that it was started "
            "with (there: ray get-auth-token) into RAY_AUTH_TOKEN or the file ~/.ray/auth_token, "
            "and set RAY_AUTH_MODE=token"
        ) from error
    except (
        requests.RequestException,
        ConnectionError,
        RuntimeError,
        ValueError,
        KeyError,
    ) as error:
        cause = " ".join(str(error).split())
        raise JobError(
            f"--address {address}: no Ray dashboard answers there ({cause}); is it the dashboard's "
            "port (8265, not 6379), "
            "and was ray start --head given a --dashboard-host that this machine can reach?"
        ) from error


def _has_token() -> bool:
    named = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    return bool(named) or Path("~/.ray/auth_token").expanduser().is_file()


def _refuse_a_second(client: Any, output: str, address: str) -> None:
    """Refuses a second run on the same output before anything is sent."""
    for other in client.list_jobs():
        if not other.status.is_terminal() and (other.metadata or {}).get(_OUTPUT) == output:
            raise JobError(
                f"output.path: {output} is written by {other.submission_id}, which has not ended\n"
                + _commands(other.submission_id, address)
            )


def _warn_of_local_output(output: str, address: str, echo: Callable[[str], None]) -> None:
    if "://" in output:
        return
    from ray.util.state import list_nodes
    from ray.util.state.exception import RayStateApiException

    try:
        nodes = str(len(list_nodes(address, filters=[("state", "=", "ALIVE")], timeout=10)))
    except RayStateApiException:
        nodes = "an unknown number of"
    if nodes != "1":
        echo(
            f"warning: output.path {output} is a local path and the cluster has {nodes} nodes; "
            "frames are lost "
            "unless every node sees the same folder there (NFS, for example)\n"
        )


def _new_id(name: str) -> str:
    clean = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")
    return f"raydepth-{clean}-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:4]}"


def _send(client: Any, submission_id: str, parcel: Parcel) -> None:
    with tempfile.TemporaryDirectory() as directory:
        archive = Path(directory, "job.zip")
        parcel.write(archive)
        client.submit_job(
            entrypoint=f"python -m raydepth.run.submit.entrypoint {JOB}",
            submission_id=submission_id,
            # Workers inherit this: they run the package that was sent, in the folder of the packed
            # files.
            runtime_env={
                "working_dir": str(archive),
                "py_modules": [str(Path(raydepth.__file__).parent)],
                "excludes": ["__pycache__"],
                "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)},
            },
            metadata={_OUTPUT: parcel.job.output.path, "raydepth": raydepth.__version__},
        )


def _commands(submission_id: str, address: str) -> str:
    return (
        f"  follow it:  ray job logs --follow {submission_id} --address {address}\n"
        f"  stop it:    ray job stop {submission_id} --address {address}\n"
    )


@dataclass
class Submission:
    """One submitted job, followed from here."""

    client: Any
    address: str
    id: str
    echo: Callable[[str], None]
    shown: int = 0
    """Characters of the job's log that were printed."""

    def follow(self, on_interrupt: OnInterrupt) -> int:
        """Prints the log until the job ends; returns the exit code to end with (``submit`` says
        which).
        """
        with interrupt.expected():
            return self._follow(on_interrupt)

    def _follow(self, on_interrupt: OnInterrupt) -> int:
        stopping = False
        while True:
            try:
                return self._exit_code(self._until_end())
            except KeyboardInterrupt:
                choice = "leave" if stopping else _choose(on_interrupt)
            except OSError as error:
                self.echo(
                    f"no answer from {self.address} for {LOST_S / 60:.0f} minutes ({error}); the "
                    "job may go on\n"
                )
                choice = "lost"
            if choice == "stop":
                stopping = True
                self.echo(
                    "\nstopping the job; it may finish what is in flight (Ctrl-C again leaves it "
                    "alone)\n"
                )
                try:
                    self.client.stop_job(self.id)
                except (OSError, RuntimeError) as error:
                    self.echo(
                        f"it could not be told to stop: {error}\n{_commands(self.id, self.address)}"
                    )
                    return 1
            elif choice != "continue":
                if choice == "leave":
                    self.echo(f"\nleft {'stopping' if stopping else 'running'} on the cluster\n")
                self.echo(_commands(self.id, self.address))
                return 1

    def _until_end(self) -> Any:
        """Prints what is new in the log, again and again; returns the job's last state.

        Whole logs are asked for, not a stream: nothing is repeated or lost over a broken
        connection, and an end cannot be missed. A long log is asked for less often.

        Raises:
            OSError: the cluster has not answered for ``LOST_S``.
        """
        answered, state = time.monotonic(), None
        while True:
            try:
                state = self.client.get_job_info(
                    self.id
                )  # before the log, which is then complete at the end
                log = self.client.get_job_logs(self.id)
            except (OSError, RuntimeError) as error:  # no connection; an answer that is none
                if time.monotonic() - answered > LOST_S:
                    if state is not None and state.status.is_terminal():
                        return state  # its log is gone with the node that it ran on
                    raise OSError(" ".join(str(error).split())) from error
                time.sleep(POLL_S)
                continue
            answered = time.monotonic()
            self.echo(log[self.shown :])
            self.shown = max(self.shown, len(log))
            if state.status.is_terminal():
                return state
            time.sleep(POLL_S + len(log) / LOG_BYTES_PER_S)

    def _exit_code(self, ended: Any) -> int:
        if ended.status == "STOPPED":
            self.echo("stopped; what is done is kept, submit the same job again to go on\n")
            return 1
        code = ended.driver_exit_code
        if code in PASSED_ON:
            return int(code)
        if code == 127:
            self.echo(
                "no python on the head node's PATH; activate raydepth's environment before ray "
                "start\n"
            )
            return 2
        if code is None:  # it never began: the reason is Ray's
            self.echo(f"{ended.status}: {ended.message}\n")
        else:
            self.echo(
                f"raydepth was killed there (exit code {code}); submit the same job again to go "
                "on\n"
            )
        return 1


def _choose(on_interrupt: OnInterrupt) -> str:
    """What to do after Ctrl-C: "stop", "leave" or "continue"; a second Ctrl-C leaves."""
    if on_interrupt != "ask":
        return on_interrupt
    if not sys.stdin.isatty():
        return "leave"
    try:
        answer = input(
            "\nstop the job on the cluster too? [s]top / [l]eave it running / [c]ontinue "
            "following: "
        )
    except (KeyboardInterrupt, EOFError):
        return "leave"
    return {"s": "stop", "c": "continue"}.get(answer.strip().lower()[:1], "leave")
