"""Arrays to bytes and back, readable without raydepth.

Pictures are PNG; depth is 16-bit PNG with offset and scale.
"""

import cv2
import numpy as np

_PNG = [
    cv2.IMWRITE_PNG_COMPRESSION,
    1,
]  # level 1 is three times faster than the default and a tenth larger


def encode_rgb(rgb: np.ndarray) -> bytes:
    """uint8 [H,W,3] RGB -> PNG."""
    return cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), _PNG)[1].tobytes()


def decode_rgb(data: bytes) -> np.ndarray:
    """PNG -> uint8 [H,W,3] RGB."""
    return cv2.cvtColor(_decode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def jpeg_of(data: bytes) -> bytes:
    """PNG in colour -> JPEG of quality 95, without loss of colour resolution."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, 95]
    quality += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return cv2.imencode(".jpg", _decode(data, cv2.IMREAD_COLOR), quality)[1].tobytes()


def encode_alpha(alpha: np.ndarray) -> bytes:
    """float32 [H,W] in 0..1 -> 8-bit grey PNG (255 = 1)."""
    return cv2.imencode(".png", np.rint(alpha * 255).astype(np.uint8), _PNG)[1].tobytes()


def decode_alpha(data: bytes) -> np.ndarray:
    """8-bit grey PNG -> float32 [H,W] in 0..1."""
    return _decode(data, cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255


def encode_rgba(rgb: np.ndarray, alpha: np.ndarray) -> bytes:
    """uint8 [H,W,3] RGB and float32 [H,W] straight alpha in 0..1 -> 8-bit RGBA PNG."""
    bgra = np.dstack([rgb[..., ::-1], np.rint(alpha * 255).astype(np.uint8)])
    return cv2.imencode(".png", bgra, _PNG)[1].tobytes()


def encode_depth(inv_depth: np.ndarray) -> tuple[bytes, float, float]:
    """float32 [H,W] -> 16-bit PNG, offset and scale, with ``inv_depth = offset + scale * value``.

    It is exact to half a step of the range / 65535.
    """
    low, high = float(inv_depth.min()), float(inv_depth.max())
    scale = (high - low) / 65535 or 1.0
    value = np.rint((inv_depth.astype(np.float64) - low) / scale).astype(np.uint16)
    return cv2.imencode(".png", value, _PNG)[1].tobytes(), low, scale


def decode_depth(data: bytes, offset: float, scale: float) -> np.ndarray:
    """16-bit PNG -> float32 [H,W]."""
    value = _decode(data, cv2.IMREAD_UNCHANGED)
    return (offset + scale * value.astype(np.float64)).astype(np.float32)


def _decode(data: bytes, flags: int) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if picture is None:
        raise ValueError(f"{len(data)} bytes that are no picture")
    return picture
