"""The output folder, local or on object storage: whole files, written atomically.

Everything in ``raydepth.output`` is written through it.
"""

import io
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.fs as pafs

import raydepth
from raydepth.errors import JobError
from raydepth.files import storage
from raydepth.files.local_folders import (
    is_bare,
    missing_folders,
    remove_empty,
    sync_folder,
    walk,
)
from raydepth.files.ranges import CONNECTIONS, RemoteFile, StorageError, reason
from raydepth.output.lease import Lease, LocalLock, Lock

MARKER = ".raydepth.json"
"""The file that makes a folder an output folder; only an empty one gets it."""
NAMES = ".raydepth.names"
"""The list of what runs have written or may write there (``output.names``)."""
LOCK = ".raydepth.lock"

_NOBODYS = frozenset({LOCK, "lost+found", ".DS_Store", ".localized", "Thumbs.db", "desktop.ini"})
"""What file systems and their browsers leave in a folder that is empty to its owner."""


@dataclass(frozen=True)
class OutputFolder:
    """A folder on a pyarrow filesystem; relative names use forward slashes and cannot leave it."""

    uri: str
    filesystem: pafs.FileSystem
    root: str

    @classmethod
    def at(cls, uri: str) -> "OutputFolder":
        """Resolves a local path or an ``s3://`` / ``gs://`` URI.

        Raises JobError as storage.filesystem().
        """
        if not storage.is_remote(uri):
            return cls(uri, pafs.LocalFileSystem(), os.path.abspath(os.path.expanduser(uri)))
        try:
            return cls(uri, *storage.filesystem(uri))
        except JobError as error:
            raise JobError(f"output.path: {error}") from error

    @property
    def location(self) -> str:
        """The URI, or the absolute path: what opens the folder from any working directory."""
        return self.root if self.is_local else self.uri

    def __reduce__(self) -> tuple:
        """Workers reopen the folder by its location; filesystem handles stay in their process."""
        return (OutputFolder.at, (self.location,))

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    def path(self, name: str) -> str:
        """The full path of a relative name; ValueError where it would leave the folder."""
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise ValueError(f"{name!r} would leave the output folder {self.uri}")
        return f"{self.root}/{name}"

    def prepare(self) -> list[str]:
        """Makes the folder, marks it as raydepth's and proves that it can be written.

        A bucket is not made.

        Returns:
            What was made: the marker, where it is new, and local folders, the inmost first.

        Raises:
            JobError: as check_ours(), or it is not writable; nothing was made then.
        """
        marked, made = self.check_ours(), []
        about = {"format": "raydepth output folder", "version": 1, "raydepth": raydepth.__version__}
        try:
            marker = self.read(MARKER) if marked else json.dumps(about).encode()
            if self.is_local:
                made = missing_folders(self.root)
            self.write(MARKER, marker)
        except OSError as error:
            remove_empty(made)
            raise JobError(f"output.path: {self.uri} cannot be written: {reason(error)}") from error
        return made if marked else [self.path(MARKER), *made]

    def check_ours(self) -> bool:
        """Whether the folder is marked as raydepth's; it is empty or not there otherwise.

        Raises:
            JobError: it is a file, can't be read, or holds files and no marker, so they are
                somebody's. Nothing is changed.
        """
        try:
            if self.filesystem.get_file_info(self.root).type == pafs.FileType.File:
                raise JobError(f"output.path: {self.uri} is a file; name a folder")
            if self.exists(MARKER):
                return True
            others = self._somebodys()
        except OSError as error:
            raise JobError(f"output.path: {self.uri} cannot be written: {reason(error)}") from error
        if others:
            named = ", ".join(others[:3]) + (" ..." if len(others) > 3 else "")
            raise JobError(
                f"output.path: {self.uri} holds files that are not known to be raydepth's "
                f"({named}), and raydepth writes to a folder of its own only; name a new or empty "
                "folder, such as "
                f"{storage.join(self.uri, 'raydepth-out')} (results of a raydepth that did not "
                f"mark its folders with {MARKER} stay as they are too)"
            )
        return False

    def _somebodys(self) -> list[str]:
        """What lies directly in the folder: files, and folders with a file in them."""
        names = self.entries("")
        return [
            f"{name}/" if is_folder else name
            for name, is_folder in sorted(names.items())
            if name not in _NOBODYS
            and not (name.startswith(f".{MARKER}.") and name.endswith(".tmp"))  # of a killed run
            and not (is_folder and self._holds_nothing(name))
        ]

    def _holds_nothing(self, below: str) -> bool:
        if self.is_local:
            return not os.path.islink(self.path(below)) and is_bare(self.path(below))
        return all(
            is_folder and self._holds_nothing(name)
            for name, is_folder in self.entries(below).items()
        )

    @contextmanager
    def taken(self) -> Iterator[Lock]:
        """Prepares the folder and holds its lock.

        A folder that is still without results at the end is as it was before.

        Raises:
            JobError: as prepare() and lock().
        """
        made = self.prepare()
        with self.lock() as lock:
            try:
                yield lock
            finally:
                with suppress(OSError):  # then a marker stays in a folder that is otherwise empty
                    if made and not self.exists(NAMES):
                        self._leave(made)

    def _leave(self, made: list[str]) -> None:
        if self.path(MARKER) in made:
            self.filesystem.delete_file(self.path(MARKER))
        if self.is_local:
            with suppress(FileNotFoundError):
                os.unlink(self.path(LOCK))
            remove_empty(made)

    @contextmanager
    def writing(self, name: str) -> Iterator[str]:
        """Gives a local path for a large file, which is kept when the block ends well.

        It then takes its name, or is uploaded. A file that the block left empty, or did not make,
        is dropped.

        Raises:
            StorageError: the upload failed; there is no object then.
        """
        final = self.path(name)
        near = os.path.dirname(final) if self.is_local else tempfile.gettempdir()
        os.makedirs(near, exist_ok=True)
        temporary = f"{near}/.{os.path.basename(final)}.{uuid.uuid4().hex}.tmp"
        try:
            yield temporary
            if not os.path.exists(temporary) or not os.path.getsize(temporary):
                return
            if self.is_local:
                with open(temporary, "rb") as stream:
                    os.fsync(stream.fileno())
                os.replace(temporary, final)
                sync_folder(near)
            else:
                try:
                    with (
                        open(temporary, "rb") as stream,
                        self.filesystem.open_output_stream(final) as upload,
                    ):
                        shutil.copyfileobj(stream, upload, 1 << 20)
                except OSError as error:
                    raise StorageError(
                        f"{storage.plain(self.uri)}/{name}: {reason(error)}"
                    ) from error
        finally:
            if os.path.exists(temporary):
                os.unlink(temporary)

    def write(self, name: str, data: bytes) -> None:
        """Writes a whole file, so that a reader, or a crash, sees either all of it or none.

        Raises OSError.
        """
        final = self.path(name)
        if not self.is_local:
            # An object appears when its upload completes, which it does not after a part has
            # failed; the upload of a killed process is never completed, and its parts stay until
            # the bucket's lifecycle rule removes them.
            try:
                with self.filesystem.open_output_stream(final) as stream:
                    stream.write(data)
            except OSError as error:
                raise StorageError(f"{storage.plain(self.uri)}/{name}: {reason(error)}") from error
            return
        os.makedirs(os.path.dirname(final), exist_ok=True)
        temporary = f"{os.path.dirname(final)}/.{os.path.basename(final)}.{uuid.uuid4().hex}.tmp"
        try:
            with open(temporary, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, final)
            sync_folder(os.path.dirname(final))
        except BaseException:
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise

    def read(self, name: str) -> bytes:
        """A whole file; raises FileNotFoundError or another OSError."""
        if not self.is_local:
            return self._remote(name).readall()
        with self.filesystem.open_input_stream(self.path(name)) as stream:
            return stream.read()

    def open(self, name: str) -> pa.NativeFile:
        """A file whose parts can be read; raises as read()."""
        if self.is_local:
            return self.filesystem.open_input_file(self.path(name))
        return pa.PythonFile(io.BufferedReader(self._remote(name)), "r")

    def _remote(self, name: str) -> RemoteFile:
        return RemoteFile(self.filesystem, self.path(name), f"{storage.plain(self.uri)}/{name}")

    def exists(self, name: str) -> bool:
        return self.filesystem.get_file_info(self.path(name)).type == pafs.FileType.File

    def files(self, below: str, *, hidden: bool = False) -> dict[str, int]:
        """Relative name -> size in bytes of every file below a subfolder, sorted by name.

        Hidden files, as temporaries are, are left out unless asked for.
        """
        if self.is_local:
            found = dict(walk(self.root, self.path(below)))
        else:
            selector = pafs.FileSelector(self.path(below), recursive=True, allow_not_found=True)
            found = {
                info.path.removeprefix(self.root).lstrip("/"): info.size
                for info in self.filesystem.get_file_info(selector)
                if info.type == pafs.FileType.File
            }
        return {name: found[name] for name in sorted(found) if hidden or not _is_hidden(name)}

    def entries(self, below: str) -> dict[str, bool]:
        """Relative name -> whether it is a folder, of what lies directly in a subfolder.

        Hidden ones are among them. Empty where there is no such folder.
        """
        prefix = f"{below}/" if below else ""
        if self.is_local:  # whose names need not be UTF-8, as Arrow's are
            try:
                with os.scandir(self.path(below)) as entries:
                    return {prefix + entry.name: entry.is_dir() for entry in entries}
            except (FileNotFoundError, NotADirectoryError):
                return {}
        selector = pafs.FileSelector(self.path(below).rstrip("/"), allow_not_found=True)
        return {
            prefix + info.base_name: info.type == pafs.FileType.Directory
            for info in self.filesystem.get_file_info(selector)
        }

    def delete(self, names: Collection[str]) -> None:
        """Deletes files by name, and the local folders that are empty without them.

        A name that is gone already is passed by.
        """

        def one(name: str) -> None:
            with suppress(FileNotFoundError):
                self.filesystem.delete_file(self.path(name))

        if not self.is_local:
            with ThreadPoolExecutor(CONNECTIONS) as pool:
                list(pool.map(one, names))
            return
        for name in names:
            one(name)
        self._drop_parents(names)

    def move(self, names: Collection[str], source: str, target: str) -> None:
        """Moves files from below one subfolder to below another; what is there is replaced.

        Args:
            names: relative to ``source``.
            source, target: subfolders, with a slash at their end, or "" for the folder itself.
        """
        if not names:
            return

        def one(name: str) -> None:
            final = self.path(target + name)
            if self.is_local:
                os.makedirs(os.path.dirname(final), exist_ok=True)
                os.replace(self.path(source + name), final)
            else:
                self.filesystem.move(self.path(source + name), final)

        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(pool.map(one, names))
        if self.is_local:
            self._drop_parents([source + name for name in names])

    def _drop_parents(self, names: Collection[str]) -> None:
        """Removes the local folders of these files that are empty now, but for the root."""
        parents = {parent for name in names for parent in PurePosixPath(name).parents}
        inmost_first = sorted(parents - {PurePosixPath(".")}, key=lambda p: -len(p.parts))
        remove_empty([self.path(str(parent)) for parent in inmost_first])

    def lock(self) -> Lock:
        """Holds the folder for this run until the lock is closed or the process dies.

        Raises:
            JobError: another live run holds it. A dead run's lock does not block: the kernel drops
                a local one, a lease on object storage ends after 90 seconds, or at once where its
                process can be seen to be gone.
        """
        if self.is_local:
            return LocalLock(self.path(LOCK), self.uri)
        try:
            return Lease(self.filesystem, self.path(LOCK), self.uri)
        except OSError as error:
            raise JobError(f"output.path: {self.uri} cannot be locked: {reason(error)}") from error


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(name).parts)
