"""What finds a thing's mask: prompts in, masks out, one picture at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True)
class Picture:
    """A frame as segmenters see it."""

    rgb: np.ndarray
    """uint8 [H,W,3]."""
    inv_depth: Callable[[], np.ndarray]
    """Gives the frame's normalised inverse depth, float32 [H,W]; costs an estimate, so it is only
    called by who needs it."""


@dataclass(frozen=True)
class Prompt:
    """Where a thing is in one picture, in pixels: x to the right, y downward, pixel i covers
    [i, i + 1).
    """

    points: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    """float32 [P,2], x and y."""
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """int64 [P]: 1 on the thing, 0 off it."""
    box: np.ndarray | None = None
    """float32 [4]: x0, y0, x1, y1."""
    mask: np.ndarray | None = None
    """bool [H,W]: where the thing is expected, as the frame before shows it; None: not known."""


@dataclass(frozen=True)
class Found:
    """What a segmenter says of one thing in one picture."""

    mask: np.ndarray
    """bool [H,W]; empty where nothing was found."""
    score: float
    """0..1, the method's own trust in it."""


@dataclass(frozen=True)
class SegmenterHost:
    """What a worker gives a segmenter."""

    device: str = "cpu"
    dtype: str = "float32"
    threads: int = 2
    """CPU threads of an ONNX model; torch's are set for the whole process."""


class Segmenter(Protocol):
    """Finds masks in single pictures; the same call gives the same masks."""

    name: str
    """For notes and records."""
    every: int
    """Frames from one call to the next that keep its cost in proportion (``segmenter.every``)."""

    def __call__(self, picture: Picture, prompts: Sequence[Prompt]) -> list[Found]:
        """One mask for each prompt."""
        ...


class Follower(Protocol):
    """Things that a model with memory follows from one picture to the next."""

    found: list[Found]
    """What it found in the picture that it began with."""

    def step(self, picture: Picture) -> list[Found]:
        """One mask for each thing in the next picture; empty where a thing is not in it."""
        ...

    def stop(self) -> None:
        """Gives its memory back."""
        ...


@runtime_checkable
class VideoSegmenter(Protocol):
    """A segmenter that follows things by itself; it is a Segmenter too."""

    name: str
    every: int
    """Frames from one measurement of depth to the next."""

    def start(self, picture: Picture, prompts: Sequence[Prompt]) -> Follower:
        """Begins with things in one picture; pictures then come in order, or all in reverse."""
        ...


class TextFinder(Protocol):
    """Finds what a word says."""

    name: str

    def __call__(self, picture: Picture, text: str) -> list[tuple[np.ndarray, float]]:
        """Boxes float32 [4] in pixels (x0, y0, x1, y1) and their scores, best first."""
        ...
