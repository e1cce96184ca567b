"""The training loop of the built-in models.

It has a time budget, a moving average of the weights, checkpoints and a log.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch

from raydepth.errors import JobError


@dataclasses.dataclass(frozen=True)
class Budget:
    """How long and how fast to train.

    Attributes:
        minutes: Wall-clock minutes of this run.
        steps: Stop at this step of the whole training instead, which makes the result independent
            of the machine's speed.
        rate: Peak learning rate.
        decay: Share of the budget at the end over which the learning rate falls to zero.
        average: Decay of the moving average of the weights.
    """

    minutes: float
    steps: int | None = None
    rate: float = 5e-4
    decay: float = 0.3
    average: float = 0.999


def subsample_log(log: Path, lines: int = 200) -> str:
    """A log of JSON lines reduced to at most so many, evenly spaced and with its last.

    Empty without a log.
    """
    entries = log.read_text().splitlines(keepends=True) if log.exists() else []
    return "".join(entries[-1 :: -max(1, -(-len(entries) // lines))][::-1])


def train(
    model: torch.nn.Module,
    loss_of: Callable[[torch.nn.Module, int, float], torch.Tensor],
    folder: Path,
    budget: Budget,
    *,
    resume: bool,
    export: Callable[[torch.nn.Module, dict[str, float]], None],
    exported: Path,
) -> None:
    """Runs AdamW until the budget is spent; checkpoints and exports every five minutes.

    Both are written at the end too.

    Args:
        model: What to train, in float32; the forward pass runs under bfloat16 autocast.
        loss_of: Gives the loss of (model, step, progress 0..1); it must depend on nothing else, so
            that a resumed run sees the pictures that an undisturbed one would have seen.
        folder: Holds `state.pt` and `log.jsonl`.
        budget: How long and how fast.
        resume: Go on from `state.pt` where there is one.
        export: Called with the averaged model and its training effort: `steps` and `minutes`.
        exported: The folder that `export` writes; it also gets `training_log.jsonl`, which is the
            log in at most 200 lines.

    Raises:
        JobError: There is a checkpoint, and the run is not to go on from it.
    """
    if not resume and (folder / "state.pt").exists():
        raise JobError(
            f"{folder / 'state.pt'} is the checkpoint of an earlier training, which a new one "
            "would replace; go on from it (--resume) or name another folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    averaged = copy.deepcopy(model).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(
        model.parameters(), budget.rate, betas=(0.9, 0.98), weight_decay=0.02, fused=True
    )
    step, before = 0, 0.0
    if resume and (folder / "state.pt").exists():
        state = torch.load(folder / "state.pt", weights_only=True)
        model.load_state_dict(state["model"])
        averaged.load_state_dict(state["averaged"])
        optimizer.load_state_dict(state["optimizer"])
        step, before = state["step"], state["minutes"]
    start = saved = time.monotonic()
    losses: list[float] = []

    def save() -> None:
        minutes = before + (time.monotonic() - start) / 60
        state = {
            "model": model.state_dict(),
            "averaged": averaged.state_dict(),
            "optimizer": optimizer.state_dict(),
            "step": step,
            "minutes": minutes,
        }
        torch.save(state, folder / "state.tmp")
        (folder / "state.tmp").rename(folder / "state.pt")
        export(averaged, {"steps": step, "minutes": round(minutes, 1)})
        (exported / "training_log.jsonl").write_text(subsample_log(folder / "log.jsonl"))

    model.train()
    while True:
        spent = (time.monotonic() - start) / 60 / budget.minutes
        progress = step / budget.steps if budget.steps is not None else spent
        if progress >= 1.0:
            break
        rate = budget.rate * min(1.0, (step + 1) / 200, max(1.0 - progress, 0.0) / budget.decay)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = loss_of(model, step, progress)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        # A bad batch must not spoil the weights: bfloat16 can overflow in a gradient.
        if math.isfinite(norm.item()):
            optimizer.step()
        step += 1
        keep = min(budget.average, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, value in zip(
                averaged.state_dict().values(), model.state_dict().values(), strict=True
            ):
                if mean.is_floating_point():
                    mean.lerp_(value, 1 - keep)
                else:
                    mean.copy_(value)
        losses.append(loss.item())
        if step % 50 == 0:
            minutes = before + (time.monotonic() - start) / 60
            entry = {
                "step": step,
                "minutes": round(minutes, 2),
                "loss": round(sum(losses) / len(losses), 5),
                "rate": rate,
            }
            with (folder / "log.jsonl").open("a") as log:
                log.write(json.dumps(entry) + "\n")
            losses.clear()
        if time.monotonic() - saved > 300:
            save()
            saved = time.monotonic()
    save()
