"""The tracker as an actor on Ray, and its proxy for the driver and the workers."""

import pickle
from collections.abc import Mapping

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raydepth.frames.segments import Segment
from raydepth.output.record import ClipCalibration
from raydepth.run.tracker import Attempt, Calibrated, Failure, Snapshot, Tracker


class RemoteTracker:
    """The ``Progress`` protocol over the tracker's actor; what only reports is not waited for,
    except before danger.

    Calibrations travel as bytes, so that the tracker's process need not import what they are made
    of: it would start a second later. Segments, many megabytes in large jobs, stay in Ray's object
    store, and the tracker hands on references to them.
    """

    def __init__(self) -> None:
        # On the driver's node, so that the loss of another one does not take the run's memory with
        # it.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._actor = ray.remote(num_cpus=0, scheduling_strategy=here)(Tracker).remote()

    def begin(self, unit: str) -> Attempt:
        return ray.get(self._actor.begin.remote(unit))

    def at(self, unit: str, what: str | None) -> None:
        ray.get(self._actor.at.remote(unit, what))

    def tick(self, unit: str, frames: int) -> None:
        self._actor.tick.remote(unit, frames)

    def doing(self, unit: str, what: str) -> None:
        self._actor.doing.remote(unit, what)

    def finish(self, unit: str, done: int, failed: int) -> None:
        ray.get(self._actor.finish.remote(unit, done, failed))

    def hung(self, unit: str) -> None:
        ray.get(self._actor.hung.remote(unit))

    def fail(self, failure: Failure) -> None:
        ray.get(self._actor.fail.remote(failure))

    def failure(self) -> Failure | None:
        return ray.get(self._actor.failure.remote())

    def log(self, text: str) -> None:
        self._actor.log.remote(text)

    def logged(self) -> list[str]:
        return ray.get(self._actor.logged.remote())

    def starting(self) -> int:
        return ray.get(self._actor.starting.remote())

    def started(self) -> None:
        ray.get(self._actor.started.remote())

    def ready(self) -> bool:
        return ray.get(self._actor.ready.remote())

    def open(self) -> None:
        ray.get(self._actor.open.remote())

    def opened(self) -> bool:
        return ray.get(self._actor.opened.remote())

    def note(self, text: str) -> None:
        ray.get(self._actor.note.remote(text))

    def stop(self) -> None:
        ray.get(self._actor.stop.remote())

    def stopping(self) -> bool:
        return ray.get(self._actor.stopping.remote())

    def claim(self, unit: str) -> Attempt | None:
        return ray.get(self._actor.claim.remote(unit, self._who()))

    def beat(self, unit: str) -> None:
        self._actor.beat.remote(unit, self._who())

    def expect(
        self,
        segments: Mapping[str, list[Segment]],
        kept: Mapping[str, ClipCalibration | None],
    ) -> None:
        # In lists, as Ray would hand the tracker what a bare reference refers to.
        references = {shot: [ray.put(value)] for shot, value in segments.items()}
        packed = {shot: pickle.dumps(clip) for shot, clip in kept.items()}
        ray.get(self._actor.expect.remote(references, packed))

    def segments(self, shot: str) -> list[Segment]:
        (reference,) = ray.get(self._actor.segments.remote(shot))
        return ray.get(reference)

    def calibrated(self, shot: str, clip: ClipCalibration | None) -> None:
        ray.get(self._actor.calibrated.remote(shot, pickle.dumps(clip)))

    def measured(self) -> dict[str, ClipCalibration | None]:
        measured = ray.get(self._actor.measured.remote())
        return {shot: pickle.loads(clip) for shot, clip in measured.items()}

    def keep(self, shots: list[str]) -> None:
        ray.get(self._actor.keep.remote(shots))

    def calibration(self, shot: str) -> Calibrated | None:
        known = ray.get(self._actor.calibration.remote(shot))
        return known and Calibrated(pickle.loads(known.clip))

    @staticmethod
    def _who() -> str:
        """An actor keeps its id when its process is replaced."""
        return ray.get_runtime_context().get_actor_id() or ""

    def snapshot(self) -> Snapshot:
        return ray.get(self._actor.snapshot.remote())
