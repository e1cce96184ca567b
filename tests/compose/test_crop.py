"""Crops around the edit: a steady window around the region, sharp where the source is at hand,
pasted back exactly.
"""

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from raydepth.batch import Batch
from raydepth.compose.baselines import Paste
from raydepth.compose.crop import MOST, PARTS, Crops, find_window
from raydepth.compose.stage import ComposeStage
from raydepth.edits.plan import EditPlan
from raydepth.layers.stack import Layer, LayerStack

SIZE = (72, 128)


class Recorder(Paste):
    """Pastes, and keeps what it was given."""

    def __call__(self, plan: EditPlan, source: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        self.source = source
        return super().__call__(plan, source, seeds)


def textured(size: tuple[int, int]) -> np.ndarray:
    return cv2.GaussianBlur(
        np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8), (0, 0), 1.0
    )


def batch_and_plan(box: tuple[int, int, int, int], frames: int = 2) -> tuple[Batch, EditPlan]:
    """Frames of texture in which a box is to become grey."""
    rgb = np.stack([textured(SIZE)] * frames)
    y0, x0, y1, x1 = box
    region = np.zeros((frames, *SIZE), np.float32)
    region[:, y0:y1, x0:x1] = 1
    asked = np.where(region[..., None] > 0, np.uint8(128), rgb)
    opaque = np.ones_like(region)
    text = {
        name: np.array([""] * frames, object) for name in ("error_type", "error_message", "note")
    }
    batch = {
        "rgb": rgb,
        "video": np.array(["v"] * frames, object),
        "status": np.array(["ok"] * frames, object),
    }
    return batch | text, EditPlan(LayerStack([Layer("far", asked, opaque, opaque)]), region)


def compose(batch: Batch, plan: EditPlan, compositor: Paste, *, keep_source: bool = True) -> Batch:
    crops = Crops(compositor, keep_source=keep_source)
    return ComposeStage(lambda _: plan, compositor, 0, keep_stack=True, crops=crops)(batch)


@settings(deadline=None)
@given(data=st.data())
def test_the_window_holds_the_region_and_lies_in_the_frame(data: st.DataObject):
    height, width = data.draw(st.integers(16, 300)), data.draw(st.integers(16, 300))
    region = np.zeros((2, height, width), np.float32)
    for n in range(2):
        y, x = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
        region[
            n, y : y + data.draw(st.integers(1, height)), x : x + data.draw(st.integers(1, width))
        ] = 0.5
    window = find_window(region)
    inside = (region > 0).any(0)
    if window is None:
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        assert max(np.ptp(rows) / height, np.ptp(columns) / width) > MOST / PARTS - 2 / PARTS
        return
    y0, x0, y1, x1 = window
    assert 0 <= y0 < y1 <= height and 0 <= x0 < x1 <= width
    assert inside[y0:y1, x0:x1].sum() == inside.sum()
    assert abs((y1 - y0) / height - (x1 - x0) / width) <= 1 / min(height, width)


def test_small_movements_do_not_move_the_window():
    windows = set()
    for shift in range(4):
        region = np.zeros((1, 360, 640), np.float32)
        region[0, 200 + shift : 260 + shift, 300 + shift : 380 + shift] = 1
        windows.add(find_window(region))
    assert len(windows) <= 2


def test_the_compositor_sees_the_crop_and_the_rest_stays_the_source():
    compositor = Recorder(keep_source=True)
    batch, plan = batch_and_plan((30, 60, 50, 90))
    done = compose(batch, plan, compositor)
    assert compositor.source.shape == (2, *SIZE, 3)
    y0, x0, y1, x1 = find_window(plan.region)
    np.testing.assert_array_equal(
        compositor.source[0],
        cv2.resize(batch["rgb"][0, y0:y1, x0:x1], SIZE[::-1], interpolation=cv2.INTER_CUBIC),
    )
    outside = plan.region[0] == 0
    np.testing.assert_array_equal(done["edited"][0][outside], batch["rgb"][0][outside])
    middle = done["edited"][0][36:44, 66:84].astype(int)
    assert np.abs(middle - 128).max() <= 2
    np.testing.assert_array_equal(done["edited"][0], done["edited"][1])


def test_a_large_region_is_composed_on_the_whole_frame():
    compositor = Recorder(keep_source=True)
    batch, plan = batch_and_plan((2, 2, 70, 120))
    done = compose(batch, plan, compositor)
    np.testing.assert_array_equal(compositor.source, batch["rgb"])
    assert done["patch"].tolist() == [None, None]


def test_frames_that_may_not_change_are_the_source_beside_cropped_ones():
    batch, plan = batch_and_plan((30, 60, 50, 90))
    plan.region[1] = 0
    done = compose(batch, plan, Recorder(keep_source=True))
    np.testing.assert_array_equal(done["edited"][1], batch["rgb"][1])
    assert done["patch"][1] is None and done["patch"][0] is not None
