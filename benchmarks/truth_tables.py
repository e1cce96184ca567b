"""Writes the ground-truth benchmark: means with bootstrap intervals, a figure, a sheet."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from raydepth.evaluate.truth import Scores

LABELS = {
    "rmse": "RMSE",
    "ssim": "SSIM",
    "lab_gap": "Lab gap",
    "lab_shift": "Lab shift",
    "seam": "seam",
    "occlusion": "occlusion",
    "background_rmse": "background RMSE",
}
_DRAWS = 2000


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Mean of scenes' values and its 95 % percentile bootstrap interval (Efron 1979): mean, low,
    high; NaN without values.
    """
    values = values[~np.isnan(values)]
    if not len(values):
        return (float("nan"),) * 3
    drawn = np.random.default_rng(seed).integers(0, len(values), (_DRAWS, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), (0.025, 0.975))
    return float(values.mean()), float(low), float(high)


def summarise(
    rows: Sequence[Mapping[str, Any]],
    methods: Sequence[str],
    edits: Sequence[str],
    against: str = "paste",
) -> dict[str, dict[str, dict[str, Any]]]:
    """By edit and method: scenes, seconds, and for each metric the mean, its interval, and both of
    the paired difference.
    """
    values = {
        (row["edit"], row["method"], row["seed"]): np.array(
            [np.nan if row[f] is None else row[f] for f in (*Scores._fields, "seconds")]
        )
        for row in rows
    }
    table: dict[str, dict[str, dict[str, Any]]] = {}
    for edit in edits:
        for method in methods:
            seeds = sorted(s for e, m, s in values if (e, m) == (edit, method))
            if not seeds:
                continue
            mine = np.stack([values[edit, method, s] for s in seeds])
            entry: dict[str, Any] = {"scenes": len(seeds), "seconds": float(np.median(mine[:, -1]))}
            both = [i for i, s in enumerate(seeds) if (edit, against, s) in values]
            for k, name in enumerate(Scores._fields):
                entry[name] = dict(zip(("mean", "low", "high"), interval(mine[:, k]), strict=True))
                if both and method != against:
                    other = np.stack([values[edit, against, seeds[i]] for i in both])
                    found = interval(mine[both, k] - other[:, k])
                    entry[name] |= dict(zip(("gain", "gain_low", "gain_high"), found, strict=True))
            table.setdefault(edit, {})[method] = entry
    return table


def write_table(
    stem: Path,
    rows: Sequence[Mapping[str, Any]],
    methods: Sequence[str],
    edits: Sequence[str],
    about: Mapping[str, Any],
) -> dict[str, dict[str, dict[str, Any]]]:
    """Writes ``stem``.json and ``stem``.md; gives the table."""
    table = summarise(rows, methods, edits)
    stem.with_suffix(".json").write_text(json.dumps({"table": table, **about}, indent=1) + "\n")
    text = [
        "# Against the true edit",
        "",
        "Written by `python -m benchmarks.ground_truth`; metrics are defined in "
        "`raydepth/evaluate/truth.py`. Means over scenes with 95 %",
        "bootstrap intervals; below each, the paired difference to `paste`, bold where its "
        "interval does not hold 0.",
        "Lower is better but for SSIM and occlusion. Seconds are of one core and one picture, "
        "composing alone.",
    ]
    for edit, entries in table.items():
        names = [
            name
            for name in LABELS
            if any(np.isfinite(entry[name]["mean"]) for entry in entries.values())
        ]
        text += [
            "",
            f"## {edit}",
            "",
            "| method | scenes | s | " + " | ".join(LABELS[n] for n in names) + " |",
        ]
        text.append("|---" * (len(names) + 3) + "|")
        for method, entry in entries.items():
            cells = [
                _cell(entry[name], 3 if name in ("ssim", "occlusion") else 2) for name in names
            ]
            text.append(
                f"| {method} | {entry['scenes']} | {entry['seconds']:.2f} | "
                + " | ".join(cells)
                + " |"
            )
    stem.with_suffix(".md").write_text("\n".join(text) + "\n")
    return table


def _cell(found: Mapping[str, float], digits: int) -> str:
    if not np.isfinite(found["mean"]):
        return ""
    cell = f"{found['mean']:.{digits}f} [{found['low']:.{digits}f}, {found['high']:.{digits}f}]"
    if "gain" in found:
        low, high = found["gain_low"], found["gain_high"]
        gain = f"{found['gain']:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"
        cell += f"<br>{f'**{gain}**' if low * high > 0 else gain}"
    return cell


def write_figure(
    file: Path, table: Mapping[str, Mapping[str, Mapping[str, Any]]], methods: Sequence[str]
) -> None:
    """Paired differences to ``paste`` with their intervals: a row for every edit, a column for
    every error.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    names = ["rmse", "lab_gap", "seam", "background_rmse"]
    figure, axes = plt.subplots(
        len(table),
        len(names),
        figsize=(13, 1.2 + (0.6 + 0.2 * len(methods)) * len(table)),
        sharey=True,
        squeeze=False,
    )
    for row, (edit, entries) in zip(axes, table.items(), strict=True):
        for axis, name in zip(row, names, strict=True):
            axis.axvline(0, color="0.6", linewidth=1)
            for place, method in enumerate(methods):
                found = entries.get(method, {}).get(name, {})
                if not np.isfinite(found.get("gain", np.nan)):
                    continue
                low, high = found["gain_low"], found["gain_high"]
                colour = "tab:green" if high < 0 else "tab:red" if low > 0 else "0.4"
                axis.plot([low, high], [place, place], color=colour, linewidth=2)
                axis.plot(found["gain"], place, "o", color=colour, markersize=4)
            axis.set_title(f"{edit}: {LABELS[name]}", fontsize=9)
            axis.tick_params(labelsize=7)
            axis.set_yticks(range(len(methods)), methods)
            axis.grid(axis="x", alpha=0.3)
    axes[0, 0].invert_yaxis()
    figure.suptitle(
        "Error against the true edit, difference to paste (left of 0 is better; 95 % intervals)",
        fontsize=10,
    )
    figure.tight_layout()
    figure.savefig(file, dpi=90)
    plt.close(figure)


def write_sheet(
    file: Path, pictures: Mapping[str, Sequence[tuple[str, Sequence[np.ndarray]]]]
) -> None:
    """One block for every edit: rows of pictures with their names beside them."""
    blocks = []
    for edit, rows in pictures.items():
        for name, shown in rows:
            label = np.full((shown[0].shape[0], 110, 3), 255, np.uint8)
            for line, text in enumerate((edit, name)):
                cv2.putText(
                    label,
                    text,
                    (4, 40 + 20 * line),
                    cv2.FONT_HERSHEY_SIMPLEX,
                    0.42,
                    (0, 0, 0),
                    1,
                    cv2.LINE_AA,
                )
            blocks.append(np.hstack([label, *shown]))
        blocks.append(np.full((8, blocks[-1].shape[1], 3), 255, np.uint8))
    cv2.imwrite(str(file), np.vstack(blocks)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
