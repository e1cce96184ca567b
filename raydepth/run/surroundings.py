"""What a run is started in: the current folder, the home, the locale, the folder for temporary
files, loopback. Imports the standard library only.
"""

import atexit
import os
import secrets
import shutil
import socket
import sys
import tempfile
from pathlib import Path

LONGEST_SOCKET = 103
"""Bytes of a Unix socket's path that every system takes: macOS 103, Linux 107."""

RAY_ADDS = len("/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.9")
"""What Ray puts behind its folder for temporary files, in bytes."""


def speak_utf8() -> None:
    """Starts the program anew in Python's UTF-8 mode where the locale has another encoding.

    Job files, names in storage and records are UTF-8. In a Latin-1 or C locale Python would look
    for files under other bytes, and fail where a name has none. What the terminal cannot show is
    escaped.
    """
    if sys.getfilesystemencoding() == "utf-8" or sys.flags.utf8_mode:
        return
    os.environ["PYTHONUTF8"] = "1"
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    os.environ.setdefault("PYTHONIOENCODING", f"{encoding}:backslashreplace")
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def leave_current_folder() -> None:
    """Takes the current folder out of where this process and its children look for modules.

    Nobody who edits a video in a folder of downloads means to run a ``cv2.py`` that lies there. A
    folder that ``PYTHONPATH`` names stays; an empty entry in it, which a shell leaves behind and
    Python takes for the current folder, names none.
    """
    sys.path[:] = [entry for entry in sys.path if entry]
    if named := os.environ.get("PYTHONPATH"):
        entries = named.split(os.pathsep)
        kept = [entry for entry in entries if entry]
        os.environ["PYTHONPATH"] = os.pathsep.join(kept)
        if len(kept) < len(entries):
            here, wanted = os.path.abspath(""), [os.path.abspath(entry) for entry in kept]
            sys.path[:] = [entry for entry in sys.path if entry != here or here in wanted]


def find_home() -> None:
    """Gives libraries a home where the user has none: a folder that goes with this process."""
    try:
        Path.home()
    except RuntimeError:
        home = tempfile.mkdtemp(prefix="raydepth-home-")
        atexit.register(shutil.rmtree, home, ignore_errors=True)
        os.environ["HOME"] = home


def give_ray_a_token() -> None:
    """A token for the Ray that starts here, where Ray could not keep one of its own in the home."""
    kept = Path.home() / ".ray" / "auth_token"
    if os.access(kept, os.R_OK) or {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        return
    folder = kept.parent if kept.parent.exists() else kept.parent.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def ray_folder() -> str:
    """A folder for Ray's sessions that can be written, and short enough for the sockets in it.

    Raises:
        OSError: there is none.
    """
    asked = [os.environ.get(name, "") for name in ("RAY_TMPDIR", "TMPDIR")]
    tried = [*filter(None, asked), "/tmp", "/var/tmp", "/dev/shm"]
    for place in map(os.path.abspath, tried):
        # Another user's folder may be closed.
        for folder in (os.path.join(place, "ray"), os.path.join(place, f"ray-{os.getuid()}")):
            if len(os.fsencode(folder)) + RAY_ADDS > LONGEST_SOCKET:
                continue
            if os.access(folder if os.path.isdir(folder) else place, os.W_OK | os.X_OK):
                return folder
    raise OSError(
        "no folder for Ray's temporary files: expected one that can be written and whose path has "
        f"at most {LONGEST_SOCKET - RAY_ADDS - len('/ray')} bytes, tried {', '.join(tried)}; set "
        "RAY_TMPDIR to such a folder"
    )


def check_loopback() -> None:
    """Raises OSError where this machine cannot reach itself, as in a sandbox without a network."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=10).close()
    except OSError as error:
        raise OSError(
            f"127.0.0.1 cannot be reached ({error}), and Ray's processes talk to each other there; "
            "bring loopback up (ip link set lo up), or start the sandbox with it"
        ) from error
