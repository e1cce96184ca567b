"""The page: one HTML file that opens from disk, without scripts and without network."""

import math
from collections import Counter
from pathlib import Path, PurePath
from typing import Any

import jinja2

from raydepth.edits.registry import EDITS
from raydepth.evaluate.measures import FLOORS, THREE_RMSES
from raydepth.report.choose import FULL_VIDEOS, Example

TEMPLATES = Path(__file__).parent / "templates"
MOST_ROWS = 200
"""Rows of the page's tables; the rest is in report.json, and the page says so."""

_PANEL_LABELS = {
    "rgb": "Input",
    "depth": "Depth",
    "near": "Near layer",
    "background": "Background, filled",
    "edited": "Edited",
}
_UNITS = {"normalised inverse depth": "of the depth range"}
_CARDS = {
    "rmse_truth": (
        "Is the depth right?",
        "Estimated depth against ground truth. It tells how far off the geometry is on which "
        "everything else stands.",
    ),
    "rmse_outside": (
        "Is the rest untouched?",
        "The edited frame against the input, only where nothing should change. 0 is perfect; 255 "
        "grey levels is black for white.",
    ),
    "rmse_target_depth": (
        "Is the edit at the depth that was asked for?",
        "Depth estimated again on the edited frame, against the target depth of the edit. 1 is a "
        "whole clip's range of inverse depth. An edit that moves little is near the floor whether "
        "it worked or not.",
    ),
    "rmse_true_edit": (
        "Is the edit right?",
        "The edited frame against the true one, over all pixels. 0 is perfect; 255 grey levels is "
        "black for white.",
    ),
}


def render(
    tree: dict[str, Any], examples: list[Example], worst: list[Example], job_yaml: str
) -> str:
    """HTML text of ``index.html``; every text that comes from outside is escaped.

    Args:
        tree: ``report.json`` as a tree (``report.numbers``), NaN allowed, with ``pictures`` in the
            order examples, worst.
        examples: frames to show.
        worst: worst frames to show.
        job_yaml: the resolved job file.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "share": share,
        "capital": lambda text: text[:1].upper() + text[1:],
        "duration": duration,
        "file_name": lambda p: PurePath(p).name,
    }
    strips = [
        _strip(example, written["panels"], tree)
        for example, written in zip([*examples, *worst], tree["pictures"], strict=True)
    ]
    method = tree["job"]["method"]
    return environment.get_template("index.html.j2").render(
        report=tree,
        title=tree["job"]["name"] or "raydepth",
        verdict=_verdict(
            tree["frames"], bool(tree["unreadable"]), bool(tree["verdict"]["reasons"])
        ),
        sentence=(
            edit.summary if (edit := EDITS.get(tree["job"]["edit"])) else "were edited by depth"
        )
        + (f", composed by {method}" if method else ""),
        # Only synthetic clips have true edits: most reports have no place for that card.
        cards=[
            _card(name, tree)
            for name in _CARDS
            if name in THREE_RMSES or tree["metrics"][name]["count"]
        ],
        examples=strips[: len(examples)],
        worst=strips[len(examples) :],
        any_pictures=any(strip["panels"] for strip in strips),
        distributions=_figures(tree, "distribution"),
        spreads=_figures(tree, "spread"),
        courses=_figures(tree, "curves"),
        timings=_figures(tree, "seconds"),
        shots=_of_several(tree["shots"]),
        edited_videos=sorted(tree.get("edited_videos", []), key=lambda clip: not clip["failed"]),
        panel_labels=_PANEL_LABELS,
        full_videos=FULL_VIDEOS,
        most_rows=MOST_ROWS,
        three=THREE_RMSES,
        environment=_flat(tree["environment"]["machine"]) | _flat(tree["environment"]["versions"]),
        job_yaml=job_yaml,
    )


def _of_several(shots: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The shots of videos that have more than one."""
    many = Counter(shot["video"] for shot in shots)
    return [shot for shot in shots if many[shot["video"]] > 1]


def number(value: float | None, digits: int = 3) -> str:
    """A number for reading: significant digits, thousands apart, a dash for none."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}".replace(",", "\u202f")
    if abs(value) < 1e-4 or abs(value) >= 1e6:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        return f"{mantissa}·10{raised}"
    decimals = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
    return f"{value:,.{decimals}f}".replace(",", "\u202f")


def share(value: float | None) -> str:
    """A fraction as a percentage."""
    return "–" if value is None or math.isnan(value) else f"{100 * value:.3g} %"


def duration(seconds: float | None) -> str:
    """Seconds of wall clock as hours, minutes and seconds."""
    if seconds is None or math.isnan(seconds):
        return "–"
    if seconds < 60:
        return f"{number(seconds)} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def _verdict(frames: dict[str, int], some_unreadable: bool, amber: bool) -> dict[str, str]:
    """Tone (good, warn or bad) and text."""
    if frames["done"] == 0:
        return {"tone": "bad", "text": "No frame was done"}
    if frames["missing"]:
        return {"tone": "warn", "text": "Not finished: run the same command again to go on"}
    if frames["failed"]:
        return {"tone": "warn", "text": "Finished, but some frames failed"}
    if some_unreadable:
        return {"tone": "warn", "text": "Finished, but some sources could not be read"}
    if amber:
        return {"tone": "warn", "text": "Every frame is done, but look at them"}
    return {"tone": "good", "text": "Every frame is done"}


def _card(name: str, tree: dict[str, Any]) -> dict[str, Any]:
    """One RMSE, with its related rows and the places of its range bar in percent."""
    question, meaning = _CARDS[name]
    metrics = tree["metrics"]
    statistics = metrics[name]
    rows = [
        (label, number(statistics[key]), hint)
        for label, key, hint in (
            ("pooled over frames", "pooled", "root of the mean square"),
            ("median frame", "p50", ""),
            ("95 % of frames below", "p95", ""),
            ("worst frame", "max", ""),
        )
    ]
    related = {
        "rmse_truth": (
            ("AbsRel", "abs_rel_truth"),
            ("delta1", "delta1_truth"),
            ("SILog", "silog_truth"),
        ),
        "rmse_outside": (
            ("PSNR, dB", "psnr_outside"),
            ("PSNR of whole frame, dB", "psnr_all"),
            ("SSIM of whole frame", "ssim_all"),
        ),
        "rmse_target_depth": (),
        "rmse_true_edit": (
            ("inside the edit", "rmse_true_edit_inside"),
            ("SSIM", "ssim_true_edit"),
            ("SSIM inside the edit", "ssim_true_edit_inside"),
        ),
    }[name]
    for label, other in related:
        infinite = metrics[other]["infinite"]
        hint = f"infinite on {infinite} frames" if infinite else ""
        if metrics[other]["count"] or infinite:
            rows.append(
                (
                    label,
                    number(metrics[other]["mean"] if metrics[other]["count"] else math.inf),
                    hint,
                )
            )
    floor = metrics[FLOORS[name]] if name in FLOORS else None
    top = max(statistics["max"], floor["mean"] if floor and floor["count"] else 0.0) or 1.0
    places = (
        {key: 100 * statistics[key] / top for key in ("min", "p5", "p50", "p95", "max")}
        if statistics["count"]
        else None
    )
    if places and floor and floor["count"]:
        places["floor"] = 100 * floor["mean"] / top
    return {
        "name": name,
        "question": question,
        "meaning": meaning,
        "statistics": statistics,
        "unit": _UNITS.get(statistics["unit"], statistics["unit"]),
        "rows": rows,
        "floor": floor,
        "floor_is": "codec round trip" if name == "rmse_outside" else "the frame without the edit",
        "places": places,
        "top": top,
    }


def _strip(example: Example, panels: dict[str, str], tree: dict[str, Any]) -> dict[str, Any]:
    row = example.row
    measured = [
        (name, row[name], tree["metrics"][name]["unit"])
        for name in THREE_RMSES
        if _is_number(row.get(name))
    ]
    reasons = [f"worst {reason}" if reason in THREE_RMSES else reason for reason in example.reasons]
    return {"row": row, "reasons": reasons, "measured": measured, "panels": panels}


def _figures(tree: dict[str, Any], kind: str) -> list[dict[str, str]]:
    return [figure for figure in tree["figures"] if figure["kind"] == kind]


def _is_number(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections -> dotted name -> value, without what is not known."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        elif value is not None:
            flat[f"{prefix}{key}"] = value
    return flat
