"""Oracle study: errors of pasting if a part of the truth were known.

    python -m benchmarks.ground_truth_oracle --scenes 96 --out benchmarks/results

One part at a time is taken from the true picture: the light (one gain, grey or a colour or both;
with a plane over the picture on top), the object, what is around it, or the pixels on either side
of its edge. Means go to ``ground_truth_oracle.md``.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from benchmarks.ground_truth import Scenes
from benchmarks.ground_truth_study import EDITS, FIRST_SEED
from benchmarks.truth_cases import Bench, Target, cache_of, target
from raydepth.evaluate.truth import score
from raydepth.files.pictures import to_linear, to_srgb
from raydepth.layers.stack import LayerStack

MOVED = {"background": 0, "insert": 1}
"""Which layer of the plan comes from under another light."""
_DARK = 3e-3
"""Linear light added before a quotient."""


def variants(stack: LayerStack, moved: int, truth: Target) -> Iterator[tuple[str, np.ndarray]]:
    """Names and pictures uint8 [H,W,3]; ``stack`` is of one frame."""
    pasted, weight = stack.flatten()[0], stack.weights()[moved][0]
    light, true = to_linear(stack.layers[moved].rgb[0]), to_linear(truth.truth)
    core = truth.visible & (weight > 0.99)
    ratio = np.log((true + _DARK) / (light + _DARK))
    height, width = core.shape
    y, x = np.mgrid[:height, :width] / height
    terms = np.stack([np.ones_like(x), x, y], axis=-1)
    gain = np.median(ratio[core], axis=0)
    plane = terms @ np.linalg.lstsq(terms[core], ratio[core], rcond=None)[0]
    fields = {
        "nothing": np.zeros(3),
        "grey gain": np.full(3, gain.mean()),
        "colour of the gain": gain - gain.mean(),
        "gain": gain,
        "gain and linear shading": plane.clip(-2, 2),
    }
    rest = pasted - weight[..., None] * stack.layers[moved].rgb[0]
    for name, field in fields.items():
        lit = to_srgb((light * np.exp(field)).astype(np.float32))
        yield name, np.rint(weight[..., None] * lit + rest).clip(0, 255).astype(np.uint8)
    kernel = np.ones((3, 3), np.uint8)
    seen = truth.visible.astype(np.uint8)
    parts = {
        "what is moved": truth.visible,
        "what is around it": ~truth.visible,
        "pixels beside its edge": cv2.dilate(seen, kernel) > cv2.erode(seen, kernel),
    }
    for name, part in parts.items():
        yield name, np.where(part[..., None], truth.truth, pasted)


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=96)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--samples", type=int, default=24)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--cache", type=Path, default=Path("runs/ground_truth"))
    arguments = parser.parse_args()
    bench = Bench(
        cache_of(arguments.cache, arguments.samples), arguments.size, samples=arguments.samples
    )
    found: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for seed in range(FIRST_SEED, FIRST_SEED + arguments.scenes):
        scenes = Scenes(bench, [seed])
        for edit in EDITS:
            wanted = target(scenes.cases[0], edit)
            for name, picture in variants(scenes.plan(edit).stack, MOVED[edit], wanted):
                scored = score(
                    picture,
                    wanted.truth,
                    visible=wanted.visible,
                    given=wanted.given,
                    occlusion=float("nan"),
                )
                found.setdefault((edit, name), []).append(
                    (scored.rmse, scored.lab_gap, scored.seam)
                )
    text = [
        "# Pasting with a part of the truth",
        "",
        f"Written by `python -m benchmarks.ground_truth_oracle` on {arguments.scenes} scenes from "
        f"seed {FIRST_SEED} on; see its head.",
        "",
        "| edit | known | RMSE | Lab gap | seam |",
        "|---|---|---|---|---|",
    ]
    for (edit, name), rows in found.items():
        text.append(
            f"| {edit} | {name} | "
            + " | ".join(f"{v:.2f}" for v in np.nanmean(rows, axis=0))
            + " |"
        )
    (arguments.out / "ground_truth_oracle.md").write_text("\n".join(text) + "\n")
    print("\n".join(text))


if __name__ == "__main__":
    main()
