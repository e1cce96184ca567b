"""Section ``layers.fill``: how the hole behind the near layers is filled, method by method."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from raydepth.section import Names, Section, Unit

_MAX_HOLE = Annotated[float, Field(gt=0, le=1), Unit("fraction of the frame")]
_RADIUS = Annotated[float, Field(gt=0, le=100), Unit("pixels")]


class Fill(Section):
    """What all methods share: ``layers.fill``."""

    method: str
    """Name of the filler."""
    dilate: Annotated[int, Field(ge=0, le=256), Unit("pixels")] = 8
    """Pixels at working resolution by which the near mask grows to become the hole."""


class OpenCVFill(Fill):
    """Methods ``telea`` and ``navier-stokes``: OpenCV's inpainting."""

    method: Literal["telea", "navier-stokes"] = "telea"
    radius: _RADIUS = 5.0
    """Neighbourhood in pixels that is looked at."""


class OnnxFill(Fill):
    """Method ``onnx``: an inpainting network."""

    method: Literal["onnx"]
    model: Annotated[str, Field(min_length=1, examples=["migan.onnx"]), Names("model")]
    """Path of the ``.onnx`` file: image and mask in, image out."""
    max_hole: _MAX_HOLE = 0.5
    """Part of the frame up to which the network fills a hole; where it is larger, what is behind
    would be invented: nothing is taken away there, and the frame's note says so."""


class PlateFill(Fill):
    """Method ``plate``: what other frames of the clip show there (camera still or nearly so).

    What none shows is filled once for the whole clip.
    """

    method: Literal["plate"]
    model: Annotated[str | None, Names("model")] = None
    """Path of the ``.onnx`` file that fills what no frame shows; null: ``telea``."""
    radius: _RADIUS = 5.0
    """Neighbourhood in pixels that ``telea`` looks at."""
    max_hole: _MAX_HOLE = 0.5
    """With ``model``, in frames without a plate: as of method ``onnx``."""

    @field_validator("model")
    @classmethod
    def _model_is_onnx(cls, value: str | None) -> str | None:
        if value and not value.endswith(".onnx"):
            raise ValueError(
                f"layers.fill.model of method plate must be an .onnx file, got {value!r}"
            )
        return value


class DiffusionFill(Fill):
    """Method ``diffusion``: a diffusion model paints the hole."""

    method: Literal["diffusion"]
    model: Annotated[str | None, Names("model")] = None
    """A hub id or a local directory, inpainting (9-channel) or text-to-image (4-channel)
    checkpoint; ``builtin`` (raydepth's own inpainting model); null: that of ``compose``, or
    ``builtin`` where ``compose`` has none."""
    prompt: str = ""
    """What is to be painted into the hole."""
    negative_prompt: str = ""
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Steps of the full schedule; ``strength`` says what part of them runs. Null: 10 for
    ``builtin`` (with its strength that is one step; more make its fills no truer), 20 for
    others."""
    strength: Annotated[float, Field(gt=0, le=1)] | None = None
    """Noise level at which sampling starts from the ``telea`` fill; null: 0.1 for ``builtin``
    (trained up to 0.7), 1 for inpainting checkpoints, 0.75 for text-to-image ones."""
    guidance: Annotated[float, Field(ge=1)] = 1.0
    """Classifier-free guidance scale; 1 switches it off and saves its lane."""
    max_hole: _MAX_HOLE = 0.5
    """Part of the frame up to which the model fills a hole, as of method ``onnx``."""

    moved: ClassVar = {"radius": "it has no neighbourhood; its first guess is telea's"}

    @field_validator("model")
    @classmethod
    def _model_is_diffusers(cls, value: str | None) -> str | None:
        if value and value.endswith(".onnx"):
            raise ValueError(
                "method diffusion needs a diffusers model; "
                "for an .onnx file set layers.fill.method: onnx"
            )
        return value
