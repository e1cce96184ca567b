"""Kept pictures as files, made from the shards of a run without editing anything again."""

from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raydepth.files.ranges import CONNECTIONS
from raydepth.output.codecs import jpeg_of
from raydepth.output.folder import OutputFolder
from raydepth.output.plan import read_plan
from raydepth.output.shards import (
    FRAMES,
    IMAGES,
    PICTURES,
    DamagedShard,
    image_name,
    read_shard,
)

Format = Literal["png", "jpeg"]

_COLOURS = ("rgb", "background", "edited")
"""What JPEG can hold; depth has 16 bits, and alphas have edges."""
_COLUMN = {column.split("_")[0]: column for column in PICTURES}
_SMALL = ("frame_id", "frame_index", "status")


@dataclass(frozen=True)
class _Shard:
    """A shard's good frames of the plan, and what pictures of them are files."""

    name: str
    frames: dict[int, str]
    """Id by index in the source."""
    missing: dict[str, set[int]]
    """By kind, the frames without a file."""


def write_pictures(
    folder: OutputFolder,
    names: Mapping[str, str],
    keep: Collection[str],
    *,
    form: Format = "png",
    into: OutputFolder | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Generator[str, None, None]:
    """Writes the pictures of a run's done frames as files, as ``output.images: png`` does; yields a
    line on each clip of which some were missing.

    Files that are there are left, so what is cut short goes on where it was. Pictures that a shard
    does not hold are passed by.

    Args:
        folder: the output of the run.
        names: what its clips are called, by video id; others go by that.
        keep: kinds, as ``output.keep``.
        form: ``jpeg``: of pictures in colour; ``depth`` and ``near`` are PNG all the same.
        into: where ``images/`` is made; None: there.
        stop: asked before each shard; once true, nothing more is written.

    Raises:
        OSError: the storage fails.
    """
    target = into or folder
    written: dict[str, int] = {}
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for video, shard in _shards(folder, target, names, keep, form):
            if stop():
                return
            clip = names.get(video, video)
            for earlier in [other for other in written if other != clip]:
                yield f"{IMAGES}/{earlier}: {written.pop(earlier)} pictures"
            files = dict(_files(folder, shard, clip, form))
            list(pool.map(target.write, files, files.values()))
            if files:
                written[clip] = written.get(clip, 0) + len(files)
    for clip, count in written.items():
        yield f"{IMAGES}/{clip}: {count} pictures"


def pictures_left(folder: OutputFolder, names: Mapping[str, str], keep: Collection[str]) -> int:
    """How many files ``write_pictures`` would write."""
    return sum(
        sum(1 for _ in _files(folder, shard, names.get(video, video), "png"))
        for video, shard in _shards(folder, folder, names, keep, "png")
    )


def pictures_not_held(
    folder: OutputFolder,
    names: Mapping[str, str],
    keep: Collection[str],
    *,
    files: bool,
) -> dict[str, int]:
    """Of which kinds of pictures the shards hold none for how many done frames.

    Args:
        folder, names, keep: as of ``write_pictures``.
        files: whether it is enough that there is a file.
    """
    lacking: dict[str, int] = {}
    for _, shard in _shards(folder, folder, names, keep, "png"):
        for kind in keep:
            without = shard.missing.get(kind, set()) if files else set(shard.frames)
            if without and (count := _count_without(folder, shard, _COLUMN[kind], without)):
                lacking[kind] = lacking.get(kind, 0) + count
    return lacking


def file_name(clip: str, frame_index: int, kind: str, form: Format) -> str:
    """The file of a picture in a form."""
    return image_name(clip, frame_index, kind, _ending(kind, form))


def _ending(kind: str, form: Format) -> str:
    return "jpg" if form == "jpeg" and kind in _COLOURS else "png"


def _shards(
    folder: OutputFolder,
    target: OutputFolder,
    names: Mapping[str, str],
    keep: Collection[str],
    form: Format,
) -> Iterator[tuple[str, _Shard]]:
    """Video id and shard, of shards with frames of the plan."""
    planned = read_plan(folder)["frame_id"].combine_chunks()
    there = target.files(IMAGES).keys()
    for name in folder.files(FRAMES):
        video = name.split("/")[1]
        try:
            table = read_shard(folder, name, columns=_SMALL)
        except (DamagedShard, FileNotFoundError):
            continue
        good = pc.and_(pc.equal(table["status"], "ok"), pc.is_in(table["frame_id"], planned))
        rows = table.filter(good)
        frames = dict(
            zip(rows["frame_index"].to_pylist(), rows["frame_id"].to_pylist(), strict=True)
        )
        clip = names.get(video, video)
        missing = {
            kind: {i for i in frames if file_name(clip, i, kind, form) not in there}
            for kind in keep
        }
        if frames:
            yield video, _Shard(name, frames, missing)


def _files(
    folder: OutputFolder, shard: _Shard, clip: str, form: Format
) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of the files that are missing and can be had from the shard."""
    kinds = [kind for kind, missing in shard.missing.items() if missing]
    if not kinds:
        return
    columns = {"frame_id", *(_COLUMN[kind] for kind in kinds)}
    table = read_shard(folder, shard.name, columns=columns, pictures=True)
    rows = {row["frame_id"]: row for row in table.to_pylist()}
    for kind in kinds:
        for index in sorted(shard.missing[kind]):
            if data := rows[shard.frames[index]].get(_COLUMN[kind]):
                name = file_name(clip, index, kind, form)
                yield name, jpeg_of(data) if name.endswith(".jpg") else data


def _count_without(folder: OutputFolder, shard: _Shard, column: str, frames: set[int]) -> int:
    """How many of these frames have no picture in the shard's column."""
    with folder.open(shard.name) as stream, pq.ParquetFile(stream) as file:
        place = file.schema_arrow.get_field_index(column)
        if place < 0 or pa.types.is_null(file.schema_arrow.field(place).type):
            return len(frames)
        table = file.read(columns=["frame_id", column])
    ids = {shard.frames[index] for index in frames}
    without = table.filter(pc.is_null(table[column]))["frame_id"].to_pylist()
    return len(ids & set(without))
