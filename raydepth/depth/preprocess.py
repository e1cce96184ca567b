"""A checkpoint's preprocessor file, carried out in torch on the device, and its inverse."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn import functional

_IMAGENET = {"image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225)}
_HALF = {"image_mean": (0.5, 0.5, 0.5), "image_std": (0.5, 0.5, 0.5)}
# What each class's own processor takes for granted where the preprocessor file is silent; size is
# (height, width), None as it comes.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "dpt": {"size": (384, 384), "resample": 3, **_HALF},
    "depth_anything": {
        "size": (518, 518),
        "keep_aspect_ratio": True,
        "ensure_multiple_of": 14,
        "resample": 3,
        **_IMAGENET,
    },
    "zoedepth": {
        "size": (384, 512),
        "keep_aspect_ratio": True,
        "ensure_multiple_of": 32,
        "do_pad": True,
        **_HALF,
    },
    "depth_pro": {"size": (1536, 1536), **_HALF},
    "glpn": {"size": None, "size_divisor": 32, "image_mean": (0.0,) * 3, "image_std": (1.0,) * 3},
}
_MODES = {0: "nearest-exact", 1: "bicubic", 2: "bilinear", 3: "bicubic"}
"""PIL's codes to torch's modes; torch has no Lanczos (1), bicubic is the nearest to it."""


@dataclass(frozen=True)
class Preprocessing:
    """How frames become a network's input, and its output a map at their size again.

    Attributes:
        size: target (height, width), or None: the frame's own size.
        keep_aspect_ratio: scale both sides alike, by the factor of ``size`` that changes the
            picture less (DPT's rule).
        multiple_of: both sides are rounded to multiples of this.
        round_down: round to the next smaller multiple (GLPN) instead of to the nearest.
        short_side: short side in pixels that replaces ``size`` (the job's ``depth.input_size``), or
            None.
        mode: torch interpolation mode.
        antialias: low-pass before shrinking, as PIL does.
        align_corners: corner pixels stay at the corners (ZoeDepth).
        rescale: factor that takes uint8 to the range that ``mean`` and ``std`` are for.
        mean: per channel.
        std: per channel.
        reflect: pad by reflection before the resize, int(3 sqrt(side / 2)) pixels a side
            (ZoeDepth).
        pad_divisor: pad with zeros around the centre to a multiple of this after the resize (DPT's
            Swin backbones), or None.
    """

    size: tuple[int, int] | None = None
    keep_aspect_ratio: bool = False
    multiple_of: float = 1
    round_down: bool = False
    short_side: int | None = None
    mode: str = "bilinear"
    antialias: bool = True
    align_corners: bool = False
    rescale: float = 1 / 255
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    reflect: bool = False
    pad_divisor: int | None = None

    def with_short_side(self, short_side: int, multiple_of: int) -> "Preprocessing":
        """The same with another short side in pixels; both sides become multiples."""
        return replace(
            self,
            short_side=short_side,
            multiple_of=max(int(self.multiple_of), 1)
            * multiple_of
            // math.gcd(max(int(self.multiple_of), 1), multiple_of),
        )

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) that a picture (reflection padding included) is resized to."""
        if self.short_side is not None:
            scale = self.short_side / min(height, width)
            scales = (
                (scale, scale)
                if self.keep_aspect_ratio or self.size is None
                else (self.short_side / height, self.short_side / width)
            )
        elif self.size is not None:
            scales = (self.size[0] / height, self.size[1] / width)
            if self.keep_aspect_ratio:
                scales = (min(scales, key=lambda scale: abs(1 - scale)),) * 2
        else:
            scales = (1.0, 1.0)
        multiple = self.multiple_of
        rounding = math.floor if self.round_down else round
        high, wide = (
            int(rounding(scale * side / multiple) * multiple)
            for scale, side in zip(scales, (height, width), strict=True)
        )
        return max(high, math.ceil(multiple)), max(wide, math.ceil(multiple))

    def apply(self, rgb: torch.Tensor) -> torch.Tensor:
        """Frames uint8 [N,H,W,3] to the network's input float32 [N,3,h,w], on the same device."""
        pixels = rgb.permute(0, 3, 1, 2).float()
        if self.reflect:
            top, left = _reflection(*pixels.shape[-2:])
            pixels = functional.pad(pixels, (left, left, top, top), mode="reflect")
        size = self.input_size(*pixels.shape[-2:])
        if size != tuple(pixels.shape[-2:]):
            smooth = self.mode in ("bilinear", "bicubic")
            pixels = functional.interpolate(
                pixels,
                size,
                mode=self.mode,
                align_corners=self.align_corners if smooth else None,
                antialias=self.antialias and smooth,
            )
            if (
                self.mode == "bicubic" and not self.align_corners
            ):  # PIL keeps to 0..255 where bicubic overshoots
                pixels = pixels.clamp(0, 255)
        mean, std = (
            torch.tensor(value, device=pixels.device).view(1, 3, 1, 1)
            for value in (self.mean, self.std)
        )
        pixels = (pixels * self.rescale - mean) / std
        if self.pad_divisor is not None:
            (top, bottom), (left, right) = (
                _centred(side, self.pad_divisor) for side in pixels.shape[-2:]
            )
            pixels = functional.pad(pixels, (left, right, top, bottom))
        return pixels

    def undo(self, maps: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """Network output float [N,h',w'] to float32 [N,H,W] at the frames' size, padding removed.

        It is bilinear, where the checkpoints' own processors are bicubic. Bicubic interpolation
        overshoots at depth steps, and metres that overshoot to zero are an unbounded inverse depth.
        """
        maps = maps.float().unsqueeze(1)
        top, left = _reflection(height, width) if self.reflect else (0, 0)
        padded = (height + 2 * top, width + 2 * left)
        if self.pad_divisor is not None:
            # The map may be at another scale than the input: cut the same fractions.
            for axis, side in zip((2, 3), self.input_size(*padded), strict=True):
                before, after = _centred(side, self.pad_divisor)
                scale = maps.shape[axis] / (side + before + after)
                maps = maps.narrow(axis, round(before * scale), max(round(side * scale), 1))
        if padded != tuple(maps.shape[-2:]):
            maps = functional.interpolate(
                maps, padded, mode="bilinear", align_corners=self.align_corners
            )
        return maps[:, 0, top : top + height, left : left + width]


def read_preprocessing(file: Mapping[str, Any], model_type: str = "") -> Preprocessing:
    """Reads the contents of a ``preprocessor_config.json``.

    Where it is silent, the defaults of the class's own processor hold.

    Args:
        file: the parsed file; empty where the checkpoint has none.
        model_type: ``config.model_type`` of a transformers checkpoint, or "" for other networks
            (0..1, own size).
    """
    known = {
        "image_mean": (0.0,) * 3,
        "image_std": (1.0,) * 3,
        "size": None,
        **_DEFAULTS.get(model_type, {}),
    }
    known.update({key: value for key, value in file.items() if value is not None})
    size, short_side = known["size"], None
    if isinstance(size, Mapping):
        short_side = size.get("shortest_edge")
        size = (int(size["height"]), int(size["width"])) if "height" in size else None
    elif isinstance(size, int):
        size = (size, size)
    # GLPN's own processor only rounds sizes down, whatever `size` its file may carry; our GLPN
    # names another processor.
    by_divisor = model_type == "glpn" and not str(
        file.get("image_processor_type", "GLPN")
    ).startswith("DPT")
    if by_divisor or not known.get("do_resize", True):
        size, short_side = None, None
    divisor = known.get("size_divisor")
    zoe = model_type == "zoedepth"
    identity = not known.get("do_normalize", not by_divisor)
    return Preprocessing(
        size=size,
        short_side=short_side,
        keep_aspect_ratio=bool(known.get("keep_aspect_ratio", short_side is not None)),
        multiple_of=known["size_divisor"] if by_divisor else known.get("ensure_multiple_of", 1),
        round_down=by_divisor,
        mode=_MODES.get(int(known.get("resample", 2)), "bilinear"),
        antialias=model_type not in ("zoedepth", "depth_pro"),
        align_corners=zoe,
        rescale=float(known.get("rescale_factor", 1 / 255))
        if known.get("do_rescale", True)
        else 1.0,
        mean=(0.0,) * 3 if identity else tuple(known["image_mean"]),
        std=(1.0,) * 3 if identity else tuple(known["image_std"]),
        reflect=zoe and bool(known["do_pad"]),
        pad_divisor=divisor if not by_divisor and known.get("do_pad") and divisor else None,
    )


def _reflection(height: int, width: int) -> tuple[int, int]:
    """ZoeDepth's padding on each side, as in its released inference code."""
    return int(math.sqrt(height / 2) * 3), int(math.sqrt(width / 2) * 3)


def _centred(side: int, divisor: int) -> tuple[int, int]:
    missing = -side % divisor
    return missing // 2, missing - missing // 2
