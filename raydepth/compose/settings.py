"""Section ``compose``: how the layers become one picture again; what all methods share.

The methods themselves are in ``raydepth.compose.registry``.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from raydepth.edits.settings import Light
from raydepth.section import Section


class Compose(Section):
    """How the layers become one picture again: ``compose``."""

    renamed: ClassVar = {"rim": "alpha_matting"}

    method: str
    """Name of the compositor."""
    every: Annotated[int, Field(ge=1)] = 1
    """Only every n-th of the frames that ``input`` names is edited at all: a stride on top, to
    sample with slow methods."""
    light: Light | None = None
    """null: colour and shading 1 with ``featglac-kv``, nothing with other methods."""
    alpha_matting: bool | None = None
    """With ``background`` and ``insert``: pixels at the edges of what is near show their share of
    it and of what comes behind it, where hard masks show the one or the other. See
    ``raydepth.layers.matting.matte_edges``. null: with ``featglac-kv``."""
    paste_back: bool = True
    """Finally, pixels outside the edit's region are the source's own, with a feathered edge inside
    the region."""
    crop: Literal["none", "region"] = "none"
    """``region``: where the edit is small, the model works on a crop around it, enlarged to the
    working size (cut from the source-size frame with ``output.size: source``); all frames of a
    batch have one window."""

    own_light: ClassVar[Light] = Light()
    """What null stands for in ``light``; a method may have another."""
    own_alpha_matting: ClassVar[bool] = False
    """What null stands for in ``alpha_matting``."""

    @property
    def matched_light(self) -> Light:
        """``light``, or what null stands for."""
        return self.light or self.own_light

    @property
    def matte_edges(self) -> bool:
        """``alpha_matting``, or what null stands for."""
        return self.own_alpha_matting if self.alpha_matting is None else self.alpha_matting


class Paste(Compose):
    """Method ``paste``: the layers as they are."""

    method: Literal["paste"]


class Poisson(Compose):
    """Method ``poisson``: the pasted layers, blended in the gradient domain."""

    method: Literal["poisson"]
