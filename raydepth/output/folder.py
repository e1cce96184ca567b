"""The output folder, local or on object storage: whole files, written atomically.

Everything in ``raydepth.output`` is written through it.
"""

import io
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.fs as pafs

from raydepth.errors import JobError
from raydepth.files import storage
from raydepth.files.ranges import RemoteFile, StorageError, reason
from raydepth.output.lease import Lease, LocalLock, Lock


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

    def prepare(self) -> None:
        """Makes the folder and proves that it can be written; a bucket is not made.

        Raises JobError where it is a file or not writable.
        """
        try:
            info = self.filesystem.get_file_info(self.root)
            if info.type == pafs.FileType.File:
                raise JobError(f"output.path: {self.uri} is a file; name a folder")
            self.write(".writable", b"")
            self.filesystem.delete_file(self.path(".writable"))
        except OSError as error:
            raise JobError(f"output.path: {self.uri} cannot be written: {reason(error)}") from error

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
                _sync_folder(near)
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
            _sync_folder(os.path.dirname(final))
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

    def files(self, below: str) -> dict[str, int]:
        """Relative name -> size in bytes of every file below a subfolder, sorted by name.

        Hidden files, as temporaries are, are left out.
        """
        selector = pafs.FileSelector(self.path(below), recursive=True, allow_not_found=True)
        found = {
            info.path.removeprefix(self.root).lstrip("/"): info.size
            for info in self.filesystem.get_file_info(selector)
            if info.type == pafs.FileType.File
        }
        return {name: found[name] for name in sorted(found) if not _is_hidden(name)}

    def delete_temporaries(self) -> None:
        """Removes temporary files of killed writers; only under the lock.

        Object storage has none.
        """
        if not self.is_local:
            return
        for info in self.filesystem.get_file_info(
            pafs.FileSelector(self.root, recursive=True, allow_not_found=True)
        ):
            if info.base_name.startswith(".") and info.base_name.endswith(".tmp"):
                self.filesystem.delete_file(info.path)

    def clear(self, names: list[str]) -> None:
        """Deletes the named files and folders where they exist (``output.overwrite``)."""
        for info in self.filesystem.get_file_info([self.path(name) for name in names]):
            if info.type == pafs.FileType.Directory:
                with suppress(
                    FileNotFoundError
                ):  # gs:// misses the empty object that need not stand for a folder
                    self.filesystem.delete_dir(info.path)
            elif info.type == pafs.FileType.File:
                self.filesystem.delete_file(info.path)

    def lock(self) -> Lock:
        """Holds the folder for this run until the lock is closed or the process dies.

        Raises:
            JobError: another live run holds it. A dead run's lock does not block: the kernel drops
                a local one, a lease on object storage ends after 90 seconds, or at once where its
                process can be seen to be gone.
        """
        if self.is_local:
            return LocalLock(self.path(".lock"), self.uri)
        try:
            return Lease(self.filesystem, self.path(".lock"), self.uri)
        except OSError as error:
            raise JobError(f"output.path: {self.uri} cannot be locked: {reason(error)}") from error


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(name).parts)


def _sync_folder(folder: str) -> None:
    """Makes a rename in a folder outlast a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
