"""Flow-warped error of the edited region, against the input's.

The jobs are insert, background and remove, on shipped and real clips.

Run: ``python -m benchmarks.flicker [--frames N] [--only NAME ...]``. It takes the jobs' own steps
without Ray; the settings for the real clips are read from the commands in the jobs' head comments,
so what is measured is what those give. Results go to results/flicker.json, contact sheets to
--sheets DIR.

What an error may be compared with (raydepth/evaluate/flicker.py says how it is measured):

* ``same``: the input's own error at the same pixels: what was there before. Fair where a thing is
  removed.
* ``source``: the new background's own error at the same pixels, as they come from it. ``held``:
  that of the same two clips put together by one mask for all frames (where the median of all masks
  is near): what is left is what the measure makes of an edge with motion on one side.
* ``alike``: for pixels that the edit changed, the input's error where its picture is as steep, over
  the whole frame; for the others (things that pass before the object) the input's own. Fair for an
  inserted object: warping costs edges more than the plain wall that the object stands before,
  whoever put them there.
* ``frame``: the input's whole frame.
"""

import argparse
import json
import shlex
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from raydepth.edits.scenery import Scenery
from raydepth.edits.settings import Background
from raydepth.evaluate.flicker import expected_error, flow_warped_error, in_region, warp_step
from raydepth.frames.decode import batches
from raydepth.frames.find import find_segments
from raydepth.job import Job, load_job
from raydepth.output.record import environment
from raydepth.run.calibrator import ClipCalibrator
from raydepth.run.editor import edit_batch
from raydepth.run.load import device_and_dtype, load_worker
from raydepth.run.pipeline import build_steps
from raydepth.run.tracker import Attempt, Tracker

JOBS = ("insert", "background", "remove")
FAIR = {"insert": "alike", "background": "held", "remove": "same"}
"""The reference that each edit is compared with; see benchmarks/README.md, "Flicker"."""


@dataclass(frozen=True)
class Clip:
    """What an edit made of a clip's first frames: uint8 [N,H,W,3], and bool [N,H,W] where it may
    and near is; ``scenery`` is the new background.
    """

    rgb: np.ndarray
    edited: np.ndarray
    region: np.ndarray
    scenery: np.ndarray | None
    near: np.ndarray


def real_settings(path: Path) -> list[str]:
    """The ``--set`` values of the command in a job's head comment."""
    lines = [line[1:].strip() for line in path.read_text().splitlines() if line.startswith("#")]
    words = []
    for line in lines[lines.index(f"raydepth run {path} \\") + 1 :]:
        if not line.startswith("--set"):
            break
        words += shlex.split(line.removesuffix("\\"))
    return [word for word in words if word != "--set"]


def edit(job: Job, frames: int) -> Clip:
    """Takes the first frames of a job's one clip through its steps."""
    segments = find_segments(job.input, job.compose.every).segments
    models = load_worker(job, **device_and_dtype(job))
    clip = ClipCalibrator(job, models, Tracker())(segments, Attempt(1, False, {}))
    assert clip is not None
    steps = build_steps(job, models, segments[0].video, clip)[:3]  # all but the metrics
    first = segments[0].take(slice(min(frames, job.input.limit or frames)))
    done = [edit_batch(steps, batch) for batch in batches(first, job.run.batch)]
    rgb, edited, region, near, time_s = (
        np.concatenate([batch[name] for batch in done])
        for name in ("rgb", "edited", "region", "near", "time_s")
    )
    scenery = None
    if isinstance(job.edit, Background) and job.edit.source is not None:
        source = Scenery(job.edit.source, job.edit.play)
        rows = source.rows(time_s)
        scenery = np.concatenate(
            [source.pictures(rows[i : i + 8], rgb.shape[1:3]) for i in range(0, len(rows), 8)]
        )
    return Clip(rgb, edited, region > 0, scenery, near > 0)


def measure(clip: Clip) -> dict[str, float]:
    """The errors in grey levels; see the module's docstring."""
    edited, given = (
        [warp_step(*pair) for pair in pairwise(frames)] for frames in (clip.edited, clip.rgb)
    )
    pairs = list(pairwise(clip.region))
    counted = [in_region(step, *pair) for step, pair in zip(edited, pairs, strict=True)]
    changed = (clip.edited != clip.rgb).any(axis=-1)[1:]
    own, other = (
        [mask & part for mask, part in zip(counted, parts, strict=True)]
        for parts in (changed, ~changed)
    )
    sizes = [np.count_nonzero(own), np.count_nonzero(other)]
    expected = [expected_error(edited, own, given), flow_warped_error(given, other)]
    alike = float(np.average(np.nan_to_num(expected), weights=sizes))
    figures = {
        "edited": flow_warped_error(edited, counted),
        "same": flow_warped_error(
            given, [in_region(step, *pair) for step, pair in zip(given, pairs, strict=True)]
        ),
        "alike": alike,
        "frame": flow_warped_error(given, [step.seen for step in given]),
        "edited_frame": flow_warped_error(edited, [step.seen for step in edited]),
    }
    if clip.scenery is not None:
        source = [warp_step(*pair) for pair in pairwise(clip.scenery)]
        figures["source"] = flow_warped_error(
            source, [in_region(step, *pair) for step, pair in zip(source, pairs, strict=True)]
        )
        near = np.median(clip.near, axis=0) > 0.5
        held = [
            warp_step(*pair) for pair in pairwise(np.where(near[..., None], clip.rgb, clip.scenery))
        ]
        figures["held"] = flow_warped_error(
            held, [in_region(step, *pair) for step, pair in zip(held, pairs, strict=True)]
        )
    return figures


def main() -> None:
    """Measures, prints and stores."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=60, help="frames of a clip at most")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[f"{job} {clip}" for job in JOBS for clip in ("shipped", "real")],
        help="such as 'insert shipped' 'remove real'; the file keeps the others' figures",
    )
    parser.add_argument("--sheets", type=Path)
    arguments = parser.parse_args()
    rows = []
    for name in arguments.only:
        kind, which = name.split()
        path = Path("jobs") / f"{kind}.yaml"
        with tempfile.TemporaryDirectory() as folder:
            sets = real_settings(path) if which == "real" else []
            clip = edit(load_job(str(path), [*sets, f"output.path={folder}"]), arguments.frames)
        figures = measure(clip)
        still = figures.get("source") == 0  # a picture for background
        fair = "same" if still else FAIR[kind]
        ratio = figures["edited"] / figures[fair]
        rows.append(
            {"edit": name, "frames": len(clip.rgb), **figures, "fair": fair, "ratio": ratio}
        )
        errors = ", ".join(f"{key} {value:.3f}" for key, value in figures.items())
        print(
            f"{name:20} {len(clip.rgb):3} frames: {errors}; edited / {fair} = {ratio:.2f}",
            flush=True,
        )
        if arguments.sheets:
            chosen = clip.edited[np.linspace(0, len(clip.edited) - 1, 12).astype(int)]
            sheet = np.vstack([np.hstack(chosen[i : i + 3]) for i in range(0, 12, 3)])
            cv2.imwrite(str(arguments.sheets / f"{kind}_{which}.png"), sheet[..., ::-1])
    file = Path(__file__).parent / "results" / "flicker.json"
    measured = {row["edit"] for row in rows}
    others = [row for row in json.loads(file.read_text())["edits"] if row["edit"] not in measured]
    file.write_text(json.dumps({"edits": [*others, *rows], "environment": environment()}, indent=2))


if __name__ == "__main__":
    main()
