"""Finds the defaults of featglac-kv by coordinate search against the true edit.

Its scenes are other ones than the benchmark's.

    python -m benchmarks.ground_truth_study --scenes 32 --size 128 --out benchmarks/results

One setting after another is tried at several values while the others stay at the best found so far.
What is made small is the mean over the edits ``background`` and ``insert`` of RMSE, Lab gap and
seam score, each as a ratio to that of ``paste`` (means over scenes): 1 is pasting. Writes every
trial to ``ground_truth_study.md`` and ``.json``.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.ground_truth import PLAIN_LIGHT, Scenes, compose_of
from benchmarks.truth_cases import Bench, cache_of
from raydepth.compose.registry import load_compositor
from raydepth.evaluate.truth import Scores
from raydepth.output.record import environment

FIRST_SEED = 5000
"""The benchmark's seeds begin at 0."""
EDITS = ("background", "insert")
JUDGED = ("rmse", "lab_gap", "seam")
START: dict[str, Any] = {
    "method": "featglac-kv",
    "sampler": "ddim",
    "steps": 10,
    "strength": 0.6,
    "edge_band": 1.0,
    "blend": True,
    "light": PLAIN_LIGHT,
    "alpha_matting": False,
    "inject": {"mode": "mosaic", "weight": 1.0, "blocks": ["up"], "window": [0.0, 1.0]},
}
"""The published method's settings: the whole region is generated, light and edges stay."""
WORTH = 5e-4
"""A change that gains less is none."""
TRIALS: list[tuple[str, list[Any]]] = [
    ("strength", [0.2, 0.4]),
    ("edge_band", [0.008, 0.016, 0.03]),
    ("light.colour", [0.5, 0.8, 1.0]),
    ("light.brightness", [0.3]),
    ("light.shading", [0.5, 1.0]),
    ("alpha_matting", [True]),
    ("edge_band", [0.008, 0.016]),
    ("inject.weight", [0.0, 0.5]),
    ("inject.mode", ["concat", "replace"]),
    ("inject.blocks", [["down", "mid", "up"]]),
    ("inject.window", [[0.0, 0.5]]),
    ("blend", [False]),
    ("strength", [0.4, 0.6]),
    ("edge_band", [0.016, 0.03]),
    ("strength", [0.3]),
    ("steps", [5, 20]),
    ("sampler", ["dpm++"]),
]
"""In this order; strength first, since it says what all later trials cost."""


def changed(settings: dict[str, Any], field: str, value: Any) -> dict[str, Any]:
    """The settings with one field, ``section.name`` or ``name``, at another value."""
    section, _, name = field.rpartition(".")
    return settings | ({section: settings[section] | {name: value}} if section else {name: value})


def means(groups: list[Scenes], settings: dict[str, Any]) -> dict[str, dict[str, float]]:
    """By edit, the means of all metrics over all scenes, and the seconds of a picture."""
    compose = compose_of(settings)
    compositor = load_compositor(compose, device="cpu", dtype="float32")
    found: dict[str, dict[str, float]] = {}
    for edit in EDITS:
        began, scores = time.process_time(), []
        for scenes in groups:
            scores += scenes.scores(edit, scenes.compose(edit, compositor, compose))
        values = np.array(scores)
        columns = [column[~np.isnan(column)] for column in values.T]
        found[edit] = {
            name: float(column.mean()) if len(column) else float("nan")
            for name, column in zip(Scores._fields, columns, strict=True)
        }
        found[edit]["seconds"] = (time.process_time() - began) / len(scores)
    return found


def judge(found: dict[str, dict[str, float]], paste: dict[str, dict[str, float]]) -> float:
    """The number that is made small; 1 is pasting."""
    return float(
        np.mean([found[edit][name] / paste[edit][name] for edit in EDITS for name in JUDGED])
    )


def main() -> None:
    """Searches and writes; trials are kept in the cache, so that an interrupted search goes on."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=32)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument(
        "--samples", type=int, default=24, help="paths a pixel that the cases are rendered with"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--cache", type=Path, default=Path("runs/ground_truth"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cache = cache_of(arguments.cache, arguments.samples)
    bench = Bench(cache, arguments.size, samples=arguments.samples)
    seeds = list(range(FIRST_SEED, FIRST_SEED + arguments.scenes))
    groups = [Scenes(bench, seeds[i : i + 8]) for i in range(0, len(seeds), 8)]
    known = cache / f"study_{arguments.size}_{arguments.scenes}.jsonl"
    measured = {}
    if known.exists():
        measured = {
            row["key"]: row["means"] for row in map(json.loads, known.read_text().splitlines())
        }

    def try_out(settings: dict[str, Any]) -> dict[str, dict[str, float]]:
        key = compose_of(settings).model_dump_json()
        if key not in measured:
            measured[key] = means(groups, settings)
            with known.open("a") as file:
                file.write(json.dumps({"key": key, "means": measured[key]}) + "\n")
        return measured[key]

    paste = try_out({"method": "paste"})
    best, found = START, try_out(START)
    lowest = judge(found, paste)
    trials: list[dict[str, Any]] = [
        {"field": "start", "value": "", "score": lowest, "kept": True, "means": found}
    ]
    for field, values in TRIALS:
        before = best
        for value in values:
            settings = changed(before, field, value)
            if settings == best:
                continue
            found = try_out(settings)
            score = judge(found, paste)
            kept = score < lowest - WORTH
            if kept:
                best, lowest = settings, score
            trials.append(
                {"field": field, "value": value, "score": score, "kept": kept, "means": found}
            )
            print(f"{field} = {value}: {score:.4f}{' *' if kept else ''}", flush=True)
    text = [
        "# Study of featglac-kv's settings",
        "",
        f"Written by `python -m benchmarks.ground_truth_study` on {len(seeds)} scenes from seed "
        f"{FIRST_SEED} on. Score: mean ratio to `paste` of",
        "RMSE, Lab gap and seam over `background` and `insert`, lower is better, 1 is pasting. "
        "Each line changes one setting of the best so far;",
        "`*`: the best from there on.",
        "",
        "| setting | value | score | "
        + " | ".join(f"{e} {n}" for e in EDITS for n in JUDGED)
        + " | s |",
        "|---" * (4 + len(EDITS) * len(JUDGED)) + "|",
    ]
    pasted: dict[str, Any] = {
        "field": "paste",
        "value": "",
        "score": 1.0,
        "kept": False,
        "means": paste,
    }
    for trial in [pasted, *trials]:
        numbers = [f"{trial['means'][e][n]:.2f}" for e in EDITS for n in JUDGED]
        seconds = np.mean([trial["means"][e]["seconds"] for e in EDITS])
        text.append(
            f"| {trial['field']} | {trial['value']} | "
            f"{trial['score']:.4f}{' *' if trial['kept'] else ''} | "
            + " | ".join(numbers)
            + f" | {seconds:.2f} |"
        )
    text += ["", f"Best: `{json.dumps(best)}`"]
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "ground_truth_study.md").write_text("\n".join(text) + "\n")
    record = {
        "best": best,
        "paste": paste,
        "trials": trials,
        "seeds": seeds,
        "environment": environment(),
    }
    (arguments.out / "ground_truth_study.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
