"""The things of the shots in the output folder: masks in chunks of frames, and one table a shot of
where each thing is seen.

``things/<shot id>-<chunk>.parquet`` holds masks as 1-bit PNGs. ``things/<shot id>-frames.parquet``
is written last, so a shot that has it is tracked to its end.
"""

import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raydepth.errors import JobError
from raydepth.layers.things.stage import ABSENT, HIDDEN, LOST, SEEN, STATES, ThingFrame
from raydepth.output.folder import OutputFolder
from raydepth.output.plates import REDO_HINT

THINGS = "things"
CHUNK = 120
"""Frames of the source whose masks share a file."""
_OPEN = 2
"""Chunks that a writer holds; what is farther back is written."""

PIECE = "#"
"""Behind the name of a thing made of several, each tracked alone: ``dog#0``, ``dog#1``."""

_MASKS = pa.schema([("frame_index", pa.int64()), ("thing", pa.string()), ("mask", pa.binary())])


def things_name(shot: str) -> str:
    """The entry of a shot's files in the list of what runs may write."""
    return f"{THINGS}/{shot}"


def _chunk_name(shot: str, chunk: int) -> str:
    return f"{things_name(shot)}-{chunk:06d}.parquet"


def _frames_name(shot: str) -> str:
    return f"{things_name(shot)}-frames.parquet"


@dataclass(frozen=True)
class Track:
    """Where a shot's things are, frame by frame, for n frames and T things."""

    names: tuple[str, ...]
    """Of the things, or of their pieces (``PIECE``)."""
    frame_index: np.ndarray
    """int64 [n], increasing: the frames' indices in the source."""
    state: np.ndarray
    """object [n,T], of ``STATES``."""
    inv_depth: np.ndarray
    """float32 [n,T], normalised; NaN where it is not known."""
    iou: np.ndarray
    """float32 [n,T]; NaN where no mask was found anew."""


class MaskWriter:
    """Keeps masks of a shot, in whatever order its frames come, with a few chunks in memory."""

    def __init__(self, folder: OutputFolder, shot: str) -> None:
        self._folder, self._shot = folder, shot
        self._open: dict[int, dict[tuple[int, str], bytes]] = {}
        self._written: set[int] = set()

    def put(self, frame_index: int, thing: str, mask: np.ndarray) -> None:
        """Keeps a mask bool [h,w]; an earlier one of the frame and thing is replaced."""
        chunk = frame_index // CHUNK
        # The chunk that was touched last stands last.
        rows = self._open[chunk] = self._open.pop(chunk, {})
        packed = [cv2.IMWRITE_PNG_BILEVEL, 1]
        png = cv2.imencode(".png", mask.astype(np.uint8) * 255, packed)[1].tobytes()
        rows[frame_index, thing] = png
        while len(self._open) > _OPEN:
            self._write(next(iter(self._open)))

    def finish(self, track: Track) -> None:
        """Writes what is left, and the shot's table behind it."""
        for chunk in list(self._open):
            self._write(chunk)
        columns = {"frame_index": pa.array(track.frame_index, pa.int64())}
        for i, name in enumerate(track.names):
            columns |= {
                f"{name}.state": pa.array(track.state[:, i].tolist(), pa.string()),
                f"{name}.inv_depth": pa.array(track.inv_depth[:, i].astype(np.float32)),
                f"{name}.iou": pa.array(track.iou[:, i].astype(np.float32)),
            }
        self._folder.write(_frames_name(self._shot), _parquet(pa.table(columns)))

    def _write(self, chunk: int) -> None:
        rows, name = self._open.pop(chunk), _chunk_name(self._shot, chunk)
        if chunk in self._written:
            rows = _read_masks(self._folder, name) | rows
        self._written.add(chunk)
        keys = sorted(rows)
        table = pa.table(
            [
                [index for index, _ in keys],
                [thing for _, thing in keys],
                [rows[key] for key in keys],
            ],
            schema=_MASKS,
        )
        self._folder.write(name, _parquet(table))


class ThingTracks:
    """What was kept of a shot, for its frames; the chunks that were read last stay in memory."""

    def __init__(self, folder: OutputFolder, shot: str) -> None:
        """Reads the shot's table.

        Raises:
            JobError: it is gone or damaged.
        """
        self._folder, self._shot = folder, shot
        self.track = read_track(folder, shot)
        self._row = {int(index): row for row, index in enumerate(self.track.frame_index)}
        self._masks = lru_cache(2)(self._read)

    def __call__(self, frame_index: int) -> dict[str, ThingFrame]:
        """The things of one frame by name; empty where the frame was not tracked.

        Raises:
            JobError: a file of masks is gone or damaged.
        """
        track, row = self.track, self._row.get(frame_index)
        if row is None:
            return {}
        pieces: dict[str, list[ThingFrame]] = {}
        for i, name in enumerate(track.names):
            state, png = str(track.state[row, i]), None
            if state == SEEN:
                png = self._masks(frame_index // CHUNK).get((frame_index, name))
            mask = None if png is None else self._decode(png, frame_index)
            depth, iou = float(track.inv_depth[row, i]), float(track.iou[row, i])
            piece = ThingFrame(state, mask, depth, iou)
            pieces.setdefault(name.partition(PIECE)[0], []).append(piece)
        return {name: joined(these) for name, these in pieces.items()}

    def counts(self) -> dict[str, dict[str, int]]:
        """By thing, in how many frames it is in each state."""
        counts: dict[str, dict[str, int]] = {}
        whole = [name.partition(PIECE)[0] for name in self.track.names]
        for name in dict.fromkeys(whole):
            own = [i for i, other in enumerate(whole) if other == name]
            states = [joined_state(row) for row in self.track.state[:, own].tolist()]
            counts[name] = {state: states.count(state) for state in STATES}
        return counts

    def first_depths(self) -> dict[str, float]:
        """By name, the first depth of each thing that has one."""
        found = {}
        for name, depths in zip(self.track.names, self.track.inv_depth.T, strict=True):
            if (known := depths[np.isfinite(depths)]).size:
                found[name] = float(known[0])
        return found

    def any_of(self, frame_index: int, size: tuple[int, int]) -> np.ndarray:
        """Where things are in a frame, bool at this (height, width)."""
        masks = [thing.mask for thing in self(frame_index).values() if thing.mask is not None]
        found = np.zeros(size, bool)
        for mask in masks:
            shown = mask.astype(np.uint8)
            found |= cv2.resize(shown, size[::-1], interpolation=cv2.INTER_NEAREST) > 0
        return found

    def _read(self, chunk: int) -> dict[tuple[int, str], bytes]:
        return _read_masks(self._folder, _chunk_name(self._shot, chunk))

    def _decode(self, png: bytes, frame_index: int) -> np.ndarray:
        mask = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
        if mask is None:
            name = _chunk_name(self._shot, frame_index // CHUNK)
            raise _damaged(self._folder, name, ValueError("a mask is no picture"))
        return mask > 127


def joined_state(states: Collection[str]) -> str:
    """What is said of a thing of several pieces: one that is lost makes it lost."""
    return next(state for state in (LOST, SEEN, HIDDEN, ABSENT) if state in states)


def joined(pieces: Sequence[ThingFrame]) -> ThingFrame:
    """A thing of several pieces in one frame: all their masks, and the depth of the nearest."""
    if len(pieces) == 1:
        return pieces[0]
    masks = [np.asarray(piece.mask) > 0 for piece in pieces if piece.mask is not None]
    depths = [piece.inv_depth for piece in pieces if np.isfinite(piece.inv_depth)]
    ious = [piece.iou for piece in pieces if np.isfinite(piece.iou)]
    nan = float("nan")
    return ThingFrame(
        joined_state([piece.state for piece in pieces]),
        np.logical_or.reduce(masks) if masks else None,
        max(depths, default=nan),
        min(ious, default=nan),
    )


def read_track(folder: OutputFolder, shot: str) -> Track:
    """A shot's table; raises JobError where it is gone or damaged."""
    name = _frames_name(shot)
    try:
        table = _table(folder.read(name))
        names = [
            column.removesuffix(".state")
            for column in table.column_names
            if column.endswith(".state")
        ]
        track = Track(
            tuple(names),
            table["frame_index"].to_numpy(),
            _stacked(table, names, "state", object),
            _stacked(table, names, "inv_depth", np.float32),
            _stacked(table, names, "iou", np.float32),
        )
        if not set(track.state.ravel().tolist()) <= set(STATES):
            raise ValueError("it says of things what can't be said")
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise _damaged(folder, name, error) from error
    return track


def _stacked(table: pa.Table, names: Collection[str], what: str, dtype: type) -> np.ndarray:
    columns = [table[f"{name}.{what}"].to_numpy().astype(dtype) for name in names]
    return np.stack(columns, 1) if columns else np.zeros((len(table), 0), dtype)


def _read_masks(folder: OutputFolder, name: str) -> dict[tuple[int, str], bytes]:
    try:
        table = _table(folder.read(name))
        if table.schema != _MASKS:
            raise ValueError("its columns are others")
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _damaged(folder, name, error) from error
    columns = (table[field].to_pylist() for field in _MASKS.names)
    return {(index, thing): mask for index, thing, mask in zip(*columns, strict=True)}


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    # PNGs are packed already; the few numbers beside them are not worth a codec.
    pq.write_table(table, buffer, compression="none", write_page_checksum=True)
    return buffer.getvalue()


def _table(data: bytes) -> pa.Table:
    with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
        table = file.read()
    table.validate(full=True)
    return table


def _damaged(folder: OutputFolder, name: str, error: Exception) -> JobError:
    reason = " ".join(str(error).split())
    hint = REDO_HINT.replace("plates", "masks")
    return JobError(f"{folder.uri}/{name} cannot be read ({reason}); {hint}")
