"""Ray: the embedded default or a running cluster, and whether a job can be scheduled."""

import logging
import os
import site
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# Read when ray is imported: a call after the shutdown must fail instead of starting a cluster of
# its own.
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")

import psutil
import ray
import ray.data
from ray._private import ray_constants
from ray._private import worker as ray_worker
from ray._private.node import Node
from ray.job_config import JobConfig
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import raydepth
from raydepth.errors import JobError
from raydepth.job.run import Run
from raydepth.run import surroundings
from raydepth.run.cpus import available_cpus
from raydepth.run.log import RoutedLogger
from raydepth.run.placing import NodeResources, Resources, share_of, worker_cpus
from raydepth.run.submit.requirements import lacking

OBJECT_STORE_GB = 1.0
"""The embedded default's object store: a few parts of raw frames; explicit, because Ray would take
30 % of the memory."""

START_S = 300.0
"""Ray gets so long to start here; a busy machine takes half a minute."""

GIVE_UP_S = 20.0
"""After that, and its processes' end, it gets so long to say so itself."""

NODE_ANSWER_S = 60.0
"""A node gets so long to start a process that says what it has."""

BLOCK_BYTES = 1
"""Every row, which is a whole part, is a block of its own: handed on at once, and repeated alone
when a worker dies."""


class RayNotStarted(RuntimeError):
    """Ray cannot start on this machine; nothing was changed."""


class _Config(JobConfig):
    """A Ray job whose workers do not look for modules in the driver's current folder, nor beside
    the program.

    Ray adds both unless the job has a working directory; there is no other switch.
    """

    def _runtime_env_has_working_dir(self) -> bool:
        return True


def connect(run: Run, address: str | None) -> Resources:
    """Starts the embedded default, or attaches to a running cluster (``host:port``, ``ray://``,
    ``auto``).

    Raises:
        JobError: there is no cluster at the address, or it wants a token.
        RayNotStarted: no Ray can start here.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault(
        "RAY_BACKEND_LOG_LEVEL", "fatal"
    )  # Ray's C++ side writes to the terminal otherwise
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault(
        "RAY_task_events_report_interval_ms", "0"
    )  # Ray keeps every task's history otherwise
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        # "local": never attach to a cluster that happens to run here. Two CPUs at least: one
        # decodes.
        settings |= {"address": "local", "num_cpus": max(2, available_cpus())}
        settings |= {"num_gpus": run.logical_gpus, "include_dashboard": False}
        settings |= {"object_store_memory": int((run.object_store_gb or OBJECT_STORE_GB) * 1e9)}
        settings |= {"job_config": _Config(_py_driver_sys_path=_package_folder())}
        try:
            surroundings.check_loopback()
            settings |= {"_temp_dir": surroundings.ray_folder()}
        except OSError as error:
            raise RayNotStarted(str(error)) from error
        surroundings.find_home()
        surroundings.give_ray_a_token()
    else:
        _answers(address)
        settings |= {"address": address}
        if not is_submitted():
            package = str(Path(raydepth.__file__).parent)
            settings |= {"runtime_env": {"py_modules": [package], "excludes": ["__pycache__"]}}
            if not address.startswith("ray://"):  # there Ray adds no folder
                settings |= {"job_config": _Config()}
    embedded = address is None
    try:
        with (
            _time_limit(START_S, only=embedded),
            _silent_stderr(),
            _on_loopback(only=embedded),
            _bare(only=embedded),
        ):
            ray.init(**settings)
    except (ConnectionError, ValueError, RuntimeError) as error:
        if address is None:
            raise
        hint = (
            "is it running? With token authentication set RAY_AUTH_MODE=token and the token "
            "(ray get-auth-token)"
        )
        raise JobError(
            f"--address {address}: cannot attach to a Ray cluster: {error}; {hint}"
        ) from error
    # What Ray's own processes complain of, a worker's traceback above all, it prints even so.
    ray_worker._worker_logs_enabled = False
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = BLOCK_BYTES
    context.autoscaling_config.actor_pool_util_downscaling_threshold = (
        0.0  # a worker that left would load again
    )
    # A segment in an actor is silent to Ray for long; monitor.watch gives the alarm.
    context.execution_no_progress_timeout_s = -1
    for name in ("ray", "ray.data"):
        # Errors reach the user by way of the tracker; of what is routed the run's log takes more.
        routed = isinstance(logging.getLogger(name), RoutedLogger)
        logging.getLogger(name).setLevel(logging.WARNING if routed else logging.CRITICAL)
    return Resources(tuple(_nodes().values()))


def _nodes() -> dict[str, NodeResources]:
    """The nodes that live, by Ray's id."""
    return {
        node["NodeID"]: NodeResources(
            node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0)
        )
        for node in ray.nodes()
        if node["Alive"]
    }


def workers_here(run: Run) -> int:
    """How many of the job's workers share this process's node, as Ray spreads them over the nodes
    that have room; all of them where there is no Ray.
    """
    if not ray.is_initialized():
        return run.workers
    return share_of(run, _nodes(), ray.get_runtime_context().get_node_id())


def disconnect() -> None:
    """Leaves the cluster; of the embedded one no process stays.

    Its workers are killed: by themselves they take seconds to end, with their models in memory, and
    now and then one hangs in Ray's own exit for ever. Nothing is lost, as whatever they write is
    there whole or not at all.

    A submitted job's connection ends with its process: on busy machines Ray's shutdown ended the
    process of a job that was being stopped, without a word, and the report was lost.
    """
    if is_submitted():
        return
    workers = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if process.name().startswith("ray::"):
                workers.append(process)
    ray.shutdown()
    for process in workers:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def is_submitted() -> bool:
    """Whether this process is a submitted job's: then the package and the job's files have been
    sent with it.
    """
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def _answers(address: str) -> None:
    """Raises JobError where nothing listens at ``host:port``; Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError) as error:
        raise JobError(
            f"--address {address}: nothing answers there ({error}); expected the head's host:port "
            "(port 6379 by default), "
            "auto on a machine of the cluster, or raydepth submit with its dashboard's address"
        ) from error


def _package_folder() -> list[str]:
    """Where workers find raydepth, where it is not installed: beside the driver's package."""
    folder = str(Path(raydepth.__file__).resolve().parents[1])
    installed = [*site.getsitepackages(), site.getusersitepackages()]
    return [] if folder in map(os.path.realpath, installed) else [folder]


@contextmanager
def _time_limit(seconds: float, *, only: bool) -> Iterator[None]:
    """Ends a start of Ray that does not come to an end, which Ray has no limit of its own for.

    Raises:
        RayNotStarted: its processes were ended, and ``ray.init`` saw that. A process that is stuck
            in Ray all the same is ended, with exit code 1.
    """
    message = f"Ray did not start within {seconds:.0f} s; is this machine short of memory or CPUs?"
    over, ended = threading.Event(), threading.Event()

    def watch() -> None:
        if ended.wait(seconds):
            return
        over.set()
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if child not in before:
                    child.kill()
        if not ended.wait(GIVE_UP_S):
            os.write(terminal, f"raydepth: RayNotStarted: {message}\n".encode())
            os._exit(1)

    before = psutil.Process().children(recursive=True)
    terminal = os.dup(2)  # Ray's own words are kept from it
    if only:
        threading.Thread(target=watch, name="raydepth-start", daemon=True).start()
    try:
        yield
    except Exception as error:
        if over.is_set():
            raise RayNotStarted(message) from error
        raise
    finally:
        ended.set()
        os.close(terminal)


@contextmanager
def _on_loopback(*, only: bool) -> Iterator[None]:
    """Lets a Ray that starts here listen on 127.0.0.1 only, as it does by default on desktops; on
    Linux it takes all interfaces.

    Ray reads its switch (RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER) when it is imported, before it is known
    whether this run attaches to a cluster, so the constant that it was read into is set.
    """
    kept = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = kept and not only
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = kept


@contextmanager
def _bare(*, only: bool) -> Iterator[None]:
    """Lets a Ray that starts here do without the processes that nobody asks for anything: the
    dashboard's server, which ``ray.init`` would wait for, the log monitor and the autoscaler.

    They are half of the CPU seconds that a start takes. Ray has switches for none of them.
    """
    helpers = ("start_api_server", "start_log_monitor", "start_monitor") if only else ()
    kept = {name: getattr(Node, name) for name in helpers}
    for name in helpers:
        setattr(Node, name, lambda node, **_: None)
    try:
        yield
    finally:
        for name, method in kept.items():
            setattr(Node, name, method)


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Keeps Ray's C++ side, which announces its log level before it heeds it, from the terminal."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def check_nodes() -> None:
    """Asks every node of a running cluster whether it has raydepth's dependencies; the package
    itself has been sent there.

    A node that gives no answer is left to Ray, which finds out whether it has died.

    Raises:
        JobError: the nodes that lack some, and what.
    """
    asked = {}
    for node in ray.nodes():
        if node["Alive"] and (node["Resources"].get("CPU") or node["Resources"].get("GPU")):
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            answer = ray.remote(num_cpus=0, scheduling_strategy=there, max_retries=0)(
                lacking
            ).remote()
            asked[answer] = node["NodeManagerAddress"]
    answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=NODE_ANSWER_S)
    complaints = []
    for answer in answered:
        with suppress(ray.exceptions.RayError):
            if missing := ray.get(answer):
                complaints.append(f"\n  {asked[answer]} lacks {', '.join(missing)}")
    if complaints:
        raise JobError(
            "install raydepth's dependencies on every node, in the environment that Ray was "
            "started from:" + "".join(complaints)
        )


def worker_pool(run: Run, most: int) -> dict[str, Any]:
    """Keyword arguments of ``map_batches`` for a pool of at most ``most`` workers, which grows when
    nodes join.
    """
    least = min(run.needed_workers, most)
    # Two tasks each: one at work and one fetched ahead; more would wait behind a slow node while
    # others are idle.
    pool = ray.data.ActorPoolStrategy(
        min_size=least, max_size=most, max_tasks_in_flight_per_actor=2
    )
    return {"compute": pool, "num_gpus": run.gpus_per_worker or None, "num_cpus": worker_cpus(run)}
