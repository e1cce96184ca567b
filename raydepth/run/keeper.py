"""Keeps the shots' calibrations in the output folder while workers measure them; on the driver."""

import time
from collections.abc import Mapping
from typing import Protocol

from raydepth.output.folder import OutputFolder
from raydepth.output.record import ClipCalibration, write_calibrations

SHARE = 0.05
"""Of the time that writing may take: the file holds all shots, and is written anew for every
few."""


class _Measuring(Protocol):
    def measured(self) -> dict[str, ClipCalibration | None]: ...
    def keep(self, shots: list[str]) -> None: ...


class CalibrationKeeper:
    """Writes ``calibrations.json`` whenever there are new ones, then lets workers edit by them."""

    def __init__(
        self, folder: OutputFolder, tracker: _Measuring, kept: Mapping[str, ClipCalibration]
    ) -> None:
        self._folder, self._tracker, self._kept = folder, tracker, dict(kept)
        self._next = 0.0

    def __call__(self, *, last: bool = False) -> None:
        """Looks for new ones; ``last``: whatever it costs."""
        if not last and time.monotonic() < self._next:
            return
        if not (measured := self._tracker.measured()):
            return
        began = time.monotonic()
        new = {shot: clip for shot, clip in measured.items() if clip is not None}
        if new:
            self._kept |= new
            write_calibrations(self._folder, self._kept)
        self._tracker.keep(list(measured))
        ended = time.monotonic()
        self._next = ended + (ended - began) * (1 / SHARE - 1)
