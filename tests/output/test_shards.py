"""Renamed metrics: shards hold them under both names, and shards of the old name alone are read.
What is not measured is null.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raydepth.evaluate.fold import fold
from raydepth.evaluate.measures import DEPRECATED, MEASURES
from raydepth.output.folder import OutputFolder
from raydepth.output.ledger import Ledger
from raydepth.output.settings import Output
from raydepth.output.shards import (
    batch_table,
    read_shard,
    read_shards,
    shard_name,
    write_shard,
)

VALUES = [0.25, float("nan"), 0.5]


def table(name: str) -> pa.Table:
    """Three frames that are done, with a metric of this name."""
    text: dict[str, Any] = dict.fromkeys(("error_type", "error_message"), [""] * 3)
    ids = {"frame_id": ["v:0", "v:1", "v:2"], "video": ["v"] * 3, "path": ["v.mp4"] * 3}
    return pa.table(
        text
        | ids
        | {
            "status": ["ok"] * 3,
            "frame_index": pa.array([0, 1, 2], pa.int64()),
            "attempts": pa.array([1, 1, 1], pa.int32()),
            "time_s": [0.0, 0.1, 0.2],
            "seconds_depth": pa.array([0.1] * 3, pa.float32()),
            name: VALUES,
        }
    )


@pytest.mark.parametrize(("old", "name"), DEPRECATED.items())
def test_both_names_are_written_and_the_new_one_is_read(
    tmp_path: Path, old: str, name: str
) -> None:
    folder = OutputFolder.at(str(tmp_path))
    halves = [table(name).slice(0, 1), table(name).slice(1)]
    write_shard(folder, "v/000000-0000", halves, Output(path=str(tmp_path)))
    stored = pq.read_table(tmp_path / shard_name("v/000000-0000"), partitioning=None)
    np.testing.assert_array_equal(stored[old].to_numpy(), VALUES)
    np.testing.assert_array_equal(stored[name].to_numpy(), VALUES)
    assert stored.schema.field(old).metadata[b"deprecated"] == f"use {name}".encode()
    assert name in MEASURES and old not in MEASURES
    read = read_shard(folder, shard_name("v/000000-0000"))
    assert name in read.column_names and old not in read.column_names


@pytest.mark.parametrize(("old", "name"), DEPRECATED.items())
def test_shards_with_the_old_name_alone_are_read(tmp_path: Path, old: str, name: str) -> None:
    folder = OutputFolder.at(str(tmp_path))
    write_shard(folder, "v/000000-0000", [table(old)], Output(path=str(tmp_path)))
    shard = shard_name("v/000000-0000")
    read = read_shard(folder, shard)
    assert old not in read.column_names
    np.testing.assert_array_equal(read[name].to_numpy(), VALUES)
    assert read_shard(folder, shard, columns=[name]).column_names == [name]
    damaged: list[str] = []
    folded = fold(read_shards(folder, damaged=damaged))
    assert folded.overall.get(name).count == 2 and folded.overall.get(name).mean == 0.375
    assert len(Ledger.read(folder).rows) == 3 and not damaged


def test_what_is_not_measured_is_null_and_nothing_is_infinite(tmp_path: Path) -> None:
    """The fold says the same of it as of older shards, which hold NaN and infinities."""
    nan, inf = float("nan"), float("inf")
    rmse, psnr = np.array([0.0, 2.0, nan]), np.array([inf, 42.0, nan])
    threshold = np.array([[0.5, nan], [0.5, 0.25], [nan, nan]])
    old = table("rmse_outside").drop_columns(["rmse_outside"])
    text = {name: np.array(old[name].to_pylist(), object) for name in ("frame_id", "status")}
    columns = {"rmse_outside": rmse, "psnr_outside": psnr, "depth_lo": np.full(3, nan)}
    new = batch_table(text | columns | {"threshold": threshold}, {})
    assert new["rmse_outside"].to_pylist() == [0.0, 2.0, None]
    assert new["psnr_outside"].to_pylist() == [None, 42.0, None]
    assert new["depth_lo"].to_pylist() == [None] * 3
    assert new["threshold"].to_pylist() == [[0.5, None], [0.5, 0.25], [None, None]]
    shards = []
    for values in ({"rmse_outside": rmse, "psnr_outside": psnr}, dict(new.to_pydict())):
        shard = old
        for name in ("rmse_outside", "psnr_outside"):
            shard = shard.append_column(name, pa.array(values[name], pa.float64()))
        shards.append(fold([shard]).overall)
    assert shards[0].columns == shards[1].columns
    statistics = shards[1].get("psnr_outside")
    assert (statistics.count, statistics.infinite, statistics.not_measured) == (1, 1, 1)
