"""The compose stage: the edit gives layers and a region, a compositor makes the picture."""

import time
from collections.abc import Mapping

import numpy as np

from raydepth.batch import Batch, mark_error, ok_rows, shot_of
from raydepth.compose.crop import Crops
from raydepth.compose.protocol import Compositor
from raydepth.diffusion.noise import clip_seed
from raydepth.edits.plan import EditBuilder
from raydepth.edits.relight.light import ClipLight, match_light
from raydepth.edits.settings import Light
from raydepth.layers.stack import stack_columns


class ComposeStage:
    """Adds ``edited``, ``region``, ``target_inv_depth``, ``seconds_compose``, what the edit
    measured (``EditPlan.measures``), and ``hole_share`` where it shows what was filled.

    Frames with an empty region (no near layer) are the source, whatever the method, and cost
    nothing. Failed frames keep zeros. A frame whose picture is not finite becomes the error row
    ``NonFinitePicture``.
    """

    def __init__(
        self,
        edit: EditBuilder,
        compositor: Compositor,
        seed: int,
        *,
        keep_stack: bool = False,
        crops: Crops | None = None,
        light: Light | None = None,
        lights: Mapping[str, ClipLight | None] | None = None,
    ) -> None:
        """Keeps what it is given.

        Args:
            edit: from ``load_edit``.
            compositor: from ``load_compositor``.
            seed: the job's.
            keep_stack: adds the edit's layers to the batch, for full-size results and for export.
            crops: composes on crops around the edit, where that is worth while; None: always on
                whole frames.
            light: how far moved layers are brought into the scene's light; None: not at all.
            lights: by shot id, what ``measure_light`` found.
        """
        self.edit, self.compositor, self.seed, self.keep_stack = edit, compositor, seed, keep_stack
        self.crops, self.light, self.lights = crops, light or Light(), lights or {}

    def __call__(self, batch: Batch) -> Batch:
        """Composes one batch of columns, given with everything that the layer stage adds."""
        began = time.perf_counter()
        batch = batch | {
            name: batch[name].copy() for name in ("status", "error_type", "error_message", "note")
        }
        plan = self.edit(batch)
        shots = (shot_of(batch, row) for row in range(len(batch["video"])))
        plan = match_light(plan, [self.lights.get(shot) for shot in shots], self.light)
        for row, note in plan.notes.items():
            batch["note"][row] = "; ".join(filter(None, [batch["note"][row], note]))
        ok = ok_rows(batch)
        edited = np.zeros_like(batch["rgb"])
        edited[ok] = batch["rgb"][ok]
        rows = ok[plan.region[ok].any(axis=(1, 2))]
        if self.crops:
            batch["patch"] = np.full(len(edited), None, object)
        if len(rows):
            seeds = np.array(
                [clip_seed(self.seed, video) for video in batch["video"][rows]], np.int64
            )
            patches = self.crops(plan.take(rows), batch, rows, seeds) if self.crops else None
            if self.crops and patches:
                batch["patch"][rows] = patches
                for row, patch in zip(rows, patches, strict=True):
                    edited[row] = self.crops.paste(batch["rgb"][row], patch, plan.region[row])
            else:
                edited[rows] = self.compositor(plan.take(rows), batch["rgb"][rows], seeds)
            for row, note, failed in zip(
                rows, self.compositor.notes, self.compositor.failed, strict=True
            ):
                if note:
                    batch["note"][row] = "; ".join(filter(None, [batch["note"][row], note]))
                if failed:
                    mark_error(batch, row, "NonFinitePicture", "the composed picture is not finite")
                    edited[row] = 0
        batch["edited"] = edited
        batch["region"] = plan.region
        batch |= plan.measures
        if plan.inpainted is not None:
            shown = (plan.inpainted > 0) & batch["hole"]
            batch["hole_share"] = shown.mean(axis=(1, 2), dtype=np.float64)
        if self.keep_stack:
            batch |= stack_columns(plan.stack)
        batch["target_inv_depth"] = plan.stack.flatten_depth()
        seconds = (time.perf_counter() - began) / len(edited)
        batch["seconds_compose"] = np.full(len(edited), seconds, np.float32)
        return batch
