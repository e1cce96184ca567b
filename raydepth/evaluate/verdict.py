"""The verdict on a run: whether its frames show what was asked, and if not, why and what to change.

Rules look at the checks of every done frame (``measures.CHECKS``) and at its note. What a rule
finds is counted. It makes the run amber where it holds in enough frames of a shot, so that one odd
frame among thousands does not.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import PurePath
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raydepth.evaluate.asked import Asked, asked_of
from raydepth.evaluate.fold import deduplicate

SOME, OFTEN, MOSTLY = 0.02, 0.25, 0.5
"""Shares of a shot's measured frames from which on a rule makes amber: what should never happen,
what happens in good clips too, for a while, and what varies from frame to frame in any clip."""
_LEAST = 3
"""Frames of a shot that a rule must find, whatever their share; a quarter of a shorter shot."""
FIRST = 3
"""Frames that are named as examples."""
MOST_LINES = 6
"""Reasons that the terminal prints; the report has all."""

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

Colour = Literal["green", "amber", "red"]


@dataclass(frozen=True)
class Frames:
    """The done frames, one row each, by path and frame."""

    table: pa.Table

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, name: str) -> np.ndarray:
        """A check, float64 [N]; NaN where not measured, and where no shard has it."""
        if name not in self.table.schema.names:
            return np.full(len(self), np.nan)
        return self.table[name].cast(pa.float64()).to_numpy()

    def texts(self, name: str) -> list[Any]:
        """A column as Python values; None where no shard has it."""
        if name not in self.table.schema.names:
            return [None] * len(self)
        return self.table[name].to_pylist()

    def noted(self, words: str) -> np.ndarray:
        """Where the note contains these words, bool [N]."""
        return np.array([words in str(note or "") for note in self.texts("note")], bool)


@dataclass(frozen=True)
class Reason:
    """One thing that is likely not as asked."""

    rule: str
    what: str
    """In words, without numbers of frames."""
    frames: int
    """In how many done frames."""
    share: float
    """Their share of the frames in which it was looked for."""
    first: list[dict[str, Any]]
    """The first of them: ``frame_id``, ``path``, ``frame_index``, ``time_s``."""
    advice: str
    """What to change."""


@dataclass(frozen=True)
class Note:
    """A note of frames; notes that differ in numbers only count as one."""

    text: str
    frames: int
    first: list[dict[str, Any]]


@dataclass(frozen=True)
class Verdict:
    """What a run came to."""

    colour: Colour
    """``red``: a frame failed, a source could not be read, or nothing was done; ``amber``: what was
    done is likely not what was asked, see ``reasons``; else ``green``."""
    reasons: list[Reason] = field(default_factory=list)
    """Most frames first."""
    odd: list[Reason] = field(default_factory=list)
    """What was found in too few frames to make amber."""
    notes: list[Note] = field(default_factory=list)
    """Most frames first."""

    def tree(self) -> dict[str, Any]:
        """As ``report.json`` and ``raydepth status --json`` have it."""
        return asdict(self)


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


def judge(rows: Iterable[pa.Table], job: Mapping[str, Any], *, broken: bool = False) -> Verdict:
    """The verdict on the rows of a run.

    Args:
        rows: the columns ``fold.row_columns`` of all rows, as any number of tables; the order does
            not matter, and repeated frames count once.
        job: the resolved job as a tree.
        broken: whether a frame failed for good or a source could not be read.
    """
    tables = [table for table in rows if len(table)]
    if not tables:
        return Verdict("red")
    table = deduplicate(pa.concat_tables(tables, promote_options="default"))
    table = table.filter(pc.equal(table["status"], "ok"))
    frames, asked = Frames(table), asked_of(job)
    if not len(frames):
        return Verdict("red")
    shots = _shots(frames)
    reasons: list[Reason] = []
    odd: list[Reason] = []
    explained = np.zeros(len(frames), bool)
    for rule in RULES:
        found = rule.found(frames, asked)
        if rule.name == UNEDITED:
            found = np.where(explained, 0.0, found)
        hits = found > 0
        if not hits.any():
            continue
        explained |= hits
        here = Frames(table.filter(pa.array(hits)))
        reason = Reason(
            rule.name,
            rule.what(here, asked),
            int(hits.sum()),
            float(hits.sum() / np.isfinite(found).sum()),
            _examples(here),
            rule.advice(asked),
        )
        (reasons if _enough(found, shots, rule.share) else odd).append(reason)
    for found_reasons in (reasons, odd):
        found_reasons.sort(key=lambda reason: -reason.frames)
    colour: Colour = "red" if broken else "amber" if reasons else "green"
    return Verdict(colour, reasons, odd, _notes(frames))


def lines(tree: Mapping[str, Any], most: int = MOST_LINES) -> list[str]:
    """A verdict's tree as lines for a terminal: its reasons, or that there are none, then the
    notes of frames.
    """
    reasons = tree["reasons"]
    said = [
        f"amber: {reason['what']} in {reason['frames']} frame{'s' * (reason['frames'] != 1)} "
        f"({reason['share']:.0%}; {_places(reason['first'])}): {reason['advice']}"
        for reason in reasons[:most]
    ]
    if len(reasons) > most:
        said.append(f"amber: {len(reasons) - most} more reasons are in the report")
    if tree["colour"] == "green":
        said.append("green: every check of the done frames passed")
    notes = tree["notes"]
    said += [
        f"  note in {note['frames']} frames ({_places(note['first'])}): {note['text']}"
        for note in notes[:most]
    ]
    if len(notes) > most:
        said.append(f"  {len(notes) - most} more notes are in the report")
    return said


def _places(first: Sequence[Mapping[str, Any]]) -> str:
    """Examples in words: the first one's file and time."""
    return f"first {PurePath(first[0]['path']).name} at {first[0]['time_s']:.2f} s"


def _shots(frames: Frames) -> np.ndarray:
    """Number int64 [N] of each frame's shot, over all videos."""
    keys = list(zip(frames.texts("video"), frames.texts("shot"), strict=True))
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys], np.int64)


def _enough(found: np.ndarray, shots: np.ndarray, share: float) -> bool:
    """Whether a rule holds in enough frames of any one shot."""
    looked = np.bincount(shots[np.isfinite(found)], minlength=shots.max() + 1)
    hits = np.bincount(shots[found > 0], minlength=shots.max() + 1)
    least = np.maximum(share * looked, np.minimum(_LEAST, looked / 4))
    return bool(((hits > 0) & (hits >= least)).any())


def _examples(frames: Frames) -> list[dict[str, Any]]:
    columns = ["frame_id", "path", "frame_index", "time_s"]
    return frames.table.select(columns).slice(0, FIRST).to_pylist()


_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def _notes(frames: Frames) -> list[Note]:
    where: dict[str, list[int]] = {}
    texts: dict[str, str] = {}
    for row, note in enumerate(frames.texts("note")):
        for text in dict.fromkeys(filter(None, str(note or "").split("; "))):
            key = _NUMBER.sub("#", text)
            texts.setdefault(key, text)
            where.setdefault(key, []).append(row)
    notes = [
        Note(texts[key], len(rows), _examples(Frames(frames.table.take(rows[:FIRST]))))
        for key, rows in where.items()
    ]
    return sorted(notes, key=lambda note: -note.frames)


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
    notes = _notes(frames)
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
