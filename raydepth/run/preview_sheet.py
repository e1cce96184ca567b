"""What the sheet of a preview shows and says: an edited frame's columns, in pictures and words."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from raydepth.batch import Batch
from raydepth.edits.registry import layering
from raydepth.evaluate.fold import row_columns
from raydepth.evaluate.verdict import judge
from raydepth.files.text import printable
from raydepth.job import Job
from raydepth.output.record import ClipCalibration
from raydepth.report.sheet import Mark, Outline, Sheet, in_metres
from raydepth.run.shown import Shown, clicks_in


def sheet_of(
    job: Job,
    shown: Shown,
    batch: Batch,
    clip: ClipCalibration,
    points: Sequence[tuple[float, float]],
    *,
    samples: int | None,
    grid: bool,
) -> Sheet:
    """What the sheet shows and says of an edited frame.

    Args:
        job: the resolved job.
        shown: the frame.
        batch: the frame, with the columns of all steps.
        clip: its shot's calibration.
        points: x, y as fractions, of which the values are said.
        samples: of how many frames the shot's scale is, where a run would take more.
        grid: draws a grid on the input.
    """
    scale, frame = clip.depth, shown.segment
    metres = (lambda value: float(scale.metres(value))) if scale.kind == "depth_m" else None
    total = sum(map(len, shown.segments))
    of_shot = f", shot {int(frame.shots[0])}" if shown.shots > 1 or frame.shots[0] else ""
    name = printable(os.path.basename(frame.path.rstrip("/")))
    lifted = layering(job.edit).lifts
    planes = () if lifted else clip.planes
    count = len(batch["alphas"][0])
    names = ["near", "far"] if count == 2 else [*(f"layer {n}" for n in range(1, count)), "far"]
    if "alpha_names" in batch:
        names = [str(layer) for layer in batch["alpha_names"][0]]
    things = [
        Outline(str(thing), alpha)
        for thing, alpha in zip(
            batch.get("thing_names", [[]])[0], batch.get("thing_alpha", [[]])[0], strict=True
        )
    ]
    marks = [Mark(x, y, chr(ord("A") + n % 26)) for n, (x, y) in enumerate(points)]
    values = [
        f"{mark.label}  {mark.x:g},{mark.y:g}: {_under(batch, mark, names, things, metres)}"
        for mark in marks
    ]
    cut = f"layers.at: {_asked(job.layers.at)}, here {', '.join(_plane(v, metres) for v in planes)}"
    lines = [
        f"layers: {', '.join(lifted)}, in the place of layers.at" if lifted else cut,
        f"near {_share(batch['near'])}, hole {_share(batch['hole'])}, the edit may change "
        f"{_share(batch['region'])} of the picture and changes {_share(_changed(batch))}",
    ]
    lines += [*_of_things(batch, metres), *_of_verdict(job, batch)]
    if note := str(batch["note"][0]):
        lines.append(f"note: {note}")
    if samples is not None:
        lines.append(
            f"approximate: the depth scale is of {min(samples, total)} sampled frames, a run takes "
            f"{min(job.depth.calibration_frames, total)}"
        )
    return Sheet(
        title=f"{name}, {shown.time_s:.2f} s, frame {frame.frame_index[0]}{of_shot}",
        rgb=batch["rgb"][0],
        inv_depth=batch["inv_depth"][0],
        planes=planes,
        alphas=batch["alphas"][0],
        layer_names=names,
        hole=batch["hole"][0],
        background=batch["background"][0],
        edited=batch["edited"][0],
        region=batch["region"][0],
        metres=metres,
        marks=[*_clicks(job, shown), *marks],
        things=things,
        lines=lines,
        values=values,
        grid=grid,
    )


def _clicks(job: Job, shown: Shown) -> list[Mark]:
    """The clicked points of things, where the clicked frame is the one that is shown."""
    marks = []
    for thing, row in clicks_in(job, shown):
        if row != shown.row:
            continue
        for point, on in zip(
            thing.points or ([thing.point] if thing.point else []),
            thing.labels or [1] * 32,
            strict=False,
        ):
            colour = (64, 224, 196) if on else (255, 96, 96)
            marks.append(
                Mark(point[0], point[1], thing.name if on else f"not {thing.name}", colour)
            )
    return marks


def _under(
    batch: Batch,
    mark: Mark,
    names: Sequence[str],
    things: Sequence[Outline],
    metres: Callable[[float], float] | None,
) -> str:
    """What is at a point, in words."""
    height, width = batch["inv_depth"].shape[1:]
    row, column = min(int(mark.y * height), height - 1), min(int(mark.x * width), width - 1)
    layer = names[int(batch["alphas"][0, :, row, column].argmax())]
    on = [thing.name for thing in things if thing.alpha[row, column] >= 0.5]
    said = [f"inverse depth {_plane(float(batch['inv_depth'][0, row, column]), metres)}", layer]
    said += [name for name in on if name != layer] or (["no thing"] if things and not on else [])
    said += ["in the hole"] if batch["hole"][0, row, column] else []
    said += [f"edit {100 * float(batch['region'][0, row, column]):.0f} %"]
    return ", ".join(said)


def _plane(value: float, metres: Callable[[float], float] | None) -> str:
    return f"{value:.3f}" + (f" ({in_metres(metres(value))})" if metres else "")


def _asked(at: Any) -> str:
    if isinstance(at, list):
        return "[" + ", ".join(map(_asked, at)) + "]"
    return str(at.model_dump() if hasattr(at, "model_dump") else at).replace("'", "")


def _share(mask: np.ndarray) -> str:
    return f"{100 * float(np.mean(mask)):.1f} %"


def _changed(batch: Batch) -> np.ndarray:
    """Where the result differs from the input by more than a reader sees, bool [1,H,W]."""
    difference = np.abs(batch["edited"].astype(np.int16) - batch["rgb"])
    return np.asarray(difference.max(axis=-1) > 8)


def _of_things(batch: Batch, metres: Callable[[float], float] | None) -> list[str]:
    if "thing_names" not in batch:
        return []
    columns = (batch[f"thing_{name}"][0] for name in ("names", "state", "inv_depth"))
    said = [
        f"{name} {state}"
        + (f", inverse depth {_plane(float(depth), metres)}" if np.isfinite(depth) else "")
        for name, state, depth in zip(*columns, strict=True)
    ]
    return [f"things: {'; '.join(said)}"]


def _of_verdict(job: Job, batch: Batch) -> list[str]:
    """What a run's verdict would have against a clip of such frames."""
    small = [name for name in row_columns(batch) if batch[name].ndim == 1]
    rows = pa.table({name: batch[name].tolist() for name in small} | {"attempts": [1]})
    verdict = judge([rows], job.tree())
    return [f"amber: {one.what}: {one.advice}" for one in (*verdict.reasons, *verdict.odd)]
