"""Local folders, by the system's own calls."""

import os
from collections.abc import Iterator
from contextlib import suppress


def walk(root: str, folder: str) -> Iterator[tuple[str, int]]:
    """Name relative to the root and size of every file below a local folder.

    By the system's own calls: names need not be UTF-8, as Arrow's must. Raises OSError.
    """

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise error

    for where, _, names in os.walk(folder, onerror=refuse):
        for name in names:
            path = os.path.join(where, name)
            with suppress(FileNotFoundError):  # gone since, or a link to nothing
                yield path.removeprefix(root).lstrip("/"), os.stat(path).st_size


def missing_folders(folder: str) -> list[str]:
    """The folder and those above it that are not there, the inmost first."""
    missing = []
    while not os.path.exists(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    return missing


def is_bare(folder: str) -> bool:
    """Whether a local folder and those below it can be listed and hold nothing else."""

    def refuse(error: OSError) -> None:
        raise error

    try:
        return not any(
            files or any(os.path.islink(os.path.join(where, name)) for name in folders)
            for where, folders, files in os.walk(folder, onerror=refuse)
        )
    except OSError:
        return False


def remove_empty(folders: list[str]) -> None:
    """Removes local folders that hold nothing; names of other things are passed by."""
    for folder in folders:
        with suppress(OSError):
            os.rmdir(folder)


def sync_folder(folder: str) -> None:
    """Makes a rename in a folder outlast a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
