"""Trains the built-in diffusion model: a small unconditional U-Net that cleans noisy pictures up in
the codec's latent space.
"""

from __future__ import annotations

import json
from pathlib import Path

import diffusers
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel

from raydepth.models.builtin.codec import BlockDCT
from raydepth.training.data import Cache, crop
from raydepth.training.loop import Budget, train

LAST_STEP = 700
"""Timesteps from here to 1000 are never trained: editing starts from a picture, not from pure
noise."""

_FLOOR, _WHITENING = 0.05, 0.6
"""A latent channel is divided by max(its standard deviation, floor) ** whitening, for pixels in
-1..1.

Without the floor, channels that are nearly empty would count like all others. With full whitening
(1) the noise falls mostly on the blocks' means, where it is most visible and hardest to remove;
with none (0) it drowns all detail.
"""


def build_codec(cache: Cache) -> BlockDCT:
    """Returns the codec whitened by what it measures on 600 crops of scenes and 200 of photographs
    and textures.
    """
    generator = torch.Generator().manual_seed(1)
    pictures = torch.stack([draw_picture(cache, 128, generator)[0] for _ in range(800)])
    raw = BlockDCT().encode(pictures, return_dict=False)[0]
    scale = raw.std((0, 2, 3)).clamp(min=_FLOOR) ** _WHITENING
    mean = torch.where(raw.std((0, 2, 3)) > _FLOOR, raw.mean((0, 2, 3)), 0.0)
    return BlockDCT(
        mean=[round(v, 4) for v in mean.tolist()], scale=[round(v, 4) for v in scale.tolist()]
    )


def build_unet(seed: int = 0) -> UNet2DConditionModel:
    """Returns the untrained U-Net; its condition is one all-zero token [N, 1, 32]."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet2DConditionModel(
            sample_size=64,
            in_channels=48,
            out_channels=48,
            layers_per_block=1,
            block_out_channels=(64, 96, 128),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=32,
            attention_head_dim=(2, 3, 4),
            norm_num_groups=16,
        )


def build_scheduler() -> DDIMScheduler:
    """Returns the sampler: velocity prediction (Salimans and Ho 2022) on a gentle schedule.

    At strength 0.6 signal and noise are about equal in power (Stable Diffusion's schedule has a
    third of that signal), so that a model of this size can still see what it should be faithful to.
    """
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="scaled_linear",
        beta_start=1e-4,
        beta_end=6e-3,
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=True,
        timestep_spacing="trailing",
    )


def draw_picture(
    cache: Cache, side: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Draws a training picture: three of four are scenes, the rest photographs and dead leaves.

    Returns:
        float32 [3, side, side] in -1..1, and of scenes what the cache keeps beside it, float32 [1,
        side, side].
    """
    kind, which, gamma, tint = torch.rand(4, generator=generator).tolist()
    beside = None
    if kind < 0.75:
        rgb, beside = cache[int(which * len(cache))]
        smallest = 0.6
    elif kind < 0.93:
        photographs = cache.drawn("photograph")
        rgb = torch.from_numpy(photographs[int(which * len(photographs))].copy())
        smallest = max(0.3, side / min(rgb.shape[1:]))
    else:
        leaves = cache.drawn("leaves")
        tile = leaves[int(which * len(leaves))]
        rgb, smallest = torch.from_numpy(tile.copy()).permute(2, 0, 1), 0.6
    both = rgb if beside is None else torch.cat([rgb, beside])
    both = crop(both, side, generator, smallest=min(smallest, 1.0))
    return develop(both[:3], gamma, tint), both[3:] if beside is not None else None


def develop(rgb: torch.Tensor, gamma: float, tint: float) -> torch.Tensor:
    """A picture float32 [3, H, W] in 0..1 under another exposure and white balance (two chances in
    0..1), as -1..1.
    """
    gain = 1 + 0.12 * (tint - 0.5) * torch.tensor([1.0, 0.0, -1.0])[:, None, None]
    return (rgb.clamp(0, 1) ** (0.75 + 0.6 * gamma) * gain).clamp(0, 1) * 2 - 1


def save(
    unet: UNet2DConditionModel,
    codec: BlockDCT,
    out: Path,
    effort: dict[str, float],
    pipeline: str = "StableDiffusionImg2ImgPipeline",
) -> None:
    """Writes a diffusers folder (model_index.json, unet/ in half precision, vae/, scheduler/) and
    what it took.
    """
    half = UNet2DConditionModel.from_config(unet.config)
    half.load_state_dict(unet.state_dict())
    half.to(torch.float16).save_pretrained(out / "unet")
    codec.save_pretrained(out / "vae")
    build_scheduler().save_pretrained(out / "scheduler")
    nothing = [None, None]
    index = {
        "_class_name": pipeline,
        "_diffusers_version": diffusers.__version__,
        "feature_extractor": nothing,
        "image_encoder": nothing,
        "requires_safety_checker": False,
        "safety_checker": nothing,
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": nothing,
        "tokenizer": nothing,
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["raydepth.models.builtin.codec", "BlockDCT"],
    }
    (out / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    (out / "training.json").write_text(json.dumps(effort, indent=2) + "\n")


def run(data: Path, out: Path, budget: Budget, *, resume: bool, seed: int = 0) -> None:
    """Trains on cached scenes and writes `out/diffusion` (the model) and `out/diffusion-training`
    (checkpoint and log).

    The loss is that of the velocity, weighted by min(SNR, 5) / (SNR + 1) (Hang et al. 2023), at
    timesteps below LAST_STEP; half of it counts errors in latents, half in pixels.

    Args:
        data: Folder of shards made by `raydepth.training.data.build`.
        out: Where to write.
        budget: How long and how fast.
        resume: Go on from the last checkpoint; the codec is then the saved one.
        seed: Of the weights and of every draw.
    """
    cache = Cache(data)
    saved = out / "diffusion" / "vae"
    codec = (
        BlockDCT.from_pretrained(saved, use_safetensors=True)
        if resume and saved.exists()
        else build_codec(cache)
    )
    unet = build_unet(seed).to(memory_format=torch.channels_last)
    alphas = build_scheduler().alphas_cumprod
    energy = codec.spread**2
    importance = 0.5 + 0.5 * energy / energy.mean()

    def loss_of(network: torch.nn.Module, step: int, progress: float) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        side, batch = (128, 8) if step % 8 else (256, 2)
        pictures = torch.stack([draw_picture(cache, side, generator)[0] for _ in range(batch)])
        clean = codec.encode(pictures, return_dict=False)[0]
        noise = torch.randn(clean.shape, generator=generator)
        times = torch.randint(LAST_STEP, (batch,), generator=generator)
        alpha = alphas[times].view(-1, 1, 1, 1)
        noisy = (alpha.sqrt() * clean + (1 - alpha).sqrt() * noise).contiguous(
            memory_format=torch.channels_last
        )
        velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * clean
        with torch.autocast("cpu", torch.bfloat16):
            predicted = network(
                noisy, times, encoder_hidden_states=torch.zeros(batch, 1, 32)
            ).sample
        ratio = alpha / (1 - alpha)
        weight = ratio.clamp(max=5.0) / (ratio + 1)
        return (weight * importance * (predicted.float() - velocity) ** 2).mean()

    train(
        unet,
        loss_of,
        out / "diffusion-training",
        budget,
        resume=resume,
        export=lambda averaged, effort: save(
            averaged, codec, out / "diffusion", {**effort, "pictures": len(cache), "seed": seed}
        ),
        exported=out / "diffusion",
    )
