"""``report.json``: everything the page says as numbers, valid for any JSON reader.

Schema, version 1 (``null`` wherever a number is not known; infinite values are ``null`` and
counted)::

    schema_version  1
    job             {name, command, edit, method, resolved}
                    resolved: the job file with every default, as a tree
    frames          {total, done, failed, missing}
    throughput      {frames_per_s, seconds_per_frame, wall_s, speed_of_light_frames_per_s,
                    speed_of_light_share}
                    seconds_per_frame: sum of the stages' means; speed of light: the models alone
    seconds         {stage: STATISTICS + {share}}
                    seconds a frame, in the order of the pipeline
    metrics         {name: STATISTICS + {label, unit, better, meaning, remark,
                    not_measured_because}}
    videos          [{video, path, done, failed, metrics: {name: STATISTICS}}]
                    sorted by path
                    deprecated names (``evaluate.measures.DEPRECATED``) have an entry too, with
                    {deprecated}: what to use instead
    shots           [{video, path, shot, frames, first_frame_index, last_frame_index, start_s,
                    end_s, depth_lo, depth_hi, planes}]
                    every shot of every source that the job covers: what was measured once a shot
                    (raw inverse depth at 0 and 1 of the shot's scale, and its planes on that
                    scale, nearest first); null: not measured yet
    worst           {name: [{frame_id, video, path, frame_index, time_s, value}]}
                    for the three RMSEs, worst first
    errors          {error_type: frames}
    failures        [{frame_id, video, path, frame_index, time_s, error_type, error_message,
                    attempts}]
    unreadable      [{path, error_type, error_message}]
                    sources that could not be read, or not to their end; no frames count for them
    gone            [{path, video, frames}]
                    sources that the job no longer has; nothing of them is in the figures
    notes           [{path, text}]
                    what was left out of the input, or ignored or changed in it
    verdict         {colour, reasons, odd, notes}
                    colour: green, amber (what was done is likely not what was asked) or red
                    (frames failed, sources could not be read, or nothing was done)
                    reasons: [{rule, what, frames, share, first, advice}], most frames first;
                    odd: the same, found in too few frames to make amber
                    notes: [{text, frames, first}], notes of frames that differ in numbers only
                    as one
                    first: [{frame_id, path, frame_index, time_s}], up to three
    environment     {machine, versions}
    pictures        [{frame_id, why: [...], panels: {kind: file}}]
                    files relative to report/
    edited_videos   [{video, path, file, outcome, failed}]
                    with output.video only: what became of every clip's; file relative to the
                    output folder, null where there is none
    figures         [{file, kind, about}]
                    kind: distribution, spread, curves, seconds; about: the metric or the video

    STATISTICS      {count, not_measured, infinite, mean, pooled, std, min, p5, p50, p95, max}
                    over frames that are done: mean = mean of per-frame values (for an RMSE, the
                    mean of per-frame RMSEs); pooled = root of the mean square (for an RMSE, the
                    RMSE over all frames, each weighing the same); p5, p50, p95 to 1 %, from a fixed
                    histogram
"""

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa

from raydepth.evaluate.fold import Fold, Group, Statistics
from raydepth.evaluate.measures import DEPRECATED, MEASURES, THREE_RMSES
from raydepth.evaluate.verdict import judge
from raydepth.report.choose import WORST, worst_rows
from raydepth.report.reasons import what_it_means, why_not_measured

SCHEMA_VERSION = 1
STAGES = ("decode", "depth", "layers", "fill", "compose", "metrics", "encode")
_PLACE = ("frame_id", "video", "path", "frame_index", "time_s")


def document(
    folded: Fold, frames: pa.Table, summary: dict[str, Any], job: dict[str, Any]
) -> dict[str, Any]:
    """The report as a tree, all but ``pictures`` and ``figures``.

    It may hold NaN and inf, see ``to_json``.

    Args:
        folded: statistics of all rows.
        frames: one row a frame, without pictures.
        summary: see ``build.Summary``.
        job: the resolved job as a tree.
    """
    overall = folded.overall
    seconds = {stage: describe(statistics) for stage, statistics in stages(overall).items()}
    whole = sum(stage["mean"] for stage in seconds.values())
    for stage in seconds.values():
        stage["share"] = stage["mean"] / whole if whole else math.nan
    speed, light = summary.get("frames_per_s"), summary.get("speed_of_light")
    return {
        "schema_version": SCHEMA_VERSION,
        "job": {
            "name": summary.get("name", ""),
            "command": summary.get("command", ""),
            "edit": job.get("edit", {}).get("kind"),
            "method": job.get("compose", {}).get("method"),
            "resolved": job,
        },
        "frames": {
            "total": overall.done + overall.failed,
            "done": overall.done,
            "failed": overall.failed,
            "missing": 0,
            **summary.get("frames", {}),
        },
        "throughput": {
            "frames_per_s": speed,
            "seconds_per_frame": whole if seconds else None,
            "wall_s": summary.get("wall_s"),
            "speed_of_light_frames_per_s": light,
            "speed_of_light_share": speed / light if speed and light else None,
        },
        "seconds": seconds,
        "metrics": {
            name: {
                **describe(overall.get(name)),
                "label": measure.label,
                "unit": measure.unit,
                "better": measure.better,
                "meaning": measure.meaning,
                "remark": what_it_means(name, job, overall),
                "not_measured_because": why_not_measured(name, job, overall),
            }
            for name, measure in MEASURES.items()
        },
        "videos": [
            {
                "video": video,
                "path": group.path,
                "done": group.done,
                "failed": group.failed,
                "metrics": {
                    name: describe(group.get(name)) for name in MEASURES if group.get(name).count
                },
            }
            for video, group in folded.videos.items()
        ],
        "shots": summary.get("shots", []),
        "worst": {name: _worst(frames, name) for name in THREE_RMSES},
        "errors": summary.get("errors") or folded.errors(),
        "failures": [vars(failure) for failure in folded.failures],
        "unreadable": summary.get("unreadable", []),
        "gone": summary.get("gone", []),
        "notes": summary.get("notes", []),
        "verdict": summary.get("verdict")
        or judge([frames], job, broken=bool(overall.failed or summary.get("unreadable"))).tree(),
        "environment": {
            "machine": summary.get("machine", {}),
            "versions": summary.get("versions", {}),
        },
    }


def describe(statistics: Statistics) -> dict[str, Any]:
    """The STATISTICS of the schema."""
    return {
        "count": statistics.count,
        "not_measured": statistics.not_measured,
        "infinite": statistics.infinite,
        "mean": statistics.mean,
        "pooled": statistics.pooled,
        "std": statistics.std,
        "min": statistics.low,
        "p5": statistics.quantile(0.05),
        "p50": statistics.quantile(0.5),
        "p95": statistics.quantile(0.95),
        "max": statistics.high,
    }


def stages(group: Group) -> dict[str, Statistics]:
    """Seconds a frame of each stage that ran, in the order of the pipeline."""
    found = {
        name.removeprefix("seconds_"): group.columns[name]
        for name in group.columns
        if name.startswith("seconds_")
    }
    order = {stage: place for place, stage in enumerate(STAGES)}
    return {
        stage: found[stage]
        for stage in sorted(found, key=lambda s: order.get(s, len(order)))
        if found[stage].count
    }


def with_deprecated(tree: dict[str, Any]) -> dict[str, Any]:
    """The report with renamed metrics under their old names too; the tree given stays as it is."""

    def both(metrics: dict[str, Any]) -> dict[str, Any]:
        old = {old: metrics[name] for old, name in DEPRECATED.items() if name in metrics}
        return metrics | old

    metrics = both(tree["metrics"])
    for old, name in DEPRECATED.items():
        metrics[old] = metrics[old] | {"deprecated": f"use {name}"}
    videos = [video | {"metrics": both(video["metrics"])} for video in tree["videos"]]
    return tree | {"metrics": metrics, "videos": videos, "worst": both(tree["worst"])}


def to_json(tree: Any) -> str:
    """JSON text with ``null`` for every NaN and infinity."""
    return json.dumps(_finite(tree), indent=1, ensure_ascii=False, allow_nan=False)


def _finite(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {str(key): _finite(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_finite(value) for value in tree]
    if isinstance(tree, np.generic):
        tree = tree.item()
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


def _worst(frames: pa.Table, name: str) -> list[dict[str, Any]]:
    if name not in frames.schema.names:
        return []
    values = frames[name].cast(pa.float64()).to_numpy()
    chosen = worst_rows(
        np.where(np.array(frames["status"].to_pylist()) == "ok", values, np.nan), WORST
    )
    return [
        {**record, "value": values[row]}
        for row in chosen
        for record in frames.select(_PLACE).slice(row, 1).to_pylist()
    ]
