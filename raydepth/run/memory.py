"""Peak memory of a job's diffusion models, from their configurations alone."""

import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from raydepth.compose.featglac.features import block_weights, tapped, to_grid
from raydepth.diffusion.load import codec_class
from raydepth.job import Job
from raydepth.models import builtin

_ROUND = 64
"""Picture sizes are rounded up to this many pixels, as four levels below a compression of 8 need
it."""
_PICTURES = {"recompose": 2, "remove": 2}
"""Distinct pictures a frame that are encoded: with other edits the frame, the naive composite and
the far layer."""


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
    references: int = 0,
    checkpointing: bool = False,
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
        references: rows of layers' pictures whose features a gradient is to match
            (``featglac-grad``), a multiple of ``lanes``; 0: no gradient goes back through the
            U-Net.
        checkpointing: whether the backward pass computes activations again, block by block, instead
            of having them kept.

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

            def denoise(rows: int = lanes) -> torch.Tensor:
                latents = torch.empty(rows, unet.config.in_channels, *shape).requires_grad_(True)
                unet(
                    latents,
                    1,
                    encoder_hidden_states=text[:1].expand(rows, -1, -1),
                    return_dict=False,
                )
                return latents

            def guide() -> None:
                weights = block_weights(unet)
                with tapped(unet, list(weights)) as taps:
                    denoise(references)
                    theirs = taps.rows(0)
                    with torch.enable_grad():
                        latents = denoise()
                        # As features.energy, which looks at its cells, and here nothing has values.
                        loss = torch.zeros(lanes, *shape)
                        for block, mine in taps.rows(0).items():
                            mine, layers = (
                                to_grid(stack, torch.empty(0, 0, *shape))
                                for stack in (mine, theirs[block])
                            )
                            for layer in layers.split(lanes):
                                loss = loss + F.smooth_l1_loss(
                                    mine, layer.clone(), reduction="none"
                                ).mean(1)
                        torch.autograd.grad(loss.sum(), latents)

            steps: dict[str, Callable[[], Any]] = {
                "encode": lambda: vae.encode(torch.empty(pictures, 3, height, width)),
                "unet": guide if references else denoise,
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


def job_memory(job: Job, height: int, width: int) -> dict[str, float] | None:
    """Peak memory in GB of the diffusion models that a worker holds, on its GPU if it has one; None
    where a job has none.

    Args:
        job: the resolved job.
        height: of the working size.
        width: of the working size.

    Returns:
        ``weights`` of all models, the peak of each step's activations (``encode``, ``unet``,
        ``decode``, and of the fill ``fill``), and ``peak``: the weights and the largest of these.
    """
    compose, fill, batch = job.compose, job.layers.fill, job.run.batch
    auto = "float16" if job.run.gpus_per_worker else "float32"
    dtype = getattr(torch, auto if job.run.dtype == "auto" else job.run.dtype)
    size = [-(-side // _ROUND) * _ROUND for side in (height, width)]
    figures: dict[str, float] = {}
    weights: dict[str, float] = {}
    if compose.method.startswith("featglac"):
        layers = (
            1
            if job.edit.kind == "remove"
            else 2
            if job.edit.kind in ("recompose", "background")
            else 3
        )
        grad = compose.method == "featglac-grad"
        lanes = batch if grad else batch * ((2 if compose.guidance > 1 else 1) + layers)
        pictures = batch * _PICTURES.get(job.edit.kind, 3)
        references = batch * layers if grad else 0
        again = compose.grad.checkpointing
        found = _peaks(compose.model, dtype, size, lanes, pictures, batch, references, again)
        weights[compose.model] = found.pop("weights")
        figures |= found
    if fill.method == "diffusion":
        name = fill.model or compose.model
        if name == "builtin":
            name = str(builtin.path("inpaint"))
        found = _peaks(name, dtype, size, 2 if fill.guidance > 1 else 1, 1, 1)
        weights[name] = found.pop("weights")
        figures["fill"] = max(found.values())
    if not figures:
        return None
    total = sum(weights.values())
    figures = {"weights": total, **figures, "peak": total + max(figures.values())}
    return {name: round(value / 1e9, 3) for name, value in figures.items()}


def _peaks(
    model: str,
    dtype: torch.dtype,
    size: list[int],
    lanes: int,
    pictures: int,
    frames: int,
    references: int = 0,
    checkpointing: bool = False,
) -> dict[str, float]:
    where = str(builtin.path("diffusion")) if model == "builtin" else model
    return dict(
        peak_bytes(
            UNet2DConditionModel.load_config(where, subfolder="unet"),
            AutoencoderKL.load_config(where, subfolder="vae"),
            dtype=dtype,
            height=size[0],
            width=size[1],
            lanes=lanes,
            pictures=pictures,
            frames=frames,
            references=references,
            checkpointing=checkpointing,
        )
    )
