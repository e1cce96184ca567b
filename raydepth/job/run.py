"""Section ``run``: what the job runs on."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from raydepth.section import Section, Unit


class Run(Section):
    """What the job runs on: ``run``."""

    workers: Annotated[int, Field(ge=1)] = 1
    """Actors that hold the models."""
    min_workers: Annotated[int, Field(ge=1)] | None = None
    """Workers that the cluster must hold at the start; the others join when nodes do. null: all of
    them."""
    gpus_per_worker: Annotated[float, Field(ge=0)] = 0
    batch: Annotated[int, Field(ge=1, le=256)] = 8
    """Frames that go through the models together; fewer where memory does not hold them."""
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """CPU threads of a worker's models; null: a node's CPUs, shared among its workers. The
    last bits of results depend on it, so set it where runs on different machines must agree to the
    bit."""
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """auto: float16 on a GPU, float32 on a CPU."""
    seed: Annotated[int, Field(ge=0)] = 0
    decode: Literal["stream", "in_actor"] = "stream"
    """``stream``: tasks of their own decode ahead; ``in_actor``: for machines with few CPUs per
    GPU."""
    max_hours: Annotated[Annotated[float, Field(gt=0)] | None, Unit("hours")] = None
    """Stop feeding after so long, finish what is in flight, exit 75."""
    attempts: Annotated[int, Field(ge=1, le=20)] = 2
    """Times that a failing frame is tried over all runs before it stays quarantined."""
    decode_timeout_s: Annotated[float, Field(gt=0), Unit("seconds")] = 600.0
    """A decoder that gives nothing for so many seconds is ended and tried again; after ``attempts``
    its frames fail."""
    stall_minutes: Annotated[float, Field(gt=0), Unit("minutes")] = 20.0
    """No sign of life for so long ends the run with an error instead of a silent hang."""
    logical_gpus: Annotated[int, Field(ge=0)] | None = None
    """GPUs that the embedded default pretends to have, to try a GPU job's graph on CPUs; null: the
    real ones."""
    object_store_gb: Annotated[Annotated[float, Field(gt=0)] | None, Unit("GB")] = None
    """Size of Ray's object store on the embedded default; null: 1 GB."""

    @property
    def needed_workers(self) -> int:
        """Workers without which the run does not start."""
        return self.workers if self.min_workers is None else self.min_workers

    @model_validator(mode="after")
    def _min_workers_are_workers(self) -> "Run":
        if self.needed_workers > self.workers:
            raise ValueError(
                f"min_workers ({self.min_workers}) must not exceed workers ({self.workers})"
            )
        return self
