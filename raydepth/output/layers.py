"""Frames exported as layered depth images (``output.layers``).

A layer is an RGBA PNG and a 16-bit depth; ``layers.json`` describes them.
"""

import json
from typing import Any

import cv2
import numpy as np

from raydepth.files import storage
from raydepth.layers.stack import Layer, LayerStack
from raydepth.output.codecs import decode_depth, encode_depth, encode_rgb, encode_rgba
from raydepth.output.folder import OutputFolder

LAYERS = "layers"
INDEX = "layers.json"

_RULE = (
    "Layers are listed near first, alpha is straight. A layer's weight is its alpha times the "
    "product of (1 - alpha) of those "
    "before it; the composite is the sum of weight x colour over all layers, rounded to the "
    "nearest; the last layer is opaque."
)
_DEPTH = (
    "inverse depth = depth_offset + depth_scale x 16-bit value; larger is nearer; normalised once "
    "per clip to about 0..1. "
    "calibration says how: of raw inverse depth, lo became 0 and hi became 1, and kind is what the "
    "estimator gave."
)


def layers_name(clip: str, frame_index: int) -> str:
    """The folder of a frame's layers inside the output folder; the clip by its name."""
    return f"{LAYERS}/{clip}/{frame_index:06d}"


def write_layers(
    folder: OutputFolder, name: str, stack: LayerStack, calibration: dict[str, Any]
) -> int:
    """Writes one frame's stack; ``layers.json`` comes last, so that one that exists is complete.

    Args:
        folder: the output folder.
        name: of the frame's folder, from layers_name().
        stack: one frame, arrays with a first axis of 1.
        calibration: what normalised its depth, for the reader's information.

    Returns:
        Bytes written. ``composite.png`` is the flattened stack with alphas as stored, in 8 bits; it
        differs from the flattened stack itself by a level for each soft layer at most, and not at
        all where alphas are hard.
    """
    files: dict[str, bytes] = {}
    entries = []
    for order, layer in enumerate(stack.layers):
        stem = f"{order:02d}_{layer.name}"
        depth, offset, scale = encode_depth(layer.inv_depth[0])
        files |= {
            f"{stem}.png": encode_rgba(layer.rgb[0], layer.alpha[0]),
            f"{stem}_depth.png": depth,
        }
        entries.append(
            {
                "name": layer.name,
                "picture": f"{stem}.png",
                "depth": f"{stem}_depth.png",
                "depth_offset": offset,
                "depth_scale": scale,
            }
        )
    rounded = [
        Layer(layer.name, layer.rgb, _stored(layer.alpha), layer.inv_depth)
        for layer in stack.layers
    ]
    files["composite.png"] = encode_rgb(LayerStack(rounded).flatten()[0])
    height, width = stack.layers[0].alpha.shape[1:]
    index = {
        "format": "raydepth layered depth image",
        "version": 1,
        "height": height,
        "width": width,
        "layers": entries,
        "composition": _RULE,
        "composite": "composite.png",
        "depth": _DEPTH,
        "calibration": calibration,
        "camera": None,
    }
    files[INDEX] = json.dumps(index, indent=2).encode()
    for file, data in files.items():
        folder.write(f"{name}/{file}", data)
    return sum(map(len, files.values()))


def read_layers(path: str) -> LayerStack:
    """Reads an exported frame: the folder that holds ``layers.json``, local or a URI.

    Returns:
        The stack, near first, arrays with a first axis of 1; flattened it is ``composite.png``, bit
        for bit. Depth is exact to half a step of its range / 65535.

    Raises:
        OSError: a file can't be read.
        ValueError: a file is none of an exported frame's.
    """
    try:
        index = json.loads(storage.read_bytes(storage.join(path, INDEX)))
        layers = []
        for entry in index["layers"]:
            data = np.frombuffer(storage.read_bytes(storage.join(path, entry["picture"])), np.uint8)
            rgba = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), cv2.COLOR_BGRA2RGBA)
            depth = storage.read_bytes(storage.join(path, entry["depth"]))
            inv_depth = decode_depth(depth, entry["depth_offset"], entry["depth_scale"])
            alpha = rgba[..., 3].astype(np.float32) / np.float32(255)
            layers.append(
                Layer(entry["name"], rgba[..., :3].copy()[None], alpha[None], inv_depth[None])
            )
    except (KeyError, TypeError, ValueError, cv2.error) as error:
        raise ValueError(f"{path} is no exported frame: {' '.join(str(error).split())}") from error
    return LayerStack(layers)


def _stored(alpha: np.ndarray) -> np.ndarray:
    """Alphas as they come back from 8 bits."""
    return np.rint(alpha * 255).astype(np.float32) / np.float32(255)
