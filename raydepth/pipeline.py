"""The data flow, top to bottom: videos -> frames -> depth -> layers -> fill -> composition -> shards -> report, on Ray Data."""

import os
import pickle
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import ray

from raydepth import cluster
from raydepth.cluster import RemoteTracker
from raydepth.columns import Batch
from raydepth.deglad.threshold import resolve_planes
from raydepth.depth.calibrate import calibrate
from raydepth.depth.estimator import load_depth
from raydepth.frames.decode import batches
from raydepth.frames.probe import probe
from raydepth.frames.segments import Segment, plan_segments
from raydepth.frames.sources import SourceError, expand
from raydepth.job import Job, JobError
from raydepth.models import check_models
from raydepth.monitor import Stalled, watch
from raydepth.store import record
from raydepth.store.folder import OutputFolder
from raydepth.store.ledger import Ledger, status
from raydepth.store.plan import Part, UnreadableSource, by_segment, cut_parts, write_plan
from raydepth.store.record import ClipCalibration
from raydepth.summary import summarise
from raydepth.tracker import Tracker
from raydepth.worker import PartEditor, load_steps


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the counts of ``raydepth status`` and whether it was stopped before everything was tried."""

    frames: dict[str, int]
    errors: dict[str, int]
    stopped: bool
    report: str


def run(job: Job, *, address: str | None = None, say: Callable[[str], None] = print) -> Outcome:
    """Runs a job to its end, its deadline, or the first Ctrl-C; running it again goes on where it stopped.

    Args:
        job: the resolved job.
        address: of a Ray cluster; None starts one in this process's care.
        say: gets every line that a user should see.

    Raises:
        JobError: the job is wrong; nothing was started and nothing in the output folder was changed.
        Stalled: no worker gave a sign of life for ``run.stall_minutes``.
    """
    started = time.monotonic()
    # 1. Probe: which frames there are, cut into segments at keyframes and into parts of whole batches.
    check_models(job)
    segments, unreadable = find_segments(job)
    for source in unreadable:
        say(f"unreadable: {source.path}: {source.error_message}")
    parts = cut_parts(
        segments, batch=job.run.batch, shard_frames=job.output.shard_frames, limit=job.input.limit
    )
    with ExitStack() as stack:
        folder = OutputFolder.at(job.output.path)
        folder.prepare()
        if lock := folder.lock():
            stack.enter_context(closing(lock))
        if job.output.overwrite:
            folder.clear(record.OURS)
        record.record_job(folder, job)
        folder.delete_temporaries()
        write_plan(folder, parts, unreadable)
        ledger = Ledger.read(folder)
        todo = ledger.todo(parts, job.run.attempts)
        frames = sum(part.frames for part in todo)
        covered = sum(part.frames for part in parts)
        say(f"{covered} frames of {len({part.segment.video for part in parts})} videos; {frames} to do")
        stopped, restarts = False, 0
        if todo:
            cluster.preflight(job.run, cluster.connect(job.run, address))
            stack.callback(ray.shutdown)
            # 2. Calibrate: one depth scale and one set of planes per clip, from frames sampled over the whole clip.
            clips = calibrate_clips(job, folder, segments, todo)
            # 3.-7. Decode, then depth, layers, fill, composition and shards, streamed through the workers.
            tracker = RemoteTracker(ray.remote(num_cpus=0)(Tracker).remote())
            dataset = edit_dataset(job, folder, clips, todo, ledger, tracker)
            deadline = started + job.run.max_hours * 3600 if job.run.max_hours else None
            stopped = watch(
                lambda: [None for _ in dataset.iter_batches(batch_size=None, batch_format="pyarrow")],
                tracker,
                total=frames,
                deadline=deadline,
                stall_s=job.run.stall_minutes * 60,
                say=say,
            )
            restarts = tracker.snapshot().restarts
    # 8. Aggregate: the shards fold into the report.
    report = summarise(folder, seconds=time.monotonic() - started, edited=frames, restarts=restarts)
    state = status(folder)
    return Outcome(state["frames"], state["errors"], stopped, report)


def find_segments(job: Job) -> tuple[list[Segment], list[UnreadableSource]]:
    """Probes every source of a job, several at a time; sources that cannot be read are told apart, not raised.

    Raises:
        JobError: a path matches nothing, or no frame is left to edit.
    """
    settings = job.input

    def read(path: str) -> tuple[list[Segment], UnreadableSource | None]:
        try:
            source = probe(path)
        except SourceError as error:
            return [], UnreadableSource(path, error.error_type, str(error))
        found = plan_segments(
            source, size=settings.size, stride=settings.stride, start_s=settings.start_s, end_s=settings.end_s
        )
        return found, None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(read, expand(settings.paths)))
    unreadable = [problem for _, problem in results if problem]
    by_video: dict[str, list[Segment]] = {}
    for found, _ in results:
        if found:
            by_video.setdefault(found[0].video, found)  # two copies of one clip are one clip
    segments = [segment for found in by_video.values() for segment in found]
    if not segments:
        reasons = "".join(f"\n  {problem.path}: {problem.error_message}" for problem in unreadable)
        span = f"start_s: {settings.start_s}, end_s: {settings.end_s}, stride: {settings.stride}"
        raise JobError(f"input: no frames to edit in {len(results)} sources ({span}){reasons}")
    return segments, unreadable


def calibrate_clips(
    job: Job, folder: OutputFolder, segments: Sequence[Segment], todo: Sequence[Part]
) -> dict[str, ClipCalibration]:
    """Calibrations of the clips that have work to do: those kept by an earlier run, and new ones measured on the workers."""
    clips = record.read_calibrations(folder)
    wanted = sorted({part.segment.video for part in todo} - clips.keys())
    rows = [{"segments": pickle.dumps([s for s in segments if s.video == video])} for video in wanted]
    if rows:
        dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            ClipCalibrator,
            fn_constructor_args=(job,),
            batch_size=1,
            **_actors(job, min(job.run.workers, len(rows))),
        )
        for row in dataset.iter_rows():
            if (clip := pickle.loads(row["clip"])) is not None:
                clips[row["video"]] = clip
        record.write_calibrations(folder, clips)
    return clips


class ClipCalibrator:
    """A worker of the calibration pass: holds the depth model, turns a clip's segments into its ClipCalibration."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._estimator = load_depth(job.depth, **device_and_dtype(job))

    def __call__(self, rows: dict[str, np.ndarray]) -> dict[str, list]:
        """One row ``segments`` (pickled list[Segment]) -> one row ``video``, ``clip`` (pickled ClipCalibration or None).

        A clip of whose sampled frames none gives depth has no scale (None); its frames become error rows later.
        """
        segments: list[Segment] = pickle.loads(rows["segments"][0])
        video = segments[0].video
        maps: list[np.ndarray] = []
        for segment in sample_frames(segments, self._job.depth.calibration_frames):
            for batch in batches(segment, 1):
                if batch["status"][0] == "ok":
                    maps.extend(self._estimator(batch))
        maps = [raw for raw in maps if np.isfinite(raw).all()]
        if not maps:
            return {"video": [video], "clip": [pickle.dumps(None)]}
        scale = calibrate(maps, estimator=self._estimator.name, kind=self._estimator.kind)
        sampled = [scale.normalise(raw) for raw in maps]
        planes = resolve_planes(self._job.layers.planes, sampled, sampled[0], scale)
        return {"video": [video], "clip": [pickle.dumps(ClipCalibration(scale, planes))]}


def sample_frames(segments: Sequence[Segment], count: int) -> list[Segment]:
    """Spreads ``count`` frames evenly over a clip, its first frame among them, as segments of those frames only."""
    total = sum(len(segment.pts) for segment in segments)
    chosen = np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int))
    sampled, before = [], 0
    for segment in segments:
        rows = chosen[(chosen >= before) & (chosen < before + len(segment.pts))] - before
        before += len(segment.pts)
        if len(rows):
            sampled.append(segment.take(rows))
    return sampled


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
        decode = Decoder(job, tracker)
        dataset = dataset.flat_map(decode, num_cpus=1)
    tried = {frame: ledger.tried(frame) for part in todo for frame in part.frame_ids if ledger.tried(frame)}
    return dataset.map_batches(
        Editor,
        fn_constructor_args=(job, folder, dict(clips), tried, tracker),
        batch_size=1,
        **_actors(job, job.run.workers),
    )


def _actors(job: Job, workers: int) -> dict[str, Any]:
    return {
        "compute": ray.data.ActorPoolStrategy(size=workers),
        "num_gpus": job.run.gpus_per_worker or None,
        "num_cpus": cluster.worker_cpus(job.run),
    }


class Decoder:
    """The 1:N map: a segment's parts in, one row of decoded frames per part out, as they come."""

    def __init__(self, job: Job, tracker: RemoteTracker) -> None:
        self._job = job
        self._tracker = tracker

    def __call__(self, row: dict[str, bytes]) -> Iterator[dict[str, Any]]:
        """``parts`` (pickled list[Part]) -> rows ``part``, ``rgb`` uint8 [n,H,W,3], ``columns`` (pickled, the rest)."""
        for part, decoded in self.parts(pickle.loads(row["parts"])):
            joined = {name: np.concatenate([batch[name] for batch in decoded]) for name in decoded[0]}
            rgb = joined.pop("rgb")
            yield {"part": pickle.dumps(part), "rgb": rgb, "columns": pickle.dumps(joined)}

    def parts(self, parts: list[Part]) -> Iterator[tuple[Part, list[Batch]]]:
        """Decodes a segment's parts in one pass over the file; ends early when the run is stopping.

        A part on which the decoding process died ``run.attempts`` times becomes error rows (``DecoderCrashed``).
        """
        unit = f"decode {parts[0].name}"
        attempt = self._tracker.begin(unit)
        try:
            for lost, group in groupby(
                parts, key=lambda part: attempt.deaths.get(part.name, 0) >= self._job.run.attempts
            ):
                run = list(group)
                wanted = np.concatenate([np.arange(part.start, part.stop) for part in run])
                reason = (
                    f"the decoding process died {self._job.run.attempts} times on these frames"
                    if lost
                    else None
                )
                stream = batches(run[0].segment.take(wanted), self._job.run.batch, lost=reason)
                for part in run:
                    if self._tracker.stopping():
                        return
                    self._tracker.at(unit, part.name)
                    yield part, [next(stream) for _ in range(-(-part.frames // self._job.run.batch))]
        finally:
            self._tracker.finish(unit, 0, 0)


class Editor:
    """A worker on Ray: holds the models; decoded parts (or, in_actor, a segment's parts) in, one small row a part out."""

    def __init__(
        self,
        job: Job,
        folder: OutputFolder,
        clips: dict[str, ClipCalibration],
        tried: dict[str, int],
        tracker: RemoteTracker,
    ) -> None:
        if (starts := tracker.starting()) > job.run.workers + job.run.attempts:
            raise RuntimeError(
                f"worker processes died {starts - 1} times while loading models; is memory too small for them?"
            )
        self._job = job
        self._tried = tried
        self._tracker = tracker
        self._decoder = Decoder(job, tracker)
        steps = load_steps(job, clips, **device_and_dtype(job))
        self._edit = PartEditor(job, clips, steps, folder, tracker)
        tracker.started()

    def __call__(self, rows: dict[str, np.ndarray]) -> Iterator[dict[str, list]]:
        """One row of the decoder's (or of ``parts``) -> rows ``part``, ``done``, ``failed``, ``bytes``."""
        for part, decoded in self._decoded(rows):
            if self._tracker.stopping():
                return
            result = self._edit(part, decoded, self._tried)
            yield {name: [value] for name, value in result.items()}

    def _decoded(self, rows: dict[str, np.ndarray]) -> Iterator[tuple[Part, list[Batch]]]:
        if "parts" in rows:
            yield from self._decoder.parts(pickle.loads(rows["parts"][0]))
            return
        columns = {"rgb": rows["rgb"][0], **pickle.loads(rows["columns"][0])}
        starts = range(0, len(columns["rgb"]), self._job.run.batch)
        split = [
            {name: column[i : i + self._job.run.batch] for name, column in columns.items()} for i in starts
        ]
        yield pickle.loads(rows["part"][0]), split


def device_and_dtype(job: Job) -> dict[str, str]:
    """The device and the resolved dtype of a worker on this machine, as keyword arguments of the model loaders.

    Raises:
        JobError: the job asks for a GPU but torch sees none here, and the GPUs are not declared logical.
    """
    import torch

    cpu = job.run.gpus_per_worker == 0 or job.run.logical_gpus is not None
    if not cpu and not torch.cuda.is_available():
        raise JobError(
            "run.gpus_per_worker: torch sees no CUDA device on this worker; install a CUDA build of torch or set 0"
        )
    if cpu:
        # Ray sets OMP_NUM_THREADS to the reserved CPUs; models should use the cores that are there, fairly shared.
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // job.run.workers))
    device = "cpu" if cpu else "cuda"
    dtype = {"cpu": "float32", "cuda": "float16"}[device] if job.run.dtype == "auto" else job.run.dtype
    return {"device": device, "dtype": dtype}


__all__ = ["Outcome", "Stalled", "run"]
