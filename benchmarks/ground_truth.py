"""Every method against the true edit of synthetic worlds: what FeatGLaC gains over pasting, and
what it costs, in figures.

    python -m benchmarks.ground_truth --scenes 200 --size 128 --out benchmarks/results

Cases are rendered once and kept in ``--cache``, results there too, one line each (scene, method,
edit), so that an interrupted run goes on. Frames go through raydepth's own depth, layer and compose
steps; depth is the renderer's unless ``--depth`` names a model, so that composition is judged.
Methods of the first group run on all scenes; the others on the first ``--some`` and ``--few``.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.truth_cases import (
    EDITS,
    Bench,
    EachItsOwn,
    cache_of,
    fingerprint,
    occlusion,
    target,
)
from benchmarks.truth_tables import write_figure, write_sheet, write_table
from raydepth.batch import Batch
from raydepth.compose.featglac.settings import FeatGLaCKV
from raydepth.compose.protocol import Compositor
from raydepth.compose.registry import load_compositor
from raydepth.compose.settings import Compose
from raydepth.compose.stage import ComposeStage
from raydepth.edits.plan import EditPlan
from raydepth.edits.relight.light import ClipLight
from raydepth.evaluate.truth import Scores, score
from raydepth.job import Job, parse_job
from raydepth.output.record import environment

Row = dict[str, Any]

DEFAULT = "featglac-kv"
KV: dict[str, Any] = {"method": "featglac-kv"}
PLAIN_LIGHT = {"colour": 0.0, "brightness": 0.0, "shading": 0.0}
MATCHED: dict[str, Any] = {"light": FeatGLaCKV().matched_light.model_dump()}
BY_THE_BOOK: dict[str, Any] = KV | {
    "steps": 10,
    "strength": 0.6,
    "edge_band": 1.0,
    "light": PLAIN_LIGHT,
    "alpha_matting": False,
}
"""The settings of method.md: strength 0.6, the whole region redrawn, layers' light and edges as
they are."""

METHODS: dict[str, dict[str, dict[str, Any]]] = {
    "all": {
        "paste": {"method": "paste"},
        "poisson": {"method": "poisson"},
        "paste, light matched": {"method": "paste"} | MATCHED,
        "paste, light matched, rim split": {"method": "paste", "alpha_matting": True} | MATCHED,
        DEFAULT: KV,
        "featglac-kv, light as it is": KV | {"light": PLAIN_LIGHT},
    },
    "some": {
        "plain img2img (weight 0)": KV | {"inject": {"weight": 0.0}},
        "featglac-kv, no blend": KV | {"blend": False},
        "featglac-kv concat": KV | {"inject": {"mode": "concat"}},
        "featglac-kv concat, no blend": KV | {"inject": {"mode": "concat"}, "blend": False},
        "featglac-kv replace": KV | {"inject": {"mode": "replace"}},
        "featglac-kv replace, no blend": KV | {"inject": {"mode": "replace"}, "blend": False},
        "featglac-kv by the book": BY_THE_BOOK,
    },
    "few": {
        "featglac-grad lite": {
            "method": "featglac-grad",
            "grad": {"recipe": "lite", "strength": 0.5},
            "edge_band": FeatGLaCKV().edge_band,
            "alpha_matting": True,
        }
        | MATCHED,
    },
}

DRAWN = [
    "poisson",
    "paste, light matched",
    "paste, light matched, rim split",
    DEFAULT,
    "featglac-kv, light as it is",
    "featglac-kv by the book",
    "featglac-grad lite",
]
"""Methods in the figure; the others hardly differ from ``featglac-kv``."""


class Scenes:
    """Some cases after depth and layers, ready to be composed together."""

    def __init__(self, bench: Bench, seeds: list[int]) -> None:
        self.bench, self.cases = bench, [bench.case(seed) for seed in seeds]
        layered = [bench.layered(case) for case in self.cases]
        self.builders = [builder for _, builder in layered]
        self.batch: Batch = {
            name: np.concatenate([batch[name] for batch, _ in layered]) for name in layered[0][0]
        }
        self._plans: dict[tuple[str, bool], EditPlan] = {}
        self._lights: dict[str, dict[str, ClipLight | None]] = {}

    def plan(self, edit: str, split: bool = False) -> EditPlan:
        if (edit, split) not in self._plans:
            built = [build(edit, split) for build in self.builders]
            self._plans[edit, split] = EachItsOwn([builder for builder, _ in built])(self.batch)
            self._lights[edit] = dict(
                zip(self.batch["video"], [light for _, light in built], strict=True)
            )
        return self._plans[edit, split]

    def compose(self, edit: str, compositor: Compositor, compose: Compose) -> np.ndarray:
        """Edited pictures uint8 [N,H,W,3]; a scene that fails is an error of the benchmark."""
        plan = self.plan(edit, compose.matte_edges)
        done = ComposeStage(
            lambda _: plan,
            compositor,
            0,
            light=compose.matched_light,
            lights=self._lights[edit],
        )(self.batch)
        if (done["status"] != "ok").any():
            raise RuntimeError(f"{edit}: {done['error_type']} {done['error_message']}")
        return done["edited"]

    def scores(self, edit: str, edited: np.ndarray) -> list[Scores]:
        found = []
        for row, (case, picture) in enumerate(zip(self.cases, edited, strict=True)):
            wanted = target(case, edit)
            right = (
                occlusion(case, picture, self.plan(edit), row) if edit == "insert" else float("nan")
            )
            found.append(
                score(
                    picture,
                    wanted.truth,
                    visible=wanted.visible,
                    given=wanted.given,
                    occlusion=right,
                )
            )
        return found


def compose_of(settings: dict[str, Any]) -> Compose:
    """The job's section of a method."""
    job: Job = parse_job(
        {
            "schema_version": 1,
            "input": {"paths": ["-"]},
            "output": {"path": "-"},
            "compose": settings,
        }
    )
    return job.compose


class Results:
    """Rows kept in a file of JSON lines, one for every scene, method and edit."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.rows: dict[tuple[int, str, str], Row] = {}
        if file.exists():
            for line in file.read_text().splitlines():
                row = json.loads(line)
                self.rows[row["seed"], row["method"], row["edit"]] = row

    def has(self, seed: int, method: str, edit: str, key: str) -> bool:
        row = self.rows.get((seed, method, edit))
        return row is not None and row["key"] == key

    def add(self, rows: list[Row]) -> None:
        with self.file.open("a") as file:
            for row in rows:
                file.write(json.dumps(row) + "\n")
                self.rows[row["seed"], row["method"], row["edit"]] = row


def measure(
    bench: Bench,
    seeds: list[int],
    methods: dict[str, dict[str, Any]],
    results: Results,
    *,
    edits: tuple[str, ...] = EDITS,
    together: int = 8,
) -> None:
    """Composes what is missing, ``together`` scenes in one call, and keeps it."""
    compositors = {
        name: load_compositor(compose_of(settings), device="cpu", dtype="float32")
        for name, settings in methods.items()
    }
    began = time.perf_counter()
    for start in range(0, len(seeds), together):
        part = seeds[start : start + together]
        scenes = Scenes(bench, part)
        prints = [fingerprint(case) for case in scenes.cases]
        for name, settings in methods.items():
            compose = compose_of(settings)
            keys = [f"{one} {compose.model_dump_json()}" for one in prints]
            for edit in edits:
                if all(results.has(s, name, edit, k) for s, k in zip(part, keys, strict=True)):
                    continue
                started = time.process_time()
                edited = scenes.compose(edit, compositors[name], compose)
                seconds = (time.process_time() - started) / len(part)
                results.add(
                    [
                        {
                            "seed": seed,
                            "method": name,
                            "edit": edit,
                            "seconds": round(seconds, 4),
                            "key": key,
                        }
                        | {f: None if np.isnan(v) else v for f, v in scored._asdict().items()}
                        for seed, key, scored in zip(
                            part, keys, scenes.scores(edit, edited), strict=True
                        )
                    ]
                )
        print(
            f"{start + len(part)} of {len(seeds)} scenes, {time.perf_counter() - began:.0f} s",
            flush=True,
        )


def main() -> None:
    """Measures what is missing and writes table, figure and sheet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--some", type=int, default=40)
    parser.add_argument("--few", type=int, default=8)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument(
        "--samples", type=int, default=24, help="paths a pixel that the cases are rendered with"
    )
    parser.add_argument("--depth", default="truth")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--cache", type=Path, default=Path("runs/ground_truth"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cache = cache_of(arguments.cache, arguments.samples)
    cache.mkdir(parents=True, exist_ok=True)
    bench = Bench(cache, arguments.size, arguments.depth, samples=arguments.samples)
    name = "ground_truth" if arguments.depth == "truth" else "ground_truth_estimated"
    results = Results(cache / f"{name}_{arguments.size}.jsonl")
    counts = {"all": arguments.scenes, "some": arguments.some, "few": arguments.few}
    for group, methods in METHODS.items():
        measure(bench, list(range(min(counts[group], arguments.scenes))), methods, results)
    settings = {name: value for group in METHODS.values() for name, value in group.items()}
    wanted = [row for row in results.rows.values() if row["method"] in settings]
    arguments.out.mkdir(parents=True, exist_ok=True)
    about = {
        "settings": {name: str(value) for name, value in vars(arguments).items()},
        "methods": {name: compose_of(value).model_dump() for name, value in settings.items()},
        "environment": environment(),
    }
    table = write_table(arguments.out / name, wanted, list(settings), EDITS, about)
    write_figure(arguments.out / f"{name}.png", table, DRAWN)
    shown = ["paste", "poisson", DEFAULT]
    scenes = Scenes(bench, list(range(6)))
    pictures = {}
    for edit in EDITS:
        rows = [("input", [case.rgb for case in scenes.cases])]
        for method in shown:
            compose = compose_of(settings[method])
            made = scenes.compose(
                edit, load_compositor(compose, device="cpu", dtype="float32"), compose
            )
            rows.append((method, list(made)))
        rows.append(("truth", [target(case, edit).truth for case in scenes.cases]))
        pictures[edit] = rows
    write_sheet(arguments.out / f"{name}_sheet.jpg", pictures)


if __name__ == "__main__":
    main()
