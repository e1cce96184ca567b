"""The column batch that travels between the steps, and what every step does with its status.

A batch is a ``dict[str, np.ndarray]`` whose arrays share their first axis, the N frames of one
micro-batch. All frames of a batch come from one video and have one working size H x W. K is the
number of planes, or in ``layer_*`` of layers.

=====================  ===================  ========================================================
column                 dtype, shape         meaning
=====================  ===================  ========================================================
``frame_id``           str [N]              ``<video>:<pts>``, the identity of a frame
``video``              str [N]              id of the source, derived from the file's content
``path``               str [N]              where the source was read from
``image``              str [N]              file of the frame in a folder of images; empty in videos
``frame_index``        int64 [N]            index of the frame in the source, in display order
``pts``                int64 [N]            presentation time stamp in the stream's time base
``time_s``             float64 [N]          presentation time in seconds
``rgb``                uint8 [N,H,W,3]      frame at working resolution; zeros where not decoded
``shot``               int64 [N]            number of the frame's shot in the source, from 0
``inv_depth``          float32 [N,H,W]      normalised inverse depth, larger = nearer, about 0..1
``depth_lo``           float64 [N]          raw inverse depth at ``inv_depth`` 0; NaN: no scale
``depth_hi``           float64 [N]          raw inverse depth at ``inv_depth`` 1; NaN: no scale
``thing_names``        str [N,T]            the job's things; this and the next four only where it
                                            has any
``thing_alpha``        float32 [N,T,H,W]    their mattes, 0..1; zeros where a thing is not
``thing_inv_depth``    float32 [N,T]        their depth, one number a frame; NaN where not there
``thing_state``        str [N,T]            ``seen``; ``hidden`` (in the shot, not in this frame);
                                            ``lost`` (its track broke: where it is is not known);
                                            ``absent`` (nobody said or found it in this shot)
``thing_iou``          float64 [N,T]        how well the mask agreed with its prediction; NaN: no
                                            mask was found anew in this frame
``threshold``          float32 [N,K]        planes as normalised inverse depth, nearest first
``alphas``             float32 [N,L,H,W]    share of each layer, their sum is 1: K + 1 between the
                                            planes, near first; before them all things, where the
                                            edit names layers; or things that it names, and far
``alpha_names``        str [N,L]            names of these layers; only where things are among them
``near``               float32 [N,H,W]      1 - share of the far layer, 0..1
``hole``               bool [N,H,W]         where ``background`` is inpainted: the near layers,
                                            dilated; not dilated where that would swallow the last
                                            known pixel
``hole_refused``       bool [N]             whether the hole is too large to be shown as filled
                                            (``layers.fill.max_hole``)
``background``         uint8 [N,H,W,3]      the far layer, inpainted in the hole
``shared_background``  uint8 [N,H,W,3]      the shot's plate where it stands for the frame's far
                                            layer, else ``background``; only where any frame has it
``far_inv_depth``      float32 [N,H,W]      inverse depth of the far layer, continued in the hole
``edited``             uint8 [N,H,W,3]      the result
``region``             float32 [N,H,W]      where the edit may change pixels, 0..1
``target_inv_depth``   float32 [N,H,W]      target depth: inverse depth of the edit's layer stack
``layer_names``        str [N,K]            layers of the edit, near first; this and the next three
                                            only where layers are kept
``layer_rgb``          uint8 [N,K,H,W,3]    their colours
``layer_alpha``        float32 [N,K,H,W]    their straight alphas, 0..1
``layer_inv_depth``    float32 [N,K,H,W]    their inverse depths
``patch``              object [N]           the crop that was composed, as ``compose.crop.Patch``;
                                            None: the whole frame; only with ``compose.crop``
``origin``             object [N]           callable that gives the source-size ``Frame``; only for
                                            crops at source size
``status``             str [N]              ``ok`` or ``error``
``error_type``         str [N]              empty where ok
``error_message``      str [N]              empty where ok
``note``               str [N]              what a step skipped and why, for example
                                            ``empty near layer``; else empty
``attempts``           int64 [N]            attempts at the frame, over all runs
``batch``              int64 [N]            frames that went through the models together
``segment``, ``part``  int64 [N]            numbers of the segment and of the part
``height``, ``width``  int64 [N]            size of the result in pixels
``seed``               int64 [N]            seed of the clip's noise
``depth_kind``         str [N]              kind of the depth estimator; empty: no scale
``seconds_<step>``     float32 [N]          seconds that the step spent on the frame
``rmse_...``           float64 [N]          metrics (``evaluate.measures.MEASURES``); NaN where
                                            not measured, which is null in shards
=====================  ===================  ========================================================

One shot has one depth normalisation. The worker adds ``attempts`` to ``depth_kind`` before a batch
becomes rows of a shard.
"""

from typing import Any

import numpy as np

Batch = dict[str, np.ndarray]


def ok_rows(batch: Batch) -> np.ndarray:
    """Indices int64 [M] of the frames that no step has failed on so far."""
    return np.flatnonzero(batch["status"] == "ok")


def shot_id(video: str, shot: int) -> str:
    """What is fixed once per shot is kept under this: the video id, and the shot's number behind a
    dot from the second shot on.
    """
    return f"{video}.{shot}" if shot else video


def video_of(shot: str) -> str:
    """The video id of a shot id."""
    return shot.partition(".")[0]


def shot_of(batch: Batch, row: int = 0) -> str:
    """The id of the shot that a frame is in; all frames of a batch are of one shot."""
    return shot_id(str(batch["video"][row]), int(batch["shot"][row]) if "shot" in batch else 0)


def take_rows(batch: Batch, rows: np.ndarray) -> Batch:
    """The frames at these indices, as a batch of their own."""
    return {name: column[rows] for name, column in batch.items()}


def mark_error(batch: Batch, row: int, error_type: str, message: str) -> None:
    """Turns one frame into an error row, in place.

    Text columns are object arrays, so a message of any length fits.
    """
    batch["status"][row] = "error"
    batch["error_type"][row] = error_type
    batch["error_message"][row] = message


def frame_identity(batch: Batch, row: int) -> dict[str, Any]:
    """What names a frame's sidecar files: ``source``, ``frame_index``, ``pts`` and ``image``.

    ``image`` is None in videos.
    """
    return {
        "source": str(batch["path"][row]),
        "frame_index": int(batch["frame_index"][row]),
        "pts": int(batch["pts"][row]),
        "image": str(batch["image"][row]) if "image" in batch else None,
    }
