"""What probing large local files found, and the cuts in them, kept between runs, so that a start
need not read them.

Kept in the user's cache folder (``XDG_CACHE_HOME``, else ``~/.cache``), below ``raydepth/probes``.
Where it can't be read or written, files are probed.
"""

import hashlib
import importlib.metadata
import io
import json
import os
import uuid
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

import raydepth
from raydepth.files import storage
from raydepth.files.user_cache import cache_folder
from raydepth.frames.probe import probe
from raydepth.frames.source import Source

LARGE = 256 << 10
"""Bytes of a file from which on it is kept; smaller ones are probed as fast."""

WORTH = 128 << 10
"""Bytes of a file from which on its cuts are kept, as frames were decoded to find them."""

MOST = 4096
"""Files that are kept; the oldest half goes when there are more."""

_ENDING = {"probe": "npz", "cuts": "json"}

_ENDS = 1 << 20
"""Bytes of a file's head and tail that are compared."""


def probe_once(path: str) -> Source:
    """As ``probe``, or what it found in an earlier run, where the file is the same.

    The same is a local file of equal size, head and tail that nobody has written to or moved since
    (time of modification, time of change, inode), probed by the same versions of raydepth and
    FFmpeg.

    Raises:
        SourceError: as ``probe``.
    """
    kept = _place_of(path)
    if kept is None:
        return probe(path)
    with suppress(OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return _unpacked(kept.read_bytes(), path)
    source = probe(path)
    if kept == _place_of(path):  # nobody wrote to it meanwhile
        _keep(kept, _packed(source))
    return source


def cuts_once(source: Source, find: Callable[[Source], tuple[int, ...]]) -> tuple[int, ...]:
    """What ``find`` gives for a source, or gave in an earlier run, as with ``probe_once``.

    The version of PySceneDetect must be the same too.
    """
    version = importlib.metadata.version("scenedetect")
    kept = _place_of(source.path, "cuts", version)
    if kept is None:
        return find(source)
    with suppress(OSError, ValueError, TypeError, RecursionError):
        cuts = json.loads(kept.read_bytes())
        if all(0 < cut < len(source.pts) for cut in cuts):
            return tuple(int(cut) for cut in cuts)
    cuts = find(source)
    if kept == _place_of(source.path, "cuts", version):
        _keep(kept, json.dumps(cuts).encode())
    return cuts


def _place_of(path: str, what: str = "probe", version: str = "") -> Path | None:
    """Where the file's probe is kept, or its cuts; None where they are not: of small files, folders
    and objects.
    """
    if storage.is_remote(path):
        return None
    try:
        state = os.stat(path)
        if not os.path.isfile(path) or state.st_size < (LARGE if what == "probe" else WORTH):
            return None
        with open(path, "rb") as file:
            head = file.read(_ENDS)
            file.seek(-min(_ENDS, state.st_size), os.SEEK_END)
            ends = hashlib.sha256(head + file.read(_ENDS)).hexdigest()
    except OSError:
        return None
    identity = (state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_dev, state.st_ino)
    versions = (raydepth.__version__, av.__version__, sorted(av.library_versions.items()))
    key = hashlib.sha256(repr((version, versions, identity, ends)).encode()).hexdigest()
    return cache_folder("probes") / f"{key[:32]}.{_ENDING[what]}"


def _keep(place: Path, data: bytes) -> None:
    temporary = place.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(place)
        there = sorted(place.parent.glob(f"*{place.suffix}"), key=lambda file: file.stat().st_mtime)
        for old in there[: MOST // 2] if len(there) > MOST else ():
            old.unlink()
    except OSError:
        with suppress(OSError):
            temporary.unlink()


def _packed(source: Source) -> bytes:
    values = {item.name: getattr(source, item.name) for item in fields(source)}
    arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    plain = {
        name: str(value) if isinstance(value, Fraction) else value
        for name, value in values.items()
        if name not in arrays and name != "path"
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, plain=np.array(json.dumps(plain)), **arrays)
    return buffer.getvalue()


def _unpacked(data: bytes, path: str) -> Source:
    """Raises EOFError, ValueError, KeyError, TypeError or BadZipFile where it is damaged."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files if name != "plain"}
        plain: dict[str, Any] = json.loads(str(file["plain"]))
    for name in ("time_base", "pixel_aspect"):
        plain[name] = Fraction(plain[name])
    for name, value in plain.items():
        if isinstance(value, list):
            plain[name] = tuple(value)
    return Source(path=path, **plain, **arrays)
