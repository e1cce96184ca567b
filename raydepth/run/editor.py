"""Steps 3 to 7 on one worker, without Ray: micro-batches through the steps, and a part's shard."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from itertools import repeat
from typing import Any

import numpy as np
import pyarrow as pa

from raydepth.batch import Batch, mark_error, ok_rows
from raydepth.compose.fullsize.frames import SourceFrames
from raydepth.compose.fullsize.results import frame_layers, frame_pictures
from raydepth.diffusion.noise import clip_seed
from raydepth.frames.decode import Frame
from raydepth.job import Job
from raydepth.output.folder import OutputFolder
from raydepth.output.layers import layers_name, write_layers
from raydepth.output.plan import Part
from raydepth.output.record import ClipCalibration
from raydepth.output.shards import batch_table, encode_pictures, write_shard
from raydepth.run.tracker import Attempt, Progress
from raydepth.run.watchdog import watched

Step = Callable[[Batch], Batch]

_AGAIN = "decoding it again at source size (output.size: source)"


def edit_batch(steps: list[Step], batch: Batch) -> Batch:
    """Takes a micro-batch through the steps; a frame that raises becomes an error row and the
    others keep their results.

    The frames that raise are found one by one and blanked, then the whole batch runs again in its
    full shape, so that the others' bytes do not depend on their neighbours. Batches without a good
    frame are returned as they are.
    """
    if not len(ok_rows(batch)):
        return batch
    try:
        return _run(steps, batch)
    except Exception as error:  # whatever a model or a frame raises must cost frames, not the job
        whole = error
    for row in ok_rows(batch):
        try:
            _run(steps, {name: column[row : row + 1] for name, column in batch.items()})
        except Exception as error:
            blank(batch, row, type(error).__name__, str(error))
    try:
        return _run(steps, batch) if len(ok_rows(batch)) else batch
    except Exception:
        for row in ok_rows(batch):
            message = f"its batch of {len(batch['status'])} fails as a whole ({whole}); a smaller run.batch may help"
            blank(batch, row, type(whole).__name__, message)
        return batch


def blank(batch: Batch, row: int, error_type: str, message: str) -> None:
    """Turns a frame into an error row whose pixels are zeros, so that a batch keeps its shape
    without it.
    """
    mark_error(batch, row, error_type, message)
    batch["rgb"] = batch["rgb"].copy()  # batches from the object store are read-only
    batch["rgb"][row] = 0


def _run(steps: list[Step], batch: Batch) -> Batch:
    # Steps add columns and may mark rows; copies of the text columns keep a failed pass from
    # leaking into the next.
    state = {
        name: column.copy() if column.dtype == object else column for name, column in batch.items()
    }
    for step in steps:
        state = step(state)
    return state


class PartEditor:
    """Edits the parts of one clip and writes their shards."""

    def __init__(
        self,
        job: Job,
        clip: ClipCalibration | None,
        steps: list[Step],
        folder: OutputFolder,
        progress: Progress,
    ) -> None:
        self._job = job
        self._clip = clip
        self._steps = steps
        self._folder = folder
        self._progress = progress
        self._encoder = ThreadPoolExecutor(1)
        # Two readers: one thread composes crops while another carries the batch before to the
        # source's size.
        self._crops, self._source = SourceFrames(), SourceFrames()

    def __call__(
        self, part: Part, batches: Iterable[Batch], tried: Mapping[str, int]
    ) -> dict[str, int | str]:
        """Edits one part batch by batch, writes its shard, and returns ``{part, done, failed,
        bytes}``.

        A part that this run has finished already is left alone: Ray repeats a task whose process
        died over a later part.

        Args:
            part: what is edited.
            batches: its decoded micro-batches, in order.
            tried: attempts that earlier runs made on frames that failed, by frame id.

        A part whose worker died is tried again as it is; when it dies ``run.attempts`` times, its
        frames are tried alone, and those that kill the worker become error rows (``WorkerCrashed``)
        that no later run tries again. A part whose frames hang ``run.attempts`` times when they are
        decoded again, at source size, becomes error rows (``DecodeTimeout``).
        """
        attempt = self._progress.begin(part.name)
        if attempt.finished:
            return {"part": part.name, "done": 0, "failed": 0, "bytes": 0}
        pending: list[Future[pa.Table]] = []
        done = 0
        for batch in batches:
            if self._job.output.size == "source" and self._job.compose.crop == "region":
                first = int(np.searchsorted(part.segment.pts, batch["pts"][0]))
                batch["origin"] = np.fromiter(
                    (
                        partial(self._again, self._crops, part, first + i)
                        for i in range(len(batch["pts"]))
                    ),
                    object,
                )
            self._set_aside(part, batch, attempt)
            batch = edit_batch(self._steps, batch)
            batch["attempts"] = np.array(
                [self._attempts(batch, i, tried) for i in range(len(batch["status"]))]
            )
            # Encoding overlaps the next batch's models: cv2 releases the interpreter lock. One
            # batch waits, not all.
            if pending:
                done += _count_done(pending[-1].result())
            pending.append(self._encoder.submit(self._encode, part, batch))
            self._progress.tick(part.name, done)
        tables = [table.result() for table in pending]
        done = sum(
            map(_count_done, tables)
        )  # encoding can fail too, as it decodes again for source size
        failed = sum(table.num_rows for table in tables) - done
        written = write_shard(self._folder, part.name, tables, self._job.output)
        self._progress.finish(part.name, done, failed)
        return {"part": part.name, "done": done, "failed": failed, "bytes": written}

    def _set_aside(self, part: Part, batch: Batch, attempt: Attempt) -> None:
        """Marks the frames that kill workers, after finding them one by one when a part has died
        too often.
        """
        if attempt.hangs >= self._job.run.attempts:
            limit = f"{self._job.run.decode_timeout_s:g} s (run.decode_timeout_s)"
            for row in ok_rows(batch):
                blank(
                    batch,
                    row,
                    "DecodeTimeout",
                    f"{_AGAIN} gave nothing for {limit}, {attempt.hangs} times",
                )
            return
        number = (
            attempt.number - attempt.hangs
        )  # the other tries: what hung was not the frames' work
        died = f"the worker process died {number - 1} times on"
        hopeless = number > self._job.run.attempts + len(attempt.deaths) + 1
        for row in ok_rows(batch):
            if batch["frame_id"][row] in attempt.deaths:
                blank(batch, row, "WorkerCrashed", f"{died} it; not tried again")
            elif hopeless:
                blank(
                    batch,
                    row,
                    "WorkerCrashed",
                    f"{died} its part, but on no frame alone; a smaller run.batch may help",
                )
        if number > self._job.run.attempts:
            for row in ok_rows(batch):
                self._progress.at(part.name, str(batch["frame_id"][row]))
                edit_batch(
                    self._steps,
                    {name: column[row : row + 1].copy() for name, column in batch.items()},
                )
                self._progress.at(part.name, None)

    def _attempts(self, batch: Batch, row: int, tried: Mapping[str, int]) -> int:
        if batch["error_type"][row] == "WorkerCrashed":
            return self._job.run.attempts
        return tried.get(str(batch["frame_id"][row]), 0) + 1

    def _encode(self, part: Part, batch: Batch) -> pa.Table:
        started = time.perf_counter()
        n = len(batch["status"])
        pictures = encode_pictures(self._pictures(part, batch))
        constant: dict[str, Any] = {"segment": part.segment.index, "part": part.number}
        constant |= dict(
            zip(("height", "width"), part.segment.size(self._job.output.size), strict=True)
        )
        constant |= {"seed": clip_seed(self._job.run.seed, part.segment.video)}
        constant |= {"depth_kind": self._clip.depth.kind if self._clip else ""}
        batch |= {name: np.full(n, value) for name, value in constant.items()}
        batch["seconds_encode"] = np.full(n, (time.perf_counter() - started) / n, np.float32)
        return batch_table(batch, pictures)

    def _pictures(self, part: Part, batch: Batch) -> Iterator[dict[str, np.ndarray]]:
        """What is kept of each frame, one at a time; layers are written on the way, so that they
        are there before the shard.
        """
        output, count = self._job.output, len(batch["status"])
        full: Iterator[Frame | None] = repeat(None, count)
        if output.size == "source" and len(ok_rows(batch)):
            start = int(np.searchsorted(part.segment.pts, batch["pts"][0]))
            full = (self._again(self._source, part, start + i) for i in range(count))
        for row, frame in enumerate(full):
            if frame is not None and frame.rgb is None and batch["status"][row] == "ok":
                mark_error(batch, row, frame.error_type, f"{_AGAIN}: {frame.error_message}")
            if batch["status"][row] != "ok":
                yield {}
                continue
            picture = frame.rgb if frame is not None else None
            if output.layers and self._clip:
                name = layers_name(part.segment.video, int(batch["frame_index"][row]))
                layers = frame_layers(batch, row, picture)
                write_layers(self._folder, name, layers, asdict(self._clip.depth))
            keep = output.keep if output.images != "none" else []
            yield frame_pictures(
                batch, row, keep, picture, keep_source=self._job.compose.paste_back
            )

    def _again(self, source: SourceFrames, part: Part, row: int) -> Frame:
        """A frame of a part's segment at source size, decoded a second time; what hangs is ended as
        the first time.
        """
        taken = source.take(part.segment, row, row + 1)
        (frame,) = watched(taken, self._job.run.decode_timeout_s, part.name, self._progress)
        return frame


def _count_done(table: pa.Table) -> int:
    return table["status"].to_pylist().count("ok")
