"""Peak memory of diffusion models, from their configurations alone: for ``raydepth plan``."""

import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from raydepth.diffusion.load import codec_class
from raydepth.models import builtin
from raydepth.models.footprint import Footprint, Workload


class LiveBytes(TorchDispatchMode):
    """Follows the tensors that operations return while it is entered: their storages' bytes, and
    the most at one time.

    What an operation allocates and frees within itself (a convolution's workspace) is not seen.
    """

    def __init__(self, *models: torch.nn.Module) -> None:
        """Args: models: whose weights do not count, nor views of them."""
        super().__init__()
        self.now = self.peak = 0
        self._seen = {tensor.untyped_storage()._cdata for tensor in _tensors(*models)}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tree_map_only(torch.Tensor, self._see, result)
        return result

    def _see(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return
        self._seen.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size


def _tensors(*models: torch.nn.Module) -> Iterator[torch.Tensor]:
    return (tensor for model in models for tensor in (*model.parameters(), *model.buffers()))


@dataclass(frozen=True)
class Call:
    """A U-Net that is called on shapes."""

    unet: UNet2DConditionModel
    text: torch.Tensor
    """[N,L,D], the conditions; the first is taken."""
    latent: tuple[int, ...]
    """Height and width of the latents."""

    def __call__(self, rows: int) -> torch.Tensor:
        """Calls it with so many rows; gives their latents [rows,C,h,w], which want gradients."""
        latents = torch.empty(rows, self.unet.config.in_channels, *self.latent)
        latents.requires_grad_(True)
        self.unet(
            latents,
            1,
            encoder_hidden_states=self.text[:1].expand(rows, -1, -1),
            return_dict=False,
        )
        return latents


def peak_bytes(
    unet_config: Mapping[str, Any],
    vae_config: Mapping[str, Any],
    *,
    dtype: torch.dtype,
    height: int,
    width: int,
    lanes: int,
    pictures: int,
    frames: int,
    checkpointing: bool = False,
    sample: "Callable[[Call], object] | None" = None,
) -> dict[str, int]:
    """Bytes of the weights and of each step's activations at their peak, by running the models' own
    code on shapes.

    The models are built and called under ``FakeTensorMode``: every tensor has its shape and dtype
    but no memory, so a minute's computation takes a second and no checkpoint is needed. Attention
    counts as PyTorch's fused kernels, which keep no matrix of scores.

    Args:
        unet_config: of a ``UNet2DConditionModel``.
        vae_config: of the VAE class that it names.
        dtype: of both.
        height: of the pictures in pixels, a multiple of what the models need.
        width: as height.
        lanes: rows of a U-Net call.
        pictures: encoded together.
        frames: decoded together.
        checkpointing: whether the backward pass computes activations again, block by block, instead
            of having them kept.
        sample: what happens in a step of sampling; None: one call of ``lanes`` rows.

    Returns:
        ``weights``, ``encode``, ``unet``, ``decode``.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with FakeTensorMode():
            unet = UNet2DConditionModel.from_config(unet_config).requires_grad_(False).eval()
            if checkpointing:
                unet.enable_gradient_checkpointing()
            vae = codec_class(vae_config).from_config(vae_config).requires_grad_(False).eval()
            weights = sum(tensor.nbytes for tensor in _tensors(unet, vae))
            picture = torch.empty(1, 3, height, width)
            encoded = vae.encode(picture)
            latent = (
                encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
            )
            shape = latent.shape[2:]
            text = torch.empty(lanes, 77, unet.config.cross_attention_dim)
            call = Call(unet, text, shape)
            steps: dict[str, Callable[[], Any]] = {
                "encode": lambda: vae.encode(torch.empty(pictures, 3, height, width)),
                "unet": lambda: call(lanes) if sample is None else sample(call),
                "decode": lambda: vae.decode(torch.empty(frames, *latent.shape[1:])),
            }
            peaks = {}
            for name, step in steps.items():
                with torch.no_grad(), LiveBytes(unet, vae) as live:
                    step()
                peaks[name] = live.peak
    finally:
        torch.set_default_dtype(before)
    return {"weights": weights, **peaks}


def footprint(
    model: str,
    own: Literal["diffusion", "inpaint"],
    work: Workload,
    *,
    lanes: int,
    pictures: int,
    frames: int,
    checkpointing: bool = False,
    sample: Callable[[Call], object] | None = None,
) -> Footprint:
    """Peak memory of a model that a job names; only its configuration files are read.

    Args:
        model: as the job names it.
        own: which built-in model ``builtin`` is.
        work: sizes and dtype.
        lanes: as ``peak_bytes``, like what follows.
        pictures: encoded together.
        frames: decoded together.
        checkpointing: see ``peak_bytes``.
        sample: see ``peak_bytes``.
    """
    where = str(builtin.path(own)) if model == "builtin" else str(Path(model).expanduser())
    where = where if Path(where).is_dir() else model
    peaks = peak_bytes(
        UNet2DConditionModel.load_config(where, subfolder="unet"),
        AutoencoderKL.load_config(where, subfolder="vae"),
        dtype=getattr(torch, work.dtype),
        height=work.height,
        width=work.width,
        lanes=lanes,
        pictures=pictures,
        frames=frames,
        checkpointing=checkpointing,
        sample=sample,
    )
    return Footprint(where, peaks.pop("weights"), peaks)
