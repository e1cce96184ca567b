"""What a job asked for, as far as its verdict needs to know."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from raydepth.depth.registry import depth_entry
from raydepth.edits.registry import EDITS


@dataclass(frozen=True)
class Asked:
    """A job in the terms of the rules."""

    splits: bool = True
    """Whether the edit is made of what is near and what is not."""
    moves_itself: bool = False
    """Whether it shows other moving pictures, so that flicker can't be held against the input's."""
    things: tuple[str, ...] = ()
    """Things that it speaks of."""
    lifts: bool = False
    """Whether things are its near layer."""
    at: str = "auto"
    """``layers.at``, for advice."""
    depth_files: bool = False
    """Whether depth comes from files."""
    stabilised: bool = False
    """``depth.stabilise``."""


def asked_of(job: Mapping[str, Any]) -> Asked:
    """What the tree of a resolved job asks for.

    Of an edit that this version does not know, or knows by other fields, it says what most edits
    are like.
    """
    layers, depth, edit = (job.get(name) or {} for name in ("layers", "depth", "edit"))
    usual = Asked(
        at=str(layers.get("at", "auto")),
        depth_files=not depth_entry(str(depth.get("model", "builtin"))).reads_pixels,
        stabilised=bool(depth.get("stabilise")),
    )
    entry = EDITS.get(edit.get("kind"))
    try:
        section = entry.settings.model_validate(edit) if entry else None
    except ValidationError:
        section = None
    if entry is None or section is None:
        return usual
    return replace(
        usual,
        splits=entry.splits,
        moves_itself=entry.moves_itself(section),
        things=tuple(entry.things(section)),
        lifts=bool(entry.lifts(section)),
    )
