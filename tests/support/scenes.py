"""Batches as the layer stage leaves them, from frames and depth, and small objects."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from raydepth.batch import Batch
from raydepth.depth.calibrate import Calibration
from raydepth.layers.fill.registry import load_filler
from raydepth.layers.fill.settings import OpenCVFill
from raydepth.layers.settings import Layers
from raydepth.layers.stage import LayerStage
from raydepth.layers.things.layering import Layering

SCALE = Calibration("made up", "disparity_rel", 0.0, 1.0)


def thing_columns(count: int, things: dict[str, Any]) -> Batch:
    """The columns of the thing stage, from mattes float32 [N,H,W] or [H,W], inverse depths (one, or
    one a frame) and, where it is not ``seen``, the state (one, or one a frame) by name.
    """
    named = {name: (*thing, "seen")[:3] for name, thing in things.items()}
    alphas = [np.broadcast_to(alpha, (count, *alpha.shape[-2:])) for alpha, _, _ in named.values()]
    depths = [np.broadcast_to(depth, count) for _, depth, _ in named.values()]
    states = [np.broadcast_to(np.array(state, object), count) for *_, state in named.values()]
    return {
        "thing_names": np.tile(np.array(list(named), object), (count, 1)),
        "thing_alpha": np.stack(alphas, 1).astype(np.float32),
        "thing_inv_depth": np.stack(depths, 1).astype(np.float32),
        "thing_state": np.stack(states, 1),
        "thing_iou": np.full((count, len(named)), np.nan),
    }


@pytest.fixture
def scene():
    """Textured frames uint8 [N,H,W,3] and depth: a floor that comes nearer downward, and a near
    post at the right.
    """

    def make(frames: int = 2, height: int = 72, width: int = 96) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(3)
        rough = rng.integers(90, 160, (height // 6 + 1, width // 6 + 1, 3)).astype(np.uint8)
        picture = cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)
        depth = np.full((height, width), 0.1, np.float32)
        floor = np.arange(height, dtype=np.float32)[:, None] / height
        depth = np.maximum(depth, (floor - 0.4) * 0.9 + 0.1)
        post = slice(int(width * 0.6), int(width * 0.7))
        depth[height // 4 :, post] = 0.9
        picture[height // 4 :, post] = (30, 40, 160)
        return np.repeat(picture[None], frames, 0), np.repeat(depth[None], frames, 0)

    return make


@pytest.fixture
def make_batch():
    """A batch after the layer stage."""

    def make(
        rgb: np.ndarray,
        inv_depth: np.ndarray,
        at: list[float] | None = None,
        things: dict[str, Any] | None = None,
        layering: Layering | None = None,
        **layers: Any,
    ) -> Batch:
        count = len(rgb)
        text = {
            name: np.array([""] * count, object) for name in ("error_type", "error_message", "note")
        }
        batch = {
            "frame_id": np.array([f"v:{i}" for i in range(count)], object),
            "video": np.array(["v"] * count, object),
            "status": np.array(["ok"] * count, object),
            **text,
            "frame_index": np.arange(count),
            "pts": np.arange(count) * 10,
            "time_s": np.arange(count) / 25,
            "rgb": rgb,
            "inv_depth": inv_depth.astype(np.float32),
        }
        settings = Layers(
            fill=OpenCVFill(dilate=2), **{"edge_filter": False, "min_area": 0} | layers
        )
        if things:
            batch |= thing_columns(count, things)
        filler = load_filler(settings.fill)
        return LayerStage(settings, {"v": tuple(at or [0.5])}, filler, layering)(batch)

    return make


@pytest.fixture
def make_object(tmp_path: Path):
    """Writes a solid RGBA rectangle, orange, with a soft frame of one pixel; its path."""

    def make(height: int = 40, width: int = 20, mode: str = "RGBA") -> str:
        picture = np.zeros((height, width, 4), np.uint8)
        picture[..., :3] = (240, 140, 20)
        picture[1:-1, 1:-1, 3] = 255
        picture[..., 3] = np.maximum(picture[..., 3], 128)
        path = tmp_path / f"object_{height}x{width}.png"
        Image.fromarray(picture).convert(mode).save(path)
        return str(path)

    return make
