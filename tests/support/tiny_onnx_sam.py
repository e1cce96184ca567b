"""A pair of ONNX files with the signature of Segment Anything that goes by colour: what looks like
the middle of the clicked points (or of the box) is the thing.
"""

from pathlib import Path
from typing import Any

import numpy as np

from tests.depth.tiny import _field, _value

FLOAT, INT64 = 1, 7
"""Element types of ONNX."""


def _attribute(name: str, value: Any) -> bytes:
    if isinstance(value, str):
        return _field(1, name) + _field(4, value) + _field(20, 3)
    if isinstance(value, list):
        return _field(1, name) + b"".join(_field(8, item) for item in value) + _field(20, 7)
    return _field(1, name) + _field(3, value) + _field(20, 2)


def _tensor(name: str, value: np.ndarray) -> bytes:
    dims = b"".join(_field(1, side) for side in value.shape)
    element = FLOAT if value.dtype == np.float32 else INT64
    return dims + _field(2, element) + _field(8, name) + _field(9, value.tobytes())


def _save(path: Path, nodes: list, inputs: dict, outputs: dict, constants: dict) -> str:
    """Nodes are (operator, inputs, output, attributes); all inputs and outputs are float."""
    graph = b""
    for operator, given, result, attributes in nodes:
        node = b"".join(_field(1, name) for name in given) + _field(2, result) + _field(4, operator)
        node += b"".join(_field(5, _attribute(*item)) for item in attributes.items())
        graph += _field(1, node)
    graph += _field(2, path.stem)
    graph += b"".join(_field(5, _tensor(*item)) for item in constants.items())
    graph += b"".join(_field(11, _value(name, shape, FLOAT)) for name, shape in inputs.items())
    graph += b"".join(_field(12, _value(name, shape, FLOAT)) for name, shape in outputs.items())
    path.write_bytes(_field(1, 8) + _field(7, graph) + _field(8, _field(1, "") + _field(2, 17)))
    return str(path)


def write_encoder(path: Path, *, raw: bool = False) -> str:
    """Means over 16 x 16 pixels; of pictures [1,3,1024,1024], or ``raw`` ones [H,W,3] 0..255."""
    pool = {"kernel_shape": [16, 16], "strides": [16, 16]}
    if not raw:
        nodes = [("AveragePool", ["image"], "image_embeddings", pool)]
        inputs = {"image": [1, 3, 1024, 1024]}
        return _save(path, nodes, inputs, {"image_embeddings": [1, 3, 64, 64]}, {})
    nodes = [
        ("Sub", ["image", "mean"], "centred", {}),
        ("Div", ["centred", "std"], "normal", {}),
        ("Transpose", ["normal"], "planes", {"perm": [2, 0, 1]}),
        ("Unsqueeze", ["planes", "zero"], "batch", {}),
        ("Shape", ["batch"], "shape", {}),
        ("Sub", ["full", "shape"], "missing", {}),
        ("Concat", ["none", "missing"], "pads", {"axis": 0}),
        ("Pad", ["batch", "pads"], "square", {}),
        ("AveragePool", ["square"], "image_embeddings", pool),
    ]
    constants = {
        "mean": np.float32([123.675, 116.28, 103.53]),
        "std": np.float32([58.395, 57.12, 57.375]),
        "zero": np.int64([0]),
        "full": np.int64([1, 3, 1024, 1024]),
        "none": np.int64([0] * 4),
    }
    outputs = {"image_embeddings": [1, 3, 64, 64]}
    return _save(path, nodes, {"image": ["height", "width", 3]}, outputs, constants)


def write_decoder(path: Path, *, masks: int = 1) -> str:
    """Logits fall with the distance to the colour at the prompt; a mask prompt adds a tenth.

    With four ``masks``, they are ever narrower, and the last but one has the best score.
    """
    nodes = [
        ("GreaterOrEqual", ["point_labels", "one"], "on", {}),
        ("Cast", ["on"], "weight", {"to": FLOAT}),
        ("Unsqueeze", ["weight", "last"], "weights", {}),
        ("Mul", ["point_coords", "weights"], "weighted", {}),
        ("ReduceSum", ["weighted", "first"], "total", {"keepdims": 0}),
        ("ReduceSum", ["weights", "first"], "count", {"keepdims": 0}),
        ("Div", ["total", "count"], "middle", {}),
        ("Div", ["middle", "cell"], "scaled", {}),
        ("Gather", ["scaled", "swap"], "yx", {"axis": 1}),
        ("Cast", ["yx"], "at", {"to": INT64}),
        ("Transpose", ["image_embeddings"], "rows", {"perm": [0, 2, 3, 1]}),
        ("Squeeze", ["rows", "zeroth"], "pixels", {}),
        ("GatherND", ["pixels", "at"], "colour", {}),
        ("Sub", ["rows", "colour"], "offset", {}),
        ("Abs", ["offset"], "apart", {}),
        ("ReduceSum", ["apart", "channel"], "distance", {"keepdims": 0}),
        ("Unsqueeze", ["distance", "first"], "distances", {}),
        ("Mul", ["distances", "steepness"], "slope", {}),
        ("Sub", ["level", "slope"], "small", {}),
        ("Resize", ["small", "", "four"], "large", {"mode": "linear"}),
        ("Mul", ["mask_input", "has_mask_input"], "asked", {}),
        ("Mul", ["asked", "tenth"], "hint", {}),
        ("Add", ["large", "hint"], "low_res_masks", {}),
        ("Identity", ["low_res_masks"], "masks", {}),
        ("Identity", ["scores"], "iou_predictions", {}),
    ]
    levels = np.float32([4, 4, 2, 1][:masks]).reshape(1, masks, 1, 1)
    constants = {
        "one": np.float32(1),
        "last": np.int64([2]),
        "first": np.int64([1]),
        "zeroth": np.int64([0]),
        "channel": np.int64([3]),
        "swap": np.int64([1, 0]),
        "cell": np.float32(16),
        "steepness": np.float32(1.4),
        "level": levels,
        "four": np.float32([1, 1, 4, 4]),
        "tenth": np.float32(0.1),
        "scores": np.float32([[0.9] if masks == 1 else [0.9, 0.5, 0.8, 0.6]]),
    }
    inputs = {
        "image_embeddings": [1, 3, 64, 64],
        "point_coords": [1, "points", 2],
        "point_labels": [1, "points"],
        "mask_input": [1, 1, 256, 256],
        "has_mask_input": [1],
        "orig_im_size": [2],
    }
    outputs = {
        "masks": [1, masks, "height", "width"],
        "iou_predictions": [1, masks],
        "low_res_masks": [1, masks, 256, 256],
    }
    return _save(path, nodes, inputs, outputs, constants)


def write_pair(folder: Path, *, masks: int = 1, raw: bool = False) -> dict[str, str]:
    """Both files; ``layers.segmenter.model`` of a job."""
    return {
        "encoder": write_encoder(folder / "encoder.onnx", raw=raw),
        "decoder": write_decoder(folder / "decoder.onnx", masks=masks),
    }
