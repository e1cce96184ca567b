"""Tracked masks of things against masks drawn by hand, on three real clips.

    python -m benchmarks.things --data DATA --out benchmarks/results [--method sam] [--method depth]

DATA has ``videos/{dog,cups,bikes}.mp4`` and ``weights/`` with FastDepth and MobileSAM. Every clip
is run as a job whose edit leaves the frames as they are; the masks are those that the job keeps in
``things/``. ``hand_masks.json`` holds the outlines of eleven things in ten frames, drawn at two to
five times the frame's size. None of these frames is the one that is clicked. The figure is the
intersection over union at the source's size. A lead, a held carrot and what blurs away are drawn as
the eye takes them; on motion blur two people's outlines differ by some hundredths.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from raydepth.frames.probe import probe
from raydepth.job.load import load_job
from raydepth.output.folder import OutputFolder
from raydepth.output.record import environment
from raydepth.output.things import THINGS, ThingTracks
from raydepth.run.pipeline import run

CLICKS: dict[str, list[dict[str, Any]]] = {
    "dog.mp4": [
        {"name": "dog", "point": [0.47, 0.6]},
        {"name": "woman", "points": [[0.26, 0.42], [0.24, 0.58]]},
    ],
    "cups.mp4": [{"name": "cup", "point": [0.27, 0.13]}],
    "bikes.mp4": [
        {"name": "cyclist", "points": [[0.4, 0.5], [0.42, 0.17]], "at_s": 0.96},
        {"name": "bollard", "point": [0.4, 0.8], "at_s": 7.92},
    ],
}
"""What is clicked in each clip."""


def segmenter(method: str, data: Path) -> dict[str, Any]:
    """``layers.segmenter`` of the jobs."""
    if method == "depth":
        return {"method": "depth"}
    pair = {part: str(data / f"weights/mobile_sam_{part}.onnx") for part in ("encoder", "decoder")}
    return {"method": "sam", "model": pair}


def track(clip: str, method: str, data: Path, folder: Path) -> OutputFolder:
    """Runs the clip's job and gives its output folder."""
    tree = {
        "schema_version": 1,
        "input": {"paths": [str(data / "videos" / clip)], "size": 480},
        "depth": {"model": str(data / "weights/fastdepth_7.onnx"), "kind": "depth_m"},
        "layers": {"things": CLICKS[clip], "segmenter": segmenter(method, data)},
        "compose": {"method": "paste"},
        "output": {"path": str(folder / "out")},
        "run": {"workers": 1, "gpus_per_worker": 0},
    }
    file = folder / "job.yaml"
    file.write_text(yaml.safe_dump(tree))
    job = load_job(file)
    run(job)
    return OutputFolder.at(job.output.path)


def drawn(entry: dict[str, Any]) -> np.ndarray:
    """A mask drawn by hand, bool [H,W] at the source's size."""
    width, height = entry["size"]
    mask = np.zeros((height, width), np.uint8)
    for value, outlines in ((1, entry["polygons"]), (0, entry["holes"])):
        for outline in outlines:
            # Sixteenths of a pixel; a pixel's centre is at one half.
            points = np.rint((np.array(outline) - 0.5) * 16).astype(np.int32)
            cv2.fillPoly(mask, [points], value, shift=4)
    return mask > 0


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two masks bool [H,W]; 1 where both are empty."""
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0


def compare(clip: str, folder: OutputFolder, video: str) -> Iterator[dict[str, Any]]:
    """The figures of a clip's drawn masks."""
    shots = sorted({name.split("/")[1].rsplit("-", 1)[0] for name in folder.files(THINGS)})
    tracks = [ThingTracks(folder, shot) for shot in shots]
    for entry in json.loads((Path(__file__).parent / "hand_masks.json").read_text()):
        if entry["clip"] != clip:
            continue
        truth, states = drawn(entry), []
        found = np.zeros_like(truth)
        for shot in tracks:
            thing = shot(entry["frame_index"]).get(entry["thing"])
            if thing is None:
                continue
            states.append(thing.state)
            if thing.mask is not None:
                size = truth.shape[::-1]
                soft = cv2.resize(np.float32(thing.mask), size, interpolation=cv2.INTER_LINEAR)
                found = soft > 0.5
        yield {
            "clip": clip,
            "frame_index": entry["frame_index"],
            "thing": entry["thing"],
            "state": "/".join(states) or "absent",
            "iou": round(iou(found, truth), 4),
        }


def main() -> None:
    """Parses the command line, tracks, prints a table and stores it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--method", action="append", choices=["sam", "depth"])
    arguments = parser.parse_args()
    tree: dict[str, Any] = {"environment": environment(), "methods": {}}
    for method in arguments.method or ["sam", "depth"]:
        rows = []
        for clip in CLICKS:
            with tempfile.TemporaryDirectory() as scratch:
                folder = track(clip, method, arguments.data, Path(scratch))
                video = probe(str(arguments.data / "videos" / clip)).video
                rows += list(compare(clip, folder, video))
        mean = float(np.mean([row["iou"] for row in rows]))
        tree["methods"][method] = {"mean_iou": round(mean, 4), "masks": rows}
        print(f"\n{method}: mean IoU {mean:.3f}")
        for row in rows:
            print(
                f"  {row['clip']:10} {row['frame_index']:4} {row['thing']:8} {row['iou']:.3f}  "
                f"{row['state']}"
            )
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "things.json").write_text(json.dumps(tree, indent=2) + "\n")


if __name__ == "__main__":
    main()
