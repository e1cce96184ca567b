"""The log of a run, ``logs/`` in the output folder: what was run with what, how long its phases
took, and the tracebacks that the terminal is spared. Built on ``logging``; light to import.
"""

import functools
import json
import logging
import os
import shlex
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

if TYPE_CHECKING:
    from raydepth.output.folder import OutputFolder

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

LIBRARIES = ("ray", "ray.data", "transformers", "diffusers", "huggingface_hub")
"""They print their warnings by handlers of their own."""

RECORD_CHARS = 8000
"""Of a record that is longer, the end is kept: a traceback's last lines say most."""

WORKER_RECORDS = 200
"""What one worker process may say; a clip whose every frame fails says the same again and again."""

MOST_CHARS = 32_000_000
"""Of a whole log."""

_P = ParamSpec("_P")
_R = TypeVar("_R")
_logger = logging.getLogger(__name__)


class RoutedLogger(logging.Logger):
    """A library's logger whose records go where all others go."""

    propagate = property(lambda self: True, lambda self, value: None)

    def addHandler(self, hdlr: logging.Handler) -> None:
        """Takes none: the library would print there."""


def route_libraries() -> None:
    """Keeps warnings of libraries, imported by now or later, from the terminal; a log has them."""
    for name in LIBRARIES:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.__class__ = RoutedLogger
    logging.captureWarnings(True)
    root = logging.getLogger()
    if not root.handlers:  # else Python prints what nobody takes
        root.addHandler(logging.NullHandler())


def speak() -> None:
    """Shows what goes into the log on standard error too (``--verbose``)."""
    shown = logging.StreamHandler()
    shown.setFormatter(logging.Formatter(FORMAT))
    logging.getLogger().addHandler(shown)
    logging.getLogger("raydepth").setLevel(logging.INFO)


def speaks() -> bool:
    """Whether the log is shown on standard error."""
    handlers = logging.getLogger().handlers
    return any(getattr(handler, "stream", None) is sys.stderr for handler in handlers)


class RunLog(logging.Handler):
    """One run's log: in memory until the output folder is the run's, then a file in it.

    A local file grows line by line; on object storage it is written when the run ends. Whatever
    goes wrong with a log, the run goes on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(FORMAT))
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self.file = f"{stamp}-{os.getpid()}-{uuid.uuid4().hex[:6]}.log"
        self._folder: OutputFolder | None = None
        self._lines: list[str] = []
        self._chars = 0

    @property
    def place(self) -> str | None:
        """The file's path or URI; None while there is none."""
        if self._folder is None:
            return None
        return f"{self._folder.location.rstrip('/')}/{self.file}"

    def open(self, folder: "OutputFolder", below: str) -> None:
        """Makes the file in a subfolder; the folder is this run's."""
        self.acquire()
        try:
            if self._folder is None:
                self._folder, self.file = folder, f"{below}/{self.file}"
            lines, self._lines = self._lines, []
            for line in lines:
                self._write(line)
        finally:
            self.release()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = _cut(self.format(record))
            if self._chars < MOST_CHARS:
                self._chars += len(line)
                self._write(line)
        except Exception:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing: no run ends for its log."""

    def finish(self) -> None:
        """Writes what is left."""
        if self._folder is not None and not self._folder.is_local:
            with suppress(OSError):
                self._folder.write(self.file, "".join(self._lines).encode(errors="replace"))

    def _write(self, line: str) -> None:
        if self._folder is None or not self._folder.is_local:
            self._lines.append(line + "\n")
            return
        with suppress(OSError):
            path = self._folder.path(self.file)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(line + "\n")


def _cut(text: str) -> str:
    return text if len(text) <= RECORD_CHARS else "[...]" + text[-RECORD_CHARS:]


def open_log(folder: "OutputFolder", below: str) -> None:
    """Gives the log of the run in this process its file in a subfolder; the folder is the run's."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, RunLog):
            handler.open(folder, below)


def logged(run: Callable[_P, _R]) -> Callable[_P, _R]:
    """Lets a run of a job, a function ``(job, *, echo=print, ...)`` whose outcome has a field
    ``log``, keep a log.

    An exception that ends it gets a note that says where the log is.
    """

    @functools.wraps(run)
    def with_log(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        echo: Any = kwargs.get("echo", print)

        def said(line: str) -> None:
            _logger.info("%s", line)
            echo(line)

        kwargs["echo"] = said
        with _attached() as log:
            try:
                _describe(args[0] if args else kwargs["job"])
                outcome: Any = run(*args, **kwargs)
                _logger.info("ended: %s", outcome)
                return replace(outcome, log=log.place)
            except BaseException as error:
                _logger.error("ended", exc_info=True)
                if log.place is not None:
                    error.add_note(f"log: {log.place}")
                raise

    return with_log


@contextmanager
def _attached() -> Iterator[RunLog]:
    root, ours, log = logging.getLogger(), logging.getLogger("raydepth"), RunLog()
    level = ours.level
    ours.setLevel(logging.INFO)
    root.addHandler(log)
    try:
        yield log
    finally:
        root.removeHandler(log)
        ours.setLevel(level)
        log.finish()


def _describe(job: Any) -> None:
    from raydepth.output.record import environment, job_yaml

    _logger.info("command: %s", shlex.join(sys.argv))
    _logger.info("in: %s", json.dumps(environment()))
    _logger.info("job:\n%s", job_yaml(job.tree()))


def phase(step: Callable[_P, _R]) -> Callable[_P, _R]:
    """Logs when a step of a run begins, and how long it took."""

    @functools.wraps(step)
    def timed(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        began = time.monotonic()
        _logger.info("%s begins", step.__name__)
        try:
            return step(*args, **kwargs)
        finally:
            _logger.info("%s took %.2f s", step.__name__, time.monotonic() - began)

    return timed


class _TakesLog(Protocol):
    def log(self, text: str) -> None: ...


class _HandsLog(Protocol):
    def logged(self) -> list[str]: ...


class _Forward(logging.Handler):
    """Hands a worker's warnings, and the tracebacks of frames that failed, to the tracker."""

    def __init__(self, tracker: _TakesLog) -> None:
        super().__init__(logging.WARNING)
        self._tracker, self._left = tracker, WORKER_RECORDS
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._left > 0:
                self._left -= 1
                more = "" if self._left else "\n(this process logs no more)"
                self._tracker.log(_cut(f"process {os.getpid()}: {self.format(record)}") + more)
        except Exception:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing: no worker ends for its log."""


def forward_to(tracker: _TakesLog) -> None:
    """Sends what this worker's process logs to the run's log."""
    route_libraries()
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _Forward):
            root.removeHandler(handler)
    root.addHandler(_Forward(tracker))


def take_from(tracker: _HandsLog) -> None:
    """Logs what workers have sent; on the driver."""
    for text in tracker.logged():
        _logger.warning("%s", text)
