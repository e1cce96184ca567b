"""``raydepth init``: a commented job for a user's own clip, to be filled in and looked at."""

import os
import string
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import yaml

from raydepth.errors import JobError
from raydepth.files import storage
from raydepth.frames.sources import expand

KINDS = ("remove", "insert", "background", "planes", "depth-eval")
"""What a job can be begun for."""

DISC = "disc.png"
"""The picture that ``insert`` begins with."""


def write_job(kind: str, clip: str | None, out: Path) -> list[Path]:
    """Writes the job, and what it needs to be run at once.

    Args:
        kind: one of KINDS.
        clip: the input: a file, a folder, a pattern or a URI; None: it is left to be filled in.
        out: the job file.

    Returns:
        The files that were written.

    Raises:
        JobError: a file is there already, the clip is not, or the folder cannot be written; nothing
            was written.
    """
    picture = out.parent / DISC
    written = [out, *([picture] if kind == "insert" else [])]
    for file in written:
        if os.path.lexists(file):
            raise JobError(f"{file} is there already and stays as it is; name another with --out")
    if clip is not None:
        expand([clip])
    template = (files("raydepth.job") / "templates" / f"{kind}.yaml").read_text(encoding="utf-8")
    text = string.Template(template).substitute(
        clip=_quoted("clip.mp4" if clip is None else _from(out.parent, clip)),
        job=out,
        object=DISC,
        out=_quoted(f"runs/{out.stem}"),
    )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if picture in written:
            _create(picture, cv2.imencode(".png", _disc())[1].tobytes())
        _create(out, text.encode())
    except OSError as error:
        raise JobError(f"--out {out} cannot be written: {error.strerror}") from error
    return written


def _create(file: Path, data: bytes) -> None:
    with file.open("xb") as new:
        new.write(data)


def _from(folder: Path, clip: str) -> str:
    """A clip as a job in this folder names it: relative where it lies below, else absolute."""
    if storage.is_remote(clip):
        return clip
    full, here = os.path.abspath(os.path.expanduser(clip)), os.path.abspath(folder)
    return os.path.relpath(full, here) if full.startswith(f"{here}{os.sep}") else full


def _quoted(name: str) -> str:
    """A name as one word of a YAML list."""
    text = yaml.safe_dump([name], default_flow_style=True, allow_unicode=True, width=10**6)
    return text.strip()[1:-1]


def _disc() -> np.ndarray:
    """A red disc with a lighter rim, BGRA uint8 [256,256,4]."""
    y, x = np.mgrid[:256, :256] - 127.5
    radius = np.hypot(x, y)
    inside = np.clip(124.5 - radius, 0, 1)
    rim = np.clip(radius - 104, 0, 1)[..., None]
    colour = (1 - rim) * np.array((58, 62, 214)) + rim * np.array((230, 236, 244))
    return np.dstack([colour, 255 * inside]).round().astype(np.uint8)
