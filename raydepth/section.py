"""What all sections of a job file share: frozen, strict, closed to unknown keys."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from raydepth.errors import JobNote


@dataclass(frozen=True)
class Names:
    """Marks a field whose value names local files: ``Annotated[str, Names("file")]``.

    Where a relative name is looked up, ``raydepth.job.paths`` says, which finds the fields by this
    mark.
    """

    what: Literal["input", "file", "model", "pattern"]
    """``input``: files, folders and glob patterns, in a list; ``file``: a file or a folder, or a
    colour ``#rrggbb``; ``model``: ``builtin``, a hub id, a file, a directory or ``files:PATTERN``;
    ``pattern``: names of files beside the input with fields such as ``{frame_index}``."""


@dataclass(frozen=True)
class Unit:
    """Marks a field of numbers: ``Annotated[float, Unit("seconds")]``; for messages."""

    words: str
    """What they count. Those that begin with ``fraction`` and ``pixels`` are told apart."""


@dataclass(frozen=True)
class Form:
    """Marks a field that takes what its type does not tell: ``Annotated[str, Form("...")]``."""

    words: str
    """All that it takes, with examples; for messages."""


FRACTIONS = Unit("fractions of width and height, from the upper left corner")

Point = Annotated[
    list[Annotated[float, Field(ge=0, le=1)]],
    Field(min_length=2, max_length=2, examples=[[0.5, 0.7]]),
]
"""x, y in a picture; mark the field with FRACTIONS."""

Box = Annotated[
    list[Annotated[float, Field(ge=0, le=1)]],
    Field(min_length=4, max_length=4, examples=[[0.2, 0.3, 0.6, 0.9]]),
]
"""x0, y0, x1, y1 in a picture; mark the field with FRACTIONS."""


Points = Annotated[list[Point], Field(min_length=1, max_length=32, examples=[[[0.4, 0.5]]])]
"""Several points in a picture; mark the field with FRACTIONS."""

Labels = Annotated[list[Literal[0, 1]], Field(min_length=1, max_length=32, examples=[[1, 0]])]
"""One for each of several points: 1 on the thing, 0 off it."""


class Section(BaseModel):
    """Base of all sections: frozen, strict, closed to unknown keys; numbers are finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    renamed: ClassVar[Mapping[str, str]] = {}
    """Old name -> new name of fields; the old ones work for one version and draw a JobNote."""
    moved: ClassVar[Mapping[str, str]] = {}
    """Fields that version 1 took here without using them -> what to set instead, in words."""

    @model_validator(mode="before")
    @classmethod
    def _old_names(cls, tree: Any) -> Any:
        if not isinstance(tree, dict) or not cls.renamed.keys() & tree.keys():
            return tree
        tree = dict(tree)
        for old, new in cls.renamed.items():
            if old not in tree:
                continue
            if new in tree:
                raise ValueError(f"{old} is the old name of {new}; give {new} alone")
            tree[new] = tree.pop(old)
            warnings.warn(
                f"field {old} is now called {new}; the next version will not know the old name",
                JobNote,
                stacklevel=2,
            )
        return tree

    @field_validator("*", mode="before")
    @classmethod
    def _one_for_a_list(cls, value: Any, info: ValidationInfo) -> Any:
        """Takes one word where a list of words is meant for a list of that one."""
        if not isinstance(value, str):
            return value
        kind = cls.model_fields[str(info.field_name)].annotation
        return [value] if get_origin(kind) is list and _holds_words(get_args(kind)[0]) else value

    @field_validator("*")
    @classmethod
    def _fits_the_system(cls, value: Any) -> Any:
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, str) and "\0" in item:
                raise ValueError("text must not hold the character NUL")
            if isinstance(item, int) and abs(item) >= 2**63:
                raise ValueError("whole numbers must fit 64 bits")
        return value


def _holds_words(kind: Any) -> bool:
    """Whether a type takes text, or is a union of which a member does."""
    if get_origin(kind) is Annotated:
        return _holds_words(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return isinstance(get_args(kind)[0], str)
    return kind is str or any(_holds_words(member) for member in get_args(kind))
