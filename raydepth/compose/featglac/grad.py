"""FeatGLaC, mode grad: the latent is steered by gradients until its decoder features match each
layer's (method.md, section 3).
"""

import numpy as np
import torch
import torch.nn.functional as F

from raydepth.compose.featglac.features import Taps, block_weights, cell_weights, energy, tapped
from raydepth.compose.featglac.lanes import lay_out
from raydepth.compose.featglac.recipes import resolve
from raydepth.compose.featglac.references import Features, Trajectories, trace
from raydepth.compose.featglac.settings import FeatGLaCGrad as Settings
from raydepth.compose.latent import LatentCompositor
from raydepth.diffusion.codec import pad_to_multiple
from raydepth.diffusion.inversion import DDIMSchedule, guided, make_ddim_schedule
from raydepth.diffusion.load import Models
from raydepth.diffusion.sampler import Condition, seeded_noise
from raydepth.diffusion.schedule import make_schedule
from raydepth.edits.plan import EditPlan


class FeatGLaCGrad(LatentCompositor):
    """Method ``featglac-grad``: the paper's, for reference quality on sampled frames.

    Our readings where method.md leaves room: generation starts from the last layer's noisy latents
    in every recipe (the paper's insertion samples new content from the prompt; here the object is a
    layer and what is behind it is known), with the other layers' in their cells at strengths below
    1, where too much of the last picture is left for a near one to appear; its unconditional lane
    is told the last layer's optimised null embedding, and insertion pastes and holds every layer
    that stands before the last.
    """

    energies: torch.Tensor
    """float32 [S,N]: J before each step of the last call, with the first iteration's weight; NaN
    where not known."""

    def __init__(self, models: Models, compose: Settings) -> None:
        """Checks the job against the model.

        Raises:
            JobError: the window does not fit the steps, or the model predicts neither noise nor v.
        """
        self.models, self.compose, self.recipe = models, compose, resolve(compose.grad)
        self.weights = block_weights(models.unet)
        # Outside inference mode: what text encoding left cannot take part in a backward pass.
        self.condition = Condition(
            models.condition.prompt.clone(), models.condition.negative.clone()
        )
        self._ladder()
        if compose.grad.checkpointing:
            models.unet.enable_gradient_checkpointing()  # acts in backward passes alone

    def generate(self, plan: EditPlan, source: np.ndarray, seeds: np.ndarray) -> torch.Tensor:
        """See LatentCompositor."""
        codec, (height, width) = self.models.codec, source.shape[1:3]
        layers = [
            layer.rgb if layer.shared is None else layer.shared for layer in plan.stack.layers
        ]
        lanes = lay_out(source, source, layers, seeds)
        encoded = codec.encode(pad_to_multiple(lanes.pictures, self.models.multiple, 1)).clone()
        noise = seeded_noise(seeds, encoded.shape[1:])[0].to(encoded.device)
        seen = torch.from_numpy(pad_to_multiple(plan.stack.weights(), self.models.multiple, 2))
        with tapped(self.models.unet, list(self.weights)) as taps:
            ddim = self._ladder()
            references = trace(
                self.predict, taps, ddim, self.recipe,
                encoded[lanes.reference_picture], noise[lanes.reference_frame], self.condition,
            )  # fmt: skip
            rows = torch.from_numpy(lanes.layer_rows).to(encoded.device)
            latents = self.sample(taps, ddim, references, rows, seen.to(encoded.device))
        return codec.decode(latents)[:, :, :height, :width]

    def remarks(self, frames: int) -> list[str]:
        """Says how many gradient steps were left out."""
        total = len(self.recipe.window) * self.recipe.iterations
        return [
            f"{skipped} of {total} guidance steps skipped, their gradient was not finite"
            if skipped
            else ""
            for skipped in self.skipped.tolist()
        ]

    def predict(self, latents: torch.Tensor, t: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """The U-Net as an inversion.Predict: in its own dtype, the result in float32."""
        unet = self.models.unet
        prediction = unet(latents.to(unet.dtype), t, text.to(unet.dtype), return_dict=False)[0]
        return prediction.to(latents.dtype)

    def sample(
        self,
        taps: Taps,
        ddim: DDIMSchedule,
        references: Trajectories,
        rows: torch.Tensor,
        seen: torch.Tensor,
    ) -> torch.Tensor:
        """Samples N frames under guidance.

        Args:
            taps: on the U-Net.
            ladder: the steps.
            references: the layers' pictures.
            rows: int64 [K,N] into the references.
            seen: float32 [K,N,H,W], how much of each layer is seen.

        Returns:
            float32 [N,C,h,w], clean latents.
        """
        recipe, frames = self.recipe, rows.shape[1]
        latents = references.latents[0][rows[-1]]
        if recipe.strength < 1:
            latents = paste_layers(latents, references.latents[0], rows, seen)
        grid = (latents.shape[2], latents.shape[3])
        cells = cell_weights(seen, grid, far=recipe.far)
        text = self.condition.prompt.expand(frames, -1, -1)
        self.skipped = np.zeros(frames, np.int64)
        self.energies = torch.full((len(ddim.timesteps), frames), torch.nan)
        for step, t in enumerate(ddim.timesteps):
            if step == recipe.paste:
                latents = paste_layers(latents, references.latents[step], rows, seen)
            features = references.features(step)
            if features is not None and step in recipe.window and cells.any():
                for iteration in range(recipe.iterations):
                    loss, gradient = self.gradient(
                        taps, latents, t, text, features, rows, cells, iteration
                    )
                    if iteration == 0:
                        self.energies[step] = loss.cpu()
                    finite = gradient.isfinite().flatten(1).all(1)
                    stepped = latents - recipe.step_size * gradient
                    latents = torch.where(finite[:, None, None, None], stepped, latents)
                    self.skipped += (~finite).cpu().numpy()
            null = self.condition.negative.expand(frames, -1, -1)
            if references.nulls is not None:
                null = references.nulls[step][rows[-1]]
            with torch.no_grad():
                prediction = guided(self.predict, latents, t, null, text, recipe.guidance)
                if features is not None and step not in recipe.window:
                    conditional = taps.rows(len(latents) if recipe.guidance > 1 else 0)
                    loss = energy(conditional, features, rows, cells, self.weights, 0)
                    self.energies[step] = loss.cpu()
                latents = ddim.down(latents, prediction, step)
        return latents

    def gradient(
        self,
        taps: Taps,
        latents: torch.Tensor,
        t: torch.Tensor,
        text: torch.Tensor,
        features: Features,
        rows: torch.Tensor,
        cells: torch.Tensor,
        iteration: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """J [N] and its gradient [N,C,h,w] in the latents, from a conditional pass; weights stay
        frozen.

        The frames' losses are summed, and no frame's depends on another's latents, so frames don't
        couple.
        """
        leaf = latents.detach().requires_grad_(True)
        with torch.enable_grad():
            self.predict(leaf, t, text)
            loss = energy(taps.rows(0), features, rows, cells, self.weights, iteration)
            (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        return loss.detach(), gradient

    def _ladder(self) -> DDIMSchedule:
        schedule = make_schedule(
            self.models.scheduler_config,
            "ddim",
            steps=self.recipe.steps,
            strength=self.recipe.strength,
            device=str(self.models.unet.device),
        )
        return make_ddim_schedule(schedule)


def paste_layers(
    latents: torch.Tensor, layers: torch.Tensor, rows: torch.Tensor, seen: torch.Tensor
) -> torch.Tensor:
    """Puts each layer's latents where it fills more of a cell than any other; where that is the
    last layer, nothing changes.

    Whole cells, since a mean of two noisy latents has too little noise.

    Args:
        latents: float32 [N,C,h,w].
        layers: float32 [R,C,h,w], at the same noise level.
        rows: int64 [K,N] into R.
        seen: float32 [K,N,H,W], how much of each layer is seen.
    """
    owner = F.adaptive_avg_pool2d(seen, (latents.shape[2], latents.shape[3])).argmax(0)
    for k, layer_rows in enumerate(rows[:-1]):
        latents = torch.where((owner == k)[:, None], layers[layer_rows], latents)
    return latents
