"""What is kept for a user between runs, below ``XDG_CACHE_HOME`` or else ``~/.cache``.

Nothing depends on it: where it can't be read or written, things are computed again.
"""

import os
import uuid
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import numpy as np


def cache_folder(name: str) -> Path:
    """The folder of one kind of things; it may not be there yet."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home) / "raydepth" / name


def key_of(*parts: object) -> str:
    """32 hexadecimal digits that stand for values; arrays by their content, others by ``repr``."""
    found = sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            found.update(repr((part.dtype.str, part.shape)).encode())
            found.update(np.ascontiguousarray(part).data)
        else:
            found.update(repr(part).encode())
        found.update(b"\0")
    return found.hexdigest()[:32]


class KeptArrays:
    """Arrays by key, in a folder of the cache."""

    def __init__(self, name: str) -> None:
        """Names the folder; it is made when something is kept."""
        self.folder = cache_folder(name)

    def get(self, key: str) -> np.ndarray | None:
        """What is kept under a key; None where nothing is, or it is damaged."""
        with suppress(OSError, ValueError, EOFError):
            kept = np.load(self.folder / f"{key}.npy", allow_pickle=False)
            return kept if isinstance(kept, np.ndarray) else None
        return None

    def put(self, key: str, value: np.ndarray) -> None:
        """Keeps an array, whole or not at all."""
        temporary = self.folder / f".{uuid.uuid4().hex}.tmp"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                np.save(file, value, allow_pickle=False)
            temporary.replace(self.folder / f"{key}.npy")
        except OSError:
            with suppress(OSError):
                temporary.unlink()

    def shrink(self, most_bytes: int = 512 << 20) -> None:
        """Where more is kept than this, deletes the oldest until half of it is left."""
        with suppress(OSError):
            states = [(file, file.stat()) for file in self.folder.glob("*.npy")]
            total = sum(state.st_size for _, state in states)
            allowed = total if total <= most_bytes else most_bytes // 2
            for file, state in sorted(states, key=lambda pair: pair[1].st_mtime):
                if total <= allowed:
                    return
                file.unlink(missing_ok=True)
                total -= state.st_size
