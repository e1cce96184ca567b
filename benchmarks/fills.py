"""Fillers against true fills: what synthetic worlds show behind their near things, as each method
of ``layers.fill`` guesses it.

    python -m benchmarks.fills --cache runs/ground_truth --out benchmarks/results

Cases, and the cache they are kept in, are those of ``benchmarks.ground_truth``; their seeds were
never trained on. The hole is the true near layer, grown as a job grows it, and all figures are of
the hole alone: RMSE in grey levels, SSIM, and seconds of one core.
"""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.truth_cases import cache_of, load_case, target
from benchmarks.truth_tables import interval
from raydepth.evaluate.image import rmse, ssim
from raydepth.layers.fill.hole import fill_hole
from raydepth.layers.fill.protocol import Filler
from raydepth.layers.fill.registry import load_filler
from raydepth.layers.fill.settings import DiffusionFill, Fill, OpenCVFill
from raydepth.output.record import environment

METHODS: dict[str, Fill] = {
    "telea": OpenCVFill(),
    "navier-stokes": OpenCVFill(method="navier-stokes"),
    "diffusion, builtin": DiffusionFill(method="diffusion", model="builtin"),
}


def load(fill: Fill) -> Filler:
    """The filler of a job with this section, on the CPU."""
    return load_filler(fill)


@dataclass
class Filled:
    """One case as a method filled it: pictures uint8 [S,S,3], hole bool [S,S]."""

    background: np.ndarray
    hole: np.ndarray
    figures: dict[str, float]


def fill_case(filler: Filler, rgb: np.ndarray, near: np.ndarray, truth: np.ndarray) -> Filled:
    """Fills behind ``near`` bool [S,S] and measures it."""
    started = time.process_time()
    background, hole = fill_hole(filler, rgb, near.astype(np.float32), OpenCVFill().dilate)
    seconds = time.process_time() - started
    figures = {
        "rmse": rmse(background, truth, hole),
        "ssim": ssim(background, truth, hole),
        "seconds": seconds,
    }
    return Filled(background, hole, figures)


def summarise(rows: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, Any]]:
    """By method: mean and interval of RMSE and SSIM, the same of the paired difference to
    ``telea``, median seconds.
    """
    table: dict[str, dict[str, Any]] = {}
    for method, found in rows.items():
        table[method] = {
            "holes": len(found),
            "seconds": float(np.median([row["seconds"] for row in found])),
        }
        for name in ("rmse", "ssim"):
            mine, telea = (np.array([row[name] for row in of]) for of in (found, rows["telea"]))
            table[method][name] = interval(mine)
            table[method][f"{name}_gain"] = interval(mine - telea)
            better = mine < telea if name == "rmse" else mine > telea
            table[method][f"{name}_better"] = float(better.mean())
    return table


def markdown(tables: dict[int, dict[str, dict[str, Any]]]) -> str:
    """The tables as a page."""
    lines = [
        "# Fills against the truth",
        "",
        "Written by `python -m benchmarks.fills`: what is behind the near things of synthetic "
        "scenes that were never trained on, against",
        "what each method of `layers.fill` guesses, in the hole alone. Means with 95 % bootstrap "
        "intervals; then the paired difference to",
        "`telea` (bold where its interval does not hold 0) and the share of holes in which the "
        "method is better. Seconds are of one",
        "core and one picture, median.",
    ]
    for size, table in tables.items():
        lines += [
            "",
            f"## {size} x {size}",
            "",
            "| method | holes | RMSE | SSIM | s |",
            "|---|---|---|---|---|",
        ]
        for method, entry in table.items():
            cells = []
            for name, digits in (("rmse", 2), ("ssim", 3)):
                mean, low, high = entry[name]
                cell = f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
                if method != "telea":
                    gain, low, high = entry[f"{name}_gain"]
                    text = f"{gain:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"
                    cell += f"<br>{f'**{text}**' if low * high > 0 else text}, better in {entry[f'{name}_better']:.0%}"
                cells.append(cell)
            lines.append(
                f"| {method} | {entry['holes']} | {' | '.join(cells)} | {entry['seconds']:.3f} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Renders the cases that are missing, fills them, and writes tables and a sheet of pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--scenes", type=int, nargs="+", default=[200, 12], help="for each of --sizes"
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--samples", type=int, default=24)
    parser.add_argument("--cache", type=Path, default=Path("runs/ground_truth"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument(
        "--sheet", type=Path, help="PNG of the first ten cases: input, hole, methods, truth"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cache = cache_of(arguments.cache, arguments.samples)
    fillers = {name: load(fill) for name, fill in METHODS.items()}
    tables, columns = {}, []
    for size, scenes in zip(arguments.sizes, arguments.scenes, strict=True):
        rows: dict[str, list[dict[str, float]]] = {name: [] for name in METHODS}
        for seed in range(scenes):
            case = load_case(cache, seed, size, arguments.samples)
            truth = target(case, "remove").truth
            done = {
                name: fill_case(filler, case.rgb, case.near, truth)
                for name, filler in fillers.items()
            }
            for name, filled in done.items():
                rows[name].append(filled.figures)
            if size == arguments.sizes[0] and seed < 10:
                cut = np.where(done["telea"].hole[..., None], np.uint8(128), case.rgb)
                pictures = [case.rgb, cut, *(filled.background for filled in done.values()), truth]
                columns.append(np.concatenate(pictures))
        tables[size] = summarise(rows)
        print(markdown({size: tables[size]}), flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    about = {"samples": arguments.samples, "environment": environment()}
    (arguments.out / "fills.json").write_text(
        json.dumps({"tables": tables, **about}, indent=1) + "\n"
    )
    (arguments.out / "fills.md").write_text(markdown(tables))
    if arguments.sheet:
        cv2.imwrite(str(arguments.sheet), np.concatenate(columns, 1)[..., ::-1])


if __name__ == "__main__":
    main()
