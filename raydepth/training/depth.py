"""Trains the built-in depth model on synthetic scenes.

It is a small GLPN (Kim et al. 2022) that learns relative disparity.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import GLPNConfig, GLPNForDepthEstimation

from raydepth.training.data import Cache, crop, degrade
from raydepth.training.loop import Budget, train

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Normalisation of the input, per channel, for RGB in 0..1."""

_SIDE, _BATCH = 128, 8

_PREPROCESSOR = {
    "image_processor_type": "DPTImageProcessor",
    "do_resize": True,
    "size": {"height": 192, "width": 192},
    "keep_aspect_ratio": True,
    "ensure_multiple_of": 32,
    "resample": 2,
    "size_divisor": 32,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": list(MEAN),
    "image_std": list(STD),
    "do_pad": False,
}


def build_model(seed: int = 0) -> GLPNForDepthEstimation:
    """Returns the untrained model; its sigmoid output in 0..1 is read as disparity."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = GLPNConfig(
            depths=[2, 2, 2, 2],
            hidden_sizes=[32, 64, 160, 256],
            num_attention_heads=[1, 2, 5, 8],
            decoder_hidden_size=32,
            drop_path_rate=0.0,
            max_depth=1,
        )
        config.raydepth_kind = "disparity_rel"
        return GLPNForDepthEstimation(config)


def normalise(rgb: torch.Tensor) -> torch.Tensor:
    """Brings RGB [N, 3, H, W] in 0..1 to the model's input range."""
    return (rgb - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def _centred(disparity: torch.Tensor) -> torch.Tensor:
    """Removes shift (median) and scale (mean absolute deviation) of each map [N, H, W].

    Ranftl et al. 2020, eq. 5.
    """
    flat = disparity.flatten(1)
    flat = flat - flat.median(dim=1, keepdim=True).values
    return (flat / flat.abs().mean(dim=1, keepdim=True).clamp(min=1e-3)).view_as(disparity)


def disparity_loss(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Scale-and-shift-invariant loss with the multi-scale gradient term of MiDaS.

    Ranftl et al. 2020, eq. 7 and 11. Disparity hardly separates 20 m from 40 m, which AbsRel and
    delta weigh heavily. So the logarithm of the disparity, aligned as in
    `raydepth.evaluate.depth.align`, counts as well. A small term ties the output to the truth
    stretched to 0.05..0.95, so that the range does not wander between frames.

    Args:
        predicted: Disparity, any scale and shift, float32 [N, H, W].
        truth: Inverse depth, float32 [N, H, W].

    Returns:
        Scalar.
    """
    flat = truth.flatten(1)
    low, high = torch.quantile(flat, torch.tensor([0.01, 0.99]), dim=1)[:, :, None, None]
    stretched = 0.05 + 0.9 * ((truth - low) / (high - low).clamp(min=1e-4)).clamp(0, 1)
    error = _centred(predicted) - _centred(truth).clamp(-6, 6)
    loss = error.abs().mean()
    for scale in range(4):
        part = error[:, :: 2**scale, :: 2**scale]
        loss = loss + 0.5 * (
            (part[:, 1:] - part[:, :-1]).abs().mean()
            + (part[:, :, 1:] - part[:, :, :-1]).abs().mean()
        )
    return loss + (predicted - stretched).abs().mean() + _log_error(predicted, truth)


def _log_error(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Mean |ln a - ln t| of truth t and prediction a, [N, H, W].

    a is fitted to t by least squares and clipped to t's range.
    """
    source, target = predicted.flatten(1), truth.flatten(1)
    centred = source - source.mean(1, keepdim=True)
    covariance = (centred * (target - target.mean(1, keepdim=True))).mean(1, keepdim=True)
    scale = covariance / (centred**2).mean(1, keepdim=True).clamp(min=1e-5)
    aligned = target.mean(1, keepdim=True) + scale * centred
    low, high = target.aminmax(dim=1, keepdim=True)
    return (aligned.maximum(low).minimum(high).log() - target.log()).abs().mean()


def save(model: GLPNForDepthEstimation, out: Path, effort: dict[str, float]) -> None:
    """Writes the model in half precision with its preprocessor file and training effort.

    It is ready for `from_pretrained`.
    """
    half = GLPNForDepthEstimation(model.config)
    half.load_state_dict(model.state_dict())
    half.to(torch.float16).save_pretrained(out)
    (out / "preprocessor_config.json").write_text(json.dumps(_PREPROCESSOR, indent=2) + "\n")
    (out / "training.json").write_text(json.dumps(effort, indent=2) + "\n")


def run(
    data: Path, out: Path, budget: Budget, *, resume: bool, start: Path | None = None, seed: int = 0
) -> None:
    """Trains on cached scenes and writes the model, a checkpoint and a log.

    The model is `out/depth`, checkpoint and log `out/depth-training`.

    Args:
        data: Folder of shards made by `raydepth.training.data.build`.
        out: Where to write.
        budget: How long and how fast.
        resume: Go on from the last checkpoint.
        start: A folder of a trained model to begin with instead of random weights.
        seed: Of the weights and of every draw.
    """
    cache = Cache(data)
    model = (
        build_model(seed)
        if start is None
        else GLPNForDepthEstimation.from_pretrained(
            start, dtype=torch.float32, use_safetensors=True
        )
    )
    model = model.to(memory_format=torch.channels_last)

    def loss_of(network: torch.nn.Module, step: int, progress: float) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        # Half of the steps see nearly whole pictures at the size that the model is made for.
        whole = step % 2 == 1
        side, batch = (192, _BATCH // 2) if whole else (_SIDE, _BATCH)
        rgb, inverse = [], []
        for index in torch.randint(len(cache), (batch,), generator=generator).tolist():
            both = crop(torch.cat(cache[index]), side, generator, smallest=0.8 if whole else 0.5)
            rgb.append(degrade(both[:3], generator))
            inverse.append(both[3])
        pictures = normalise(torch.stack(rgb)).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            predicted = network(pictures).predicted_depth
        return disparity_loss(predicted.float(), torch.stack(inverse))

    train(
        model,
        loss_of,
        out / "depth-training",
        budget,
        resume=resume,
        export=lambda averaged, effort: save(
            averaged, out / "depth", {**effort, "pictures": len(cache), "seed": seed}
        ),
        exported=out / "depth",
    )
