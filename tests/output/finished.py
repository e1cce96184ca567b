"""Folders of finished runs, made without a run, and what becomes a video of them."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from raydepth.frames.decode import batches
from raydepth.frames.probe import probe
from raydepth.frames.segments import plan_segments
from raydepth.output.folder import OutputFolder
from raydepth.output.plan import Part, cut_parts
from raydepth.output.settings import Output
from raydepth.output.shards import batch_table, encode_pictures, write_shard
from raydepth.output.video import write_videos


def finished(
    out: Path,
    clip: Path,
    *,
    failed: tuple[int, ...] = (),
    images: str = "parquet",
    name: str | None = None,
    **span,
) -> list[Part]:
    """A folder of a run whose edited pictures are the source's own; frames with these numbers have
    failed. ``name`` is what the clip is called; None: as its video id.
    """
    segments = plan_segments(probe(str(clip)), size=None, **span)
    parts = cut_parts(segments, batch=4, shard_frames=16, limit=None)
    for part in parts:
        tables = []
        for batch in batches(part.segment.take(slice(part.start, part.stop)), 4):
            for row in np.flatnonzero(np.isin(batch["frame_index"], failed)):
                batch["status"][row] = "error"
            pictures = [
                {"edited": rgb} if status == "ok" else {}
                for rgb, status in zip(batch["rgb"], batch["status"], strict=True)
            ]
            batch["attempts"] = np.ones(len(batch["pts"]), np.int32)
            tables.append(batch_table(batch, encode_pictures(pictures)))
        output = Output(path=str(out), images=images, keep=["edited"])
        write_shard(OutputFolder.at(str(out)), part.name, tables, output, clip=name)
    return parts


def video_of(out: Path, parts: list[Part], crf: int = 10) -> tuple[Path, str]:
    printed = list(write_videos(OutputFolder.at(str(out)), parts, {}, crf=crf))
    assert len(printed) == 1
    return out / "videos" / f"{parts[0].segment.video}.mp4", printed[0]


def times(path: Path) -> list[Fraction]:
    """Seconds of every frame as they are shown."""
    with av.open(str(path)) as container:
        frames = sorted(frame.pts * frame.time_base for frame in container.decode(video=0))
    return frames
