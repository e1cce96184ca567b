"""Section ``input``: which frames."""

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from raydepth.section import Form, Names, Section, Unit

Shots = Annotated[
    Annotated[Literal["auto", "off"], Tag("word")]
    | Annotated[
        list[Annotated[float, Field(gt=0)]],
        Field(min_length=1, max_length=100_000, examples=[[2.5, 7.04]]),
        Tag("seconds"),
    ],
    Discriminator(lambda value: "word" if isinstance(value, str) else "seconds"),
    Form("auto, off, or a list of seconds at which shots begin, such as [2.5, 7.04]"),
    Unit("seconds"),
]
"""Forms of ``input.shots``."""


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
    limit_per_video: Annotated[int, Field(ge=1)] | None = None
    """At most so many frames of each source, counted from its first one that the job covers; what
    is measured once a shot is measured over all of it all the same."""
    shots: Shots = "auto"
    """Where the shots of a source begin; depth scale, planes, tracks, plates and light are measured
    once a shot. ``auto``: hard cuts are looked for in videos; a folder of images is one shot.
    ``off``: every source is one shot. A list: at these seconds after the source's first frame, in
    every source."""
    size: Annotated[Annotated[int, Field(ge=32, le=8192)] | None, Unit("pixels")] = 512
    """Short side of the working resolution in pixels; null keeps the source's size.
    Pixels that are not square are made so."""

    @field_validator("shots", mode="before")
    @classmethod
    def _off_is_a_word(cls, value: Any) -> Any:
        return "off" if value is False else value  # YAML 1.1 reads off as false

    @field_validator("shots")
    @classmethod
    def _shots_follow_each_other(cls, value: Any) -> Any:
        if isinstance(value, list):
            for earlier, later in pairwise(value):
                if later <= earlier:
                    raise ValueError(f"seconds must increase, but {later} follows {earlier}")
        return value

    @model_validator(mode="after")
    def _range_is_not_empty(self) -> "Input":
        if self.start_s is not None and self.end_s is not None and self.end_s <= self.start_s:
            raise ValueError(f"end_s ({self.end_s}) must be larger than start_s ({self.start_s})")
        return self
