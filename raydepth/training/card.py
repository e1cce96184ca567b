"""Measures the built-in models on scenes and frames that they never saw and writes MODEL_CARD.md
with pictures.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Literal

import av
import numpy as np
import torch
from PIL import Image

from raydepth.depth.hub import HubDepth
from raydepth.diffusion.settings import Diffusion
from raydepth.evaluate.depth import abs_rel, align, delta, order_accuracy, readings, sample_pairs
from raydepth.evaluate.image import psnr, rmse, ssim
from raydepth.layers.fill.diffusion import load_diffusion_filler
from raydepth.layers.fill.hole import fill_hole
from raydepth.layers.fill.protocol import Filler
from raydepth.layers.fill.registry import load_filler
from raydepth.layers.fill.settings import DiffusionFill, OpenCVFill
from raydepth.models import builtin
from raydepth.training.data import render
from raydepth.training.harmonise import Harmoniser

SHORT_SIDE = 192
"""Short side in pixels at which the depth model is measured; it is also what its preprocessor file
asks for."""

NAMES: tuple[Literal["depth", "diffusion", "inpaint"], ...] = ("depth", "diffusion", "inpaint")
"""The built-in models."""

STRENGTHS = (0.3, 0.4, 0.5, 0.6)

Truth = tuple[np.ndarray, np.ndarray]
"""A picture uint8 [H, W, 3] and its depth in metres float32 [H, W], 0 or NaN where there is no
reading."""


def scenes(held_out: Path, style: str) -> list[Truth]:
    """Held-out scenes, `calm` or `wide`."""
    pictures, inverses = (np.load(held_out / f"{style}-{name}.npy") for name in ("rgb", "inv"))
    return [
        (rgb, 1 / inverse.astype(np.float32))
        for rgb, inverse in zip(pictures, inverses, strict=True)
    ]


def real_depth(folder: Path) -> dict[str, list[Truth]]:
    """Real pictures with measured depth, as far as they are there."""
    found: dict[str, list[Truth]] = {}
    if (folder / "rgbd/nyu").is_dir():
        rgb, depth = (
            np.squeeze(np.load(folder / f"rgbd/nyu/{name}.npy")) for name in ("rgb", "depth")
        )
        rgb = rgb if rgb.shape[2] == 3 else rgb.transpose(1, 2, 0)
        found["NYUv2, one indoor frame"] = [
            ((rgb * 255).round().astype(np.uint8), depth.astype(np.float32))
        ]
    if (folder / "rgbd/sequence").is_dir():
        found["Open3D living room, 5 frames"] = [
            (
                np.asarray(Image.open(name)),
                np.asarray(Image.open(folder / f"rgbd/sequence/depth/{name.stem}.png")).astype(
                    np.float32
                )
                / 1000,
            )
            for name in sorted((folder / "rgbd/sequence/color").glob("*.jpg"))
        ]
    try:
        from skimage.data import stereo_motorcycle
    except ImportError:
        return found
    left, _, disparity = stereo_motorcycle()
    metres = 994.978 * 193.001 / (disparity + 31.086) / 1000
    found["Middlebury motorcycle, one stereo pair"] = [
        (left, np.where(np.isfinite(metres), metres, 0).astype(np.float32))
    ]
    return found


def real_frames(folder: Path, side: int = 256, each: int = 3) -> list[np.ndarray]:
    """Frames of the real clips, short side `side`, cut to multiples of 16."""
    pictures = []
    for name in sorted((folder / "videos").glob("*.mp4")):
        with av.open(str(name)) as container:
            frames = [f for i, f in enumerate(container.decode(video=0)) if i % 90 == 10][:each]
            for frame in frames:
                scale = side / min(frame.height, frame.width)
                small = frame.to_image().resize(
                    (round(frame.width * scale), round(frame.height * scale)),
                    Image.Resampling.LANCZOS,
                )
                pictures.append(
                    np.asarray(small)[: small.height // 16 * 16, : small.width // 16 * 16].copy()
                )
    return pictures


def depth_rows(model: HubDepth, sets: dict[str, list[Truth]]) -> list[str]:
    """Markdown rows: each set's mean figures, beside those of the guess that lower in the picture
    is nearer.
    """
    rows = []
    for name, truths in sets.items():
        figures = []
        for rgb, depth in truths:
            ramp = np.broadcast_to(
                np.linspace(0, 1, rgb.shape[0], dtype=np.float32)[:, None], depth.shape
            )
            pairs = sample_pairs(readings(depth, depth), 4000, seed=0)
            row = []
            for guess in (model({"rgb": rgb[None]})[0], ramp):
                valid = readings(guess, depth)
                metres = align(guess, depth, "disparity_rel").depth
                row += [
                    abs_rel(metres, depth, valid),
                    delta(metres, depth, valid),
                    order_accuracy(guess, depth, pairs),
                ]
            figures.append(row)
        mean = np.mean(figures, axis=0)
        rows.append(
            f"| {name} ({len(truths)}) | " + " | ".join(f"{value:.3f}" for value in mean) + " |"
        )
    return rows


def redraw_rows(redraw: Harmoniser, sets: dict[str, list[np.ndarray]]) -> list[str]:
    """Markdown rows: mean PSNR in dB of image-to-image against its input at every strength."""
    rows = []
    for name, pictures in sets.items():
        if pictures:
            means = [
                np.mean([psnr(redraw(rgb, strength=s), rgb) for rgb in pictures]) for s in STRENGTHS
            ]
            rows.append(
                f"| {name} ({len(pictures)}) | "
                + " | ".join(f"{value:.1f}" for value in means)
                + " |"
            )
    return rows


def round_trip_error(redraw: Harmoniser, pictures: list[np.ndarray]) -> int:
    """Largest difference in grey levels after encoding and decoding."""
    return max(int(np.abs(redraw(rgb, strength=0.0).astype(int) - rgb).max()) for rgb in pictures)


def composites(calm: list[Truth], count: int) -> list[np.ndarray]:
    """Naive composites: the near part of one scene, its colours off, pasted on another; uint8 [S,
    S, 3] each.
    """
    results = []
    near, far = calm[: 2 * count : 2], calm[1 : 2 * count : 2]
    for (front, depth), (back, _) in zip(near, far, strict=True):
        tinted = (
            (front.astype(np.float32) * np.array([1.12, 1.0, 0.85])).clip(0, 255).astype(np.uint8)
        )
        mask = depth < np.quantile(depth, 0.25)
        results.append(np.where(mask[..., None], tinted, back))
    return results


Hole = tuple[np.ndarray, np.ndarray, np.ndarray]
"""A picture uint8 [S, S, 3], where its near things are float32 [S, S], and what is behind them
uint8 [S, S, 3]."""


def holes(held_out: Path, side: int) -> list[Hole]:
    """True fills of held-out scene setups."""
    rgb, near, fill = (
        np.load(held_out / f"holes-{side}-{name}.npy") for name in ("rgb", "near", "fill")
    )
    return list(zip(rgb, near.astype(np.float32), fill, strict=True))


def fill_rows(fillers: dict[str, Filler], sets: dict[str, list[Hole]]) -> list[str]:
    """Markdown rows: each filler's mean RMSE in grey levels and SSIM in the holes."""
    rows = []
    for name, truths in sets.items():
        for method, filler in fillers.items():
            filled = [fill_hole(filler, rgb, near, OpenCVFill().dilate) for rgb, near, _ in truths]
            pairs = [
                (made, truth, hole)
                for (made, hole), (_, _, truth) in zip(filled, truths, strict=True)
            ]
            error, likeness = (
                np.mean([measure(*pair) for pair in pairs]) for measure in (rmse, ssim)
            )
            rows.append(f"| {name} ({len(truths)}) | {method} | {error:.1f} | {likeness:.3f} |")
    return rows


def draw_curves(logs: dict[str, Path], path: Path) -> None:
    """Saves the loss of every model over its training steps, as its log has it; loss spans differ,
    so each has its own axis.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(logs), figsize=(3.6 * len(logs), 2.8), squeeze=False)
    for axis, (name, log) in zip(axes[0], logs.items(), strict=True):
        entries = [json.loads(line) for line in log.read_text().splitlines()]
        axis.plot(
            [entry["step"] for entry in entries], [entry["loss"] for entry in entries], linewidth=1
        )
        axis.set(title=f"{name}/", xlabel="step", ylabel="training loss")
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)


def _grey(values: np.ndarray) -> np.ndarray:
    low, high = np.quantile(values, [0.01, 0.99])
    return np.repeat(
        ((values - low) / max(high - low, 1e-6) * 255).clip(0, 255).astype(np.uint8)[..., None],
        3,
        axis=2,
    )


def _sheet(columns: list[list[np.ndarray]], cell: int, path: Path) -> None:
    """Saves pictures as a table, one inner list a column."""
    cells = [
        [
            np.asarray(Image.fromarray(p).resize((cell, cell), Image.Resampling.LANCZOS))
            for p in column
        ]
        for column in columns
    ]
    Image.fromarray(np.concatenate([np.concatenate(column) for column in cells], axis=1)).save(
        path, optimize=True
    )


def main() -> None:
    """Evaluates the models in the package and writes MODEL_CARD.md and card/*.png beside them."""
    parser = argparse.ArgumentParser(
        prog="python -m raydepth.training.card", description=main.__doc__
    )
    home = Path(builtin.__file__).parent
    parser.add_argument(
        "--real",
        type=Path,
        default=home.parents[2] / "shared" / "data",
        help="real test data; skipped where absent",
    )
    parser.add_argument("--scenes", type=int, default=60, help="held-out scenes of each style")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        render("held-out", Path(folder), scenes=arguments.scenes)
        write_card(home, Path(folder), arguments.real)


def write_card(home: Path, held_out: Path, real: Path) -> None:
    """Evaluates the models in `home` on rendered and on real pictures and writes the card there."""
    pictures = home / "card"
    pictures.mkdir(exist_ok=True)

    depth = HubDepth(str(builtin.path("depth")), name="builtin", input_size=SHORT_SIDE)
    calm, wide = scenes(held_out, "calm"), scenes(held_out, "wide")
    sets = {
        "Held-out calm scenes": calm,
        "Held-out wide scenes": wide,
        **real_depth(real),
    }
    shown = [*calm[:3], *wide[:4]]
    _sheet(
        [[rgb, _grey(1 / metres), _grey(depth({"rgb": rgb[None]})[0])] for rgb, metres in shown],
        144,
        pictures / "depth.png",
    )

    redraw = Harmoniser(builtin.path("diffusion"))
    drawn = {
        "Held-out calm scenes": [rgb for rgb, _ in calm[:6]],
        "Held-out wide scenes": [rgb for rgb, _ in wide[:6]],
        "Real clips": real_frames(real),
    }
    inputs = [calm[0][0], wide[2][0], *composites(calm, 2)]
    _sheet(
        [[rgb, *(redraw(rgb, strength=s) for s in (0.3, 0.45, 0.6))] for rgb in inputs],
        144,
        pictures / "diffusion.png",
    )

    fillers = {
        "`telea`": load_filler(OpenCVFill()),
        "`inpaint`": load_diffusion_filler(
            DiffusionFill(method="diffusion", model="builtin"),
            Diffusion(),
            seed=0,
            device="cpu",
            dtype="float32",
            loaded=None,
        ),
    }
    hidden = {
        "Held-out, 128 x 128": holes(held_out, 128),
        "Held-out, 256 x 256": holes(held_out, 256),
    }
    columns = []
    for rgb, near, truth in hidden["Held-out, 128 x 128"][:7]:
        made = [fill_hole(filler, rgb, near, OpenCVFill().dilate) for filler in fillers.values()]
        cut = np.where(made[0][1][..., None], np.uint8(128), rgb)
        columns.append([rgb, cut, *(background for background, _ in made), truth])
    _sheet(columns, 144, pictures / "inpaint.png")
    draw_curves(
        {name: builtin.path(name) / "training_log.jsonl" for name in NAMES}, pictures / "curves.png"
    )

    text = (home / "card.template.md").read_text()
    fields: dict[str, object] = {
        "depth_rows": "\n".join(depth_rows(depth, sets)),
        "redraw_rows": "\n".join(redraw_rows(redraw, drawn)),
        "fill_rows": "\n".join(fill_rows(fillers, hidden)),
        "strengths": " | ".join(f"strength {s}" for s in STRENGTHS),
        "rules": "|".join(["---"] * (1 + len(STRENGTHS))),
        "round_trip": round_trip_error(redraw, [rgb for group in drawn.values() for rgb in group]),
        "torch": torch.__version__,
    }
    for name in NAMES:
        folder = builtin.path(name)
        effort = json.loads((folder / "training.json").read_text())
        fields |= {f"{name}_{key}": value for key, value in effort.items()}
        fields[f"{name}_megabytes"] = (
            f"{sum(f.stat().st_size for f in folder.rglob('*.safetensors')) / 1e6:.1f}"
        )
    fields["depth_parameters"] = f"{sum(p.numel() for p in depth.model.parameters()) / 1e6:.1f}"
    fields["diffusion_parameters"] = f"{sum(p.numel() for p in redraw.unet.parameters()) / 1e6:.1f}"
    (home / "MODEL_CARD.md").write_text(text.format(**fields))


if __name__ == "__main__":
    main()
