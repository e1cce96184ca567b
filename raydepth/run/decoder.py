"""Decoding on the way to the workers, without Ray: parts in, micro-batches of frames out."""

import pickle
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np

from raydepth.batch import Batch
from raydepth.frames.decode import batches
from raydepth.job import Job
from raydepth.output.plan import Part
from raydepth.run.tracker import Attempt, Progress
from raydepth.run.watchdog import watched


class Decoder:
    """The 1:N map: a segment's parts in, one row of decoded frames per part out, as they come."""

    def __init__(self, job: Job, progress: Progress) -> None:
        self._job = job
        self._progress = progress

    def __call__(self, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """``parts`` (pickled list[Part]) -> rows ``part``, ``rgb`` uint8 [n,H,W,3], ``columns``
        (pickled, the rest); a row that names a shot to ``calibrate`` passes.
        """
        if row["calibrate"]:
            yield row
            return
        for part, decoded in self.parts(pickle.loads(row["parts"])):
            joined = {
                name: np.concatenate([batch[name] for batch in decoded]) for name in decoded[0]
            }
            rgb = joined.pop("rgb")
            columns = pickle.dumps(joined)
            yield {"calibrate": "", "part": pickle.dumps(part), "rgb": rgb, "columns": columns}

    def parts(self, parts: list[Part]) -> Iterator[tuple[Part, list[Batch]]]:
        """Decodes a segment's parts in one pass over the file; ends early when the run is stopping.

        A part on which the decoding process died or hung ``run.attempts`` times becomes error rows
        (``DecoderCrashed``, ``DecodeTimeout``).
        """
        unit = f"decode {parts[0].name}"
        attempt = self._progress.begin(unit)
        try:
            for lost, group in groupby(parts, key=lambda part: self._lost(part, attempt)):
                run = list(group)
                wanted = np.concatenate([np.arange(part.start, part.stop) for part in run])
                stream = watched(
                    batches(run[0].segment.take(wanted), self._job.run.batch, lost=lost),
                    self._job.run.decode_timeout_s,
                    unit,
                    self._progress,
                )
                for part in run:
                    if self._progress.stopping():
                        return
                    self._progress.at(unit, part.name)
                    decoded = [next(stream) for _ in range(-(-part.frames // self._job.run.batch))]
                    self._progress.at(
                        unit, None
                    )  # whatever kills the process from here on is not the decoder
                    yield part, decoded
        finally:
            self._progress.finish(unit, 0, 0)

    def _lost(self, part: Part, attempt: Attempt) -> tuple[str, str] | None:
        """Error type and message of a part that is not tried again."""
        deaths = attempt.deaths.get(part.name, 0)
        if deaths < self._job.run.attempts:
            return None
        if part.name in attempt.hung:
            limit = f"{self._job.run.decode_timeout_s:g} s (run.decode_timeout_s)"
            return (
                "DecodeTimeout",
                f"decoding gave nothing for {limit}, or died, {deaths} times on these frames",
            )
        return "DecoderCrashed", f"the decoding process died {deaths} times on these frames"
