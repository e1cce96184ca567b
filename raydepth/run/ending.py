"""Step 8, on the driver: the shards become a report and videos, and the run an outcome."""

import importlib
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raydepth import interrupt
from raydepth.files.text import printable
from raydepth.job import Job
from raydepth.output.clip_videos import ClipVideo, clip_videos
from raydepth.output.ledger import count, status
from raydepth.output.pictures import pictures_left, write_pictures
from raydepth.output.video import write_videos
from raydepth.run.cpus import available_cpus
from raydepth.run.log import phase
from raydepth.run.monitor import FolderLost, Stop, sigterm_interrupts
from raydepth.run.prepare import Work
from raydepth.run.terminal import begin

if TYPE_CHECKING:
    from raydepth.run.summary import Report

SUMMARY = "raydepth.run.summary"
"""The module of step 8. It draws, and takes seconds to import: not here."""
MOST_VIDEOS = 8
"""Videos written at a time: each holds its encoder's frames and a shard's pictures in memory."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the counts of ``raydepth status``, the sources that could not be read, and
    what stopped it before everything was tried, if anything.
    """

    frames: dict[str, int]
    errors: dict[str, int]
    stopped: Stop | None
    report: str | None
    """The report's page; None where the run was stopped before it changed anything."""
    unreadable: Sequence[dict[str, str]] = ()
    """Sources that could not be read, as in ``raydepth status``."""
    videos_left: int = 0
    """Videos (``output.video``) that are still to be written."""
    videos_failed: int = 0
    """Videos that could not be written."""
    pictures_left: int = 0
    """Pictures (``output.images``) that are still to be written as files, of frames done before."""
    verdict: Mapping[str, Any] | None = None
    """As in ``raydepth status``; None where the run changed nothing."""
    log: str | None = None
    """The file with the run's tracebacks; None where the run changed nothing."""


@dataclass(frozen=True)
class End:
    """How the workers came to an end."""

    stopped: Stop | None
    edited: int
    """Frames that this run edited, or failed to."""
    restarts: int
    """Worker processes that died and were replaced."""
    begun: bool = True
    """Whether the output folder was taken over; it is not where a run is stopped while its workers
    load their models."""


def unchanged(work: Work, end: End) -> Outcome:
    """What a run comes to that was stopped before it changed anything: the counts of before."""
    wanted = [frame for part in work.source.parts for frame in part.frame_ids]
    frames, errors = count(wanted, work.ledger)
    unreadable = [
        {name: getattr(source, name) for name in ("path", "error_type", "error_message")}
        for source in work.source.unreadable
    ]
    return Outcome(frames, errors, end.stopped, None, unreadable)


@phase
def report(work: Work, end: End, videos: Sequence[ClipVideo], seconds: float) -> "Report":
    """8. The shards fold into ``benchmark.json`` and the report."""
    begin("writing report")
    return importlib.import_module(SUMMARY).summarise(
        work.folder,
        seconds=seconds,
        edited=end.edited,
        restarts=end.restarts,
        videos=videos,
    )


@phase
def finish(
    work: Work,
    stopped: Stop | None,
    written: "Report",
    videos: list[ClipVideo],
    started: float,
    echo: Callable[[str], None],
) -> tuple[Stop | None, list[ClipVideo]]:
    """8. The shards become files of pictures and videos, where asked.

    Pictures are those of frames that were done when the job kept them otherwise
    (``output.images``). Videos are written several at a time.

    Args:
        work: the run's.
        stopped: what stopped it before; no video is written then.
        written: the report, which is told what became of the videos.
        videos: what is known of them so far.
        started: ``time.monotonic()`` at which the run began.
        echo: gets a line on every video, and on every clip's pictures.

    Returns:
        What stopped the run, and what became of every video.

    Raises:
        FolderLost: another run may write to the output folder by now.
    """
    output = work.job.output
    files = output.images in ("png", "both")
    if not (output.video or files) or stopped is not None:
        return stopped, videos
    deadline = deadline_of(work.job, started)
    interrupted = False

    def over() -> bool:
        return deadline is not None and time.monotonic() >= deadline

    def stop() -> bool:
        return over() or work.lost()

    made: list[tuple[str, Generator[str, None, None]]] = []
    if files:
        pictures = write_pictures(work.folder, work.names, output.keep, stop=stop)
        made.append(("writing pictures", pictures))
    if output.video:
        workers = min(MOST_VIDEOS, available_cpus())
        written_videos = write_videos(
            work.folder,
            work.source.parts,
            work.names,
            crf=output.crf,
            workers=workers,
            stop=stop,
        )
        made.append(("writing videos", written_videos))
    with sigterm_interrupts(), interrupt.expected():
        try:
            for what, lines in made:
                begin(what)
                with closing(lines):
                    for number, line in enumerate(lines, 1):
                        echo(printable(line))
                        begin(what, f"{number} done")
        except KeyboardInterrupt:
            interrupted = True
    if work.lost():
        raise FolderLost(
            "the lease on the output folder is lost (storage out of reach, or deleted by another "
            "run); what is done is kept, run the same command again to go on"
        )
    if output.video:
        videos = edited_videos(work)
        written.add_videos(videos)
    if not (interrupted or over()):
        return None, videos
    left = {"videos": sum(not clip.outcome for clip in videos)}
    left["pictures"] = pictures_left(work.folder, work.names, output.keep) if files else 0
    if not any(left.values()):
        return None, videos
    why = "interrupted" if interrupted else "deadline"
    what = " and ".join(f"{count} {kind}" for kind, count in left.items() if count)
    echo(f"{why}: {what} are left; run the same command again to go on")
    return ("interrupt" if interrupted else "deadline"), videos


def edited_videos(work: Work) -> list[ClipVideo]:
    """What became of every clip's video; none where none is asked for."""
    if not work.job.output.video:
        return []
    return clip_videos(work.folder, work.source.parts, work.names, crf=work.job.output.crf)


def outcome(
    work: Work, written: "Report", stopped: Stop | None, videos: Sequence[ClipVideo]
) -> Outcome:
    """How the run ended, counted from what is in its folder."""
    state = status(work.folder)
    output, left = work.job.output, 0
    if stopped is not None and output.images in ("png", "both"):
        left = pictures_left(work.folder, work.names, output.keep)
    return Outcome(
        state["frames"],
        state["errors"],
        stopped,
        written.page,
        state["unreadable"],
        videos_left=sum(not clip.outcome for clip in videos),
        videos_failed=sum(clip.failed for clip in videos),
        pictures_left=left,
        verdict=state["verdict"],
    )


def deadline_of(job: Job, started: float) -> float | None:
    """``time.monotonic()`` at which nothing new is begun (``run.max_hours``)."""
    return started + job.run.max_hours * 3600 if job.run.max_hours else None
