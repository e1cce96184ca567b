"""Which models are on their way from the hub, and how much of them has come; on the driver, from
the cache that workers of this machine share with it.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from raydepth.models.names import NamedModel, cached_commit


class Fetching:
    """Watches the hub's cache for the models of a job that it did not hold when the run began."""

    def __init__(self, models: Iterable[NamedModel]) -> None:
        """Takes what the job names."""
        from huggingface_hub.constants import HF_HUB_CACHE

        self._blobs: dict[str, tuple[Path, int]] = {}
        for model in models:
            if model.form == "hub" and cached_commit(model.name, model.file) is None:
                name = model.name.partition("@")[0]
                blobs = Path(HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "blobs"
                self._blobs[name] = (blobs, _bytes(blobs))

    def __call__(self) -> tuple[str, str]:
        """The phase of workers that load their models, and its detail."""
        coming = [
            f"{name} {(_bytes(blobs) - before) / 1e6:.1f} MB"
            for name, (blobs, before) in self._blobs.items()
            if _bytes(blobs) > before
        ]
        return ("fetching models", ", ".join(coming)) if coming else ("loading models", "")


def _bytes(folder: Path) -> int:
    """Of a folder's files, those that are still being written too; 0 where there is none."""
    total = 0
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):  # gone or renamed since
                found = entry.stat()
                total += min(found.st_size, 512 * found.st_blocks)
    return total
