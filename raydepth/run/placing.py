"""Whether a job's workers find room on a cluster's nodes, and how many share one; without Ray."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from raydepth.errors import JobError
from raydepth.job.run import Run


@dataclass(frozen=True)
class NodeResources:
    """What one node of a cluster has."""

    cpus: float
    gpus: float

    def room(self, run: Run) -> int:
        """How many workers it can hold. Where they take parts of GPUs, each takes them of one."""
        each = run.gpus_per_worker
        if each >= 1:
            return int(self.gpus // each)
        if each > 0:
            return int(self.gpus) * int(1 / each + 1e-6)
        return int(self.cpus // worker_cpus(run))


@dataclass(frozen=True)
class Resources:
    """What a cluster has, node by node."""

    nodes: tuple[NodeResources, ...]

    @property
    def cpus(self) -> float:
        """Of all nodes."""
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> float:
        """Of all nodes."""
        return sum(node.gpus for node in self.nodes)

    @property
    def largest(self) -> NodeResources:
        """The node with the most GPUs, and of these the most CPUs."""
        return max(self.nodes, key=lambda node: (node.gpus, node.cpus), default=NodeResources(0, 0))


def worker_cpus(run: Run) -> int:
    """CPUs that a worker reserves: none beside a GPU (otherwise nothing is left to decode with),
    else one.
    """
    return 0 if run.gpus_per_worker else 1


def preflight(run: Run, resources: Resources) -> None:
    """Refuses a job that Ray would wait for without end: the needed workers must find room on the
    nodes, each on one, and one CPU must be left for reading.

    Raises:
        JobError: required and available resources, and what to change.
    """
    each = run.gpus_per_worker
    if each > 1 and each != int(each):
        raise JobError(
            f"run.gpus_per_worker: got {each:g}; expected a whole number, or a part of one GPU "
            "below 1"
        )
    workers, name = (
        run.needed_workers,
        "run.workers" if run.min_workers is None else "run.min_workers",
    )
    cpus = workers * worker_cpus(run) + (1 if run.decode == "stream" else 0)
    takers = " and ".join(
        [f"{workers} workers"] * worker_cpus(run) + ["one to decode"] * (run.decode == "stream")
    )
    gpus = workers * run.gpus_per_worker
    if gpus > resources.gpus:
        raise JobError(
            f"{name} x run.gpus_per_worker: required {gpus:g} GPUs, available {resources.gpus:g}; "
            f"lower {name}, or set run.gpus_per_worker: 0 to run on CPUs"
        )
    if cpus > resources.cpus:
        raise JobError(
            f"{name}: required {cpus} CPUs ({takers}), available {resources.cpus:g}; "
            f"lower {name} or set run.decode: in_actor"
        )
    largest, room = resources.largest, sum(node.room(run) for node in resources.nodes)
    has = f"the largest node has {largest.gpus:g} GPUs and {largest.cpus:g} CPUs"
    if run.gpus_per_worker and workers > room:
        raise JobError(
            f"{name} x run.gpus_per_worker: a worker's {each:g} GPUs must be on one node (a part "
            f"of a GPU, on one GPU), and the {len(resources.nodes)} nodes have room for {room} of "
            f"{workers} workers; {has}: lower run.gpus_per_worker or {name}"
        )
    # Workers without GPUs take whole CPUs, and the decoder one that is left on any node.
    whole = sum(int(node.cpus) for node in resources.nodes)
    if cpus > whole:
        raise JobError(
            f"{name}: required {cpus} whole CPUs ({takers}), but the {len(resources.nodes)} nodes "
            f"hold {whole}; {has}: lower {name} or set run.decode: in_actor"
        )


def share_of(run: Run, nodes: Mapping[str, NodeResources], node: str) -> int:
    """How many of the job's workers a node holds, at least 1, where each node holds as many as its
    part of the cluster's room.
    """
    room = {name: found.room(run) for name, found in nodes.items()}
    total = sum(room.values())
    if not room.get(node):
        return run.workers
    return min(room[node], math.ceil(run.workers * room[node] / total))
