"""IP-Adapter: an inserted object's picture as a prompt of its own, looked at only where the object
is seen (Ye et al. 2023).

Weights and processors are diffusers' own. Loading an adapter re-creates the attention processors of
a U-Net, so it happens once, before anything else is installed; the adapter's processors are then
kept aside, and put into the cross-attention for the time of a sampling run. Injection goes into the
self-attention inside that time: adapter first, injection last.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import Attention, IPAdapterAttnProcessor2_0
from PIL import Image

from raydepth.compose.featglac.settings import IPAdapter
from raydepth.edits.plan import EditPlan
from raydepth.errors import JobError
from raydepth.files.pictures import read_object

OBJECT = "object"
"""Name of the layer that the picture prompt speaks of."""


@dataclass(frozen=True)
class ImagePrompt:
    """An adapter made ready for one object."""

    processors: dict[str, IPAdapterAttnProcessor2_0]
    """By name of the cross-attention module (``attn2``)."""
    tokens: torch.Tensor
    """[1,T,D], the object's picture as tokens."""
    no_tokens: torch.Tensor
    """[1,T,D], what the unconditional lane sees: the projection of a zero embedding, as in
    diffusers' pipelines."""


def load_image_prompt(
    settings: IPAdapter, unet: UNet2DConditionModel, picture: str, *, device: str
) -> ImagePrompt:
    """Loads an adapter through diffusers and shows it the object; the U-Net itself stays as it was.

    Args:
        settings: the job's ``compose.ip_adapter``.
        unet: whose cross-attention the adapter was trained for.
        picture: the object's picture file, with alpha.
        device: ``cpu`` or ``cuda``.

    Raises:
        JobError: the adapter cannot be loaded into this U-Net, or the picture cannot be read.
    """
    image = on_white(read_object(picture))
    before = dict(unet.attn_processors)
    pipeline = StableDiffusionPipeline(
        vae=None, text_encoder=None, tokenizer=None, unet=unet, scheduler=None,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    try:
        pipeline.load_ip_adapter(
            settings.model,
            subfolder=settings.subfolder,
            weight_name=settings.weight_name,
            image_encoder_folder=settings.image_encoder,
        )
        pipeline.set_ip_adapter_scale(settings.scale)
        pipeline.image_encoder.to(device).requires_grad_(False).eval()
        with torch.inference_mode():
            shown = pipeline.prepare_ip_adapter_image_embeds(image, None, device, 1, True)
            no_tokens, tokens = unet.encoder_hid_proj(shown)[0].flatten(1, 2).chunk(2)
        processors = {
            name.removesuffix(".processor"): processor.requires_grad_(False)
            for name, processor in unet.attn_processors.items()
            if isinstance(processor, IPAdapterAttnProcessor2_0)
        }
    except (
        Exception
    ) as error:  # a checkpoint can be wrong in many ways, each with a class of its own
        raise JobError(
            f"compose.ip_adapter: {settings.model!r} does not load into this U-Net as an "
            "IP-Adapter (a hub id, or a directory "
            f"with {settings.weight_name} and the CLIP image encoder {settings.image_encoder}/): "
            f"{error}"
        ) from error
    finally:
        unet.set_attn_processor(before)
        unet.encoder_hid_proj = None
        unet.config.encoder_hid_dim_type = None
    return ImagePrompt(processors, tokens, no_tokens)


def on_white(picture: np.ndarray) -> Image.Image:
    """An object (float32 [h,w,4], colour 0..255 times alpha) on a white square: CLIP crops what is
    not square.
    """
    height, width = picture.shape[:2]
    side = max(height, width)
    square = np.full((side, side, 3), 255, np.float32)
    top, left = (side - height) // 2, (side - width) // 2
    there = square[top : top + height, left : left + width]
    there[:] = picture[..., :3] + (1 - picture[..., 3:]) * 255
    return Image.fromarray(np.rint(square).clip(0, 255).astype(np.uint8))


def object_region(plan: EditPlan) -> np.ndarray:
    """Where the object is seen, float32 [N,H,W] 0..1; zeros for an edit without an object."""
    names = [layer.name for layer in plan.stack.layers]
    if OBJECT not in names:
        return np.zeros_like(plan.region)
    return plan.stack.weights()[names.index(OBJECT)]


@contextmanager
def adapted(
    unet: UNet2DConditionModel,
    prompt: ImagePrompt,
    region: torch.Tensor,
    *,
    guided: bool,
    grids: list[tuple[int, int]],
) -> Iterator[None]:
    """Installs the adapter in the cross-attention for the calls of a sampling run, and puts
    everything back at the end.

    The calls' rows are lane-major as in ``lanes``: [N unconditional,] N generated, then reference
    rows, which the adapter leaves alone, as it does everything where the object is not seen.

    Args:
        unet: the model.
        prompt: the object.
        region: float32 [N,H,W], where the object is seen, on the U-Net's device.
        guided: whether the first N rows are unconditional.
        grids: the U-Net's token grids (h, w), no two of one size.
    """
    frames = len(region)
    masks = {}
    for grid in grids:
        pooled = F.adaptive_avg_pool2d(region[:, None], grid).flatten(2)
        # As one line of tokens: diffusers then leaves the mask as it is, instead of guessing its
        # grid from the picture's aspect and smoothing it over the region's edge.
        masks[grid[0] * grid[1]] = pooled[:, :, None].repeat(2 if guided else 1, 1, 1, 1)
    lanes = [prompt.no_tokens, prompt.tokens] if guided else [prompt.tokens]
    tokens = torch.cat([lane.expand(frames, -1, -1) for lane in lanes])

    def look(module: Attention, arguments: Any, kwargs: Any) -> tuple[Any, Any]:
        if module.processor is not installed[module]:
            raise RuntimeError(
                "the IP-Adapter's processors are gone: something re-created them during the run"
            )
        hidden = arguments[0]
        rows, mask = len(hidden), masks[hidden.shape[1]]
        seen = _to_rows(tokens, rows)[:, None].to(hidden.dtype)
        given = {
            "encoder_hidden_states": (kwargs["encoder_hidden_states"], [seen]),
            "ip_adapter_masks": [_to_rows(mask, rows).to(hidden.dtype)],
        }
        return arguments, kwargs | given

    modules = {name: unet.get_submodule(name) for name in prompt.processors}
    installed = {module: prompt.processors[name] for name, module in modules.items()}
    before = {module: module.processor for module in installed}
    hooks = []
    try:
        for module, processor in installed.items():
            module.set_processor(processor)
            hooks.append(module.register_forward_pre_hook(look, with_kwargs=True))
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for module, processor in before.items():
            module.set_processor(processor)


def _to_rows(x: torch.Tensor, rows: int) -> torch.Tensor:
    """Extends rows of generation lanes by zeros for the reference rows of a call, if it has any."""
    return F.pad(x, (0, 0) * (x.ndim - 1) + (0, rows - len(x)))
