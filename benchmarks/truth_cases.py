"""Cases of synthetic truth on their way through raydepth's own steps: cached pictures in, one plan
for several scenes out.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from hashlib import blake2b
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from raydepth.batch import Batch
from raydepth.depth.calibrate import calibrate
from raydepth.depth.estimator import DepthEstimator
from raydepth.depth.registry import load_depth
from raydepth.depth.settings import Depth, DepthKind
from raydepth.depth.stage import DepthStage
from raydepth.edits.plan import EditBuilder, EditPlan
from raydepth.edits.registry import fix_edit, load_edit, measure_light
from raydepth.edits.relight.light import ClipLight
from raydepth.evaluate.truth import occlusion_correctness
from raydepth.job import Job, parse_job
from raydepth.layers.fill.registry import load_filler
from raydepth.layers.planes import resolve_planes
from raydepth.layers.settings import Layers
from raydepth.layers.stack import Layer, LayerStack
from raydepth.layers.stage import LayerStage
from raydepth.section import Section
from raydepth.synth.case import Case, make_case

EDITS = ("recompose", "remove", "background", "insert")


class TrueDepth:
    """The renderer's depth, as an estimator: column ``true_depth`` of the batch."""

    name = "truth"
    kind: DepthKind = "depth_m"

    def __call__(self, batch: Batch) -> np.ndarray:
        return batch["true_depth"]


@dataclass(frozen=True)
class Target:
    """What an edit of a case should give, and where to look."""

    truth: np.ndarray
    """uint8 [H,W,3]."""
    visible: np.ndarray
    """bool [H,W]: the near layer or the object, as the truth shows it; for ``remove`` where the
    near layer was."""
    given: np.ndarray
    """uint8 [H,W,3]: what stays around the edit."""


def target(case: Case, edit: str) -> Target:
    match edit:
        case "remove":
            # What a fill can know: the shadows that the lifted things cast on what is seen stay.
            left = case.fill if case.fill_shadowed is None else case.fill_shadowed
            return Target(left, case.near, case.rgb)
        case "background":
            return Target(case.composite, case.composite_near, case.other)
        case "insert":
            return Target(case.inserted, case.object_mask, case.rgb)
    return Target(case.rgb, case.near, case.rgb)


def fingerprint(case: Case) -> str:
    """Of what was rendered, so that what an older renderer made is not taken for new."""
    digest = blake2b(digest_size=6)
    for picture in (case.rgb, case.depth, case.inserted, case.composite):
        digest.update(np.ascontiguousarray(picture).tobytes())
    return digest.hexdigest()


def cache_of(folder: Path, samples: int) -> Path:
    """The part of a cache folder that belongs to this renderer and number of samples; found by a
    small case of its own.
    """
    return folder / f"{fingerprint(make_case(0, (32, 32), samples=2))}-{samples}"


def load_case(cache: Path, seed: int, size: int, samples: int) -> Case:
    """A case from the cache, rendered once."""
    file = cache / f"{size}" / f"{seed:06d}.npz"
    if not file.exists():
        case = make_case(seed, (size, size), samples=samples)
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = {
            f.name: getattr(case, f.name) for f in fields(case) if getattr(case, f.name) is not None
        }
        temporary = file.with_suffix(f".{os.getpid()}.npz")
        np.savez_compressed(temporary, **kept)
        temporary.rename(file)
    with np.load(file) as kept:
        values = {f.name: kept.get(f.name) for f in fields(Case)}
    return Case(
        **{name: v.item() if v is not None and v.ndim == 0 else v for name, v in values.items()}
    )


def make_batch(case: Case) -> Batch:
    """The case as a clip of one frame."""
    video, text = (
        f"case{case.seed}",
        {name: np.array([""], object) for name in ("error_type", "error_message", "note")},
    )
    return {
        "frame_id": np.array([f"{video}:0"], object),
        "video": np.array([video], object),
        "path": np.array([f"{video}.png"], object),
        "frame_index": np.zeros(1, np.int64),
        "pts": np.zeros(1, np.int64),
        "time_s": np.zeros(1),
        "rgb": case.rgb[None],
        "true_depth": np.minimum(case.depth, 1e4)[None],
        "status": np.array(["ok"], object),
        **text,
    }  # fmt: skip


class Bench:
    """Depth, layers and edits of cases; what compositors then get. ``depth``: ``truth`` or a
    model's name.
    """

    def __init__(
        self, cache: Path, size: int, depth: str = "truth", samples: int = 24, **layers: Any
    ) -> None:
        self.cache, self.size, self.samples = cache, size, samples
        self.estimator: DepthEstimator = (
            TrueDepth() if depth == "truth" else load_depth(Depth(model=depth))
        )
        # Exact depth has no smeared steps to sharpen.
        self.layers = Layers(**{"edge_filter": depth != "truth", **layers})

    def case(self, seed: int) -> Case:
        return load_case(self.cache, seed, self.size, self.samples)

    def edit_of(self, case: Case, edit: str) -> Section:
        """The job's section; pictures that it names are written beside the cached case."""
        section: dict[str, Any] = {"kind": edit}
        if edit == "background":
            section |= {"source": self._picture(case, "other", case.other)}
        if edit == "insert":
            x0, y0, x1, y1 = (float(v) / self.size for v in case.object_box)
            section |= {
                "object": self._picture(case, "object", case.object_rgba),
                "box": [x0, y0, x1, y1],
                "anchor": "picture",
            }
            if self.estimator.kind == "depth_m":
                section |= {"at": {"metres": float(case.object_depth_m)}}
        return job_of(edit=section).edit

    def layered(
        self, case: Case
    ) -> tuple[Batch, Callable[..., tuple[EditBuilder, ClipLight | None]]]:
        """The case after depth and layers, and its own builder and light of each edit."""
        batch = make_batch(case)
        video, raw = str(batch["video"][0]), self.estimator(batch)
        scale = calibrate([raw[0]], estimator=self.estimator.name, kind=self.estimator.kind)
        inv_depth = scale.normalise(raw[0])
        if scale.kind == "depth_m":
            plane: Any = {"metres": float(case.threshold_m)}
        else:
            plane = {"quantile": float(1 - case.near.mean())}
        layers = self.layers.model_copy(update={"at": job_of(layers={"at": plane}).layers.at})
        planes = {video: resolve_planes(layers.planes, [inv_depth], inv_depth, scale)}
        batch = DepthStage(self.estimator, {video: scale})(batch)
        batch = LayerStage(layers, planes, load_filler(layers.fill))(batch)

        def builder(edit: str, matte: bool = False) -> tuple[EditBuilder, ClipLight | None]:
            section = self.edit_of(case, edit)
            fixed = fix_edit(section, [inv_depth], case.rgb, scale, lambda: ())
            light = measure_light(section, layers, [case.rgb], [inv_depth], planes[video], fixed)
            return load_edit(
                section, layers, {video: (scale, fixed)}, self.estimator, matte=matte
            ), light

        return batch, builder

    def _picture(self, case: Case, name: str, rgb: np.ndarray) -> str:
        file = self.cache / f"{self.size}" / f"{case.seed:06d}_{name}.png"
        code = cv2.COLOR_RGBA2BGRA if rgb.shape[2] == 4 else cv2.COLOR_RGB2BGR
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), cv2.cvtColor(rgb, code))
        return str(file)


class EachItsOwn:
    """Edits of several scenes in one batch: every row has a builder of its own, their plans become
    one.
    """

    def __init__(self, builders: Sequence[EditBuilder]) -> None:
        self.builders = builders

    def __call__(self, batch: Batch) -> EditPlan:
        rows = [
            {name: column[i : i + 1] for name, column in batch.items()}
            for i in range(len(batch["video"]))
        ]
        plans = [build(row) for build, row in zip(self.builders, rows, strict=True)]
        layers = [
            Layer(
                layer.name,
                *(
                    np.concatenate([getattr(plan.stack.layers[k], part) for plan in plans])
                    for part in ("rgb", "alpha", "inv_depth")
                ),
            )
            for k, layer in enumerate(plans[0].stack.layers)
        ]
        notes = {row: plan.notes[0] for row, plan in enumerate(plans) if plan.notes}
        guesses = [plan.inpainted for plan in plans if plan.inpainted is not None]
        return EditPlan(
            LayerStack(layers),
            np.concatenate([plan.region for plan in plans]),
            notes,
            moved=plans[0].moved,
            normals={
                name: np.concatenate([plan.normals[name] for plan in plans])
                for name in plans[0].normals
            },
            inpainted=np.concatenate(guesses) if guesses else None,
        )


def occlusion(case: Case, edited: np.ndarray, plan: EditPlan, row: int) -> float:
    """``occlusion_correctness`` of an inserted object whose layer is the plan's second."""
    layer = plan.stack.layers[1]
    alpha = layer.alpha[row][..., None]
    shown = np.rint(alpha * layer.rgb[row] + (1 - alpha) * case.rgb).astype(np.uint8)
    box = np.zeros(case.near.shape, bool)
    x0, y0, x1, y1 = (round(float(v)) for v in case.object_box)
    box[max(y0, 0) : y1, max(x0, 0) : x1] = True
    return occlusion_correctness(
        edited, shown=shown, hidden=case.rgb, visible=case.object_mask, box=box
    )


def job_of(**sections: Any) -> Job:
    """A resolved job of these sections."""
    return parse_job(
        {
            "schema_version": 1,
            "input": {"paths": ["unused.png"]},
            "output": {"path": "unused"},
            **sections,
        }
    )
