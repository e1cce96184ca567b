"""What a job says of its things: their names, and what is clicked in which source.

``layers.things`` is a list, which holds for every source, or a CSV file of clicks, each of which
is for one source.
"""

import csv
import io
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from raydepth.errors import JobError
from raydepth.files import storage
from raydepth.layers.things.settings import Thing

MAX_BYTES = 64 << 20
"""Of a CSV file of clicks."""
REQUIRED = ("source", "name", "at_s", "x", "y")
OPTIONAL = ("x1", "y1", "label")


@dataclass(frozen=True)
class Said:
    """A thing, and the source that it is said of."""

    thing: Thing
    source: str = ""
    """File name or path of the source; empty: every source."""
    place: str = ""
    """Where it stands, for messages: ``things[0]`` or a line of the file."""

    def of(self, path: str) -> bool:
        """Whether a source, by its path or URI, is meant."""
        return not self.source or _same_source(self.source, path)


def said(things: Any) -> list[Said]:
    """All that ``layers.things`` says, read from its file where it is one.

    Raises:
        JobError: the file is missing or malformed; with line and column.
    """
    if isinstance(things, str):
        return list(_read(things, *_state(things)))
    return [Said(thing, place=f"layers.things.{i}") for i, thing in enumerate(things)]


def thing_names(things: Any) -> tuple[str, ...]:
    """The names of all things, each once, in the order in which they are first said."""
    return tuple(dict.fromkeys(one.thing.name for one in said(things)))


def _same_source(said: str, path: str) -> bool:
    if storage.is_remote(said) or storage.is_remote(path):
        plain = storage.plain(path)
        return (
            said == path
            or ("/" not in said and plain.rstrip("/").rpartition("/")[2] == said)
            or storage.plain(said) == plain
        )
    path = os.path.abspath(os.path.expanduser(path))
    if os.sep not in said:
        return os.path.basename(path.rstrip(os.sep)) == said
    full = os.path.abspath(os.path.expanduser(said))
    return full == path or path.endswith(os.sep + os.path.normpath(said).lstrip("./"))


def _state(path: str) -> tuple[int, int]:
    """Size and time of a file, so that one that has changed is read again."""
    if storage.is_remote(path):
        return 0, 0
    try:
        found = os.stat(os.path.expanduser(path))
    except OSError as error:
        raise JobError(f"layers.things: {path}: {error.strerror}") from error
    return found.st_size, found.st_mtime_ns


@lru_cache(maxsize=8)
def _read(path: str, size: int, changed: int) -> tuple[Said, ...]:
    try:
        data = storage.read_bytes(os.path.expanduser(path), MAX_BYTES + 1)
    except OSError as error:
        raise JobError(f"layers.things: {path} cannot be read: {error}") from error
    if len(data) > MAX_BYTES:
        raise JobError(f"layers.things: {path} is larger than {MAX_BYTES >> 20} MiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise JobError(f"layers.things: {path} is not UTF-8 text: {error.reason}") from error
    things = tuple(_things(path, list(_rows(path, text))))
    if not things:
        raise JobError(f"layers.things: {path} has no rows below its header")
    return things


@dataclass(frozen=True)
class _Row:
    line: int
    source: str
    name: str
    at_s: float
    x: float
    y: float
    corner: tuple[float, float] | None
    label: int


def _rows(path: str, text: str) -> Iterator[_Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = [cell.strip() for cell in cells]
                _check_header(path, header)
                continue
            where = f"layers.things: {path} line {reader.line_num}"
            if len(cells) != len(header):
                raise JobError(
                    f"{where}: {len(cells)} cells for {len(header)} columns ({', '.join(header)})"
                )
            named = dict(zip(header, (cell.strip() for cell in cells), strict=True))
            yield _row(where, reader.line_num, named)
    except csv.Error as error:
        raise JobError(f"layers.things: {path} line {reader.line_num}: {error}") from error
    if header is None:
        raise JobError(
            f"layers.things: {path} is empty; its first line must name the columns "
            f"{', '.join(REQUIRED)}"
        )


def _check_header(path: str, header: Sequence[str]) -> None:
    missing = [name for name in REQUIRED if name not in header]
    unknown = [name for name in header if name not in (*REQUIRED, *OPTIONAL)]
    twice = [name for name in header if header.count(name) > 1]
    wrong = [f"no column {name}" for name in missing]
    wrong += [f"unknown column {name!r}" for name in unknown]
    wrong += [f"column {name} twice" for name in dict.fromkeys(twice)]
    if wrong:
        raise JobError(
            f"layers.things: {path} line 1: {'; '.join(wrong)}; expected the columns "
            f"{', '.join(REQUIRED)}, and where wanted {', '.join(OPTIONAL)}"
        )


def _row(where: str, line: int, cells: dict[str, str]) -> _Row:
    def number(column: str, most: float, what: str) -> float:
        try:
            value = float(cells[column])
        except ValueError:
            value = math.nan
        if not 0 <= value <= most or math.isinf(value):
            raise JobError(f"{where}, column {column}: expected {what}, got {cells[column]!r}")
        return value

    for column in ("source", "name"):
        if not cells[column]:
            raise JobError(f"{where}, column {column}: is empty")
    fraction = "a fraction of the frame from 0 to 1"
    at_s = number("at_s", math.inf, "seconds from 0 on")
    x, y = number("x", 1, fraction), number("y", 1, fraction)
    corners = [name for name in ("x1", "y1") if cells.get(name)]
    corner = None
    if corners:
        if len(corners) == 1:
            raise JobError(f"{where}: a box needs x1 and y1, and only {corners[0]} is there")
        corner = number("x1", 1, fraction), number("y1", 1, fraction)
        if corner[0] <= x or corner[1] <= y:
            raise JobError(f"{where}: a box needs x < x1 and y < y1")
    label = cells.get("label") or "1"
    if label not in ("0", "1"):
        raise JobError(
            f"{where}, column label: expected 1 (on the thing) or 0 (off it), got {label!r}"
        )
    return _Row(line, cells["source"], cells["name"], at_s, x, y, corner, int(label))


def _things(path: str, rows: Sequence[_Row]) -> Iterator[Said]:
    """One thing for all rows of a source, name and time."""
    groups: dict[tuple[str, str, float], list[_Row]] = {}
    for row in rows:
        groups.setdefault((row.source, row.name, row.at_s), []).append(row)
    for (source, name, at_s), group in groups.items():
        place = f"layers.things: {path} line {group[0].line}"
        boxes = [row for row in group if row.corner]
        points = [row for row in group if not row.corner]
        if len(boxes) > 1:
            raise JobError(f"{place}: {name} has {len(boxes)} boxes at {at_s:g} s; give one")
        said: dict[str, Any] = {"name": name, "at_s": at_s}
        if boxes and boxes[0].corner:
            said["box"] = [boxes[0].x, boxes[0].y, *boxes[0].corner]
        if points:
            said["points"] = [[row.x, row.y] for row in points]
            said["labels"] = [row.label for row in points]
        try:
            thing = Thing.model_validate(said)
        except ValidationError as error:
            detail = error.errors()[0]
            column = ".".join(map(str, detail["loc"]))
            reason = detail["msg"].removeprefix("Value error, ")
            raise JobError(f"{place}{column and ', column ' + column}: {reason}") from error
        yield Said(thing, source, place)
