"""Stand-ins for the models, for measuring and breaking what is around them: real decoding,
scheduling, shards and report.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from raydepth.batch import Batch, ok_rows
from raydepth.depth.calibrate import Calibration
from raydepth.frames.segments import Segment
from raydepth.job import Job
from raydepth.output.record import ClipCalibration
from raydepth.run.editor import Step
from raydepth.run.tracker import Attempt
from raydepth.run.worker import Worker


def stand_in(batch: Batch) -> Batch:
    """Columns of the right form from the pixels alone, in milliseconds: luma as depth, the negative
    as the edit.
    """
    inv_depth = batch["rgb"].mean(axis=-1, dtype=np.float32) / 255
    n = len(inv_depth)
    return batch | {
        "inv_depth": inv_depth,
        "near": (inv_depth >= 0.5).astype(np.float32),
        "background": batch["rgb"],
        "edited": 255 - batch["rgb"],
        "threshold": np.full((n, 1), 0.5),
        "depth_lo": np.zeros(n),
        "depth_hi": np.ones(n),
        "rmse_mean_level": batch["rgb"].mean(axis=(1, 2, 3)),
    }


class StandIn(Worker):
    """A worker whose one step is ``stand_in``, and who gives every clip the same scale without
    looking at it.
    """

    @classmethod
    def load(cls, job: Job) -> Any:
        return cls.step()

    def measure(self, segments: list[Segment], attempt: Attempt) -> ClipCalibration | None:
        return ClipCalibration(Calibration("none", "disparity_rel", 0.0, 1.0), (0.5,))

    def steps(self, video: str, clip: ClipCalibration | None) -> list[Step]:
        return [self._models]  # type: ignore[list-item]

    @staticmethod
    def step() -> Step:
        """Its step, made once per process."""
        return stand_in


def sleeping(seconds: float) -> Callable[[Batch], Batch]:
    """``stand_in`` that takes so many seconds a frame, as a model on a GPU does: without using a
    CPU.
    """

    def step(batch: Batch) -> Batch:
        time.sleep(seconds * len(ok_rows(batch)))
        return stand_in(batch) | {
            "seconds_compose": np.full(len(batch["status"]), seconds, np.float32)
        }

    return step
