"""Ray itself: the embedded default or a running cluster, the check that a job can be scheduled, and the tracker's proxy."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

# Read when ray is imported: a call after the shutdown must fail instead of starting a cluster of its own.
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")

import ray
import ray.data

from raydepth.job import JobError, Run
from raydepth.tracker import Attempt, Failure, Snapshot

OBJECT_STORE_GB = 1.0
"""The embedded default's object store: a few parts of raw frames; explicit, because Ray would take 30 % of the memory."""

BLOCK_BYTES = 1
"""Every row, which is a whole part, is a block of its own: handed on at once, and repeated alone when a worker dies."""


@dataclass(frozen=True)
class Resources:
    """What a cluster has in all."""

    cpus: float
    gpus: float


def connect(run: Run, address: str | None) -> Resources:
    """Starts the embedded default, or attaches to a running cluster (``host:port``, ``ray://``, ``auto``).

    Raises:
        JobError: there is no cluster at the address, or it wants a token.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # Ray's C++ side writes to the terminal otherwise
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        # "local": never attach to a cluster that happens to run here. Two CPUs at least: one decodes.
        settings |= {"address": "local", "num_cpus": max(2, len(os.sched_getaffinity(0)))}
        settings |= {"num_gpus": run.logical_gpus, "include_dashboard": False}
        settings |= {"object_store_memory": int((run.object_store_gb or OBJECT_STORE_GB) * 1e9)}
    else:
        settings |= {"address": address}
    try:
        with _silent_stderr():
            ray.init(**settings)
    except (ConnectionError, ValueError, RuntimeError) as error:
        if address is None:
            raise
        hint = "is it running? With token authentication set RAY_AUTH_MODE=token and the token (ray get-auth-token)"
        raise JobError(f"--address {address}: cannot attach to a Ray cluster: {error}; {hint}") from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = BLOCK_BYTES
    # A segment in an actor is silent to Ray for long; monitor.watch gives the alarm.
    context.execution_no_progress_timeout_s = -1
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # errors reach the user by way of the tracker
    total = ray.cluster_resources()
    return Resources(total.get("CPU", 0.0), total.get("GPU", 0.0))


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


def worker_cpus(run: Run) -> int:
    """CPUs that a worker reserves: none beside a GPU (otherwise nothing is left to decode with), else one."""
    return 0 if run.gpus_per_worker else 1


def preflight(run: Run, resources: Resources) -> None:
    """Refuses a job that Ray would wait for without end: the workers' sum, and one CPU left for reading.

    Raises:
        JobError: required and available resources, and what to change.
    """
    cpus = run.workers * worker_cpus(run) + (1 if run.decode == "stream" else 0)
    gpus = run.workers * run.gpus_per_worker
    if gpus > resources.gpus:
        raise JobError(
            f"run.workers x run.gpus_per_worker: required {gpus:g} GPUs, available {resources.gpus:g}; "
            "lower run.workers, or set run.gpus_per_worker: 0 to run on CPUs"
        )
    if cpus > resources.cpus:
        raise JobError(
            f"run.workers: required {cpus} CPUs ({run.workers} workers and one to decode), available {resources.cpus:g}; "
            "lower run.workers or set run.decode: in_actor"
        )


class RemoteTracker:
    """The ``Progress`` protocol over the tracker's actor; what only reports is not waited for, except before danger."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def begin(self, unit: str) -> Attempt:
        return ray.get(self._actor.begin.remote(unit))

    def at(self, unit: str, what: str | None) -> None:
        ray.get(self._actor.at.remote(unit, what))

    def tick(self, unit: str, frames: int) -> None:
        self._actor.tick.remote(unit, frames)

    def finish(self, unit: str, done: int, failed: int) -> None:
        ray.get(self._actor.finish.remote(unit, done, failed))

    def fail(self, failure: Failure) -> None:
        ray.get(self._actor.fail.remote(failure))

    def failure(self) -> Failure | None:
        return ray.get(self._actor.failure.remote())

    def starting(self) -> int:
        return ray.get(self._actor.starting.remote())

    def started(self) -> None:
        ray.get(self._actor.started.remote())

    def stop(self) -> None:
        ray.get(self._actor.stop.remote())

    def stopping(self) -> bool:
        return ray.get(self._actor.stopping.remote())

    def snapshot(self) -> Snapshot:
        return ray.get(self._actor.snapshot.remote())
