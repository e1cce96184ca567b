"""Ends a worker's process when decoding does not come back; Ray starts another, and the tracker
knows what the last was at.
"""

import os
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

from raydepth.run.tracker import Progress

_Item = TypeVar("_Item")


def watched(
    items: Iterable[_Item], seconds: float, unit: str, progress: Progress
) -> Iterator[_Item]:
    """Passes items on, and ends this process when the next one takes longer than ``seconds``.

    A thread cannot interrupt what hangs inside FFmpeg or the kernel (a dead network mount, say),
    but Ray replaces a dead process, and the tracker knows what it was at.
    """
    iterator = iter(items)
    while True:
        timer = threading.Timer(seconds, _give_up, (unit, progress))
        timer.daemon = True
        timer.start()
        try:
            item = next(iterator)
        except StopIteration:
            return
        finally:
            timer.cancel()
        yield item


def _give_up(unit: str, progress: Progress) -> None:
    progress.hung(unit)
    os._exit(1)
