"""An object in storage as a file that is read by ranges; ``storage`` opens them."""

import errno
import io
import time
from bisect import bisect_right
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice

import pyarrow.fs as pafs

CONNECTIONS = 16
"""Requests for small objects or ranges at a time: what hides their latency."""
READ_FIRST = 256 << 10
READ_MOST = 4 << 20
"""Bytes fetched after a jump, doubled while reading goes on from there: FFmpeg's 32 KiB reads must
not be a request each."""
SMALLEST = 4 << 10
"""Bytes of a request at least, see read_at()."""
_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Between tries where an object is so small that the SDK makes none."""
BRIDGE = 64 << 10
"""Gap between two wanted ranges that is cheaper to fetch along than another request."""

_ADVICE = {
    "ACCESS_DENIED": "access denied: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or "
    "AWS_PROFILE) and what they may do",
    "HTTP status 403": "access denied: check the credentials in the environment and what they may "
    "do",
    "NO_SUCH_BUCKET": "there is no such bucket, and none is made",
    "NETWORK_CONNECTION": "the server does not answer: check the network, and AWS_ENDPOINT_URL "
    "where it is not Amazon's",
    "HTTP status 301": "the bucket is in another region: set AWS_REGION or add ?region=... to the "
    "URI",
}


class StorageError(OSError):
    """Object storage failed to answer a request, after all retries.

    It says nothing about the object itself.
    """


def reason(error: Exception) -> str:
    """What went wrong, in a line, with what to do about it where that is known."""
    if isinstance(error, StorageError):
        return str(error)  # says it already
    text = getattr(error, "strerror", None) or str(error)
    return next((f"{advice} ({text})" for mark, advice in _ADVICE.items() if mark in text), text)


class RemoteFile(io.RawIOBase):
    """An object as a seekable file of known size, read by ranges with growing read-ahead.

    A request that has failed for good raises StorageError once. After that the file reads as ended,
    because FFmpeg would repeat the request again and again.

    Attributes:
        name: the URI without options; FFmpeg guesses formats by its ending.
        size: bytes.
        sparse: whether keep_only() took effect.
    """

    def __init__(self, files: pafs.FileSystem, path: str, name: str) -> None:
        """Opens an object; raises FileNotFoundError or StorageError."""
        self.name = name
        self._open = partial(files.open_input_file, path)
        try:
            self._file = self._open()
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, "does not exist", name) from error
        except OSError as error:
            raise StorageError(f"{name}: {reason(error)}") from error
        self.size: int = self._file.size()
        self.sparse = False
        self._at = 0
        self._window = (0, b"")  # start and bytes of what was fetched last
        self._ahead = READ_FIRST
        self._kept: list[tuple[int, bytes]] = []
        self._failed = False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + (0, self._at, self.size)[whence])
        return self._at

    def readall(self) -> bytes:
        start, self._at = self._at, max(self._at, self.size)
        return self.read_at(start, self.size) if start < self.size else b""

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Gives the bytes that are buffered, at least one.

        FFmpeg asks for megabytes at once where it needs a few of them.
        """
        out = memoryview(buffer)
        start = self._at
        stop = min(start + len(out), self.size)
        if start >= stop or self._failed:
            return 0
        if self.sparse:
            self._read_kept(start, out[: stop - start])
        else:
            begin, data = self._window
            if not begin <= start < begin + len(data):
                self._fetch(start)
                begin, data = self._window
            piece = data[start - begin : stop - begin]
            out[: len(piece)] = piece
            stop = start + len(piece)
        self._at = stop
        return stop - start

    def read_at(self, start: int, stop: int) -> bytes:
        """Bytes [start, stop) by a request of their own, wherever reading stands."""
        # An error's text has to fit where the bytes belong, or the AWS SDK takes it for a failure
        # of its own, tries no more.
        low = max(0, min(start, self.size - SMALLEST))
        high = min(max(stop, low + SMALLEST), self.size)
        try:
            for pause in _PAUSES_S:
                try:
                    data = self._file.read_at(high - low, low)
                    break
                except OSError as error:
                    if "flush response stream" not in str(error):
                        raise
                    time.sleep(pause)
                    self._file = self._open()  # at once, if it is gone
            else:
                data = self._file.read_at(high - low, low)
            if len(data) < high - low:
                raise OSError("it became shorter while it was read")
        except FileNotFoundError:
            raise
        except OSError as error:
            self._failed = True
            raise StorageError(f"{self.name}: {reason(error)}") from error
        return data[start - low : stop - low]

    def keep_only(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Fetches these ranges [start, stop), in rising order; later reads give zeros elsewhere.

        Nothing happens where the ranges are half of the object or more. Then fetching all of it in
        order is as good.
        """
        spans: list[tuple[int, int]] = []
        for start, stop in ranges:
            if spans and start - spans[-1][1] <= BRIDGE:
                spans[-1] = (spans[-1][0], max(spans[-1][1], min(stop, self.size)))
            elif start < self.size:
                spans.append((start, min(stop, self.size)))
        if 2 * sum(stop - start for start, stop in spans) >= self.size:
            return
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            pieces = list(pool.map(lambda span: self.read_at(*span), spans))
        self._kept = [(start, piece) for (start, _), piece in zip(spans, pieces, strict=True)]
        self._window = (0, b"")
        self.sparse = True

    def _read_kept(self, start: int, out: memoryview) -> None:
        stop = start + len(out)
        out[:] = bytes(len(out))
        first = bisect_right(self._kept, start, key=lambda kept: kept[0])
        for begin, piece in islice(self._kept, max(0, first - 1), None):
            if begin >= stop:
                break
            low, high = max(start, begin), min(stop, begin + len(piece))
            if low < high:
                out[low - start : high - start] = piece[low - begin : high - begin]

    def _fetch(self, at: int) -> None:
        begin, data = self._window
        reads_on = bool(data) and 0 <= at - (begin + len(data)) <= self._ahead
        self._ahead = min(2 * self._ahead, READ_MOST) if reads_on else READ_FIRST
        self._window = (at, self.read_at(at, min(at + self._ahead, self.size)))
