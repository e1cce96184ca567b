"""Why a metric has no value in this job, and remarks on what its value means."""

from typing import Any

from raydepth.compose.registry import COMPOSITORS
from raydepth.depth.registry import depth_entry
from raydepth.evaluate.fold import Group


def why_not_measured(name: str, job: dict[str, Any], overall: Group) -> str:
    """One clause that follows "not measured:"; empty where the metric has values."""
    if overall.get(name).count or overall.get(name).infinite:
        return ""
    every = _reestimate_every(job)
    compose, depth = job.get("compose", {}), job.get("depth", {})
    if not overall.done:
        return "no frame was done"
    if name.endswith("_truth") or name.startswith("align_"):
        if not depth.get("truth"):
            return "the job names no ground truth (depth.truth)"
        return "no frame has a ground-truth reading (depth.truth)"
    if "_true_edit" in name:
        if not job.get("evaluate", {}).get("truth"):
            return "the job names no true edits (evaluate.truth)"
        return "no frame's true edit could be read (evaluate.truth)"
    of_depth = name.startswith("rmse_target_depth")
    if of_depth or name in (
        "rmse_round_trip",
        "psnr_round_trip",
        "rmse_round_trip_outside",
    ):
        if every == 0:
            return "switched off (evaluate.reestimate_every: 0)"
        if of_depth and not depth_entry(str(depth.get("model", "builtin"))).reads_pixels:
            return "depth comes from files and cannot be estimated again on a new picture"
        entry = COMPOSITORS.get(compose.get("method"))
        if not of_depth and entry is not None and not entry.has_codec:
            return f"compose.method {compose['method']} has no codec"
        return f"no frame that was done is a multiple of evaluate.reestimate_every ({every})"
    if name.startswith("object_"):
        return "the edit inserts nothing"
    if name.startswith("things_") or name == "track_iou":
        return "the edit speaks of no thing (layers.things), or no mask was found anew"
    if name == "hole_share":
        return "the edit shows nothing that was filled behind a layer"
    if name in ("depth_waver", "edit_flicker"):
        return "no two frames of a batch follow each other, or nothing is edited (run.batch)"
    if name.endswith("_outside"):
        return "the edit may change every pixel of every frame"
    return "no frame gave a value"


def what_it_means(name: str, job: dict[str, Any], overall: Group) -> str:
    """A remark on a value that could be misread; empty where there is nothing to warn of."""
    compose, statistics = job.get("compose", {}), overall.get(name)
    if (
        name == "rmse_outside"
        and statistics.count
        and compose.get("paste_back", True)
        and statistics.high == 0
    ):
        return (
            "0 by construction: paste-back copies these pixels from the input (compose.paste_back)."
        )
    if name == "rmse_truth" and statistics.count:
        scale, shift = overall.get("align_scale"), overall.get("align_shift")
        if (scale.low, scale.high, shift.low, shift.high) == (1.0, 1.0, 0.0, 0.0):
            return "The estimator gives metres, so nothing is fitted."
        return (
            "The estimator gives relative depth: scale and shift are fitted to the truth on every "
            "frame."
        )
    if name == "rmse_target_depth" and statistics.count and statistics.count < overall.done:
        every = _reestimate_every(job)
        return (
            f"Measured where the frame's index is a multiple of {every} "
            "(evaluate.reestimate_every)."
        )
    return ""


def _reestimate_every(job: dict[str, Any]) -> int:
    evaluate = job.get("evaluate", {})
    return evaluate.get("reestimate_every", evaluate.get("again_every", 10))  # version 1's name
