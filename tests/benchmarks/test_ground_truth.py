"""The benchmark against true edits: its steps on a made-up case, its resuming, its intervals."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.ground_truth import Results, Scenes, measure
from benchmarks.truth_cases import EDITS, Bench
from benchmarks.truth_tables import interval, summarise, write_table
from raydepth.evaluate.truth import Scores
from raydepth.synth.case import Case

SIZE = 48


def inpainted_mask(seed: int) -> Case:
    """A near block before a wall and a floor of one colour each; the object stands behind the
    block, seen by half.
    """
    rng = np.random.default_rng(seed)
    wall, other = (
        np.broadcast_to(rng.integers(60, 200, 3), (SIZE, SIZE, 3)).astype(np.uint8)
        for _ in range(2)
    )
    near = np.zeros((SIZE, SIZE), bool)
    near[14:40, 10:24] = True
    thing = np.zeros_like(near)
    thing[20:36, 16:32] = True
    seen = thing & ~near
    rgb = np.where(near[..., None], np.uint8([200, 60, 30]), wall)
    depth = np.where(near, 2.0, 6.0).astype(np.float32)
    return Case(
        seed=seed,
        rgb=rgb,
        depth=depth,
        near=near,
        threshold_m=3.0,
        focal=50.0,
        fill=wall,
        fill_depth=np.full_like(depth, 6),
        fill_shadowed=wall,
        object_rgba=np.full((16, 16, 4), (20, 220, 90, 255), np.uint8),
        object_box=(16.0, 20.0, 32.0, 36.0),
        object_depth_m=4.0,
        inserted=np.where(seen[..., None], np.uint8([20, 220, 90]), rgb),
        object_mask=seen,
        other=other,
        other_depth=np.full_like(depth, 5),
        composite=np.where(near[..., None], rgb, other),
        composite_near=near,
    )


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(Bench, "case", lambda self, seed: inpainted_mask(seed))
    return Bench(tmp_path, SIZE)


def test_true_depth_gives_the_true_layers_and_pasting_the_true_pictures(bench):
    scenes = Scenes(bench, [0, 1])
    assert np.array_equal(scenes.batch["near"] == 1, np.stack([case.near for case in scenes.cases]))
    results = Results(bench.cache / "results.jsonl")
    measure(bench, [0, 1], {"paste": {"method": "paste"}}, results)
    for edit in EDITS:
        for seed in (0, 1):
            row = results.rows[seed, "paste", edit]
            limit = 8 if edit == "insert" else 1.5  # an object is drawn with a soft rim
            assert row["rmse"] < limit and row["lab_gap"] < limit, (edit, row)
            assert row["occlusion"] == (1 if edit == "insert" else None)
            assert row["background_rmse"] < limit


def test_an_interrupted_run_goes_on_and_does_nothing_twice(bench, monkeypatch):
    methods = {"paste": {"method": "paste"}, "poisson": {"method": "poisson"}}
    file = bench.cache / "results.jsonl"
    measure(bench, [0, 1], {"paste": methods["paste"]}, Results(file))
    first = file.read_text()
    done = []
    compose = Scenes.compose
    monkeypatch.setattr(
        Scenes,
        "compose",
        lambda self, edit, *rest: (done.append(edit), compose(self, edit, *rest))[1],
    )
    measure(bench, [0, 1], methods, Results(file))
    assert done == list(EDITS) and file.read_text().startswith(first)
    measure(bench, [0, 1], methods, Results(file))
    assert done == list(EDITS)
    measure(bench, [0, 1], {"paste": {"method": "paste", "light": {"colour": 0.5}}}, Results(file))
    assert done == 2 * list(EDITS)  # other settings under the same name are other results


def test_an_interval_is_that_of_the_mean_and_seeded():
    values = np.random.default_rng(0).normal(5, 2, 400)
    mean, low, high = interval(np.append(values, np.nan))
    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx((mean - 0.196, mean + 0.196), abs=0.04)
    assert interval(values) == interval(values)
    assert interval(np.full(7, 3.0)) == (3.0, 3.0, 3.0)


def test_differences_are_paired_by_scene(tmp_path):
    rng = np.random.default_rng(1)
    rows = []
    for seed in range(40):
        hard = float(rng.uniform(0, 50))
        for method, gain in (("paste", 0.0), ("better", -1.0)):
            if method == "better" and seed >= 30:
                continue  # scenes that only one method has seen do not count
            values = {name: hard + gain for name in Scores._fields} | {"occlusion": None}
            rows.append({"seed": seed, "method": method, "edit": "insert", "seconds": 0.1} | values)
    found = summarise(rows, ["paste", "better"], ["insert"])["insert"]["better"]
    assert found["scenes"] == 30
    assert [found["rmse"][k] for k in ("gain", "gain_low", "gain_high")] == pytest.approx([-1] * 3)
    assert np.isnan(found["occlusion"]["mean"])
    write_table(tmp_path / "table", rows, ["paste", "better"], ["insert"], {})
    assert "**-1.00 [-1.00, -1.00]**" in (tmp_path / "table.md").read_text()
    assert (
        json.loads((tmp_path / "table.json").read_text())["table"]["insert"]["better"]["scenes"]
        == 30
    )
