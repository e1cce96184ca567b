"""Which checkpoints of transformers can find things, told from their configuration."""

from collections.abc import Mapping
from typing import Any

from raydepth.errors import JobError

CLICKED = {
    "sam": "SamModel",
    "sam2": "Sam2Model",
    "sam2_video": "Sam2VideoModel",
    "sam3_tracker": "Sam3TrackerModel",
}
"""``model_type`` of a checkpoint that takes clicks and boxes -> class of transformers."""

WORDED = {
    "owlv2": "Owlv2ForObjectDetection",
    "grounding-dino": "GroundingDinoForObjectDetection",
}
"""``model_type`` of a checkpoint that takes words -> class of transformers."""


def class_name(config: Mapping[str, Any], known: Mapping[str, str], field: str, name: str) -> str:
    """The class of transformers for a checkpoint.

    Args:
        config: its configuration.
        known: ``CLICKED`` or ``WORDED``.
        field: the job's field that names it, for messages.
        name: what messages call it.

    Raises:
        JobError: it is none of those.
    """
    found = str(config.get("model_type"))
    if found not in known:
        wanted = "finds things from clicks" if known is CLICKED else "finds things from words"
        raise JobError(
            f"{field}: {name} is a checkpoint of type {found!r}; expected one that {wanted}: "
            f"{', '.join(known)}"
        )
    return known[found]
