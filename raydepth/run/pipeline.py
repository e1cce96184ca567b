"""The data flow on one page: videos in, edited frames and a report out, streamed by Ray Data.

On the driver, as ``run`` reads:

1. probe: which frames there are, cut into segments at keyframes and into parts of whole batches.
   prepare: the output folder, what is left to do there, and Ray.

On one pool of workers, each of which loads its models once:

2. calibrate: one depth scale, one set of planes and what the edit needs, per shot (``calibrator``).
   Then every micro-batch of ``run.batch`` frames goes through ``steps.build_steps``, which add
   columns:

   ====  ===================  ===================================================================
   0     Decoder              rgb [N,H,W,3], frame_id, video, frame_index, pts, time_s, shot,
                              status, error_type, error_message, note
   3     DepthStage           inv_depth [N,H,W] on the shot's scale, depth_lo, depth_hi
         ThingStage           where the job has things: thing_names [N,T], thing_alpha [N,T,H,W],
                              thing_inv_depth, thing_state, thing_iou [N,T]
   4, 5  LayerStage           threshold, alphas [N,K+1,H,W], near, hole; then what the holes hide:
                              background [N,H,W,3], far_inv_depth
   6     ComposeStage         edited [N,H,W,3], region, target_inv_depth; patch where crops are
                              composed
   7     MetricStage          every column of ``evaluate.measures.MEASURES``
   ====  ===================  ===================================================================

   Each adds its ``seconds_*`` too. ``editor.PartEditor`` encodes a part's batches and writes them
   as one shard, which is there whole or not at all.

Back on the driver:

8. report: the shards fold into ``benchmark.json`` and ``report/``. finish: they become videos,
   where asked, of which the report then tells.
"""

import importlib
import pickle
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

# Before ray, which reads what this module sets when it is imported.
from raydepth.run import cluster  # isort: skip

import ray

from raydepth.edits.registry import check_edit
from raydepth.errors import JobError
from raydepth.files.text import printable
from raydepth.frames.find import find_segments, note_lines
from raydepth.job import Job
from raydepth.output import record
from raydepth.output.plan import by_segment, cut_parts
from raydepth.run.calibrator import frames_by_shot
from raydepth.run.check import check_depth_files, check_models, check_paths, named_models
from raydepth.run.check_things import check_things
from raydepth.run.decoder import Decoder
from raydepth.run.ending import (
    SUMMARY,
    End,
    Outcome,
    deadline_of,
    edited_videos,
    finish,
    outcome,
    report,
    unchanged,
)
from raydepth.run.fetching import Fetching
from raydepth.run.identity import identify
from raydepth.run.keeper import CalibrationKeeper
from raydepth.run.log import logged, phase, take_from
from raydepth.run.monitor import Limits, watch
from raydepth.run.opening import Opening
from raydepth.run.prepare import Source, Work, prepare
from raydepth.run.remote_tracker import RemoteTracker
from raydepth.run.steps import build_steps
from raydepth.run.terminal import begin, shown
from raydepth.run.worker import Worker


class WorkerFailed(RuntimeError):
    """A worker met something that no frame is to blame for, such as a full disk; what is done is
    kept.
    """


@logged
def run(job: Job, *, address: str | None = None, echo: Callable[[str], None] = print) -> Outcome:
    """Runs a job to its end, its deadline, or the first Ctrl-C; running it again goes on where it
    stopped.

    Args:
        job: the resolved job.
        address: of a Ray cluster; None starts one in this process's care.
        echo: gets every line that a user should see.

    Raises:
        JobError: the job is wrong; nothing was started and nothing in the output folder was
            changed.
        WorkerFailed: a worker could not go on after the run had begun.
        Stalled: no worker gave a sign of life for ``run.stall_minutes``.
        FolderLost: another run may write to the output folder by now.
    """
    started = time.monotonic()
    with ExitStack() as stack:
        echo = stack.enter_context(shown(echo)).say
        source = probe(job, address, echo)
        work = prepare(job, source, address, stack, echo)
        if work.todo:
            end = calibrate_and_edit(work, started, echo)
        else:
            work.take_over(echo)
            end = End(None, 0, 0)
        if not end.begun:
            return unchanged(work, end)
        videos = edited_videos(work)
        written = report(work, end, videos, time.monotonic() - started)
        stopped, videos = finish(work, end.stopped, written, videos, started, echo)
        return outcome(work, written, stopped, videos)


@phase
def probe(job: Job, address: str | None, echo: Callable[[str], None]) -> Source:
    """1. Opens every file that the job names, and lists its frames."""
    begin("checking models")
    check_models(job)
    if address is not None and not cluster.is_submitted():
        check_paths(job)
    check_edit(job.edit, job.layers)
    begin("probing")
    found = find_segments(
        job.input,
        job.compose.every,
        probed=lambda number, of: begin("probing", f"{number} of {of} sources"),
    )
    for source in found.unreadable:
        echo(printable(f"{source.error_type}: {source.error_message}"))
    notes = [*found.notes, *check_things(job, found.segments)]
    for line in note_lines(notes):
        echo(printable(line))
    check_depth_files(job, found.segments)
    parts = cut_parts(
        found.segments,
        batch=job.run.batch,
        shard_frames=job.output.shard_frames,
        limit=job.input.limit,
        limit_per_video=job.input.limit_per_video,
        full_size=job.output.size == "source",
    )
    return Source(found.segments, parts, found.unreadable, notes, identify(job))


@phase
def calibrate_and_edit(work: Work, started: float, echo: Callable[[str], None]) -> End:
    """2. to 7. Streams shots to calibrate, then parts to edit, through one pool of workers.

    The workers load their models first; the folder is taken over when the first of them has.
    """
    job, shots = work.job, {} if work.changes.anew else record.read_calibrations(work.folder)
    wanted = {part.shot_id for part in work.todo}
    to_measure = frames_by_shot(work.source.segments, wanted - shots.keys())
    tracker = RemoteTracker()
    tracker.expect(to_measure, {shot: shots[shot] for shot in wanted & shots.keys()})
    dataset = stream(work, sorted(to_measure), tracker)
    opening = Opening(partial(work.take_over, echo), tracker)
    keep = CalibrationKeeper(work.folder, tracker, shots)
    limits = Limits(deadline_of(job, started), job.run.stall_minutes * 60, work.lost)

    def consume() -> None:
        for _ in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
            pass

    def attend() -> None:
        opening()
        keep()
        take_from(tracker)

    # Workers load their models now; the report's modules take as long, and the driver has nothing
    # else to do.
    threading.Thread(target=importlib.import_module, args=(SUMMARY,), daemon=True).start()
    frames = sum(part.frames for part in work.todo)
    fetching = Fetching(named_models(job))
    try:
        stopped = watch(
            consume,
            tracker,
            total=frames,
            limits=limits,
            keep=attend,
            echo=echo,
            loading=fetching,
        )
        keep(last=True)
    except ray.exceptions.RayError as error:
        take_from(tracker)
        if (failure := tracker.failure()) is None:
            raise
        wrong_job = failure.wrong_job and not opening.done
        raise (JobError if wrong_job else WorkerFailed)(failure.message) from error
    take_from(tracker)
    end = tracker.snapshot()
    cluster.disconnect()  # workers hold memory that the report may need
    return End(stopped, end.done + end.failed, end.restarts, opening.done)


def stream(work: Work, to_measure: Sequence[str], tracker: RemoteTracker) -> "ray.data.Dataset":
    """The lazy graph: shots and segments -> (decode) -> a row a shot or part -> workers -> a small
    row a part.
    """
    job, ledger = work.job, work.ledger
    rows = [{"calibrate": shot, "parts": b""} for shot in to_measure]
    rows += [
        {"calibrate": "", "parts": pickle.dumps(parts)} for parts in by_segment(list(work.todo))
    ]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
    if job.run.decode == "stream":
        dataset = dataset.flat_map(Decoder(job, tracker), num_cpus=1)
    frames = {frame: ledger.tried(frame) for part in work.todo for frame in part.frame_ids}
    tried = {frame: count for frame, count in frames.items() if count}
    return dataset.map_batches(
        Worker,
        fn_constructor_args=(job, work.folder, tried, tracker, build_steps),
        fn_constructor_kwargs={
            "names": {part.segment.video: work.names[part.segment.video] for part in work.todo},
            "elsewhere": ledger.elsewhere(work.todo),
            "cut": work.cut,
            "expected": work.source.loaded,
        },
        batch_size=1,
        **cluster.worker_pool(job.run, job.run.workers),
    )
