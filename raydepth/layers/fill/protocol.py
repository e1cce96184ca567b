"""The protocol of everything that fills the hole behind the near layers (step 5)."""

from typing import Protocol

import numpy as np


class Filler(Protocol):
    """Invents the pixels of a hole; what it does outside the hole does not matter."""

    def __call__(self, rgb: np.ndarray, hole: np.ndarray) -> np.ndarray:
        """Fills.

        Args:
            rgb: uint8 [H,W,3].
            hole: bool [H,W], neither empty nor full.

        Returns:
            uint8 [H,W,3].
        """
        ...

    name: str = ""
    """For notes."""

    note: str = ""
    """What the last call has to say about its frame; empty where nothing."""

    refused: bool = False
    """Whether the last call's hole was too large for it, so that nothing should be taken away."""

    shown: np.ndarray | None = None
    """bool [H,W], where the last call's picture is what other frames show; None: nowhere."""

    def for_clip(self, shot: str) -> "Filler":
        """The filler of one shot, by shot id, where shots are filled differently."""
        return self

    def behind(self, rgb: np.ndarray, hole: np.ndarray) -> np.ndarray | None:
        """What other frames show behind the hole and around it, uint8 [H,W,3] in the frame's own
        geometry; None where they are not asked.
        """
        return None

    def shared_background(self, rgb: np.ndarray, hole: np.ndarray) -> np.ndarray | None:
        """A whole far layer uint8 [H,W,3] that this frame shares with others of its shot; None
        where there is none.
        """
        return None
