"""The column batch that travels between the steps: its column names, and the two things every step
does with its status.

A batch is a ``dict[str, np.ndarray]`` whose arrays share their first axis, the N frames of one
micro-batch. All frames of a batch come from one video and have one working size H x W.

=================  ==================  =========================================================================
column             dtype, shape        meaning
=================  ==================  =========================================================================
``frame_id``       str [N]             ``<video>:<pts>``, the identity of a frame
``video``          str [N]             id derived from the file's content
``path``           str [N]             where the source was read from
``frame_index``    int64 [N]           index of the frame in the source, in display order
``pts``            int64 [N]           presentation time stamp in the stream's time base
``time_s``         float64 [N]         presentation time in seconds
``rgb``            uint8 [N,H,W,3]     the frame at working resolution; zeros where it could not be decoded
``inv_depth``      float32 [N,H,W]     inverse depth, larger = nearer, normalised once per clip (about 0..1)
``near``           float32 [N,H,W]     alpha of everything nearer than the farthest plane, 0..1
``hole``           bool [N,H,W]        where ``background`` was invented (the near layer, dilated)
``background``     uint8 [N,H,W,3]     the far layer with the hole behind the near one filled
``shared_background``uint8 [N,H,W,3]     the clip's plate where the frame's far layer is the plate; else its background
``far_inv_depth``  float32 [N,H,W]     inverse depth of that far layer, continued under the hole
``target_inv_depth`` float32 [N,H,W]    inverse depth that the edit asked for
``region``         float32 [N,H,W]     where the edit may change pixels, 0..1
``layer_names``    str [N,K]           the asked layers, near first; this and the next three only where they are kept
``layer_rgb``      uint8 [N,K,H,W,3]   their pictures
``layer_alpha``    float32 [N,K,H,W]   their alphas, 0..1, straight
``layer_inv_depth`` float32 [N,K,H,W]  their inverse depths
``patch``          object [N]          where it was made on a crop: that, as a Patch (``compose.crop``), else None
``origin``         object [N]          gives, when called, the source-size frame as a Frame; only for sharp crops
``edited``         uint8 [N,H,W,3]     the result
``status``         str [N]             ``ok`` or ``error``
``error_type``     str [N]             empty where ok
``error_message``  str [N]             empty where ok
``note``           str [N]             what a step skipped and why, for example ``empty near layer``; empty otherwise
``threshold``      float32 [N,K]       the resolved planes, as normalised inverse depth, nearest first
``seconds_<step>`` float32 [N]         wall-clock seconds that the step spent on the frame (a batch's time / N)
``rmse_...`` etc.  float64 [N]         metrics; NaN where not measured
=================  ==================  =========================================================================
"""

from typing import Any

import numpy as np

Batch = dict[str, np.ndarray]


def ok_rows(batch: Batch) -> np.ndarray:
    """Indices int64 [M] of the frames that no step has failed on so far."""
    return np.flatnonzero(batch["status"] == "ok")


def mark_error(batch: Batch, row: int, error_type: str, message: str) -> None:
    """Turns one frame into an error row, in place; the columns that hold text are object arrays, so
    any length fits.
    """
    batch["status"][row] = "error"
    batch["error_type"][row] = error_type
    batch["error_message"][row] = message


def frame_identity(batch: Batch, row: int) -> dict[str, Any]:
    """What names the files beside one frame: ``source``, ``frame_index``, ``pts``, and ``image``
    (None in videos).
    """
    return {
        "source": str(batch["path"][row]),
        "frame_index": int(batch["frame_index"][row]),
        "pts": int(batch["pts"][row]),
        "image": str(batch["image"][row]) if "image" in batch else None,
    }
