"""Effect of the injected keys and values in the built-in model, weight 1 against weight 0.

It is measured on attention, latents and picture.

    python -m benchmarks.injection --scenes 8 --out benchmarks/results

The whole region is generated and all blocks are injected, on the scenes of the study. Attention is
compared in the first step, where both runs see the same latents; ``features`` are what a block adds
its attention to. Norms are over the generated rows.
"""

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.ground_truth import BY_THE_BOOK, Scenes, compose_of
from benchmarks.ground_truth_study import EDITS, FIRST_SEED
from benchmarks.truth_cases import Bench, cache_of
from raydepth.compose.featglac.kv import FeatGLaC
from raydepth.compose.registry import load_compositor
from raydepth.diffusion.attention import select
from raydepth.output.record import environment

BLOCKS = ["down", "mid", "up"]


class Trace(NamedTuple):
    """What one run left: first attention outputs and features by module, final latents, edited
    pictures.
    """

    attention: dict[str, torch.Tensor]
    features: dict[str, torch.Tensor]
    latents: torch.Tensor
    edited: np.ndarray


def trace(scenes: Scenes, edit: str, settings: dict[str, Any]) -> Trace:
    """Composes the scenes and records the generated rows."""
    compose = compose_of(settings)
    compositor = load_compositor(compose, device="cpu", dtype="float32")
    assert isinstance(compositor, FeatGLaC)
    models, rows = compositor.models, len(scenes.cases)
    attention: dict[str, torch.Tensor] = {}
    features: dict[str, torch.Tensor] = {}
    final: list[torch.Tensor] = []

    def keep(store: dict[str, torch.Tensor], name: str, values: torch.Tensor) -> None:
        store.setdefault(name, values[:rows].clone())

    for name, module in select(models.unet, BLOCKS).items():
        around = models.unet.get_submodule(name.removesuffix(".attn1"))
        module.register_forward_hook(lambda _, __, output, name=name: keep(attention, name, output))
        around.register_forward_pre_hook(lambda _, given, name=name: keep(features, name, given[0]))
    decode = models.codec.decode

    def decode_kept(latents: torch.Tensor) -> torch.Tensor:
        final.append(latents.clone())
        return decode(latents)

    models.codec.decode = decode_kept  # type: ignore[method-assign]
    edited = scenes.compose(edit, compositor, compose)
    return Trace(attention, features, final[0], edited)


def share(change: torch.Tensor, of: torch.Tensor) -> float:
    return float(change.norm() / of.norm())


def main() -> None:
    """Measures and stores."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--samples", type=int, default=24)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--cache", type=Path, default=Path("runs/ground_truth"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(cache_of(arguments.cache, arguments.samples), 128, samples=arguments.samples)
    scenes = Scenes(bench, list(range(FIRST_SEED, FIRST_SEED + arguments.scenes)))
    rows: list[dict[str, Any]] = []
    for edit in EDITS:
        pasted = scenes.plan(edit).stack.flatten().astype(np.float32)
        for strength in (0.2, 0.6):
            runs = {
                (mode, weight): trace(
                    scenes,
                    edit,
                    BY_THE_BOOK
                    | {
                        "strength": strength,
                        "inject": {"mode": mode, "weight": weight, "blocks": BLOCKS},
                    },
                )
                for mode, weight in (("mosaic", 0.0), ("mosaic", 1.0), ("replace", 1.0))
            }
            plain = runs.pop(("mosaic", 0.0))
            for (mode, _), run in runs.items():
                changes = {
                    name: run.attention[name] - plain.attention[name] for name in plain.attention
                }
                rows.append(
                    {
                        "edit": edit,
                        "strength": strength,
                        "mode": mode,
                        "attention": [
                            share(changes[name], plain.attention[name]) for name in changes
                        ],
                        "features": [
                            share(changes[name], plain.features[name]) for name in changes
                        ],
                        "latents": share(run.latents - plain.latents, plain.latents),
                        "picture": float(
                            np.sqrt(np.square(run.edited.astype(np.float32) - plain.edited).mean())
                        ),
                        "redrawing": float(np.sqrt(np.square(plain.edited - pasted).mean())),
                    }
                )
                print(rows[-1], flush=True)
    record = {"runs": rows, "environment": environment()}
    (arguments.out / "injection.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
