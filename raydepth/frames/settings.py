"""Section ``input``: which frames."""

from typing import Annotated

from pydantic import Field, model_validator

from raydepth.section import Names, Section, Unit


class Input(Section):
    """Which frames: ``input``."""

    paths: Annotated[
        list[Annotated[str, Field(min_length=1)]],
        Field(min_length=1, examples=[["clips/*.mp4"]]),
        Names("input"),
    ]
    """Video files, folders (of images or of videos) and glob patterns, local or on s3:// or
    gs://; one may stand without the list."""
    stride: Annotated[int, Field(ge=1)] = 1
    """Every n-th frame of the source, counted from its first frame."""
    start_s: Annotated[Annotated[float, Field(ge=0)] | None, Unit("seconds")] = None
    """First presentation time in seconds, inclusive."""
    end_s: Annotated[Annotated[float, Field(gt=0)] | None, Unit("seconds")] = None
    """Last presentation time in seconds, exclusive."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """At most so many frames in the whole job, counted in the order of the paths."""
    size: Annotated[Annotated[int, Field(ge=32, le=8192)] | None, Unit("pixels")] = 512
    """Short side of the working resolution in pixels; null keeps the source's size.
    Pixels that are not square are made so."""

    @model_validator(mode="after")
    def _range_is_not_empty(self) -> "Input":
        if self.start_s is not None and self.end_s is not None and self.end_s <= self.start_s:
            raise ValueError(f"end_s ({self.end_s}) must be larger than start_s ({self.start_s})")
        return self
