"""What a method puts into a worker's memory, as the registries' entries tell it to ``plan``."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Workload:
    """What goes through the models together."""

    height: int
    """Of the working size in pixels, rounded up to what the models need."""
    width: int
    batch: int
    """Frames."""
    dtype: str
    """``float32``, ``float16`` or ``bfloat16``."""
    references: int
    """Layer pictures of a frame that go through a U-Net beside it, at most."""
    pictures: int
    """Distinct pictures of a frame that are encoded."""


@dataclass(frozen=True)
class Footprint:
    """Peak memory of one method's models, in bytes."""

    model: str
    """The model's name or folder: methods that share a model count its weights once."""
    weights: int
    steps: dict[str, int]
    """Activations at the peak of each step, by the step's name."""
