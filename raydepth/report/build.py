"""Builds the whole report from statistics and the rows' small columns."""

import math
from collections.abc import Callable
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa

from raydepth.evaluate.fold import Fold, Group, deduplicate
from raydepth.evaluate.measures import FLOORS, THREE_RMSES
from raydepth.files import strict_yaml
from raydepth.report import figures
from raydepth.report.choose import Example, choose
from raydepth.report.numbers import document, stages, to_json, with_deprecated
from raydepth.report.page import render
from raydepth.report.pictures import panels

CURVE_VIDEOS = 6
"""Videos whose course over time is drawn: those with failed frames first, then the longest."""

ReadPictures = Callable[[list[str]], dict[str, dict[str, bytes]]]


class Summary(TypedDict, total=False):
    """What only the run knows.

    Whatever is missing is left out of the report or counted from the rows.
    """

    name: str
    """The job's name, for example its file's stem."""
    command: str
    """The command line that wrote the output."""
    frames: dict[str, int]
    """``total``, ``done``, ``failed``, ``missing``."""
    frames_per_s: float | None
    """Frames done per second of wall clock, all workers together."""
    wall_s: float | None
    speed_of_light: float | None
    """Frames per second of the models alone on the same workers."""
    machine: dict[str, Any]
    versions: dict[str, Any]
    errors: dict[str, int]
    """Failed frames by error type."""
    unreadable: list[dict[str, str]]
    """Sources that could not be read, or not to their end: path, error_type, error_message."""
    gone: list[dict[str, Any]]
    """Sources that the job no longer has, whose results are kept aside: path, video, frames."""
    verdict: dict[str, Any] | None
    """``evaluate.verdict.Verdict.tree``; without it the rows are judged."""
    notes: list[dict[str, str]]
    """``path`` and ``text`` of what was left out, ignored or changed in the input."""
    shots: list[dict[str, Any]]
    """The shots of every source: rows as in ``report.json``."""
    job_yaml: str
    """The resolved job file."""
    edited_videos: list[dict[str, Any]]
    """What became of the clips' videos (``output.video``): rows as in ``report.json``."""


def build_report(
    *,
    statistics: Fold,
    per_frame_columns: pa.Table,
    read_pictures: ReadPictures,
    summary: Summary,
    write: Callable[[str, bytes], None],
) -> dict[str, Any]:
    """Writes ``report.json``, ``index.html``, figures and pictures to ``report/``.

    Args:
        statistics: what ``evaluate.fold.fold`` made of all rows.
        per_frame_columns: the columns ``evaluate.fold.row_columns`` of all rows, without pictures;
            repeated frames are legal.
        read_pictures: frame ids -> kind (``rgb``, ``depth``, ``near``, ``background``, ``edited``)
            -> encoded picture; frames and kinds that are not kept may be missing.
        summary: what only the run knows.
        write: stores bytes under a path relative to the output folder.

    Returns:
        The tree of ``report.json`` (schema in ``report.numbers``), with NaN where the file has
        null, and without deprecated names.
    """
    frames = deduplicate(per_frame_columns)
    job = strict_yaml.load(summary.get("job_yaml", "")) or {}
    tree = document(statistics, frames, dict(summary), job)
    examples, worst = choose(frames)
    tree["pictures"] = _write_pictures([*examples, *worst], read_pictures, job, write)
    tree["figures"] = _write_figures(statistics, frames, write)
    if "edited_videos" in summary:
        tree["edited_videos"] = summary["edited_videos"]
    _write_page(tree, examples, worst, summary.get("job_yaml", ""), write)
    return tree


def write_page(
    tree: dict[str, Any],
    per_frame_columns: pa.Table,
    job_yaml: str,
    write: Callable[[str, bytes], None],
) -> None:
    """Writes ``report.json`` and ``index.html`` of a report again, whose tree has changed.

    Figures and pictures stay. The arguments are those of ``build_report``, and what it gave back.
    """
    _write_page(tree, *choose(deduplicate(per_frame_columns)), job_yaml, write)


def _write_page(
    tree: dict[str, Any],
    examples: list[Example],
    worst: list[Example],
    job_yaml: str,
    write: Callable[[str, bytes], None],
) -> None:
    # A name that isn't UTF-8 comes as lone surrogates, whose escapes JSON and readers of the page
    # can do with.
    page = render(tree, examples, worst, job_yaml)
    written = to_json(with_deprecated(tree))
    write("report/report.json", written.encode("utf-8", "backslashreplace"))
    write("report/index.html", page.encode("utf-8", "backslashreplace"))


def _write_pictures(
    examples: list[Example],
    read_pictures: ReadPictures,
    job: dict[str, Any],
    write: Callable[[str, bytes], None],
) -> list[dict[str, Any]]:
    dilate = job.get("layers", {}).get("fill", {}).get("dilate", 8)
    stored = read_pictures(
        list(dict.fromkeys(str(example.row["frame_id"]) for example in examples))
    )
    written = []
    for number, example in enumerate(examples):
        row = example.row
        made = panels(
            stored.get(str(row["frame_id"]), {}),
            depth_offset=row.get("depth_offset"),
            depth_scale=row.get("depth_scale"),
            dilate=dilate,
            work_side=job.get("input", {}).get("size"),
        )
        # Numbered, not named: nothing that comes from a file name reaches the disk or a link.
        files = {kind: f"pictures/{number:02d}_{kind}.jpg" for kind in made}
        for kind, data in made.items():
            write(f"report/{files[kind]}", data)
        written.append({"frame_id": row["frame_id"], "why": example.reasons, "panels": files})
    return written


def _write_figures(
    folded: Fold, frames: pa.Table, write: Callable[[str, bytes], None]
) -> list[dict[str, str]]:
    """Writes the figures that have something to show."""
    written: list[dict[str, str]] = []

    def keep(kind: str, about: str, file: str, data: bytes) -> None:
        write(f"report/figures/{file}.png", data)
        written.append({"file": f"figures/{file}.png", "kind": kind, "about": about})

    done = frames.filter(pa.compute.equal(frames["status"], "ok"))
    labels = _labels(folded.videos)
    for name in THREE_RMSES:
        values = _column(done, name)
        if np.isfinite(values).any():
            below = folded.overall.get(FLOORS[name]).mean if name in FLOORS else math.nan
            data = figures.distribution(
                name, values[np.isfinite(values)], folded.overall.get(name), below
            )
            keep("distribution", name, f"distribution_{name}", data)
        measured = {
            labels[video]: group.get(name)
            for video, group in folded.videos.items()
            if group.get(name).count
        }
        if len(measured) > 1:
            keep("spread", name, f"spread_{name}", figures.spread(name, measured))
    chosen = sorted(
        folded.videos, key=lambda video: (-folded.videos[video].failed, -folded.videos[video].done)
    )
    for number, video in enumerate(chosen[:CURVE_VIDEOS]):
        part = done.filter(pa.compute.equal(done["video"], video))
        columns = {name: _column(part, name) for name in THREE_RMSES}
        columns = {name: values for name, values in columns.items() if np.isfinite(values).any()}
        failed = np.array(
            [failure.time_s for failure in folded.failures if failure.video == video], np.float64
        )
        if columns:
            floors = _column(part, "rmse_round_trip_outside")
            data = figures.curves(_column(part, "time_s"), columns, failed, floors)
            keep("curves", labels[video], f"curves_{number}", data)
    timings = stages(folded.overall)
    if timings:
        keep(
            "seconds", "seconds per stage", "seconds_per_stage", figures.seconds_per_stage(timings)
        )
    return written


def _column(table: pa.Table, name: str) -> np.ndarray:
    if name not in table.schema.names:
        return np.full(len(table), np.nan)
    return table[name].cast(pa.float64()).to_numpy()


def _labels(videos: dict[str, Group]) -> dict[str, str]:
    """File names, told apart by the video id where two are the same."""
    names = [group.label() for group in videos.values()]
    return {
        video: group.label()
        if names.count(group.label()) == 1
        else f"{group.label()} ({video[:6]})"
        for video, group in videos.items()
    }
