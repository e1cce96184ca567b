"""Section ``compose``: how the layers become one picture again."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from raydepth.diffusion.settings import Diffusion
from raydepth.edits.settings import Light
from raydepth.section import Names, Section


class Inject(Section):
    """How the layers' keys and values enter the generation: ``compose.inject`` (method.md, section
    2).
    """

    mode: Literal["mosaic", "concat", "replace"] = "mosaic"
    weight: Annotated[float, Field(ge=0, le=1)] = 1.0
    """w of the mosaic; in concat and replace 0 switches injection off and other values scale the
    layers' say."""
    blocks: Annotated[list[str], Field(min_length=1)] = ["up"]
    """Names of U-Net parts whose self-attention is injected: ``down``, ``mid``, ``up`` or prefixes
    such as ``up_blocks.2``."""
    window: Annotated[
        list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=2, max_length=2)
    ] = [
        0.0,
        1.0,
    ]
    """First and last part of the steps that run, as fractions; [a, a] is empty."""

    @model_validator(mode="after")
    def _window_is_ordered(self) -> "Inject":
        if self.window[1] < self.window[0]:
            raise ValueError(f"window must be [first, last] with first <= last, got {self.window}")
        return self


class Grad(Section):
    """Method ``featglac-grad``: ``compose.grad`` (method.md, section 3). What is null is the
    recipe's published number.

    Steps are numbered from 0 among those that run, noisiest first. Where ``steps`` or ``strength``
    differ from the recipe's, its numbers of steps are scaled along. Of ``compose``, its own
    ``sampler`` (always DDIM, eta 0), ``steps``, ``strength``, ``guidance``, ``inject`` and
    ``blend`` do not count.
    """

    recipe: Literal["composition", "insertion", "lite"] = "composition"
    references: Literal["renoise", "invert", "nulltext"] | None = None
    """Where the layers' noisy latents come from: noise added, DDIM inversion, or inversion with
    null-text optimisation."""
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Steps of the full schedule: 50, 50, 20 (composition, insertion, lite)."""
    strength: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The last ``strength`` part of the steps runs; the published recipes run all. ``builtin`` was
    trained up to 0.6."""
    guidance: Annotated[float, Field(ge=1)] | None = None
    """Classifier-free guidance scale: 7.5, 5, 1."""
    window: (
        Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=2)] | None
    ) = None
    """First and last guided step, both inclusive: [0, 37], [31, 47], [0, 14]."""
    iterations: Annotated[int, Field(ge=1, le=100)] | None = None
    """Gradient steps in each guided step: 5, 3, 2."""
    step_size: Annotated[float, Field(gt=0)] | None = None
    """eta of a gradient step: 0.1, 0.2, 0.1."""
    checkpointing: bool = False
    """Computes activations again in the backward pass instead of keeping them: less memory, more
    time, same result."""

    @model_validator(mode="after")
    def _window_is_ordered(self) -> "Grad":
        if self.window and self.window[1] < self.window[0]:
            raise ValueError(f"window must be [first, last] with first <= last, got {self.window}")
        return self


class IPAdapter(Section):
    """A picture prompt that keeps an inserted object's identity: ``compose.ip_adapter``."""

    model: Annotated[str, Field(min_length=1), Names("model")]
    """Hub id or local directory, for example ``h94/IP-Adapter``."""
    subfolder: str = ""
    """Folder of the weights in it, ``models`` there."""
    weight_name: Annotated[str, Field(pattern=r"\.safetensors$")]
    """File of the weights, ``ip-adapter_sd15.safetensors`` there."""
    image_encoder: str = "image_encoder"
    """Folder of the CLIP image encoder in ``subfolder``, or, with a slash in it, in the model."""
    scale: Annotated[float, Field(ge=0, le=2)] = 0.6
    """Weight of the picture prompt beside the text; 0: none."""


STUDIED = {"steps": 5, "strength": 0.2, "redraw": 0.008}
"""Defaults of ``featglac-kv`` with the builtin model, as
``benchmarks/results/ground_truth_study.md`` found them; 5 steps, as it finds 10 no better, at twice
the cost. What is best with Stable Diffusion nobody has measured yet, so other models have the
published method's: much noise, the whole region."""


class Compose(Diffusion):
    """How the layers become one picture again: ``compose``."""

    method: Literal["featglac-kv", "featglac-grad", "paste", "poisson"] = "featglac-kv"
    every: Annotated[int, Field(ge=1)] = 1
    """Only every n-th of the frames that ``input`` names is edited at all: a stride on top, to
    sample with slow methods."""
    inject: Inject = Inject()
    grad: Grad = Grad()
    ip_adapter: IPAdapter | None = None
    """Picture prompt for an inserted object, masked to where the object is seen; with method
    ``featglac-kv``."""
    light: Light | None = None
    """null: colour and shading 1 with ``featglac-kv``; nothing with ``featglac-grad``, which is the
    paper's, and with the baselines."""
    rim: bool | None = None
    """With ``background`` and ``insert``: pixels at the edges of what is near show their share of
    it and of what comes behind it, where hard masks show the one or the other; see
    ``raydepth.layers.matting.matte_edges``. null: with ``featglac-kv``."""
    redraw: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The latent methods redraw only what lies so near to the layers' edges, as a fraction of the
    picture's short side, and what was invented (a removed thing's hole); elsewhere the layers
    themselves stand. 1: the whole region of the edit. See ``STUDIED``."""
    blend: bool = True
    """After each step, latents outside the edit's region are replaced by the noised original."""
    paste_back: bool = True
    """Finally, pixels outside the edit's region are the source's own, with a feathered edge inside
    the region."""
    crop: Literal["none", "region"] = "none"
    """``region``: where the edit is small, the model works on a crop around it, enlarged to the
    working size (cut from the source-size frame with ``output.size: source``); all frames of a
    batch have one window."""

    @property
    def matched_light(self) -> Light:
        """``light``, or what null stands for."""
        matched = 1.0 if self.method == "featglac-kv" else 0.0
        return self.light or Light(colour=matched, shading=matched)

    @property
    def matte_edges(self) -> bool:
        """``rim``, or what null stands for."""
        return self.method == "featglac-kv" if self.rim is None else self.rim

    @model_validator(mode="before")
    @classmethod
    def _what_the_study_found(cls, tree: Any) -> Any:
        if not isinstance(tree, dict):
            return tree
        studied = (
            tree.get("method", "featglac-kv") == "featglac-kv"
            and tree.get("model", "builtin") == "builtin"
        )
        return STUDIED | tree if studied else tree

    @model_validator(mode="after")
    def _adapter_has_its_method(self) -> "Compose":
        if self.ip_adapter and self.method != "featglac-kv":
            raise ValueError(f"ip_adapter goes with method featglac-kv, not with {self.method}")
        return self
