"""What a run shows of itself: the phase that it is in, on one live line of a terminal; elsewhere a
line at each change of phase and once a minute.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from raydepth.files.text import printable
from raydepth.run import log

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

EVERY_S = 60.0
"""Between two lines where nothing can be rewritten."""
_PER_SECOND = 4


class Terminal:
    """The one line that a run has on standard error, beside what it says."""

    def __init__(
        self, echo: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Args: echo: gets every line that is said; clock: seconds."""
        # Bars of the hub and of transformers would be drawn over the line.
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        self._echo, self._clock = echo, clock
        self._lock = threading.RLock()
        self._phase = self._detail = ""
        self._began = self._shown = clock()
        self._live = _live_line(self._text)

    def begin(self, phase: str, detail: str = "") -> None:
        """Shows what the run is at from here on; the same phase again only shows the detail."""
        with self._lock:
            if phase == self._phase:
                self.detail(detail)
                return
            self._phase, self._detail = phase, detail
            self._began = self._clock()
            if self._live is None:
                self._print()

    def detail(self, text: str) -> None:
        """Shows how far it has come."""
        with self._lock:
            self._detail = text
            if self._live is None and self._clock() - self._shown >= EVERY_S:
                self._print()

    def say(self, line: str) -> None:
        """Says a line that stays."""
        with self._lock:
            if self._live is None or not self._live.is_started:
                self._echo(line)
                return
            self._live.stop()
            try:
                self._echo(line)
            finally:
                self._live.start()

    def close(self, *, last: bool = False) -> None:
        """Takes the line away, or, with ``last``, leaves it as a line of its own."""
        with self._lock:
            if self._live is not None:
                self._live.stop()
            if last and self._phase:
                self._print()
            self._phase = ""

    def _print(self) -> None:
        self._shown = self._clock()
        self._echo(printable(": ".join(filter(None, (self._phase, self._detail)))))

    def _text(self) -> "Text":
        from rich.text import Text

        line = Text(no_wrap=True, overflow="ellipsis")
        if self._phase:
            line.append(printable(self._phase), "bold")
            seconds = self._clock() - self._began
            line.append(f"  {printable(self._detail) or f'{seconds:.0f} s'}")
        return line


def _live_line(text: "Callable[[], Text]") -> "Live | None":
    """The line on standard error, shown; None where none can be rewritten."""
    if not sys.stderr.isatty() or log.speaks():
        return None
    from rich.console import Console
    from rich.live import Live

    class _Console(Console):
        """Leaves the cursor alone: a process that is killed could not give it back."""

        def show_cursor(self, show: bool = True) -> bool:
            return False

    console = _Console(file=sys.stderr)
    if console.is_dumb_terminal:
        return None
    line = Live(
        get_renderable=text,
        console=console,
        refresh_per_second=_PER_SECOND,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    line.start()
    return line


_shown: Terminal | None = None
"""The process has one terminal, and a run of a job is all that writes there."""


@contextmanager
def shown(echo: Callable[[str], None]) -> Iterator[Terminal]:
    """The terminal of the run that is going on in this process, or one for the time being.

    Args:
        echo: gets the lines, where there is no run yet.
    """
    global _shown
    if _shown is not None:
        yield _shown
        return
    _shown = Terminal(echo)
    try:
        yield _shown
    finally:
        _shown.close()
        _shown = None


def begin(phase: str, detail: str = "") -> None:
    """Shows the phase of the run that is going on in this process, if one is."""
    if _shown is not None:
        _shown.begin(phase, detail)
