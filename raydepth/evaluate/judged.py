"""The done frames of a run as the rules of its verdict see them: checks, texts, notes, examples."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

FIRST = 3
"""Frames that are named as examples."""


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
class Note:
    """A note of frames; notes that differ in numbers only count as one."""

    text: str
    frames: int
    first: list[dict[str, Any]]


def examples(frames: Frames) -> list[dict[str, Any]]:
    """What identifies the first of these frames."""
    columns = ["frame_id", "path", "frame_index", "time_s"]
    return frames.table.select(columns).slice(0, FIRST).to_pylist()


_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def notes_of(frames: Frames) -> list[Note]:
    """The notes of these frames, most frames first."""
    where: dict[str, list[int]] = {}
    texts: dict[str, str] = {}
    for row, note in enumerate(frames.texts("note")):
        for text in dict.fromkeys(filter(None, str(note or "").split("; "))):
            key = _NUMBER.sub("#", text)
            texts.setdefault(key, text)
            where.setdefault(key, []).append(row)
    notes = [
        Note(texts[key], len(rows), examples(Frames(frames.table.take(rows[:FIRST]))))
        for key, rows in where.items()
    ]
    return sorted(notes, key=lambda note: -note.frames)
