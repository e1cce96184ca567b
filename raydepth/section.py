"""The base of all sections of a job file: frozen, strict, and closed to unknown keys."""

from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator


class Section(BaseModel):
    """Base of all sections: frozen, strict, closed to unknown keys; numbers are finite."""

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
