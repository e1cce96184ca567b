"""Steps 3 to 7 on one worker, without Ray: micro-batches through the steps, and a part's shard."""

import logging
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import repeat
from typing import Any

import numpy as np
import pyarrow as pa

from raydepth.batch import Batch, mark_error, ok_rows, take_rows
from raydepth.compose.fullsize.frames import SourceFrames
from raydepth.compose.fullsize.results import frame_layers, frame_pictures
from raydepth.diffusion.noise import clip_seed
from raydepth.frames.decode import Frame
from raydepth.job import Job
from raydepth.output.folder import OutputFolder
from raydepth.output.layers import layers_name, write_layers
from raydepth.output.ledger import earlier_rows
from raydepth.output.plan import Part
from raydepth.output.record import ClipCalibration
from raydepth.output.shards import batch_table, encode_pictures, write_shard
from raydepth.run.device_errors import is_out_of_memory, poisons_process, release_memory
from raydepth.run.tracker import Attempt, Progress
from raydepth.run.watchdog import watched

_logger = logging.getLogger(__name__)

Step = Callable[[Batch], Batch]

_AGAIN = "decoding it again at source size (output.size: source)"
_ROW = ["frame_id", "status", "error_type", "error_message"]
_NEW: Mapping[str, Any] = {"status": "missing"}
_GOOD: Mapping[str, Any] = {"status": "ok"}


class BatchTooLarge(RuntimeError):
    """Memory does not hold this many frames at a time."""


@dataclass
class Together:
    """How many frames of a batch go through the models together; one for each worker."""

    frames: int
    """``run.batch``, and half as many each time that memory does not suffice."""


@dataclass(frozen=True)
class _Fault:
    """What a step raised, in words: the exception itself would keep its frames' tensors alive."""

    type: str
    message: str
    memory: bool
    trace: str


def edit_pieces(steps: list[Step], batch: Batch, together: Together) -> Iterator[Batch]:
    """Takes a micro-batch through the steps, ``together.frames`` frames at a time.

    Where memory does not suffice, half as many frames are tried from there on, for this batch and
    for the worker's later ones. Each piece has the column ``batch``, its own number of frames, and
    a ``note`` where the batch was cut in mid-way. Across batch sizes results are equal to a
    tolerance, not to the bit.

    Raises:
        Exception: what a step raised, where this process can use its device no more.
    """
    start, note = 0, ""
    while start < len(batch["status"]):
        piece = take_rows(batch, np.arange(start, len(batch["status"]))[: together.frames])
        count = len(piece["status"])
        try:
            piece = edit_batch(steps, piece)
        except BatchTooLarge as error:
            together.frames = count // 2
            note = (
                f"out of memory with {count} frames at a time: edited {together.frames} at a time"
            )
            _logger.warning("%s (%s)", note, error)
            continue
        if note:
            for row in ok_rows(piece):
                piece["note"][row] = "; ".join(filter(None, (piece["note"][row], note)))
        yield piece | {"batch": np.full(count, count)}
        start += count


def edit_batch(steps: list[Step], batch: Batch) -> Batch:
    """Takes a micro-batch through the steps; a frame that raises becomes an error row and the
    others keep their results.

    The frames that raise are found one by one and blanked, then the whole batch runs again in its
    full shape, so that the others' bytes do not depend on their neighbours. Batches without a good
    frame are returned as they are.

    Raises:
        BatchTooLarge: memory does not hold the batch, and it has more than one frame.
        Exception: what a step raised, where this process can use its device no more.
    """
    if not len(ok_rows(batch)):
        return batch
    edited = _attempt(steps, batch)
    if not isinstance(edited, _Fault):
        return edited
    for row in ok_rows(batch):
        alone = _attempt(steps, {name: column[row : row + 1] for name, column in batch.items()})
        if isinstance(alone, _Fault):
            blank(batch, row, alone.type, _advised(alone), alone.trace)
    if not len(ok_rows(batch)):
        return batch
    again = _attempt(steps, batch)
    if isinstance(again, _Fault):
        for row in ok_rows(batch):
            message = (
                f"its batch of {len(batch['status'])} fails as a whole ({again.message}); "
                "a smaller run.batch may help"
            )
            blank(batch, row, again.type, message, again.trace)
        return batch
    return again


def _attempt(steps: list[Step], batch: Batch) -> Batch | _Fault:
    """The batch edited, or why not. Raises as ``edit_batch``."""
    try:
        return _run(steps, batch)
    except Exception as error:  # whatever a model or a frame raises must cost frames, not the job
        if poisons_process(error):
            raise
        trace = traceback.format_exc().rstrip()
        fault = _Fault(type(error).__name__, str(error), is_out_of_memory(error), trace)
    if fault.memory:
        release_memory()
        if len(batch["status"]) > 1:
            raise BatchTooLarge(f"{fault.type}: {fault.message}")
    return fault


def _advised(fault: _Fault) -> str:
    if not fault.memory:
        return fault.message
    return f"{fault.message} (memory does not hold one frame; a smaller input.size needs less)"


def blank(batch: Batch, row: int, error_type: str, message: str, trace: str = "") -> None:
    """Turns a frame into an error row whose pixels are zeros, so that a batch keeps its shape
    without it. The log gets the traceback, where there is one.
    """
    frame = batch["frame_id"][row] if "frame_id" in batch else row
    _logger.warning("frame %s: %s: %s%s", frame, error_type, message, trace and f"\n{trace}")
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
        *,
        name: str | None = None,
        together: Together | None = None,
        elsewhere: Set[str] = frozenset(),
    ) -> None:
        """Keeps what it is given.

        Args:
            job: the resolved job.
            clip: the clip's calibration; None: it has no scale.
            steps: what its micro-batches go through.
            folder: where shards go.
            progress: the tracker.
            name: what the clip is called (``output.clip_names``); None: by its video id.
            together: the worker's; None: ``run.batch`` frames.
            elsewhere: frames that are done in another shard than their part's.
        """
        self._together = together or Together(job.run.batch)
        self._elsewhere = elsewhere
        self._job = job
        self._clip, self._name = clip, name
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
        died over a later part. Frames that the part's shard has finished, or another shard has
        done, keep their rows, pictures and layers, whatever becomes of them here; batches of such
        frames alone are not edited.

        Args:
            part: what is edited.
            batches: its decoded micro-batches, in order.
            tried: attempts that earlier runs made on frames that failed, by frame id.

        A part whose worker died is tried again as it is; when it dies ``run.attempts`` times, its
        frames are tried alone, and those that kill the worker become error rows (``WorkerCrashed``)
        that no later run tries again. Where no frame alone does, they are edited one at a time. A
        part whose frames hang ``run.attempts`` times when they are decoded again, at source size,
        becomes error rows (``DecodeTimeout``).
        """
        attempt = self._progress.begin(part.name)
        if attempt.finished:
            return {"part": part.name, "done": 0, "failed": 0, "bytes": 0}
        kept = earlier_rows(self._folder, part, self._job.run.attempts)
        rows = () if kept is None else kept.select(_ROW).to_pylist()
        earlier: dict[str, Mapping[str, Any]] = {row["frame_id"]: row for row in rows}
        earlier |= {frame: _GOOD for frame in part.frame_ids if frame in self._elsewhere}
        good = [frame for frame in part.frame_ids if earlier.get(frame, _NEW)["status"] == "ok"]
        pending: list[Future[pa.Table]] = []
        done = len(good)
        for batch in batches:
            if earlier.keys() >= set(batch["frame_id"]):
                continue
            if self._job.output.size == "source" and self._job.compose.crop == "region":
                first = int(np.searchsorted(part.segment.pts, batch["pts"][0]))
                batch["origin"] = np.fromiter(
                    (
                        partial(self._again, self._crops, part, first + i)
                        for i in range(len(batch["pts"]))
                    ),
                    object,
                )
            for row in ok_rows(batch):
                if (before := earlier.get(batch["frame_id"][row], _NEW))["status"] == "error":
                    blank(batch, row, before["error_type"], before["error_message"])
            together = self._set_aside(part, batch, attempt)
            for edited in edit_pieces(self._steps, batch, together):
                new = [row for row, frame in enumerate(edited["frame_id"]) if frame not in earlier]
                if not new:
                    continue
                edited = take_rows(edited, np.array(new))
                edited["attempts"] = np.array(
                    [self._attempts(edited, i, tried) for i in range(len(new))]
                )
                # Encoding overlaps the next batch's models: cv2 releases the interpreter lock. One
                # batch waits, not all.
                if pending:
                    done += _count_done(pending[-1].result())
                pending.append(self._encoder.submit(self._encode, part, edited))
            self._progress.tick(part.name, done)
        tables = [table.result() for table in pending]
        # Encoding can fail too, as it decodes again for source size.
        done = len(good) + sum(map(_count_done, tables))
        failed = part.frames - done
        written = 0
        if tables:
            written = write_shard(
                self._folder, part.name, tables, self._job.output, clip=self._name, kept=kept
            )
        self._progress.finish(part.name, done, failed)
        return {"part": part.name, "done": done, "failed": failed, "bytes": written}

    def _set_aside(self, part: Part, batch: Batch, attempt: Attempt) -> Together:
        """Marks the frames that kill workers, after finding them one by one when a part has died
        too often; says how many of the others to edit together.
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
            return self._together
        number = (
            attempt.number - attempt.hangs
        )  # the other tries: what hung was not the frames' work
        died = f"the worker process died {number - 1} times on"
        in_vain = number - self._job.run.attempts - len(attempt.deaths) - 1
        hopeless = in_vain > 1
        for row in ok_rows(batch):
            if batch["frame_id"][row] in attempt.deaths:
                blank(batch, row, "WorkerCrashed", f"{died} it; not tried again")
            elif hopeless:
                blank(
                    batch,
                    row,
                    "WorkerCrashed",
                    f"{died} its part, but on no frame alone; not tried again",
                )
        if number > self._job.run.attempts:
            for row in ok_rows(batch):
                self._progress.at(part.name, str(batch["frame_id"][row]))
                edit_batch(
                    self._steps,
                    {name: column[row : row + 1].copy() for name, column in batch.items()},
                )
                self._progress.at(part.name, None)
        if in_vain <= 0 or hopeless:
            return self._together
        for row in ok_rows(batch):
            note = f"edited alone: {died} its part"
            batch["note"][row] = "; ".join(filter(None, (batch["note"][row], note)))
        return Together(1)

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
            rows = np.searchsorted(part.segment.pts, batch["pts"])
            full = (self._again(self._source, part, int(row)) for row in rows)
        for row, frame in enumerate(full):
            if frame is not None and frame.rgb is None and batch["status"][row] == "ok":
                mark_error(batch, row, frame.error_type, f"{_AGAIN}: {frame.error_message}")
            if batch["status"][row] != "ok":
                yield {}
                continue
            picture = frame.rgb if frame is not None else None
            if output.layers and self._clip:
                name = layers_name(self._name or part.segment.video, int(batch["frame_index"][row]))
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
