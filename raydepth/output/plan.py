"""What a job covers: parts of whole batches, and their record ``segments.parquet``."""

import io
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raydepth.batch import shot_id
from raydepth.errors import JobError
from raydepth.files.text import utf8
from raydepth.frames.segments import Segment
from raydepth.frames.sources import SourceNote, UnreadableSource
from raydepth.output.folder import OutputFolder

SEGMENTS = "segments.parquet"
GONE = "gone/"
"""Where results of sources are kept that the job no longer has, under the names that they had."""
NOTES = b"notes"

_PLAN_SCHEMA = pa.schema(
    [
        ("frame_id", pa.string()),
        ("video", pa.string()),
        ("path", pa.string()),
        ("segment", pa.int32()),
        ("part", pa.int32()),
        ("shot", pa.int64()),
        ("frame_index", pa.int64()),
        ("pts", pa.int64()),
        ("time_s", pa.float64()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("error_type", pa.string()),
        ("error_message", pa.string()),
    ]
)

MAX_PART_BYTES = 64 * 2**20
"""Raw pixels of a part: it travels as one row, so it must stay well under Ray's 128 MiB blocks."""
MAX_SHARD_BYTES = 256 * 2**20
"""Raw pixels of a part at source size: its worker holds all its encoded pictures until the shard is
written."""


@dataclass(frozen=True)
class Part:
    """Frames ``start:stop`` of a segment, in whole batches: the unit of resuming.

    They are decoded, edited and stored together, and they are of one shot.
    """

    segment: Segment
    number: int
    start: int
    stop: int
    shot: int = 0
    """Number of the shot in the source."""

    @property
    def name(self) -> str:
        """``<video>/<segment>-<part>``, unique in the job and the shard's name."""
        return f"{self.segment.video}/{self.segment.index:06d}-{self.number:04d}"

    @property
    def shot_id(self) -> str:
        """The id of its shot; see ``batch.shot_id``."""
        return shot_id(self.segment.video, self.shot)

    @property
    def frames(self) -> int:
        return self.stop - self.start

    @property
    def frame_ids(self) -> list[str]:
        return [f"{self.segment.video}:{pts}" for pts in self.segment.pts[self.start : self.stop]]


def cut_parts(
    segments: list[Segment],
    *,
    batch: int,
    shard_frames: int,
    limit: int | None,
    limit_per_video: int | None = None,
    full_size: bool = False,
) -> list[Part]:
    """Cuts segments at fixed positions into parts.

    Parts have ``shard_frames`` rounded up to whole batches, and at most 64 MiB of pixels; each
    begins anew with a shot. ``limit`` drops frames behind the first N of the job, and
    ``limit_per_video`` those behind the first N of each source, after cutting, so that the cuts do
    not depend on them. With ``full_size`` (``output.size: source``) parts hold at most 256 MiB of
    source pixels too, but a batch at least.
    """
    parts: list[Part] = []
    left = sum(len(segment) for segment in segments) if limit is None else limit
    left_of: dict[str, int] = {}
    for segment in segments:
        own = left_of.setdefault(
            segment.video, left if limit_per_video is None else limit_per_video
        )
        fit = max(1, MAX_PART_BYTES // (segment.height * segment.width * 3 * batch))
        if full_size:
            fit = max(1, min(fit, MAX_SHARD_BYTES // (math.prod(segment.source_size) * 3 * batch)))
        length = batch * min(fit, -(-shard_frames // batch))
        for number, (shot, start, stop) in enumerate(_cut(segment, length)):
            frames = min(stop - start, left, own)
            if frames == 0:
                break
            parts.append(Part(segment, number, start, start + frames, shot))
            left, own = left - frames, own - frames
        left_of[segment.video] = own
    return parts


def _cut(segment: Segment, length: int) -> Iterator[tuple[int, int, int]]:
    """Shot, start and stop of pieces of at most ``length`` frames."""
    for shot, start, stop in segment.by_shot():
        for begin in range(start, stop, length):
            yield shot, begin, min(begin + length, stop)


def by_segment(parts: list[Part]) -> Iterator[list[Part]]:
    """Groups consecutive parts of one segment: what one decoder opens the file once for."""
    for _, group in itertools.groupby(
        parts, key=lambda part: (part.segment.video, part.segment.index)
    ):
        yield list(group)


def write_plan(
    folder: OutputFolder,
    parts: list[Part],
    unreadable: list[UnreadableSource],
    notes: Sequence[SourceNote] = (),
) -> None:
    """Writes ``segments.parquet``: one row a frame, and one row for each unreadable source.

    The row of an unreadable source has frame_index -1 and no frame_id. Notes on sources are the
    file's metadata, under ``notes``, as JSON.
    """
    tables = []
    for part in parts:
        segment, rows = part.segment, slice(part.start, part.stop)
        columns = {
            "frame_id": part.frame_ids,
            "video": [segment.video] * part.frames,
            "path": [utf8(segment.path)] * part.frames,
            "segment": np.full(part.frames, segment.index),
            "part": np.full(part.frames, part.number),
            "shot": np.full(part.frames, part.shot),
            "frame_index": segment.frame_index[rows],
            "pts": segment.pts[rows],
            "time_s": segment.time_s[rows],
            "height": np.full(part.frames, segment.height),
            "width": np.full(part.frames, segment.width),
        }
        tables.append(_plan_table(columns, part.frames))
    for source in unreadable:
        columns = {"path": [utf8(source.path)], "frame_index": [-1]}
        columns |= {
            "error_type": [source.error_type],
            "error_message": [utf8(source.error_message)],
        }
        tables.append(_plan_table(columns, 1))
    buffer = io.BytesIO()
    table = pa.concat_tables(tables)
    said = json.dumps([[utf8(note.path), utf8(note.text)] for note in notes])
    table = table.replace_schema_metadata({NOTES: said.encode()})
    pq.write_table(table, buffer, write_page_checksum=True)
    folder.write(SEGMENTS, buffer.getvalue())


def notes_of(plan: pa.Table) -> list[SourceNote]:
    """The notes on sources of a plan that ``read_plan`` read.

    Raises ValueError where they are damaged.
    """
    said = json.loads((plan.schema.metadata or {}).get(NOTES, b"[]"))
    if not isinstance(said, list) or any(
        not isinstance(note, list) or [type(part) for part in note] != [str, str] for note in said
    ):
        raise ValueError("its notes are no notes")
    return [SourceNote(path, text) for path, text in said]


def _plan_table(columns: dict[str, Any], rows: int) -> pa.Table:
    return pa.table(
        [pa.array(columns.get(field.name, [None] * rows), field.type) for field in _PLAN_SCHEMA],
        schema=_PLAN_SCHEMA,
    )


def read_plan(folder: OutputFolder) -> pa.Table:
    """Reads ``segments.parquet``.

    Raises FileNotFoundError where no run has started, JobError where it is damaged.
    """
    data = folder.read(SEGMENTS)
    try:
        with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
            table = file.read()
        table.validate(full=True)
        if table.schema != _PLAN_SCHEMA:
            raise ValueError("its columns are others")
        # Names of files are made of these.
        if pc.any(pc.invert(pc.match_substring_regex(table["video"], "^[0-9a-f]{16}$"))).as_py():
            raise ValueError("its video ids are no ids")
        notes_of(table)
    except (pa.ArrowException, OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise JobError(
            f"{folder.uri}/{SEGMENTS} is damaged ({reason}); run the job again, which writes it "
            "anew"
        ) from error
    return table


def unreadable_sources(plan: pa.Table) -> list[dict[str, str]]:
    """Path, error_type and error_message of the plan's sources that could not be read."""
    rows = plan.filter(pc.is_null(plan["frame_id"]))
    return rows.select(["path", "error_type", "error_message"]).to_pylist()
