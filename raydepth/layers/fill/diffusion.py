"""Method ``diffusion`` of ``layers.fill``: inpainting by a diffusion model."""

import cv2
import numpy as np
import torch

from raydepth.batch import video_of
from raydepth.diffusion.codec import pad_to_multiple, to_uint8
from raydepth.diffusion.load import Models, load_models, with_prompts
from raydepth.diffusion.noise import clip_seed
from raydepth.diffusion.sampler import KnownRegion, sample, seeded_noise
from raydepth.diffusion.schedule import Schedule, make_schedule
from raydepth.diffusion.settings import Diffusion, Sampling
from raydepth.layers.fill.opencv import OpenCVFiller
from raydepth.layers.fill.protocol import Filler
from raydepth.layers.fill.settings import DiffusionFill

BUILTIN_STEPS, BUILTIN_STRENGTH = 10, 0.1
"""One step. On 48 true holes at 128 px and 12 at 256 that benchmarks.fills does not use, two from
0.2 are as good (RMSE 24.3 against 24.7, and 23.2 against 23.0), but take twice as long and leave a
bright edge on pale walls."""


def load_diffusion_filler(
    fill: DiffusionFill,
    compose: Diffusion,
    *,
    seed: int,
    device: str,
    dtype: str,
    loaded: Models | None,
) -> "DiffusionFiller":
    """Loads what ``layers.fill`` names for method ``diffusion``.

    Args:
        fill: the job's section.
        compose: what the compositor's section says of its model; that model (with its LoRA and
            sampler) fills where ``fill`` names none.
        seed: the job's.
        device: ``cpu`` or ``cuda``.
        dtype: ``float32``, ``float16`` or ``bfloat16``.
        loaded: the compositor's models, shared where they are the same; None where it has none, or
            changed them.

    Raises:
        JobError: as load_models, or the sampler cannot make the steps.
    """
    model = fill.model or compose.model
    # The builtin models are two: one that cleans up composites, one that fills.
    same = model == compose.model and model != "builtin"
    wanted = Sampling(
        model=model,
        lora=compose.lora if same else None,
        sampler=compose.sampler if isinstance(compose, Sampling) else "ddim",
        prompt=fill.prompt,
        negative_prompt=fill.negative_prompt,
        steps=fill.steps or (BUILTIN_STEPS if model == "builtin" else 20),
        guidance=fill.guidance,
    )
    prompts = (compose.prompt, compose.negative_prompt) == (fill.prompt, fill.negative_prompt)
    section = "layers.fill"
    if same and loaded is not None and prompts:
        models = loaded
    elif same and loaded is not None and compose.lora is None:
        models = with_prompts(loaded, wanted, section=section)
    else:
        models = load_models(wanted, device=device, dtype=dtype, section=section, inpainting=True)
    strength = BUILTIN_STRENGTH if model == "builtin" else 1.0 if takes_mask(models) else 0.75
    settings = wanted.model_copy(update={"strength": fill.strength or strength})
    return DiffusionFiller(models, settings, seed)


def takes_mask(models: Models) -> bool:
    """Whether the U-Net was made for inpainting.

    Such a one has 2 C + 1 input channels: latents, mask, and latents of the masked picture.
    """
    return models.unet.config.in_channels > models.codec.channels


class NonFiniteFill(ArithmeticError):
    """The model's picture holds infinities or no numbers at all, in float32 too."""


class DiffusionFiller(Filler):
    """Inpaints a hole, starting from its ``telea`` fill noised to ``strength``.

    C is the number of latent channels. A U-Net with 2 C + 1 input channels (9 for Stable Diffusion
    inpainting) sees latents, mask and the latents of the picture without the hole, as in diffusers'
    ``StableDiffusionInpaintPipeline``. A U-Net with C channels (any text-to-image checkpoint,
    ``builtin``) uses the known-region blend: before every step latents outside the hole are
    replaced by the noised original (Blended Latent Diffusion, Avrahami et al. 2023; RePaint,
    Lugmayr et al. 2022, without its resampling). Noise is fixed per clip.
    """

    def __init__(self, models: Models, settings: Sampling, seed: int, video: str = "") -> None:
        """Args: models; settings: sampler, steps, strength and guidance; seed: the job's; video:
        the clip's id.
        """
        self.models, self.settings, self.seed, self.video = models, settings, seed, video
        self.rough = OpenCVFiller(cv2.INPAINT_TELEA, 5.0)
        self._schedule()

    def for_clip(self, shot: str) -> "DiffusionFiller":
        """See Filler; all shots of a clip have its noise."""
        return DiffusionFiller(self.models, self.settings, self.seed, video_of(shot))

    def __call__(self, rgb: np.ndarray, hole: np.ndarray) -> np.ndarray:
        """See Filler.

        In float16, a picture that overflows is inpainted again in float32, and ``note`` says so.

        Raises:
            NonFiniteFill: it overflows in float32 too.
        """
        height, width = hole.shape
        started = np.where(hole[..., None], self.rough(rgb, hole), rgb)
        picture, self.note = self.generate(started, hole), ""
        if not picture.isfinite().all() and self.models.halves():
            with self.models.in_float32():
                picture, self.note = (
                    self.generate(started, hole),
                    "filled in float32 after float16 overflow",
                )
        if not picture.isfinite().all():
            raise NonFiniteFill(f"layers.fill: {self.settings.model} painted no finite picture")
        return to_uint8(picture)[0, :height, :width]

    @torch.inference_mode()
    def generate(self, started: np.ndarray, hole: np.ndarray) -> torch.Tensor:
        """Inpaints the hole bool [H,W] of a roughly filled picture uint8 [H,W,3].

        Returns float32 [1,3,H',W'], padded, about -1..1.
        """
        codec, settings, multiple = self.models.codec, self.settings, self.models.multiple
        picture = torch.from_numpy(pad_to_multiple(started, multiple, 0)[None]).to(codec.vae.device)
        pixels = picture.permute(0, 3, 1, 2).float() / 127.5 - 1
        mask = torch.from_numpy(pad_to_multiple(hole, multiple, 0)).to(pixels)[None, None]
        known = codec.encode_pixels(pixels)
        # Nearest, as the checkpoints were trained: a cell is in the hole when its first pixel is.
        cells = torch.nn.functional.interpolate(mask, known.shape[2:])
        inpainting = takes_mask(self.models)
        noise, generators = seeded_noise([clip_seed(self.seed, self.video)], known.shape[1:])
        latents = sample(
            self.models.unet,
            self._schedule(),
            known,
            noise.to(known.device),
            generators,
            self.models.condition,
            guidance=settings.guidance,
            known=None if inpainting else KnownRegion(known, cells),
            conditioning=torch.cat([cells, codec.encode_pixels(pixels * (1 - mask))], 1)
            if inpainting
            else None,
        )
        return codec.decode(latents)

    def _schedule(self) -> Schedule:
        settings = self.settings
        return make_schedule(
            self.models.scheduler_config,
            settings.sampler,
            steps=settings.steps,
            strength=settings.strength,
            device=str(self.models.unet.device),
        )
