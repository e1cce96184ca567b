"""Section ``compose`` of the methods ``featglac-kv`` and ``featglac-grad``."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from raydepth.compose.settings import Compose
from raydepth.diffusion.settings import Diffusion, Sampling
from raydepth.edits.settings import Light
from raydepth.section import Form, Names, Section, Unit


class Inject(Section):
    """How the layers' keys and values enter the generation: ``compose.inject``.

    See raydepth/README.md, "FeatGLaC by keys and values".
    """

    mode: Literal["mosaic", "concat", "replace"] = "mosaic"
    weight: Annotated[float, Field(ge=0, le=1)] = 1.0
    """w of the mosaic; in concat and replace 0 switches injection off and other values scale the
    layers' say."""
    blocks: Annotated[list[str], Field(min_length=1)] = ["up"]
    """Names of U-Net parts whose self-attention is injected: ``down``, ``mid``, ``up`` or prefixes
    such as ``up_blocks.2``."""
    window: Annotated[
        list[Annotated[float, Field(ge=0, le=1)]],
        Field(min_length=2, max_length=2),
        Unit("first and last part of the steps"),
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
    """Method ``featglac-grad``: ``compose.grad``. What is null is the recipe's published number.

    See raydepth/README.md, "FeatGLaC by gradients".

    Steps are numbered from 0 among those that run, noisiest first. Where ``steps`` or ``strength``
    differ from the recipe's, its numbers of steps are scaled along. The sampler is always
    DDIM with eta 0.
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

    model: Annotated[str, Field(min_length=1, examples=["h94/IP-Adapter"]), Names("model")]
    """Hub id or local directory, for example ``h94/IP-Adapter``."""
    subfolder: str = ""
    """Folder of the weights in it, ``models`` there."""
    weight_name: Annotated[
        str,
        Field(pattern=r"\.safetensors$", examples=["ip-adapter_sd15.safetensors"]),
        Form("the name of a .safetensors file, such as ip-adapter_sd15.safetensors"),
    ]
    """File of the weights, ``ip-adapter_sd15.safetensors`` there."""
    image_encoder: str = "image_encoder"
    """Folder of the CLIP image encoder in ``subfolder``, or, with a slash in it, in the model."""
    scale: Annotated[float, Field(ge=0, le=2)] = 0.6
    """Weight of the picture prompt beside the text; 0: none."""


STUDIED = {"steps": 5, "strength": 0.2, "edge_band": 0.008}
"""Defaults of ``featglac-kv`` with the builtin model.

``benchmarks/results/ground_truth_study.md`` found them. It finds 10 steps no better, at twice the
cost. What is best with Stable Diffusion nobody has measured yet. So other models have the published
method's defaults: much noise, the whole region.
"""

EdgeBand = Annotated[float, Field(gt=0, le=1), Unit("fraction of the picture's short side")]


class Latent(Compose, Diffusion):
    """What both methods share: they generate in the latent space of a diffusion model."""

    renamed: ClassVar = {**Compose.renamed, "redraw": "edge_band"}

    edge_band: EdgeBand = 1.0
    """Only what lies so near to the layers' edges is generated, and what was inpainted (a removed
    thing's hole); elsewhere the layers themselves stand. A fraction of the picture's short side.
    1: the whole region of the edit. See ``STUDIED``."""


class FeatGLaCKV(Latent, Sampling):
    """Method ``featglac-kv``: the layers lend their self-attention keys and values."""

    method: Literal["featglac-kv"] = "featglac-kv"
    inject: Inject = Inject()
    ip_adapter: IPAdapter | None = None
    """Picture prompt for an inserted object, masked to where the object is seen."""
    blend: bool = True
    """Before each step and at the end, latents outside the edit's region are replaced by the noised
    original (known-region blend)."""

    own_light: ClassVar[Light] = Light(colour=1.0, shading=1.0)
    own_alpha_matting: ClassVar[bool] = True

    @model_validator(mode="before")
    @classmethod
    def _what_the_study_found(cls, tree: Any) -> Any:
        if not isinstance(tree, dict) or tree.get("model", "builtin") != "builtin":
            return tree
        old = {"edge_band"} if "redraw" in tree else set()
        return {field: value for field, value in STUDIED.items() if field not in old} | tree


class FeatGLaCGrad(Latent):
    """Method ``featglac-grad``: the paper's form, guidance by gradients."""

    method: Literal["featglac-grad"]
    grad: Grad = Grad()

    moved: ClassVar = {
        "sampler": "it is always DDIM with eta 0",
        "inject": "the layers are matched by features, see compose.grad",
        "blend": "pixels outside the region are pasted back, see compose.paste_back",
        **{name: f"set compose.grad.{name}" for name in ("steps", "strength", "guidance")},
    }
