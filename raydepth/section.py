"""What all sections of a job file share: frozen, strict, closed to unknown keys; and the error of a
wrong job.
"""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator


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


class Section(BaseModel):
    """Base of all sections: frozen, strict, closed to unknown keys, its numbers finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _fits_the_system(cls, value: Any) -> Any:
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, str) and "\0" in item:
                raise ValueError("text must not hold the character NUL")
            if isinstance(item, int) and abs(item) >= 2**63:
                raise ValueError("whole numbers must fit 64 bits")
        return value
