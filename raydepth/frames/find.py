"""Which frames a job covers: every source is probed, and cut into shots and segments."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from raydepth.errors import JobError
from raydepth.files.text import printable
from raydepth.frames.known_probes import probe_once
from raydepth.frames.segments import Segment, plan_segments
from raydepth.frames.settings import Input
from raydepth.frames.shots import shots_of
from raydepth.frames.sources import SourceError, SourceNote, UnreadableSource, expand

NAMED = 3
"""Paths that a line on the terminal names; the report names them all."""


@dataclass(frozen=True)
class Found:
    """What a job covers, and what it does not.

    Attributes:
        segments: in the order of the paths.
        unreadable: sources that cannot be read, or end early.
        notes: what is left out of the paths, and what is ignored or changed in sources that are
            read.
    """

    segments: list[Segment]
    unreadable: list[UnreadableSource]
    notes: list[SourceNote]


def find_segments(
    settings: Input,
    every: int = 1,
    *,
    probed: Callable[[int, int], None] = lambda number, of: None,
) -> Found:
    """Probes every source of a job, several at a time.

    Args:
        settings: the job's section.
        every: ``compose.every``, a stride on top of that of ``settings``.
        probed: told after each source how many of how many are probed; on this thread.

    Raises:
        JobError: a path matches nothing, or no frame is left to edit.
    """
    stride = settings.stride * every

    def read(path: str) -> tuple[list[Segment], UnreadableSource | None, list[SourceNote]]:
        try:
            source = probe_once(path)
            cuts, missed = shots_of(source, settings.shots, threads=threads)
        except SourceError as error:
            return [], UnreadableSource(path, error.error_type, str(error)), []
        found = plan_segments(
            source,
            size=settings.size,
            stride=stride,
            start_s=settings.start_s,
            end_s=settings.end_s,
            shots=cuts,
        )
        # The frames that a truncated file announces and lacks have no time stamps, so one row
        # stands for them.
        short = (
            UnreadableSource(path, "Truncated", f"{path}: {source.note}") if source.note else None
        )
        return found, short, [SourceNote(path, remark) for remark in (*source.remarks, *missed)]

    left_out: list[SourceNote] = []
    paths = expand(settings.paths, left_out)
    threads = max(1, (os.cpu_count() or 1) // max(1, len(paths)))
    results = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for result in pool.map(read, paths):
            results.append(result)
            probed(len(results), len(paths))
    unreadable = [problem for _, problem, _ in results if problem]
    by_video: dict[str, list[Segment]] = {}
    for found, _, _ in results:
        if found:
            by_video.setdefault(found[0].video, found)  # two copies of one clip are one clip
    segments = [segment for found in by_video.values() for segment in found]
    if not segments:
        reasons = "".join("\n  " + printable(problem.error_message) for problem in unreadable)
        span = f"start_s: {settings.start_s}, end_s: {settings.end_s}, stride: {stride}"
        raise JobError(f"input: no frames to edit in {len(results)} sources ({span}){reasons}")
    return Found(segments, unreadable, left_out + [note for *_, own in results for note in own])


def note_lines(notes: list[SourceNote]) -> list[str]:
    """Notes for the terminal: a line for each text, with the first of the paths it is about."""
    paths: dict[str, list[str]] = {}
    for note in notes:
        paths.setdefault(note.text, []).append(note.path)
    return [
        ", ".join(about[:NAMED])
        + (f" and {len(about) - NAMED} more" if len(about) > NAMED else "")
        + f": {text}"
        for text, about in paths.items()
    ]
