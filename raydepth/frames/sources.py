"""Expands the job's `input.paths` to a list of sources: video files and folders of images."""

import glob
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow.fs as pafs

from raydepth.errors import JobError
from raydepth.files import storage

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
VIDEO_SUFFIXES = frozenset(
    [
        ".mp4",
        ".m4v",
        ".mov",
        ".qt",
        ".mkv",
        ".webm",
        ".avi",
        ".divx",
        ".mpg",
        ".mpeg",
        ".mpe",
        ".vob",
        ".m2v",
        ".m1v",
        ".ts",
        ".mts",
        ".m2ts",
        ".m2t",
        ".m2p",
        ".mpv",
        ".trp",
        ".mod",
        ".tod",
        ".insv",
        ".360",
        ".mk3d",
        ".apng",
        ".mxf",
        ".wmv",
        ".asf",
        ".flv",
        ".f4v",
        ".3gp",
        ".3g2",
        ".ogv",
        ".ogg",
        ".gif",
        ".mjpeg",
        ".mjpg",
        ".y4m",
        ".h264",
        ".264",
        ".h265",
        ".265",
        ".hevc",
        ".ivf",
        ".obu",
        ".nut",
        ".dv",
        ".rm",
        ".rmvb",
    ]
)


OUTPUT_MARK = "segments.parquet"
"""A folder that holds this is the output of a run: its pictures are no input, wherever it lies."""


class SourceError(Exception):
    """A source can't be used; the rest of the job goes on without it.

    Attributes:
        error_type: "Missing", "EmptyFile", "NotAVideo", "NoVideoStream", "NoDecoder", "NoFrames",
            "TooLarge" or "Unreadable".
    """

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(error_type, message)  # both, so that it survives pickling
        self.error_type = error_type

    def __str__(self) -> str:
        return str(self.args[1])


@dataclass(frozen=True)
class UnreadableSource:
    """A file that no frame can be had from; it is reported and the rest of the job goes on."""

    path: str
    error_type: str
    error_message: str


@dataclass(frozen=True)
class SourceNote:
    """What a user should know of a source that is read: what is left out, ignored or changed."""

    path: str
    text: str


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Sorting key that puts `frame2` before `frame10`.

    Equal numbers written differently are ordered by spelling.
    """
    parts = re.split(r"(\d+)", name.casefold())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def suffix(path: str) -> str:
    """The ending of a file name in lower case, with its dot."""
    return os.path.splitext(storage.plain(path))[1].lower()


def _is_file(entry: "os.DirEntry[str]") -> bool:
    """Whether it is a file, or a link that leads to nothing or in a circle.

    Such a link is a file which can't be read.
    """
    try:
        return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))
    except OSError:
        return True


def image_names(folder: str) -> tuple[str, ...]:
    """Names of the images directly in a folder, in natural order; hidden files are left out."""
    if storage.is_remote(folder):
        names = [info.base_name for info in storage.listing(folder) if info.is_file]
    else:
        names = [e.name for e in os.scandir(folder) if not e.name.startswith(".") and _is_file(e)]
    return tuple(
        sorted((name for name in names if suffix(name) in IMAGE_SUFFIXES), key=natural_key)
    )


def expand(paths: Sequence[str], left_out: list[SourceNote] | None = None) -> list[str]:
    """Lists the sources that paths, folders and glob patterns (`*`, `?`, `[...]`, `**`) stand for.

    Paths are local ones and URIs. A file stands for itself, whatever its ending. A folder stands
    for the videos in it, or where it has none for the sequence of its images (images next to videos
    are taken for covers). It also stands for whatever its subfolders stand for. A pattern that ends
    in a bare `*` takes folders, videos and images only, so that a README doesn't become a source.
    Hidden files and folders are left out unless named, and so are outputs of earlier runs inside of
    folders.

    Args:
        paths: as in `input.paths`; relative ones start at the current directory.
        left_out: gets a note on every path in which files are left out, with their endings.

    Returns:
        Absolute paths and URIs in the order of `paths`, in natural order within a folder or
        pattern, each file once.

    Raises:
        JobError: a path doesn't exist, matches nothing, holds neither videos nor images, or can't
            be listed.
    """
    found: dict[
        str, str
    ] = {}  # real path -> path as written, so that a link and its target count once
    for path in paths:
        others: list[str] = []  # files that are no sources
        if not path or "\0" in path:
            raise JobError(
                f"input.paths: got {path!r}; expected the name of a file or folder, or a pattern"
            )
        if storage.is_remote(path):
            try:
                found |= _remote_sources(path, others)
            except (JobError, OSError) as error:
                raise JobError(f"input.paths: {error}") from error
            _note(path, others, left_out)
            continue
        full = os.path.abspath(os.path.expanduser(path))
        if os.path.exists(full):
            matches = [full]
        else:  # tried second: `clip [1].mp4` is a file name first and a pattern only then
            matches = sorted(glob.glob(full, recursive=True), key=natural_key)
            if os.path.basename(full).endswith("*"):
                known = IMAGE_SUFFIXES | VIDEO_SUFFIXES
                taken = [
                    match for match in matches if os.path.isdir(match) or suffix(match) in known
                ]
                others += sorted(set(matches) - set(taken))
                matches = taken
        sources = [
            source
            for match in matches
            for source in (_walk(match, others) if os.path.isdir(match) else [match])
        ]
        if not sources:
            what = "holds neither videos nor images" if os.path.isdir(full) else "matches nothing"
            there = f", but {_endings(others)}" if others else ""
            raise JobError(
                f"input.paths: {path!r} {what}{there} (current directory {os.getcwd()}); expected "
                "video files, folders or patterns"
            )
        _note(path, others, left_out)
        for source in sources:
            found.setdefault(os.path.realpath(source), source)
    return list(found.values())


def _note(path: str, others: list[str], left_out: list[SourceNote] | None) -> None:
    if others and left_out is not None:
        text = f"left out: {_endings(others)}; name files to have them read all the same"
        left_out.append(SourceNote(path, text))


def _endings(files: list[str]) -> str:
    """Files counted by their endings: ``3 .avif, 1 .txt``."""
    counts = Counter(suffix(file) or "without an ending" for file in files)
    return ", ".join(f"{count} {ending}" for ending, count in counts.most_common())


def _walk(folder: str, others: list[str]) -> list[str]:
    """Sources in a folder and its subfolders, and the files that are none.

    Raises JobError where a folder can't be listed.
    """
    sources, folders = [], [folder]
    while folders:
        folder = folders.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: natural_key(entry.name))
        except OSError as error:
            raise JobError(
                f"input.paths: folder {folder!r} can't be listed: {error.strerror}"
            ) from error
        entries = [entry for entry in entries if not entry.name.startswith(".")]
        if any(entry.name == OUTPUT_MARK for entry in entries):
            continue
        videos = [
            entry.path
            for entry in entries
            if suffix(entry.name) in VIDEO_SUFFIXES and _is_file(entry)
        ]
        sources += videos or ([folder] if image_names(folder) else [])
        taken = VIDEO_SUFFIXES if videos else IMAGE_SUFFIXES
        others += [e.path for e in entries if suffix(e.name) not in taken and _is_file(e)]
        # a link could lead round in a circle
        folders += [
            entry.path for entry in reversed(entries) if entry.is_dir(follow_symlinks=False)
        ]
    return sources


def _remote_sources(uri: str, others: list[str]) -> dict[str, str]:
    """Sources of one URI or pattern in object storage by the rules of expand().

    Gives URI without options -> URI.
    """
    where = storage.locate(uri)
    kind = storage.kind(uri)
    if kind == "folder":
        sources = _sources_below(where.path, storage.listing(uri, recursive=True), others)
    elif kind == "file":
        sources = [where.path]
    elif storage.kind(where.at(where.path.partition("/")[0])) == "missing":
        raise JobError(f"{uri!r}: there is no such bucket")
    else:
        sources = []
        for info in sorted(storage.matching(uri), key=lambda info: natural_key(info.path)):
            if not info.is_file:
                sources += _sources_below(
                    info.path, storage.listing(where.at(info.path), recursive=True), others
                )
            elif (
                not where.path.endswith("*") or suffix(info.path) in IMAGE_SUFFIXES | VIDEO_SUFFIXES
            ):
                sources.append(info.path)
            else:
                others.append(info.path)
    if not sources:
        what = "holds neither videos nor images" if kind == "folder" else "matches nothing"
        what += f", but {_endings(others)}" if others else ""
        raise JobError(f"{uri!r} {what}; expected objects, folders (prefixes) or patterns")
    return {storage.plain(where.at(source)): where.at(source) for source in sources}


def _sources_below(folder: str, found: list[pafs.FileInfo], others: list[str]) -> list[str]:
    """Sources in a folder, given everything below it, and the files that are none."""
    children: dict[str, list[pafs.FileInfo]] = {}
    for info in sorted(found, key=lambda info: natural_key(info.base_name)):
        children.setdefault(info.path.rpartition("/")[0], []).append(info)
    sources, folders = [], [folder]
    while folders:
        folder = folders.pop()
        files = [info.path for info in children.get(folder, ()) if info.is_file]
        if f"{folder}/{OUTPUT_MARK}" in files:
            continue
        videos = [path for path in files if suffix(path) in VIDEO_SUFFIXES]
        sources += videos or [folder] * any(suffix(path) in IMAGE_SUFFIXES for path in files)
        taken = VIDEO_SUFFIXES if videos else IMAGE_SUFFIXES
        others += [path for path in files if suffix(path) not in taken]
        folders += [info.path for info in reversed(children.get(folder, ())) if not info.is_file]
    return sources
