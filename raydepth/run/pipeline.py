"""The data flow, top to bottom: videos -> frames -> depth -> layers -> fill -> composition ->
shards -> report, on Ray Data.
"""

import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby

from raydepth.run import cluster  # isort: skip (before ray, which reads when it is imported what this module sets)

import ray

from raydepth.edits.registry import check_edit
from raydepth.edits.settings import Insert
from raydepth.errors import JobError
from raydepth.files import storage
from raydepth.files.text import printable
from raydepth.frames.find import find_segments
from raydepth.frames.segments import Segment
from raydepth.job import Job
from raydepth.output import record
from raydepth.output.folder import OutputFolder
from raydepth.output.ledger import Ledger, status
from raydepth.output.plan import Part, by_segment, cut_parts, write_plan
from raydepth.output.record import ClipCalibration
from raydepth.output.shards import FRAMES
from raydepth.output.video import write_videos
from raydepth.run.actors import ClipCalibrator, Decoder, Editor
from raydepth.run.check import check_models, check_paths
from raydepth.run.cluster import RemoteTracker
from raydepth.run.cost import check_deadline
from raydepth.run.monitor import Limits, Stop, watch
from raydepth.run.summary import summarise


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the counts of ``raydepth status``, and what stopped it before everything was
    tried, if anything.
    """

    frames: dict[str, int]
    errors: dict[str, int]
    stopped: Stop | None
    report: str


class WorkerFailed(RuntimeError):
    """A worker met something that no frame is to blame for, such as a full disk; what is done is
    kept.
    """


def run(job: Job, *, address: str | None = None, echo: Callable[[str], None] = print) -> Outcome:
    """Runs a job to its end, its deadline, or the first Ctrl-C; running it again goes on where it
    stopped.

    Args:
        job: the resolved job.
        address: of a Ray cluster; None starts one in this process's care.
        say: gets every line that a user should see.

    Raises:
        JobError: the job is wrong; nothing was started and nothing in the output folder was
            changed.
        WorkerFailed: a worker could not go on.
        Stalled: no worker gave a sign of life for ``run.stall_minutes``.
        FolderLost: another run may write to the output folder by now.
    """
    started = time.monotonic()
    # 1. Probe: which frames there are, cut into segments at keyframes and into parts of whole
    # batches.
    check_models(job)
    if address is not None and not cluster.is_submitted():
        check_paths(job)
    check_edit(job.edit, job.layers)
    segments, unreadable = find_segments(job.input, job.compose.every)
    for source in unreadable:
        echo(printable(f"{source.error_type}: {source.error_message}"))
    parts = cut_parts(
        segments,
        batch=job.run.batch,
        shard_frames=job.output.shard_frames,
        limit=job.input.limit,
        full_size=job.output.size == "source",
    )
    with ExitStack() as stack:
        folder = OutputFolder.at(job.output.path)
        job = job.writing_to(folder.location)  # workers may start in other folders
        folder.prepare()
        lock = stack.enter_context(folder.lock())
        anew = job.output.overwrite or not folder.files(FRAMES)
        if not anew:
            record.check_same_job(folder, job.tree())
        ledger = Ledger({}) if anew else Ledger.read(folder)
        for name in ledger.damaged:
            echo(printable(f"damaged shard, its frames are done again: {name}"))
        todo = ledger.todo(parts, job.run.attempts)
        cut: bytes | None = None
        if todo:
            first = todo[0].segment
            check_deadline(job, sum(part.frames for part in todo), first.height * first.width)
            cut = None if folder.exists(record.OBJECT) and not anew else cut_object(job, echo)
            stack.callback(cluster.disconnect)
            cluster.preflight(job.run, cluster.connect(job.run, address))
            if address is not None:
                cluster.check_nodes()
        # Nothing has been changed so far; from here on the folder is this job's.
        if anew:
            folder.clear(record.OURS)
        if cut is not None:
            folder.write(record.OBJECT, cut)
        record.record_job(folder, job.tree())
        if isinstance(job.edit, Insert) and job.edit.segment:
            job = job.with_object(storage.join(folder.location, record.OBJECT))
        folder.delete_temporaries()
        write_plan(folder, parts, unreadable)
        frames = sum(part.frames for part in todo)
        covered = sum(part.frames for part in parts)
        echo(
            f"{covered} frames of {len({part.segment.video for part in parts})} videos; {frames} "
            "to do"
        )
        stopped, edited, restarts = None, 0, 0
        if todo:
            tracker = RemoteTracker()

            def work() -> None:
                # 2. Calibrate: one depth scale and one set of planes per clip, from frames sampled
                # over all of it.
                clips = calibrate_clips(job, folder, segments, todo, tracker)
                # 3.-7. Decode, then depth, layers, fill, composition and shards, streamed through
                # the workers.
                dataset = edit_dataset(job, folder, clips, todo, ledger, tracker)
                for _ in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
                    pass

            deadline = started + job.run.max_hours * 3600 if job.run.max_hours else None
            limits = Limits(deadline, job.run.stall_minutes * 60, lock.lost)
            try:
                stopped = watch(work, tracker, total=frames, limits=limits, echo=echo)
            except ray.exceptions.RayError as error:
                if (failure := tracker.failure()) is None:
                    raise
                raise (JobError if failure.wrong_job else WorkerFailed)(failure.message) from error
            end = tracker.snapshot()
            edited, restarts = end.done + end.failed, end.restarts
            cluster.disconnect()
        # 8. Aggregate: the shards become videos, where asked, and fold into the report.
        if job.output.video and stopped is None:
            for line in write_videos(folder, parts, crf=job.output.crf):
                echo(printable(line))
        report = summarise(
            folder, seconds=time.monotonic() - started, edited=edited, restarts=restarts
        )
        state = status(folder)
        return Outcome(state["frames"], state["errors"], stopped, report)


def cut_object(job: Job, echo: Callable[[str], None]) -> bytes | None:
    """The inserted object cut out, as an RGBA PNG, where the job asks for that (``edit.segment``);
    else None.

    On the driver and kept in the output folder: workers need no model for it, and a resumed run has
    the very same object.

    Raises:
        JobError: as ``cut_out``.
    """
    if not isinstance(job.edit, Insert) or job.edit.segment is None:
        return None
    # Here, because few jobs need torch on the driver.
    from raydepth.layers.segment import cut_out

    echo(printable(f"cutting {job.edit.object} out with {job.edit.segment.model}"))
    return cut_out(job.edit.object, job.edit.segment)


def calibrate_clips(
    job: Job,
    folder: OutputFolder,
    segments: Sequence[Segment],
    todo: Sequence[Part],
    tracker: RemoteTracker,
) -> dict[str, ClipCalibration]:
    """Calibrations of the clips that have work to do: those kept by an earlier run, and new ones
    measured on the workers.
    """
    clips = record.read_calibrations(folder)
    wanted = sorted({part.segment.video for part in todo} - clips.keys())
    by_video = {
        video: list(group) for video, group in groupby(segments, key=lambda segment: segment.video)
    }
    rows = [{"segments": pickle.dumps(by_video[video])} for video in wanted]
    if rows:
        dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            ClipCalibrator,
            fn_constructor_args=(job, tracker),
            batch_size=1,
            **cluster.worker_pool(job.run, min(job.run.workers, len(rows))),
        )
        for row in dataset.iter_rows():
            if (clip := pickle.loads(row["clip"])) is not None:
                clips[row["video"]] = clip
        record.write_calibrations(folder, clips)
    return clips


def edit_dataset(
    job: Job,
    folder: OutputFolder,
    clips: Mapping[str, ClipCalibration],
    todo: Sequence[Part],
    ledger: Ledger,
    tracker: RemoteTracker,
) -> "ray.data.Dataset":
    """The lazy graph: segments -> (decode) -> one row a part -> workers -> one small row a part."""
    rows = [{"parts": pickle.dumps(parts)} for parts in by_segment(list(todo))]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
    if job.run.decode == "stream":
        dataset = dataset.flat_map(Decoder(job, tracker), num_cpus=1)
    tried = {
        frame: ledger.tried(frame)
        for part in todo
        for frame in part.frame_ids
        if ledger.tried(frame)
    }
    return dataset.map_batches(
        Editor,
        fn_constructor_args=(job, folder, dict(clips), tried, tracker),
        batch_size=1,
        **cluster.worker_pool(job.run, job.run.workers),
    )
