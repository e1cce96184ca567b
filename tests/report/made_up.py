"""A made-up run: rows as a shard holds them, their pictures, and a report built from both into a
folder.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from raydepth.evaluate.fold import fold
from raydepth.report.build import build_report

H, W = 48, 64
STAGES = {
    "decode": 0.02,
    "depth": 0.1,
    "layers": 0.01,
    "fill": 0.03,
    "compose": 0.5,
    "metrics": 0.05,
}
JOB = """schema_version: 1
depth: {model: builtin, truth: null}
layers: {fill: {method: telea, dilate: 3}}
edit: {kind: recompose}
compose: {method: featglac-kv, paste_back: false}
evaluate: {reestimate_every: 5}
"""


def row(video: str, index: int, **over: Any) -> dict[str, Any]:
    """One frame of a made-up shard; a failed one has no values."""
    rng = np.random.default_rng(index + 1000 * len(video))
    made = {
        "frame_id": f"{video}:{index}", "video": video, "path": f"clips/{video}.mp4", "frame_index": index,
        "time_s": index / 25, "status": "ok", "error_type": "", "error_message": "", "attempts": 1,
        "depth_offset": 0.0, "depth_scale": 1 / 65535, "rmse_outside": float(rng.uniform(1, 3)), "psnr_outside": float("inf"),
        "ssim_all": 0.9, "rmse_target_depth": float(rng.uniform(0.01, 0.1)) if index % 5 == 0 else float("nan"),
        "rmse_truth": float("nan"), "rmse_round_trip_outside": 1.5 if index % 5 == 0 else float("nan"),
    }  # fmt: skip
    made |= {
        f"seconds_{stage}": seconds * float(rng.uniform(0.8, 1.3))
        for stage, seconds in STAGES.items()
    }
    if over.get("status") == "error":
        made |= {
            name: None
            for name, value in made.items()
            if isinstance(value, float) and name != "time_s"
        }
        made |= {"error_type": "CorruptPacket", "error_message": "invalid data"}
    return made | over


def encoded(seed: int) -> dict[str, bytes]:
    """The five pictures of a frame as a shard keeps them: a gradient depth and a near disc."""
    y, x = np.mgrid[:H, :W]
    near = ((x - 24) ** 2 + (y - 24) ** 2 < 100).astype(np.uint8) * 255
    colour = np.random.default_rng(seed).integers(0, 255, (H, W, 3), dtype=np.uint8)
    pictures = {
        "rgb": colour, "depth": (x * 1023).astype(np.uint16), "near": near, "background": colour // 2, "edited": 255 - colour,
    }  # fmt: skip
    return {kind: cv2.imencode(".png", picture)[1].tobytes() for kind, picture in pictures.items()}


def make_report(
    folder: Path,
    rows: list[dict[str, Any]],
    pictures: dict[str, dict[str, bytes]] | None = None,
    **summary: Any,
) -> dict[str, Any]:
    """Builds a report from rows into ``folder/report``; returns its tree. Without ``pictures``
    every frame has some.
    """
    table = pa.Table.from_pylist(rows, schema=pa.Table.from_pylist([*rows, row("a", 0)]).schema)

    def write(name: str, data: bytes) -> None:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    def read(frame_ids: list[str]) -> dict[str, dict[str, bytes]]:
        kept = {i: encoded(n) for n, i in enumerate(frame_ids)} if pictures is None else pictures
        return {i: kept[i] for i in frame_ids if i in kept}

    return build_report(
        statistics=fold([table]), per_frame_columns=table, read_pictures=read, write=write,
        summary={"name": "test", "command": "raydepth run test.yaml", "job_yaml": JOB} | summary,
    )  # fmt: skip
