"""The published recipes of method ``featglac-grad`` as numbers, and what they cost in U-Net lanes;
read before any model is.
"""

from dataclasses import dataclass
from typing import Literal

from raydepth.compose.featglac.settings import Grad
from raydepth.errors import JobError

NULL_ITERATIONS = 5
"""Most Adam steps on the null embedding in each step of null-text inversion."""


@dataclass(frozen=True)
class Recipe:
    """How one frame is sampled under guidance; steps count from 0 among those that run."""

    references: Literal["renoise", "invert", "nulltext"]
    steps: int
    """Of the full schedule."""
    strength: float
    guidance: float
    window: range
    """The guided steps."""
    iterations: int
    step_size: float
    far: bool
    """Whether J has the last layer's term; without, only what stands before it is held."""
    paste: int | None
    """Before this step, once, the latents of all layers but the last are pasted in; None: never."""

    @property
    def run(self) -> int:
        """Steps that run."""
        return max(1, int(self.steps * self.strength))


_PUBLISHED = {
    "composition": Recipe("nulltext", 50, 1.0, 7.5, range(0, 38), 5, 0.1, far=True, paste=None),
    "insertion": Recipe("nulltext", 50, 1.0, 5.0, range(31, 48), 3, 0.2, far=False, paste=30),
    "lite": Recipe("renoise", 20, 1.0, 1.0, range(0, 15), 2, 0.1, far=True, paste=None),
}
"""method.md, section 3; of ``lite`` it names neither window nor step size: the first 15 steps,
composition's step."""


def resolve(grad: Grad) -> Recipe:
    """The recipe that a job asks for: the published numbers, the job's where it gives some, the
    window scaled to the steps.

    Raises:
        JobError: the window lies behind the last step.
    """
    base = _PUBLISHED[grad.recipe]
    steps = base.steps if grad.steps is None else grad.steps
    recipe = Recipe(
        references=grad.references or base.references,
        steps=steps,
        strength=grad.strength,
        guidance=base.guidance if grad.guidance is None else grad.guidance,
        window=range(0),
        iterations=base.iterations if grad.iterations is None else grad.iterations,
        step_size=base.step_size if grad.step_size is None else grad.step_size,
        far=base.far,
        paste=None,
    )
    scale = recipe.run / base.steps
    window = range(round(base.window.start * scale), max(1, round(base.window.stop * scale)))
    if grad.window:
        if grad.window[0] >= recipe.run:
            raise JobError(
                f"compose.grad.window: got {grad.window}, but the steps that run are 0 to "
                f"{recipe.run - 1}"
            )
        window = range(grad.window[0], min(grad.window[1] + 1, recipe.run))
    paste = None if base.paste is None else round(base.paste * scale)
    return Recipe(**(vars(recipe) | {"window": window, "paste": paste}))


def lanes(recipe: Recipe, references: int) -> tuple[int, int]:
    """U-Net lanes (one sample, one forward) and backward passes of one frame; the cost table of
    method.md, section 5.

    The table comes out when the references have features in every step that runs, guided or not,
    recorded on the way of a DDIM inversion without a lane of its own; and when null-text inversion
    is taken as published: in each step one conditional pass, five unconditional ones with gradient
    and a guided step of two lanes, and in the replay two lanes and an extra conditional pass for
    the features. It is an upper bound where null-text optimisation stops early.

    Args:
        recipe: resolved.
        references: distinct layer pictures of a frame.
    """
    run, guided = recipe.run, len(recipe.window) * recipe.iterations
    forward = run * (2 if recipe.guidance > 1 else 1) + guided + references * run
    if recipe.references == "nulltext":
        forward += references * run * (1 + NULL_ITERATIONS + 2 + 3)
        return forward, guided + references * run * NULL_ITERATIONS
    return forward, guided
