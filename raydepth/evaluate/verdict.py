"""The verdict on a run: whether its frames show what was asked, and if not, why and what to change.

Rules look at the checks of every done frame (``measures.CHECKS``) and at its note. What a rule
finds is counted. It makes the run amber where it holds in enough frames of a shot, so that one odd
frame among thousands does not.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import PurePath
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raydepth.evaluate.asked import asked_of
from raydepth.evaluate.fold import deduplicate
from raydepth.evaluate.judged import Frames, Note, examples, notes_of
from raydepth.evaluate.rules import RULES, UNEDITED

_LEAST = 3
"""Frames of a shot that a rule must find, whatever their share; a quarter of a shorter shot."""
MOST_LINES = 6
"""Reasons that the terminal prints; the report has all."""

Colour = Literal["green", "amber", "red"]


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
            examples(here),
            rule.advice(asked),
        )
        (reasons if _enough(found, shots, rule.share) else odd).append(reason)
    for found_reasons in (reasons, odd):
        found_reasons.sort(key=lambda reason: -reason.frames)
    colour: Colour = "red" if broken else "amber" if reasons else "green"
    return Verdict(colour, reasons, odd, notes_of(frames))


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
