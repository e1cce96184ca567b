"""The one place that tells local paths from object storage: URIs, connections, objects."""

import functools
import io
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import BinaryIO, Literal, TypeVar
from urllib.parse import parse_qsl

import pyarrow.fs as pafs

from raydepth.errors import JobError
from raydepth.files.ranges import CONNECTIONS, RemoteFile, StorageError, reason

ATTEMPTS = 8
"""Tries of a request, with growing pauses between them: half a minute of throttling or of a server
that is away."""
CONNECT_TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 20.0
"""A connection on which no byte moves for so long counts as dead."""

_Result = TypeVar("_Result")

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")
_BUCKET = re.compile(r"[a-zA-Z0-9._-]+")
_MAGIC = re.compile(r"[*?[]")
_OPTIONS = ("region", "endpoint_override", "scheme", "anonymous")
_QUERY = re.compile(rf"\?((?:{'|'.join(_OPTIONS)})=[^?&]*&?)+$")


@dataclass(frozen=True)
class Location:
    """A URI taken apart.

    Attributes:
        scheme: "s3" or "gs".
        path: bucket and name of the object, as they are (nothing is percent-encoded), without a
            slash at the end.
        query: the options with their question mark; empty where there are none.
    """

    scheme: str
    path: str
    query: str

    def at(self, path: str) -> str:
        """The URI of another path (bucket and name), reached with the same options."""
        return f"{self.scheme}://{path}{self.query}"


def is_remote(path: str) -> bool:
    """Whether a path is a URI; everything else is local."""
    return _SCHEME.match(path) is not None


def locate(uri: str) -> Location:
    """Takes an ``s3://`` or ``gs://`` URI apart.

    Options stand behind the name:
    ``?region=eu-west-1&endpoint_override=host:9000&scheme=http&anonymous=true``. A question mark
    that no such options follow belongs to the name or pattern.

    Raises:
        JobError: another scheme, no bucket, or credentials in the URI, which would end up in logs
            and reports.
    """
    scheme = uri.partition("://")[0].lower()
    if scheme not in ("s3", "gs"):
        raise JobError(
            f"{uri!r}: {scheme}:// is not known; give a local path, s3://bucket/name or "
            "gs://bucket/name"
        )
    rest = uri.partition("://")[2]
    options = _QUERY.search(rest)
    query = options.group() if options else ""
    path = rest[: len(rest) - len(query)].strip("/")
    bucket = path.partition("/")[0]
    if "@" in bucket:
        raise JobError(
            f"a {scheme}:// URI with credentials in it: put them into the environment "
            "(AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY or AWS_PROFILE; GOOGLE_APPLICATION_CREDENTIALS)"
        )
    if not _BUCKET.fullmatch(bucket):
        raise JobError(f"{uri!r} names no bucket; expected {scheme}://bucket/name")
    return Location(scheme, path, query)


def join(folder: str, name: str) -> str:
    """The path or URI of what lies in a folder."""
    if not is_remote(folder):
        return os.path.join(folder, name)
    where = locate(folder)
    return where.at(f"{where.path}/{name}")


def parent(path: str) -> str:
    """The folder that a path or URI lies in; a URI's without its options."""
    return plain(path).rpartition("/")[0]


def stem(path: str) -> str:
    """The last part of a path or URI, without its ending."""
    return os.path.splitext(os.path.basename(plain(path)))[0]


def plain(path: str) -> str:
    """The path without a URI's options, for endings and names."""
    return path[: -len(locate(path).query) or None] if is_remote(path) else path


def filesystem(uri: str) -> tuple[pafs.FileSystem, str]:
    """The filesystem that holds a URI, one handle per process, and the path in it.

    Credentials come from the environment, the profile or the machine's role. ``AWS_ENDPOINT_URL``
    (or ``AWS_ENDPOINT_URL_S3``) and ``AWS_REGION`` are honoured. The URI's own options override
    them.

    Raises:
        JobError: as locate(), or the bucket's region can't be found out.
    """
    where = locate(uri)
    options = dict(parse_qsl(where.query.removeprefix("?")))
    anonymous = options.get("anonymous", "").lower() in ("1", "true", "yes")
    if where.scheme == "gs":
        return _gcs(options.get("endpoint_override"), options.get("scheme"), anonymous), where.path
    endpoint = (
        options.get("endpoint_override")
        or os.environ.get("AWS_ENDPOINT_URL_S3")
        or os.environ.get("AWS_ENDPOINT_URL")
    )
    protocol, _, host = (endpoint or "").rpartition("://")
    region = (
        options.get("region")
        or os.environ.get("AWS_REGION")
        or os.environ.get("AWS_DEFAULT_REGION")
    ) or ("us-east-1" if endpoint else _region(where.path.partition("/")[0]))
    protocol = options.get("scheme") or protocol or "https"
    limits = (ATTEMPTS, CONNECT_TIMEOUT_S, REQUEST_TIMEOUT_S)
    return _s3(host.rstrip("/") or None, protocol, region, anonymous, limits), where.path


@functools.cache
def _region(bucket: str) -> str:
    try:
        return pafs.resolve_s3_region(bucket)
    except OSError as error:
        raise JobError(
            f"s3://{bucket}: {reason(error)}; or set AWS_REGION, or AWS_ENDPOINT_URL"
        ) from error


@functools.cache
def _s3(
    endpoint: str | None,
    protocol: str,
    region: str,
    anonymous: bool,
    limits: tuple[int, float, float],
) -> pafs.FileSystem:
    attempts, connect_s, request_s = limits
    return pafs.S3FileSystem(
        endpoint_override=endpoint,
        scheme=protocol,
        region=region,
        anonymous=anonymous,
        connect_timeout=connect_s,
        request_timeout=request_s,
        retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=attempts),
        allow_delayed_open=True,  # a small object is one request, not three
    )


@functools.cache
def _gcs(endpoint: str | None, protocol: str | None, anonymous: bool) -> pafs.FileSystem:
    return pafs.GcsFileSystem(
        endpoint_override=endpoint,
        scheme=protocol,
        anonymous=anonymous,
        retry_time_limit=timedelta(seconds=60),
    )


def kind(path: str) -> Literal["file", "folder", "missing"]:
    """What there is at a path or URI; raises StorageError."""
    if not is_remote(path):
        return "folder" if os.path.isdir(path) else "file" if os.path.exists(path) else "missing"
    files, name = filesystem(path)
    try:
        info = files.get_file_info(name)
    except OSError as error:
        raise StorageError(f"{plain(path)}: {reason(error)}") from error
    return (
        "file" if info.is_file else "folder" if info.type == pafs.FileType.Directory else "missing"
    )


def listing(uri: str, *, recursive: bool = False) -> list[pafs.FileInfo]:
    """Objects and folders below a folder, hidden ones left out; raises StorageError."""
    files, path = filesystem(uri)
    try:
        found = files.get_file_info(
            pafs.FileSelector(path, allow_not_found=True, recursive=recursive)
        )
    except OSError as error:
        raise StorageError(f"{plain(uri)}: {reason(error)}") from error
    return [
        info
        for info in found
        if not any(part.startswith(".") for part in info.path[len(path) + 1 :].split("/"))
    ]


def matching(uri: str) -> list[pafs.FileInfo]:
    """Objects and folders that match a pattern (`*`, `?`, `[...]`, `**`), level by level.

    Only folders on the pattern's way are listed. Hidden objects are left out. Raises StorageError.
    """
    where = locate(uri)
    first, *parts = where.path.split("/")
    found = [pafs.FileInfo(first, pafs.FileType.Directory)]
    while parts and not _MAGIC.search(parts[0]):
        found = [pafs.FileInfo(f"{found[0].path}/{parts.pop(0)}", pafs.FileType.Directory)]
    for part in parts:
        folders = [info for info in found if info.type == pafs.FileType.Directory]
        below = [
            info
            for folder in folders
            for info in listing(where.at(folder.path), recursive=part == "**")
        ]
        found = (
            [*folders, *below]
            if part == "**"
            else [info for info in below if fnmatchcase(info.base_name, part)]
        )
    return found


def open_remote(uri: str) -> RemoteFile:
    """Opens an object; raises FileNotFoundError or StorageError."""
    files, path = filesystem(uri)
    return RemoteFile(files, path, plain(uri))


def open_file(path: str) -> BinaryIO:
    """Opens a file or object for reading; raises FileNotFoundError or another OSError."""
    return io.BufferedReader(open_remote(path)) if is_remote(path) else open(path, "rb")


def read_bytes(path: str, length: int = -1) -> bytes:
    """A file's or object's first bytes, or all of them; raises as open_file()."""
    with open_file(path) as file:
        return file.read(length)


def each(work: Callable[[str], _Result], paths: Sequence[str]) -> list[_Result]:
    """`work` of every path, in order; many at a time where they are remote."""
    if not any(map(is_remote, paths)):
        return [work(path) for path in paths]
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return list(pool.map(work, paths))
