"""The thing stage: its columns, what it says of frames without a thing, and error rows."""

import numpy as np

from raydepth.layers.things.stage import ThingFrame, ThingStage
from tests.depth.tiny import batch, frames

MASK = np.zeros((20, 28), bool)
MASK[5:15, 7:21] = True


def things(**known):
    return ThingStage(("dog", "cup"), {"v": lambda row: known})


def test_columns():
    columns = batch(frames(3, 40, 56))
    out = things(dog=ThingFrame("seen", MASK, 0.7, 0.9), cup=ThingFrame("hidden", None, 0.2))(
        columns
    )
    assert out["thing_names"].tolist() == [["dog", "cup"]] * 3
    assert out["thing_state"].tolist() == [["seen", "hidden"]] * 3
    assert out["thing_alpha"].shape == (3, 2, 40, 56) and out["thing_alpha"].dtype == np.float32
    assert (out["thing_alpha"][:, 0, 15:25, 19:37] == 1).all()
    assert not out["thing_alpha"][:, 0, :5].any() and not out["thing_alpha"][:, 1].any()
    edge = out["thing_alpha"][0, 0, 20, 9:19]
    assert ((edge > 0) & (edge < 1)).any(), "edges are soft"
    assert np.allclose(out["thing_inv_depth"], [[0.7, 0.2]] * 3)
    assert out["thing_iou"][0, 0] == 0.9 and np.isnan(out["thing_iou"][0, 1])
    assert "thing_alpha" not in columns and out["seconds_things"].dtype == np.float32


def test_what_was_not_tracked_is_absent():
    out = things(dog=ThingFrame("lost", None, 0.7))(batch(frames(1, 40, 56)))
    assert out["thing_state"].tolist() == [["lost", "absent"]]
    other = ThingStage(("dog",), {})(batch(frames(1, 40, 56)))
    assert other["thing_state"].tolist() == [["absent"]]
    assert np.isnan(other["thing_inv_depth"]).all()


def test_what_cannot_be_read_costs_its_frame():
    broken = {1: ThingFrame("absent", error="no picture")}

    def read(row):
        return {"dog": broken.get(int(row["frame_index"][0]), ThingFrame("seen", MASK, 0.5))}

    columns = batch(frames(3, 40, 56))
    out = ThingStage(("dog",), {"v": read})(columns)
    assert out["status"].tolist() == ["ok", "error", "ok"]
    assert "dog" in out["error_message"][1] and "no picture" in out["error_message"][1]
    assert out["thing_state"].tolist() == [["seen"], ["absent"], ["seen"]]
    assert not out["thing_alpha"][1].any() and columns["status"].tolist() == ["ok"] * 3
