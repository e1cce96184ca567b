"""Shards: one Parquet file per part, one row a frame.

A row holds ids, status, timings, metrics and encoded pictures.
"""

import base64
import io
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raydepth.batch import Batch
from raydepth.evaluate.measures import DEPRECATED, MEASURES
from raydepth.files.text import utf8
from raydepth.output.codecs import encode_alpha, encode_depth, encode_rgb
from raydepth.output.folder import OutputFolder
from raydepth.output.settings import Output

FRAMES = "frames"
IMAGES = "images"

PICTURES = ("rgb_png", "depth_png16", "near_png", "background_png", "edited_png")
"""Columns that hold encoded pictures, in the order of the pipeline."""

_TEXT = ("frame_id", "video", "path", "status", "error_type", "error_message", "note")
_INT64 = ("frame_index", "pts", "shot", "seed")
_INT32 = ("segment", "part", "height", "width", "attempts", "batch")
_NEVER_NULL = {
    **dict.fromkeys(
        ("frame_id", "video", "path", "status", "error_type", "error_message"), pa.string()
    ),
    "frame_index": pa.int64(),
    "attempts": pa.int32(),
    "time_s": pa.float64(),
}
"""What every row of a shard says, for good frames and failed ones."""
_ARRAYS = (
    "rgb",
    "inv_depth",
    "near",
    "hole",
    "background",
    "shared_background",
    "far_inv_depth",
    "target_inv_depth",
    "region",
    "edited",
    "alphas",
    "patch",
    "origin",
    "layer_names",
    "layer_rgb",
    "layer_alpha",
    "layer_inv_depth",
    "thing_alpha",
)


class DamagedShard(OSError):
    """A file among the shards that is no readable shard.

    Shards are written atomically, so it was damaged from outside, or put there.
    """


def shard_name(part_name: str) -> str:
    """The shard's file inside the output folder."""
    return f"{FRAMES}/{part_name}.parquet"


def image_name(clip: str, frame_index: int, kind: str, ending: str = "png") -> str:
    """The file of a picture inside the output folder, where pictures are kept as files; the clip by
    its name (``output.clip_names``).
    """
    return f"{IMAGES}/{clip}/{frame_index:06d}_{kind}.{ending}"


def encode_pictures(frames: Iterable[Mapping[str, np.ndarray]]) -> dict[str, list]:
    """Encodes the pictures of a batch, frame by frame.

    Lists have one entry a frame, None where there is no picture.

    Args:
        frames: of each frame, the kept pictures by kind: ``rgb``, ``background``, ``edited`` uint8
            [H,W,3], ``near`` (alpha) and ``depth`` (inverse) float32 [H,W]; empty for error rows.
    """
    rows: dict[str, list] = {name: [] for name in (*PICTURES, "depth_offset", "depth_scale")}
    for shown in frames:
        depth: tuple = encode_depth(shown["depth"]) if "depth" in shown else (None, None, None)
        rows["depth_png16"].append(depth[0])
        rows["depth_offset"].append(depth[1])
        rows["depth_scale"].append(depth[2])
        rows["near_png"].append(encode_alpha(shown["near"]) if "near" in shown else None)
        for kind in ("rgb", "background", "edited"):
            rows[f"{kind}_png"].append(encode_rgb(shown[kind]) if kind in shown else None)
    return rows


def batch_table(batch: Batch, pictures: dict[str, list]) -> pa.Table:
    """One Arrow row a frame: scalar columns, thresholds and things as lists, pictures as
    bytes.

    There are no tensor columns. What is not measured (NaN) or has no number (the infinite PSNR of
    equal pictures, whose RMSE beside it is 0) is null, which every reader of Parquet leaves out.
    """
    columns: dict[str, pa.Array] = {}
    for name, values in batch.items():
        if name in _ARRAYS:
            continue
        if name in _TEXT:
            columns[name] = pa.array([utf8(str(value)) for value in values], pa.string())
        elif name in _INT64:
            columns[name] = pa.array(values.astype(np.int64))
        elif name in _INT32:
            columns[name] = pa.array(values.astype(np.int32))
        elif values.ndim == 2 and values.dtype == object:
            columns[name] = pa.array(values.tolist(), pa.list_(pa.string()))
        elif values.ndim == 2:
            rows = [[_finite(value) for value in row] for row in values.tolist()]
            columns[name] = pa.array(rows, pa.list_(pa.float64()))
        elif values.dtype == object:
            columns[name] = pa.array([str(value) for value in values], pa.string())
        elif values.dtype.kind == "f":
            columns[name] = pa.array(values, mask=~np.isfinite(values))
        else:
            columns[name] = pa.array(values)
    for name, encoded in pictures.items():
        columns[name] = pa.array(encoded, pa.binary() if name in PICTURES else pa.float64())
    return pa.table(columns)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def write_shard(
    folder: OutputFolder,
    part_name: str,
    tables: list[pa.Table],
    output: Output,
    *,
    clip: str | None = None,
    kept: pa.Table | None = None,
) -> int:
    """Writes a part's rows as one shard, and PNG files where asked; returns the bytes written.

    PNG files come first and the shard last: a shard that exists is complete. Metrics with a
    deprecated name are stored under both names.

    Args:
        folder: the output folder.
        part_name: names the shard.
        tables: the part's new rows, in order.
        output: the job's section.
        clip: what the part's clip is called; None: by its video id.
        kept: rows of the part's earlier shard that stay as they are, and so do their PNG files; of
            none of their frames there is a new row.
    """
    table = pa.concat_tables(tables, promote_options="default")
    clip = clip or part_name.split("/")[0]
    written = 0
    if output.images in ("png", "both"):
        for name in PICTURES:
            for index, data in zip(
                table["frame_index"].to_pylist(), table[name].to_pylist(), strict=True
            ):
                if data is not None:
                    folder.write(image_name(clip, index, name.split("_")[0]), data)
                    written += len(data)
    if output.images in ("png", "none"):
        table = table.drop_columns([name for name in PICTURES if name in table.column_names])
    if kept is not None:
        table = pa.concat_tables([table, kept], promote_options="default")
        table = table.take(pc.sort_indices(table, [("frame_index", "ascending")]))
    table = _with_deprecated(table)
    buffer = io.BytesIO()
    pq.write_table(
        table,
        buffer,
        compression={name: "NONE" if name in PICTURES else "ZSTD" for name in table.column_names},
        write_page_checksum=True,
    )
    folder.write(shard_name(part_name), buffer.getvalue())
    return written + buffer.tell()


def _with_deprecated(table: pa.Table) -> pa.Table:
    """Adds each renamed metric under its old name too, and says so in the field's metadata."""
    for old, name in DEPRECATED.items():
        if name in table.column_names:
            field = pa.field(old, pa.float64(), metadata={"deprecated": f"use {name}"})
            table = table.append_column(field, table[name].cast(pa.float64()))
    return table


def named_shards(
    folder: OutputFolder, *, damaged: list[str], below: str = FRAMES
) -> Iterator[tuple[str, pa.Table]]:
    """Streams the shards in name order, each with its name and without pictures; names damaged ones
    in `damaged`.

    The ledger reads more than it needs, so that it and the report agree on which shards are
    damaged.
    """
    for name in folder.files(below):
        if name.endswith(".parquet") and name == utf8(name):  # others are somebody's
            try:
                yield name, read_shard(folder, name)
            except DamagedShard:
                damaged.append(name)


def read_shards(folder: OutputFolder, *, damaged: list[str]) -> Iterator[pa.Table]:
    """As ``named_shards``, without the names."""
    for _, table in named_shards(folder, damaged=damaged):
        yield table


class ClipShards:
    """The rows of one clip's frames that are done, whichever of its shards they are in.

    Frames are in the shard of their part, except those that an earlier run did when parts were cut
    otherwise (``run.batch``). The clip's other shards are looked through only for such frames, and
    once.
    """

    def __init__(self, folder: OutputFolder, video: str) -> None:
        self._folder, self._video = folder, video
        self._where: dict[str, str] | None = None

    def done(
        self, part_name: str, frame_ids: Collection[str], columns: Collection[str]
    ) -> dict[str, dict[str, Any]]:
        """Frame id -> its row, of the frames of a part that are done; damaged shards count as
        missing.

        Args:
            part_name: the part that the frames are in now.
            frame_ids: its frames.
            columns: what to read of them, pictures too.
        """
        rows = self._rows(shard_name(part_name), frame_ids, columns)
        if missing := [frame for frame in frame_ids if frame not in rows]:
            where = self._elsewhere()
            for name in dict.fromkeys(where[frame] for frame in missing if frame in where):
                rows |= self._rows(name, missing, columns)
        return rows

    def _rows(
        self, name: str, frame_ids: Collection[str], columns: Collection[str]
    ) -> dict[str, dict[str, Any]]:
        wanted, named = set(frame_ids), {"frame_id", "status", *columns}
        try:
            table = read_shard(self._folder, name, columns=named, pictures=True)
        except (FileNotFoundError, DamagedShard):
            return {}
        return {
            row["frame_id"]: row
            for row in table.to_pylist()
            if row["status"] == "ok" and row["frame_id"] in wanted
        }

    def _elsewhere(self) -> dict[str, str]:
        if self._where is None:
            shards = named_shards(self._folder, damaged=[], below=f"{FRAMES}/{self._video}")
            self._where = {
                frame: name
                for name, table in shards
                for frame, status in zip(
                    table["frame_id"].to_pylist(), table["status"].to_pylist(), strict=True
                )
                if status == "ok"
            }
        return self._where


def read_shard(
    folder: OutputFolder,
    name: str,
    *,
    columns: Collection[str] | None = None,
    pictures: bool = False,
) -> pa.Table:
    """Reads one shard, all its columns or those named; pictures only when asked for.

    Metrics have their present names, also where the shard has only the deprecated ones.

    Raises:
        DamagedShard: the file is not a shard, or what was read of it has changed since it was
            written.
        OSError: the storage can't be read.
    """
    try:
        with folder.open(name) as stream:
            return _read(stream, columns, pictures)
    except (pa.ArrowException, OSError, ValueError):
        # Arrow tells damage and a failing storage apart by words only: a second look at all bytes,
        # or a storage error.
        data = folder.read(name)
    try:
        return _read(pa.BufferReader(data), columns, pictures)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DamagedShard(
            f"{folder.uri}/{name} is not a readable shard ({reason}); run the job again, which "
            "redoes its frames"
        ) from error


def _read(source: pa.NativeFile, columns: Collection[str] | None, pictures: bool) -> pa.Table:
    with pq.ParquetFile(source, page_checksum_verification=True) as file:
        schema = file.schema_arrow
        # Pages have checksums, the file's footer has none; but Arrow keeps the columns there a
        # second time.
        kept = (file.metadata.metadata or {}).get(b"ARROW:schema")
        if kept and not pa.ipc.read_schema(pa.py_buffer(base64.b64decode(kept))).equals(schema):
            raise ValueError("its columns are not those that were written")
        for name, kind in _NEVER_NULL.items():
            if schema.get_field_index(name) < 0 or schema.field(name).type != kind:
                raise ValueError(f"no column {name} of type {kind}")
        for field in schema:
            figure = field.name in MEASURES | DEPRECATED or field.name.startswith(
                ("seconds_", "depth_offset", "depth_scale")
            )
            if figure and not pa.types.is_floating(field.type):
                raise ValueError(f"column {field.name} is of type {field.type}")
        wanted = {
            stored: name
            for stored in schema.names
            if (name := DEPRECATED.get(stored, stored)) == stored or name not in schema.names
            if (columns is None or name in columns) and (pictures or name not in PICTURES)
        }
        table = file.read(columns=list(wanted)).rename_columns(list(wanted.values()))
    table.validate(full=True)
    for name in _NEVER_NULL.keys() & wanted.keys():
        if table[name].null_count:
            raise ValueError(f"column {name} has rows without a value")
    if "status" in wanted and set(table["status"].unique().to_pylist()) - {"ok", "error"}:
        raise ValueError("column status says other things than ok and error")
    return table
