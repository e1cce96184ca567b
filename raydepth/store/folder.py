"""The output folder, local or on object storage: whole files, written atomically; everything in ``store`` goes through it."""

import fcntl
import os
import uuid
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

import pyarrow.fs as pafs

from raydepth.job import JobError


@dataclass(frozen=True)
class OutputFolder:
    """A folder on a pyarrow filesystem; relative names use forward slashes and cannot leave it."""

    uri: str
    filesystem: pafs.FileSystem
    root: str

    @classmethod
    def at(cls, uri: str) -> "OutputFolder":
        """Resolves a local path or an ``s3://`` / ``gs://`` URI; raises JobError for a scheme that pyarrow does not know."""
        try:
            if "://" in uri:
                filesystem, root = pafs.FileSystem.from_uri(uri)
            else:
                filesystem, root = pafs.LocalFileSystem(), os.path.abspath(os.path.expanduser(uri))
        except (ValueError, OSError) as error:
            raise JobError(
                f"output.path: {uri!r} cannot be opened ({error}); give a local path, s3:// or gs://"
            ) from error
        return cls(uri, filesystem, root)

    def __reduce__(self) -> tuple:
        """Workers reopen the folder by its URI; filesystem handles stay in their process."""
        return (OutputFolder.at, (self.uri if "://" in self.uri else self.root,))

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    def path(self, name: str) -> str:
        """The full path of a relative name; raises ValueError when the name would leave the folder."""
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise ValueError(f"{name!r} would leave the output folder {self.uri}")
        return f"{self.root}/{name}"

    def prepare(self) -> None:
        """Makes the folder and proves that it can be written; raises JobError when it is a file or not writable."""
        info = self.filesystem.get_file_info(self.root)
        if info.type == pafs.FileType.File:
            raise JobError(f"output.path: {self.uri} is a file; name a folder")
        try:
            self.write(".writable", b"")
            self.filesystem.delete_file(self.path(".writable"))
        except OSError as error:
            raise JobError(f"output.path: {self.uri} cannot be written: {error}") from error

    def write(self, name: str, data: bytes) -> None:
        """Writes a whole file so that a reader, or a crash, sees either all of it or none (raises OSError)."""
        final = self.path(name)
        if not self.is_local:
            # An object appears when its upload completes: the stream itself is the commit.
            with self.filesystem.open_output_stream(final) as stream:
                stream.write(data)
            return
        os.makedirs(os.path.dirname(final), exist_ok=True)
        temporary = f"{os.path.dirname(final)}/.{os.path.basename(final)}.{uuid.uuid4().hex}.tmp"
        try:
            with open(temporary, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, final)
        except BaseException:
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise

    def read(self, name: str) -> bytes:
        """A whole file; raises FileNotFoundError."""
        with self.filesystem.open_input_stream(self.path(name)) as stream:
            return stream.read()

    def exists(self, name: str) -> bool:
        return self.filesystem.get_file_info(self.path(name)).type == pafs.FileType.File

    def files(self, below: str) -> dict[str, int]:
        """Relative name -> size in bytes of every file below a subfolder, sorted by name; temporaries are left out."""
        selector = pafs.FileSelector(self.path(below), recursive=True, allow_not_found=True)
        found = {
            info.path.removeprefix(self.root).lstrip("/"): info.size
            for info in self.filesystem.get_file_info(selector)
            if info.type == pafs.FileType.File and not info.base_name.startswith(".")
        }
        return dict(sorted(found.items()))

    def delete_temporaries(self) -> None:
        """Removes the temporary files that killed writers left; only under the lock."""
        for info in self.filesystem.get_file_info(
            pafs.FileSelector(self.root, recursive=True, allow_not_found=True)
        ):
            if info.base_name.startswith(".") and info.base_name.endswith(".tmp"):
                self.filesystem.delete_file(info.path)

    def clear(self, names: list[str]) -> None:
        """Deletes the named files and folders where they exist (``output.overwrite``)."""
        for name in names:
            kind = self.filesystem.get_file_info(self.path(name)).type
            if kind == pafs.FileType.Directory:
                self.filesystem.delete_dir(self.path(name))
            elif kind == pafs.FileType.File:
                self.filesystem.delete_file(self.path(name))

    def lock(self) -> IO[str] | None:
        """Holds the folder for this run until the returned file is closed or the process dies (local folders only).

        Raises:
            JobError: another live run holds it; a dead run's lock does not block, because the kernel drops it.
        """
        if not self.is_local:
            return None
        handle = open(self.path(".lock"), "a+")  # noqa: SIM115 (held open for as long as the run lives)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            handle.seek(0)
            holder = handle.read().strip()
            handle.close()
            raise JobError(
                f"output.path: {self.uri} is in use by another run ({holder}); wait for it or name another folder"
            ) from error
        handle.truncate(0)
        handle.write(f"process {os.getpid()}")
        handle.flush()
        return handle
