"""The compose stage: columns, error rows, frames without a near layer, seeds per clip, notes."""

import numpy as np
import pytest

from raydepth.compose.featglac.kv import FeatGLaC
from raydepth.compose.registry import load_compositor
from raydepth.compose.stage import ComposeStage
from raydepth.diffusion.noise import clip_seed
from raydepth.edits import recompose, remove


@pytest.fixture
def make_batch():
    def make(frames=3, height=24, width=40):
        rng = np.random.default_rng(1)
        rgb, background = rng.integers(0, 256, (2, frames, height, width, 3), np.uint8)
        near = np.zeros((frames, height, width), np.float32)
        near[:, 8:16, 10:25] = 1
        text = {
            name: np.array([""] * frames, object)
            for name in ("error_type", "error_message", "note")
        }
        hole = np.zeros(near.shape, bool)
        hole[:, 6:18, 8:27] = True
        return text | {
            "rgb": rgb,
            "background": background,
            "near": near,
            "alphas": np.stack([near, 1 - near], 1),
            "hole": hole,
            "inv_depth": near,
            "far_inv_depth": np.full(near.shape, 0.1, np.float32),
            "video": np.array(["a"] * frames, object),
            "status": np.array(["ok"] * frames, object),
        }

    return make


class Recorder:
    def __init__(self, notes=None, failed=None):
        self.given, self.notes, self.failed = [], notes, failed

    def __call__(self, plan, source, seeds):
        self.given.append((plan, source, seeds))
        self.notes = self.notes or [""] * len(source)
        self.failed = np.zeros(len(source), bool) if self.failed is None else self.failed
        return np.full_like(source, 200)


def test_columns_and_their_types(make_batch):
    batch = make_batch()
    for column in batch.values():
        column.flags.writeable = False  # as Ray hands them over
    done = ComposeStage(remove.build, Recorder(), 0)(batch)
    assert (done["edited"] == 200).all() and done["edited"].dtype == np.uint8
    assert done["region"].dtype == np.float32 and np.array_equal(done["region"] > 0, batch["hole"])
    assert np.array_equal(done["target_inv_depth"], batch["far_inv_depth"])
    assert done["seconds_compose"].dtype == np.float32 and (done["seconds_compose"] > 0).all()
    again = ComposeStage(recompose.build, Recorder(), 0)(batch)
    assert np.array_equal(again["target_inv_depth"], batch["inv_depth"])


def test_error_rows_keep_zeros_and_frames_without_near_layer_are_the_source(make_batch):
    batch = make_batch()
    batch["status"][0] = "error"
    batch["hole"][1] = False
    recorder = Recorder()
    done = ComposeStage(recompose.build, recorder, 0)(batch)
    assert not done["edited"][0].any()
    assert np.array_equal(done["edited"][1], batch["rgb"][1])
    assert (done["edited"][2] == 200).all()
    assert [len(source) for _, source, _ in recorder.given] == [1]
    batch["hole"][2] = False
    ComposeStage(recompose.build, recorder, 0)(batch)
    assert len(recorder.given) == 1


def test_all_frames_of_a_clip_share_the_seed(make_batch):
    batch, recorder = make_batch(), Recorder()
    batch["video"][2] = "b"
    ComposeStage(remove.build, recorder, 5)(batch)
    seeds = recorder.given[0][2]
    assert seeds.tolist() == [clip_seed(5, "a"), clip_seed(5, "a"), clip_seed(5, "b")]
    assert len({clip_seed(5, "a"), clip_seed(5, "b"), clip_seed(6, "a")}) == 3
    assert seeds.min() >= 0


def test_notes_are_added_and_failures_become_error_rows(make_batch):
    batch = make_batch()
    batch["note"][0] = "before"
    recorder = Recorder(notes=["more", "new", ""], failed=np.array([False, False, True]))
    done = ComposeStage(remove.build, recorder, 0)(batch)
    assert done["note"].tolist() == ["before; more", "new", ""]
    assert (
        done["status"].tolist() == ["ok", "ok", "error"]
        and done["error_type"][2] == "NonFinitePicture"
    )
    assert not done["edited"][2].any()
    assert batch["status"].tolist() == ["ok"] * 3


@pytest.mark.parametrize("edit", [recompose.build, remove.build])
@pytest.mark.parametrize("method", ["featglac-kv", "paste", "poisson"])
def test_every_method_keeps_pixels_outside_the_region(
    make_batch, make_models, make_compose, edit, method
):
    batch = make_batch()
    held = {"blend": True} if method == "featglac-kv" else {}
    compose = make_compose(method=method, paste_back=True, **held)
    if method == "featglac-kv":
        compositor = FeatGLaC(make_models("AutoencoderKL"), compose)
        assert compositor.round_trip(batch["rgb"]).shape == batch["rgb"].shape
    else:
        compositor = load_compositor(compose, device="cpu", dtype="float32")
    done = ComposeStage(edit, compositor, 0)(batch)
    assert np.array_equal(done["edited"][~batch["hole"]], batch["rgb"][~batch["hole"]])
    assert (done["status"] == "ok").all()
    if edit is remove.build or method == "featglac-kv":
        assert (done["edited"] != batch["rgb"]).any()
