"""What the verdict on a run looks for in every frame: the rules, their bounds and advice."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from raydepth.evaluate.asked import Asked
from raydepth.evaluate.judged import Frames, notes_of

SOME, OFTEN, MOSTLY = 0.02, 0.25, 0.5
"""Shares of a shot's measured frames from which on a rule makes amber: what should never happen,
what happens in good clips too, for a while, and what varies from frame to frame in any clip."""
OUT_OF_SIGHT = 0.02
"""``object_seen`` and ``object_inside`` below this: the object is not there to be looked at."""
EVERYWHERE, NOWHERE = 0.9, 0.001
"""``near_share`` above, and below."""
MOSTLY_HOLE = 0.5
"""``hole_share`` above this: most of the picture is invented."""
WAVERS = 0.06
"""``depth_waver`` above this. FastDepth on hand-held clips, unsteadied, has a median of 0.01 to
0.036; a model whose scale and shift change by 20 % from frame to frame 0.07 to 0.08."""
FLICKERS = 1.5
"""``edit_flicker`` above this."""


@dataclass(frozen=True)
class Rule:
    """What is looked for in every frame."""

    name: str
    share: float
    """``SOME``, ``OFTEN`` or ``MOSTLY``."""
    found: Callable[[Frames, Asked], np.ndarray]
    """Float64 [N]: 1 where it holds, 0 where not, NaN where it was not looked for."""
    what: Callable[[Frames, Asked], str]
    """In words, of the frames in which it holds."""
    advice: Callable[[Asked], str]


def _where(condition: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """What ``Rule.found`` gives: a condition, NaN where its check was not measured."""
    return np.where(np.isfinite(measured), condition.astype(np.float64), np.nan)


def _above(name: str, bound: float) -> Callable[[Frames, Asked], np.ndarray]:
    return lambda frames, asked: _where(frames[name] > bound, frames[name])


def _nothing(frames: Frames) -> np.ndarray:
    return np.full(len(frames), np.nan)


def _outside(frames: Frames, asked: Asked) -> np.ndarray:
    return _where(frames["object_inside"] < OUT_OF_SIGHT, frames["object_inside"])


def _hidden(frames: Frames, asked: Asked) -> np.ndarray:
    out = frames["object_inside"] < OUT_OF_SIGHT
    return _where((frames["object_seen"] < OUT_OF_SIGHT) & ~out, frames["object_seen"])


def _near_everywhere(frames: Frames, asked: Asked) -> np.ndarray:
    return _above("near_share", EVERYWHERE)(frames, asked) if asked.splits else _nothing(frames)


def _near_nowhere(frames: Frames, asked: Asked) -> np.ndarray:
    if not asked.splits or asked.lifts:
        return _nothing(frames)
    return _where(frames["near_share"] < NOWHERE, frames["near_share"])


def _wavers(frames: Frames, asked: Asked) -> np.ndarray:
    return _nothing(frames) if asked.lifts else _above("depth_waver", WAVERS)(frames, asked)


def _flickers(frames: Frames, asked: Asked) -> np.ndarray:
    if asked.moves_itself:
        return _nothing(frames)
    return _above("edit_flicker", FLICKERS)(frames, asked)


def _no_plate(frames: Frames, asked: Asked) -> np.ndarray:
    return frames.noted("no plate, hole filled by").astype(np.float64)


def _camera_lost(frames: Frames, asked: Asked) -> np.ndarray:
    return frames.noted("the camera's motion could not be measured").astype(np.float64)


def _unedited(frames: Frames, asked: Asked) -> np.ndarray:
    away = (np.nan_to_num(frames["things_hidden"]) > 0) | frames.noted("(edit.shot)")
    return _where((frames["region_share"] == 0) & ~away, frames["region_share"])


def _shown(name: str, words: str) -> Callable[[Frames, Asked], str]:
    """``words`` with the median of a check, in per cent."""
    return lambda frames, asked: words.format(f"{100 * np.nanmedian(frames[name]):.0f} %")


def _named(state: str, words: str) -> Callable[[Frames, Asked], str]:
    """``words`` with the names of the things that are in a state."""

    def said(frames: Frames, asked: Asked) -> str:
        names = {
            name
            for row in zip(frames.texts("thing_names"), frames.texts("thing_state"), strict=True)
            if row[0] is not None
            for name, here in zip(*row, strict=True)
            if here == state and name in asked.things
        }
        return words.format(", ".join(sorted(names)) or ", ".join(asked.things) or "a thing")

    return said


def _unedited_words(frames: Frames, asked: Asked) -> str:
    notes = notes_of(frames)
    return "the edit changed nothing" + (f" ({notes[0].text})" if notes else "")


def _at(asked: Asked) -> str:
    return (
        f"set layers.at (it is {asked.at}), or click a thing (layers.things) and let the edit name "
        "it"
    )


def _steadier(asked: Asked) -> str:
    if asked.depth_files:
        return (
            "the depth files change scale from frame to frame: normalise them once a clip, or let "
            "a depth.model estimate"
        )
    steady = "" if asked.stabilised else "set depth.stabilise: true where the camera stands still, "
    return f"{steady}take a steadier depth.model, or click things (layers.things)"


UNEDITED = "unedited"

RULES = (
    Rule(
        "object_outside",
        OFTEN,
        _outside,
        lambda frames, asked: "the object is outside the frame",
        lambda asked: (
            "set edit.point or edit.box inside the frame; where the camera turns away from its "
            "spot, edit.anchor: picture keeps it in view"
        ),
    ),
    Rule(
        "object_hidden",
        OFTEN,
        _hidden,
        lambda frames, asked: "the object is wholly hidden by what is nearer",
        lambda asked: (
            "set edit.at nearer (a larger value, {front: [x, y]} or {front: THING}), or edit.point "
            "where nothing covers it"
        ),
    ),
    Rule(
        "things_lost",
        SOME,
        _above("things_lost", 0),
        _named("lost", "the track of {} is lost, so the frames are left as they were"),
        lambda asked: (
            "click it again where it is lost (one more entry of layers.things with the same name "
            "and at_s), or take layers.segmenter method: sam or a smaller every"
        ),
    ),
    Rule(
        "things_absent",
        SOME,
        _above("things_absent", 0),
        _named("absent", "{} was not said or found in the shot, so its frames are left"),
        lambda asked: (
            "click it in that shot too (one more entry of layers.things with the same name, and "
            "shot or at_s), or leave the shot out"
        ),
    ),
    Rule(
        "things_hidden",
        MOSTLY,
        _above("things_hidden", 0),
        _named("hidden", "{} is out of the picture, as far as its track knows"),
        lambda asked: (
            "if it is there, click it again where it comes back (one more entry of layers.things "
            "with the same name and at_s)"
        ),
    ),
    Rule(
        "near_everywhere",
        SOME,
        _near_everywhere,
        _shown("near_share", "near layer covers {} of the frame"),
        _at,
    ),
    Rule(
        "near_nowhere",
        OFTEN,
        _near_nowhere,
        lambda frames, asked: "nothing is in the near layer",
        _at,
    ),
    Rule(
        "hole_over_half",
        SOME,
        _above("hole_share", MOSTLY_HOLE),
        _shown("hole_share", "{} of the frame is shown as filled in, which is mostly invented"),
        lambda asked: (
            "take out less (layers.at, layers.within, or a thing of layers.things), or let other "
            "frames show what is behind (layers.fill method: plate)"
        ),
    ),
    Rule(
        "depth_wavers",
        OFTEN,
        _wavers,
        lambda frames, asked: (
            f"depth wavers by {np.nanmedian(frames['depth_waver']):.2f} of its range from frame to "
            "frame"
        ),
        _steadier,
    ),
    Rule(
        "edit_flickers",
        MOSTLY,
        _flickers,
        lambda frames, asked: (
            f"the edit flickers {np.nanmedian(frames['edit_flicker']):.1f} x as much as the input"
        ),
        lambda asked: (
            "steady its edges (depth.stabilise, depth.guided, or a thing of layers.things) or what "
            "is filled in (layers.fill method: plate)"
        ),
    ),
    Rule(
        "no_plate",
        OFTEN,
        _no_plate,
        lambda frames, asked: "no other frame could show what is behind",
        lambda asked: (
            "the notes say why; sample more frames (depth.calibration_frames), or take out less"
        ),
    ),
    Rule(
        "camera_lost",
        OFTEN,
        _camera_lost,
        lambda frames, asked: "the camera's motion could not be measured, so the object may slide",
        lambda asked: "edit.anchor: picture keeps it at its pixels",
    ),
    Rule(
        UNEDITED,
        OFTEN,
        _unedited,
        _unedited_words,
        lambda asked: "the notes of these frames say why",
    ),
)
"""In this order a frame's rules explain why it was left as it was."""
