"""Which frames a job covers: every source is probed and cut into segments."""

import os
from concurrent.futures import ThreadPoolExecutor

from raydepth.errors import JobError
from raydepth.files.text import printable
from raydepth.frames.probe import probe
from raydepth.frames.segments import Segment, plan_segments
from raydepth.frames.settings import Input
from raydepth.frames.sources import SourceError, UnreadableSource, expand


def find_segments(settings: Input, every: int = 1) -> tuple[list[Segment], list[UnreadableSource]]:
    """Probes every source of a job, several at a time.

    Sources that cannot be read, or end early, are returned, not raised.

    Args:
        settings: the job's section.
        every: ``compose.every``, a stride on top of that of ``settings``.

    Raises:
        JobError: a path matches nothing, or no frame is left to edit.
    """
    stride = settings.stride * every

    def read(path: str) -> tuple[list[Segment], UnreadableSource | None]:
        try:
            source = probe(path)
        except SourceError as error:
            return [], UnreadableSource(path, error.error_type, str(error))
        found = plan_segments(
            source,
            size=settings.size,
            stride=stride,
            start_s=settings.start_s,
            end_s=settings.end_s,
        )
        # The frames that a truncated file announces and lacks have no time stamps, so one row
        # stands for them.
        return found, UnreadableSource(
            path, "Truncated", f"{path}: {source.note}"
        ) if source.note else None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(read, expand(settings.paths)))
    unreadable = [problem for _, problem in results if problem]
    by_video: dict[str, list[Segment]] = {}
    for found, _ in results:
        if found:
            by_video.setdefault(found[0].video, found)  # two copies of one clip are one clip
    segments = [segment for found in by_video.values() for segment in found]
    if not segments:
        reasons = "".join("\n  " + printable(problem.error_message) for problem in unreadable)
        span = f"start_s: {settings.start_s}, end_s: {settings.end_s}, stride: {stride}"
        raise JobError(f"input: no frames to edit in {len(results)} sources ({span}){reasons}")
    return segments, unreadable
