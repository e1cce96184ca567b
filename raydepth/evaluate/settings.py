"""Section ``evaluate``: what is measured beside the edit."""

from typing import Annotated, ClassVar

from pydantic import Field

from raydepth.section import Names, Section


class Evaluate(Section):
    """What is measured beside the edit: ``evaluate``."""

    renamed: ClassVar = {"again_every": "reestimate_every"}

    reestimate_every: Annotated[int, Field(ge=0)] = 10
    """Every n-th frame gets its depth estimated again on the result and its codec round trip
    measured; 0: never."""
    truth: Annotated[Annotated[str, Field(min_length=1)] | None, Names("pattern")] = None
    """Pattern of PNG pictures of the true edited frames (as in ``depth.model: files:``), for
    example ``{parent}/truth/fill/{frame_index:06d}.png`` beside a clip of ``raydepth synth
    --truths``; null: not known."""
