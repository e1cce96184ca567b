"""What a checkpoint's numbers are, as its configuration says."""

from collections.abc import Mapping
from typing import Any, get_args

from raydepth.depth.settings import DepthKind
from raydepth.errors import JobError


def kind_of(config: Mapping[str, Any], name: str) -> DepthKind:
    """The kind of a transformers checkpoint's depth.

    Args:
        config: its ``config.json``.
        name: what messages call it.

    Raises:
        JobError: its class leaves the kind open.
    """
    stated = config.get("raydepth_kind")
    if stated is not None:
        if stated not in get_args(DepthKind):
            raise JobError(
                f"{name}: raydepth_kind in its config.json is {stated!r}; "
                f"allowed: {', '.join(get_args(DepthKind))}"
            )
        return stated
    family = config.get("model_type")
    if family == "depth_anything":
        return "depth_m" if config.get("depth_estimation_type") == "metric" else "disparity_rel"
    if family == "dpt":
        backbone = (config.get("backbone_config") or {}).get("model_type")
        return "depth_m" if backbone == "dinov2" else "disparity_rel"
    if family in ("zoedepth", "depth_pro", "glpn"):
        return "depth_m"
    raise JobError(
        f"depth.model: {name} is a {family} network; whether it gives metres, relative "
        "depth or "
        f"disparity is not known here: set depth.kind to {', '.join(get_args(DepthKind))}"
    )
