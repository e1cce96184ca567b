"""Additive statistics of metric rows, folded shard by shard; the report is made of them."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePath

import numpy as np
import pyarrow as pa

from raydepth.evaluate.measures import MEASURES, PSNRS

GAMMA = 1.02
"""Ratio of neighbouring histogram bins: a quantile is off by at most (GAMMA - 1) / (GAMMA + 1), 1
%."""
_SMALLEST = 1e-12
_SMALL = ("depth_offset", "depth_scale", "note", "shot", "thing_names", "thing_state")
_ID_COLUMNS = (
    "frame_id",
    "video",
    "path",
    "frame_index",
    "time_s",
    "status",
    "error_type",
    "error_message",
    "attempts",
)


@dataclass(frozen=True)
class Statistics:
    """Additive statistics of one column.

    ``merge`` is commutative and associative (sums: up to float rounding). Quantiles come from a
    sparse histogram with fixed logarithmic bins on both sides of 0 (DDSketch, Masson et al. 2019).
    NaN counts as not measured, as null in shards does. Infinite values (the PSNR of identical
    pictures: null in shards, infinite in older ones) are counted and otherwise left out.
    """

    count: int = 0
    """Finite values."""
    not_measured: int = 0
    infinite: int = 0
    total: float = 0.0
    squares: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    bins: Counter[int] = field(default_factory=Counter)

    @staticmethod
    def of(values: np.ndarray) -> "Statistics":
        """Statistics of a column, any float dtype and shape."""
        values = np.asarray(values, np.float64).ravel()
        finite = values[np.isfinite(values)]
        if not finite.size:
            return Statistics(0, int(np.isnan(values).sum()), int(np.isinf(values).sum()))
        size = np.maximum(np.abs(finite) / _SMALLEST, 1.0)
        bins = np.sign(finite).astype(np.int64) * np.ceil(np.log(size) / math.log(GAMMA)).astype(
            np.int64
        )
        indices, counts = np.unique(bins, return_counts=True)
        return Statistics(
            count=int(finite.size),
            not_measured=int(np.isnan(values).sum()),
            infinite=int(np.isinf(values).sum()),
            total=math.fsum(finite),
            squares=math.fsum(finite**2),
            low=float(finite.min()),
            high=float(finite.max()),
            bins=Counter(dict(zip(indices.tolist(), counts.tolist(), strict=True))),
        )

    def merge(self, other: "Statistics") -> "Statistics":
        """Statistics of both columns together."""
        bins = Counter(self.bins)
        bins.update(other.bins)
        return Statistics(
            count=self.count + other.count,
            not_measured=self.not_measured + other.not_measured,
            infinite=self.infinite + other.infinite,
            total=self.total + other.total,
            squares=self.squares + other.squares,
            low=min(self.low, other.low),
            high=max(self.high, other.high),
            bins=bins,
        )

    @property
    def mean(self) -> float:
        """Mean of the finite values; NaN if there are none.

        Of a per-frame RMSE this is the mean over frames, as in Marigold.
        """
        return self.total / self.count if self.count else math.nan

    @property
    def pooled(self) -> float:
        """Root of the mean square.

        Of a per-frame RMSE this is the RMSE over all frames, each weighing the same.
        """
        return math.sqrt(self.squares / self.count) if self.count else math.nan

    @property
    def std(self) -> float:
        """Population standard deviation of the finite values."""
        return (
            math.sqrt(max(self.squares / self.count - self.mean**2, 0.0))
            if self.count
            else math.nan
        )

    def quantile(self, q: float) -> float:
        """The value that a share ``q`` (0..1) of the finite values doesn't exceed, to 1 %.

        NaN if there is none.
        """
        if not self.count:
            return math.nan
        rank = max(math.ceil(q * self.count), 1)
        for index in sorted(self.bins):
            rank -= self.bins[index]
            if rank <= 0:
                break
        size = 2 * _SMALLEST * GAMMA ** abs(index) / (GAMMA + 1)
        value = math.copysign(size, index) if index else 0.0
        return min(max(value, self.low), self.high)


@dataclass(frozen=True)
class Failure:
    """A frame that no attempt got through."""

    frame_id: str
    video: str
    path: str
    frame_index: int
    time_s: float
    error_type: str
    error_message: str
    attempts: int


@dataclass
class Group:
    """The frames of one video, or all frames."""

    path: str = ""
    done: int = 0
    failed: int = 0
    columns: dict[str, Statistics] = field(default_factory=dict)
    """By column name: the metrics of ``measures.MEASURES`` and ``seconds_<step>``, over frames that
    are done."""

    def get(self, name: str) -> Statistics:
        """Statistics of a column; empty where no shard has it."""
        return self.columns.get(name, Statistics())

    def label(self) -> str:
        """The source's file name."""
        return PurePath(self.path).name or self.path


@dataclass
class Fold:
    """What all rows of a run come to."""

    overall: Group
    videos: dict[str, Group]
    failures: list[Failure]
    """Sorted by path and frame."""

    def errors(self) -> dict[str, int]:
        """Failed frames by error type, most frequent first."""
        return dict(Counter(failure.error_type for failure in self.failures).most_common())


def row_columns(names: Iterable[str]) -> list[str]:
    """Those of a shard's columns that fold and report read: everything small, no pictures."""
    small = {*_ID_COLUMNS, *_SMALL}
    return [name for name in names if name in small or _is_figure(name)]


def _is_figure(name: str) -> bool:
    return name in MEASURES or name.startswith("seconds_")


def fold(tables: Iterable[pa.Table | pa.RecordBatch]) -> Fold:
    """Folds rows one table at a time, so memory holds one table, the frame ids and the sums.

    A frame may occur more than once, after a crash or a retry. The first row that is done counts. A
    failed row counts only when no row of that frame is done. Of several failed rows the one with
    the most attempts counts.
    """
    videos: dict[str, Group] = {}
    done: set[str] = set()
    failures: dict[str, Failure] = {}
    for table in tables:
        frame_ids = table["frame_id"].to_pylist()
        ok = np.array([status == "ok" for status in table["status"].to_pylist()], bool)
        fresh = np.zeros(len(frame_ids), bool)
        for row in np.flatnonzero(ok):
            fresh[row] = frame_ids[row] not in done
            done.add(frame_ids[row])
        for failure in _failures(table, np.flatnonzero(~ok)):
            known = failures.get(failure.frame_id)
            if known is None or failure.attempts > known.attempts:
                failures[failure.frame_id] = failure
        _add(videos, table, np.flatnonzero(fresh))
    left = [failure for frame_id, failure in failures.items() if frame_id not in done]
    for failure in left:
        videos.setdefault(failure.video, Group(path=failure.path)).failed += 1
    left.sort(key=lambda failure: (failure.path, failure.video, failure.frame_index))
    ordered = dict(sorted(videos.items(), key=lambda item: (item[1].path, item[0])))
    overall = Group(done=sum(g.done for g in ordered.values()), failed=len(left))
    for group in ordered.values():
        for column, statistics in group.columns.items():
            overall.columns[column] = overall.get(column).merge(statistics)
    return Fold(overall, ordered, left)


def _add(videos: dict[str, Group], table: pa.Table | pa.RecordBatch, rows: np.ndarray) -> None:
    """Adds the rows of one table, all of them done and new."""
    video = np.array(table["video"].to_pylist(), object)[rows]
    paths = table["path"].to_pylist()
    figures = {name: _floats(table[name])[rows] for name in table.schema.names if _is_figure(name)}
    for psnr in PSNRS.keys() & figures.keys():
        equal = np.isnan(figures[psnr]) & (figures.get(PSNRS[psnr], np.nan) == 0)
        figures[psnr] = np.where(equal, np.inf, figures[psnr])
    for name in dict.fromkeys(video):
        mine = np.flatnonzero(video == name)
        group = videos.setdefault(name, Group(path=paths[rows[mine[0]]]))
        group.done += mine.size
        for column, values in figures.items():
            group.columns[column] = group.get(column).merge(Statistics.of(values[mine]))


def _floats(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    return column.cast(pa.float64()).to_numpy(zero_copy_only=False)  # nulls become NaN


def _failures(table: pa.Table | pa.RecordBatch, rows: np.ndarray) -> Iterator[Failure]:
    names = [name for name in Failure.__annotations__ if name in table.schema.names]
    for record in table.select(names).take(rows).to_pylist() if rows.size else []:
        yield Failure(**{"attempts": 1, **record})


def deduplicate(table: pa.Table) -> pa.Table:
    """One row a frame by the rule of ``fold``, ordered by path and frame.

    The report's curves and pictures are made of these rows.
    """
    if not len(table):  # nothing is written yet, so not even the columns are known
        return pa.table({name: pa.array([], pa.string()) for name in _ID_COLUMNS})
    kept: dict[str, tuple[bool, int, int]] = {}
    attempts = (
        table["attempts"].to_pylist() if "attempts" in table.schema.names else [1] * len(table)
    )
    rows = zip(table["frame_id"].to_pylist(), table["status"].to_pylist(), attempts, strict=True)
    for row, (frame_id, status, tried) in enumerate(rows):
        rank = (status == "ok", 0 if status == "ok" else tried, -row)
        kept[frame_id] = max(kept.get(frame_id, rank), rank)
    chosen = table.take(pa.array([-row for _, _, row in kept.values()], pa.int64()))
    return chosen.sort_by(
        [("path", "ascending"), ("video", "ascending"), ("frame_index", "ascending")]
    )
