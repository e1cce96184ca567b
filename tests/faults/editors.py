"""Workers with faults, by name, so that a run in another process can have them."""

import os
import signal
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from benchmarks.stages import StandIn, sleeping, stand_in
from raydepth.batch import Batch
from raydepth.errors import JobError
from raydepth.frames.segments import Segment
from raydepth.job import Job
from raydepth.output.record import ClipCalibration
from raydepth.run.editor import Step
from raydepth.run.load import WorkerModels
from raydepth.run.tracker import Attempt
from raydepth.run.worker import Worker

POISON = 9
"""The frame that poisoned steps die of."""


class Slow(StandIn):
    """40 ms a frame, without using a CPU: long enough to be killed in the middle."""

    @staticmethod
    def step() -> Step:
        return sleeping(0.04)


def roles() -> Path:
    """The folder where workers of one test meet."""
    return Path(os.environ["RAYDEPTH_TEST_ROLES"])


class Refusing(StandIn):
    """A worker that finds the job wrong when it loads its models."""

    @classmethod
    def load(cls, job: Job) -> Any:
        raise JobError("depth.model: what only a worker can see")


class Gathering(StandIn):
    """Workers that go on only when as many of them are there as the file ``expected`` says."""

    @staticmethod
    def step() -> Step:
        (roles() / f"worker{os.getpid()}").touch()

        def step(batch: Batch) -> Batch:
            deadline = time.monotonic() + 100
            while len(list(roles().glob("worker*"))) < int((roles() / "expected").read_text()):
                assert time.monotonic() < deadline, "the others do not come"
                time.sleep(0.05)
            return sleeping(0.02)(batch)

        return step


class OneSlow(Gathering):
    """Two workers, the first of which takes 0.3 s a frame, the other one 20 ms."""

    @classmethod
    def step(cls) -> Step:
        gathered = super().step()
        try:
            (roles() / "slow").touch(exist_ok=False)
        except FileExistsError:
            return gathered
        return lambda batch: sleeping(0.3)(gathered(batch))


class Poisoned(StandIn):
    """A worker whose step does something terrible on one frame."""

    @classmethod
    def step(cls) -> Step:
        def step(batch: Batch) -> Batch:
            if (batch["rgb"][batch["frame_index"] == POISON] > 0).any():
                cls.die()
            return stand_in(batch)

        return step

    @staticmethod
    def die() -> None:
        raise ZeroDivisionError("poison")


class Broken(StandIn):
    """A worker whose step raises on every frame, as on a mount that is gone."""

    @staticmethod
    def step() -> Step:
        def step(batch: Batch) -> Batch:
            raise OSError("the mount is gone")

        return step


class LosesDevice(Poisoned):
    """A worker that loses its GPU on one frame, once."""

    @staticmethod
    def die() -> None:
        try:
            (roles() / "lost").touch(exist_ok=False)
        except FileExistsError:
            return
        raise torch.AcceleratorError("CUDA error: unspecified launch failure")


class Killed(Poisoned):
    @staticmethod
    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Segfaulting(Poisoned):
    @staticmethod
    def die() -> None:
        os.kill(os.getpid(), signal.SIGSEGV)


class Greedy(Poisoned):
    """Takes memory until somebody stops it."""

    taken: ClassVar[list[np.ndarray]] = []

    @classmethod
    def die(cls) -> None:
        while True:
            cls.taken.append(np.ones(2**25))  # 256 MB, touched


class Counted(Worker):
    """A real worker that leaves a file for every time that it loads its models."""

    @staticmethod
    def load(job: Job) -> WorkerModels:
        (roles() / f"load{time.monotonic_ns()}").touch()
        return Worker.load(job)


class DiesCalibrating(Worker):
    """A real worker whose process dies of a clip as often as ``deaths`` in the folder says, if it
    tries at all.
    """

    def measure(self, segments: list[Segment], attempt: Attempt) -> ClipCalibration | None:
        deaths = int((roles() / "deaths").read_text())
        if attempt.number <= min(deaths, self._job.run.attempts):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().measure(segments, attempt)


class CalibratesOne(StandIn):
    """A worker that calibrates one clip, and at the second until the run is stopping."""

    def measure(self, segments: list[Segment], attempt: Attempt) -> ClipCalibration | None:
        try:
            (roles() / "one").touch(exist_ok=False)
        except FileExistsError:
            (roles() / "two").touch()
            while not self._progress.stopping():
                time.sleep(0.05)
        return super().measure(segments, attempt)
