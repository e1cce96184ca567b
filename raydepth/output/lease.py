"""Locks of an output folder: the kernel's on local ones, a renewed lease on object storage."""

import fcntl
import json
import os
import socket
import threading
import time
import uuid
from abc import ABC, abstractmethod
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs

from raydepth.errors import JobError
from raydepth.files.ranges import RemoteFile

RENEW_S = 20.0
LOST_S = 60.0
"""A holder that could not renew its lease for so long gives it up."""
DEAD_S = 90.0
"""A lease that is so much older than one written now, by the storage's clock, has lost its
holder."""


class Lock(ABC):
    """Holds an output folder for one run until it is closed."""

    @abstractmethod
    def close(self) -> None:
        """Lets others have the folder."""

    @abstractmethod
    def lost(self) -> bool:
        """Whether another run may write to the folder by now, so that this one should stop."""

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class LocalLock(Lock):
    """The kernel's lock on a file, which it drops when the process dies."""

    def __init__(self, path: str, folder: str) -> None:
        """Takes the lock; raises JobError where another live run holds it.

        Args:
            path: the lock's file.
            folder: the output folder, for the message.
        """
        while True:
            self._file = open(path, "a+")  # noqa: SIM115 (held open for as long as the run lives)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                self._file.seek(0)
                holder = self._file.read().strip()
                self._file.close()
                raise _in_use(folder, holder) from error
            with suppress(FileNotFoundError):
                if os.path.samestat(os.stat(path), os.fstat(self._file.fileno())):
                    break
            self._file.close()  # a run that left the folder as it was has removed it meanwhile
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()}")
        self._file.flush()

    def close(self) -> None:
        """Lets others have the folder."""
        self._file.close()

    def lost(self) -> bool:
        """Never: the kernel keeps it."""
        return False


class Lease(Lock):
    """An object that no other live run may have next to its own; a thread renews it.

    A run writes its lease, then looks for others. The listing is consistent, so of two runs at
    least the later one sees the other and gives up. Where both see each other both give up. Ages
    are differences between times that the storage gave, so no machine's clock matters. A run that
    could not renew for LOST_S stops long before others take the lease for dead.
    """

    def __init__(self, filesystem: pafs.FileSystem, leases: str, folder: str) -> None:
        """Takes the lease and removes those of dead runs.

        Args:
            filesystem, leases: where leases are kept.
            folder: the output folder, for the message.

        Raises:
            JobError: another live run holds the folder.
            OSError: storage failed.
        """
        self._filesystem, self._path = filesystem, f"{leases}/{uuid.uuid4().hex}"
        self._holder = {
            "host": socket.gethostname(),
            "process": os.getpid(),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "space": _process_space(),
        }
        self._gone = False
        self._released = threading.Event()
        self._renewed = _uptime()
        try:
            self._write()
            found = filesystem.get_file_info(pafs.FileSelector(leases, allow_not_found=True))
            now = next((info.mtime for info in found if info.path == self._path), None)
            if now is None:
                raise OSError("what was just written is not listed")
            for info in found:
                if info.is_file and info.path != self._path:
                    self._settle(info, now - info.mtime, folder)
        except BaseException:
            with suppress(OSError):
                filesystem.delete_file(self._path)
            raise
        self._thread = threading.Thread(target=self._renew, name="raydepth-lease", daemon=True)
        self._thread.start()

    def lost(self) -> bool:
        """Whether another run may write to the folder by now.

        That is so where the lease was deleted, or could not be renewed for LOST_S.
        """
        return self._gone or _uptime() - self._renewed > LOST_S

    def close(self) -> None:
        """Deletes the lease, so that the next run need not wait for its end."""
        self._released.set()
        self._thread.join(DEAD_S)  # or what it is just writing would outlive the deletion
        with suppress(OSError):  # then it ends by age
            self._filesystem.delete_file(self._path)

    def _settle(self, other: pafs.FileInfo, age: timedelta, folder: str) -> None:
        """Deletes a dead run's lease; raises JobError at a live one's."""
        try:
            holder: dict[str, Any] = json.loads(
                RemoteFile(self._filesystem, other.path, other.path).readall()
            )
            if age.total_seconds() > DEAD_S or _has_died(holder):
                self._filesystem.delete_file(other.path)
                return
        except FileNotFoundError:  # released since
            return
        left = max(0, round(DEAD_S - age.total_seconds()))
        raise _in_use(
            folder,
            f"process {holder['process']} on {holder['host']} since {holder['started']}; if it is "
            f"dead, its lease ends in {left} s",
        )

    def _write(self) -> None:
        with self._filesystem.open_output_stream(self._path) as stream:
            stream.write(json.dumps(self._holder).encode())

    def _renew(self) -> None:
        while not self._released.wait(RENEW_S) and not self.lost():
            began = _uptime()
            with suppress(OSError):  # the next try may do, until LOST_S
                if self._filesystem.get_file_info(self._path).type != pafs.FileType.File:
                    self._gone = True
                    return
                self._write()
                self._renewed = began


def _in_use(folder: str, holder: str) -> JobError:
    return JobError(
        f"output.path: {folder} is in use by another run ({holder}); wait for it or name another "
        "folder"
    )


def _uptime() -> float:
    """Seconds by a clock that nobody sets.

    On Linux it goes on while the machine is suspended.
    """
    return (
        time.clock_gettime(time.CLOCK_BOOTTIME)
        if hasattr(time, "CLOCK_BOOTTIME")
        else time.monotonic()
    )


def _process_space() -> str:
    """Names the machine's boot and the namespace of process numbers; empty where not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _has_died(holder: dict[str, Any]) -> bool:
    """Whether the holder was a process of this machine that has ended.

    Such a holder need not be waited for.
    """
    if not holder["space"] or holder["space"] != _process_space():
        return False
    try:
        state = Path(f"/proc/{holder['process']}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in ("Z", "X")  # ended, and its parent has not asked yet
