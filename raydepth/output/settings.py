"""Section ``output``: where results go."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from raydepth.section import Section


class Output(Section):
    """Where results go: ``output``."""

    path: Annotated[str, Field(min_length=1, examples=["runs/out"])]
    """Folder, local (relative to the current one, wherever the job file lies) or ``s3://`` /
    ``gs://``."""
    images: Literal["parquet", "png", "both", "none"] = "parquet"
    """Where pictures are kept: encoded in the shards, as PNG files, both, or nowhere (figures
    only)."""
    keep: list[Literal["edited", "depth", "near", "background", "rgb"]] = [
        "edited",
        "depth",
        "near",
        "background",
        "rgb",
    ]
    """Which pictures are kept."""
    overwrite: bool = False
    """Delete what an earlier run left in the folder instead of going on with it."""
    shard_frames: Annotated[int, Field(ge=1, le=4096)] = 32
    """Frames in a shard, rounded up to whole batches: what a crash can cost, per worker."""
    size: Literal["work", "source"] = "work"
    """``source``: the edit is carried to the source's own pixels, and all kept pictures have the
    source's size; figures are measured at working size. ``work``: pictures have the working
    size."""
    layers: bool = False
    """Exports each frame's layers as PNG with 16-bit depth and ``layers.json`` (a layered depth
    image) to ``layers/``."""
    video: bool = False
    """Writes each edited clip as ``videos/NAME.mp4`` after the run, named after its source, several
    at a time: the source's frame times, its audio copied, or encoded as AAC where an mp4 does not
    hold it (PCM, TrueHD ...). A clip that begins below zero, or more than ten seconds after it, is
    shifted so that its first frame is at time 0. What is left at the deadline is written by the
    next run."""
    crf: Annotated[int, Field(ge=0, le=51)] = 18
    """Quality of that video (H.264 constant rate factor): 0 is lossless, 18 looks so, 51 is the
    worst."""

    @model_validator(mode="after")
    def _video_needs_pictures(self) -> "Output":
        if self.video and (self.images == "none" or "edited" not in self.keep):
            raise ValueError(
                "output.video is made of the kept pictures: output.images must not be none, "
                "output.keep must hold edited"
            )
        return self
