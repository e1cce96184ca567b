"""Workers with faults, by name, so that a run in another process can have them."""

import os
import signal
import time
from pathlib import Path
from typing import ClassVar

import numpy as np

from benchmarks.stages import StandInEditor, sleeping, stand_in
from raydepth.columns import Batch
from raydepth.worker import Step

POISON = 9
"""The frame that poisoned steps die of."""


class Slow(StandInEditor):
    """40 ms a frame, without using a CPU: long enough to be killed in the middle."""

    @staticmethod
    def step() -> Step:
        return sleeping(0.04)


class Slower(StandInEditor):
    """A fifth of a second a frame."""

    @staticmethod
    def step() -> Step:
        return sleeping(0.2)


class OneSlow(StandInEditor):
    """The first worker that comes takes 0.3 s a frame, once another one is there; all others 20 ms."""

    @staticmethod
    def step() -> Step:
        role = Path(os.environ["RAYDEPTH_TEST_SLOW_ROLE"])
        try:
            role.touch(exist_ok=False)
        except FileExistsError:
            role.with_suffix(".other").touch()
            return sleeping(0.02)
        deadline = time.monotonic() + 60
        while not role.with_suffix(".other").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        return sleeping(0.3)


class Poisoned(StandInEditor):
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
