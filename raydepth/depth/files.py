"""Depth from sidecar files: sensor readings as an estimator, or ground truth."""

import os

import cv2
import numpy as np

from raydepth.batch import Batch, frame_identity
from raydepth.depth.settings import DepthKind
from raydepth.files import storage
from raydepth.files.image_file import PictureError, open_limited, read_numbers
from raydepth.files.sidecar import SidecarPattern

_CREDIBLE_M = (0.01, 1e5)
"""Metres between which the middle reading of a map must lie: outside, the file's unit is another
one."""
_ENDINGS = (".png", ".tif", ".tiff", ".npy")


def read_depth(path: str, scale: float) -> np.ndarray:
    """Reads one depth map.

    Args:
        path: a 16-bit PNG or TIFF (integer units, 0 = no reading), a TIFF of floats, or a ``.npy``
            array [H,W] (float metres, or integer units as in the pictures). A picture's orientation
            is applied.
        scale: metres per integer unit.

    Returns:
        float32 [H,W] metres, NaN where there is no reading (0, negative or not finite).

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it can't be read.
        ValueError: the file holds no depth map of these forms.
    """
    if not storage.is_remote(path) and not os.path.isfile(
        path
    ):  # a pipe would be waited for without end
        raise FileNotFoundError(f"no depth file {path}")
    try:
        if storage.plain(path).endswith(".npy"):
            with open_limited(path) as content:
                depth = np.lib.format.read_array(content, allow_pickle=False)
        else:
            depth = read_numbers(path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise FileNotFoundError(f"no depth file {path}") from error
    except PictureError as error:
        raise ValueError(str(error)) from error
    except OSError:
        raise
    except Exception as error:  # the parser of damaged arrays raises whatever it runs into
        raise ValueError(f"{path}: expected 16-bit or float numbers, got {error}") from error
    if depth.ndim != 2 or depth.dtype.kind not in "uif" or not depth.size:
        raise ValueError(f"{path}: expected numbers [H,W], got {depth.dtype} {list(depth.shape)}")
    metres = depth.astype(np.float32) * np.float32(scale if depth.dtype.kind in "ui" else 1)
    metres[~(np.isfinite(metres) & (metres > 0))] = np.nan
    return metres


def fill_nearest(depth: np.ndarray) -> np.ndarray:
    """Gives every NaN of a map float32 [H,W] the value of its nearest reading.

    A map without any reading stays NaN.
    """
    missing = np.isnan(depth)
    if not missing.any() or missing.all():
        return depth
    _, labels = cv2.distanceTransformWithLabels(
        missing.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    readings = np.empty(labels.max() + 1, np.float32)
    readings[labels[~missing]] = depth[~missing]
    return readings[labels]


class DepthFiles:
    """Depth from sidecar files, as an estimator or as ground truth.

    Attributes:
        name: ``files:`` and the pattern.
        kind: what the numbers are.
        reads_pixels: False: depth of an edited picture cannot be estimated.
    """

    reads_pixels = False

    def __init__(
        self, pattern: str, kind: DepthKind = "depth_m", scale: float = 0.001, *, fill: bool = False
    ) -> None:
        """Checks the pattern.

        Args:
            pattern: see ``SidecarPattern``; ending in .png, .tif, .tiff or .npy.
            kind: what the numbers are.
            scale: metres per unit of integer files.
            fill: gives pixels without a reading that of the nearest pixel, as an estimator needs
                whole maps. Otherwise they stay NaN, as ground truth must be measured.

        Raises:
            JobError: the pattern is malformed or has another ending.
        """
        self.files = SidecarPattern(pattern, _ENDINGS, "depth files")
        self.kind, self.scale, self.fill = kind, scale, fill
        self.name = f"files:{pattern}"

    def path(self, batch: Batch, row: int) -> str:
        """The file that belongs to a frame, whether it is there or not."""
        return self.files.path(**frame_identity(batch, row))

    def __call__(self, batch: Batch) -> np.ndarray:
        """What the files say, float32 [N,H,W] at the working size (nearest pixel).

        NaN where there is no reading; with ``fill`` only where a frame has none at all, or no
        readable file.
        """
        count, height, width = batch["rgb"].shape[:3]
        maps = np.full((count, height, width), np.nan, np.float32)
        for row in range(count):
            try:
                depth = self._read(self.path(batch, row), height, width)
            except (OSError, ValueError):
                continue  # explain() says which
            maps[row] = fill_nearest(depth) if self.fill else depth
        return maps

    def _read(self, path: str, height: int, width: int) -> np.ndarray:
        """One map at the working size.

        Raises as read_depth, and ValueError where shape or unit are not the source's.
        """
        depth = read_depth(path, self.scale)
        shape = depth.shape
        expected = shape[0] * width / height
        if abs(shape[1] - expected) > max(1, 0.1 * expected):
            raise ValueError(
                f"{path}: its shape {list(shape)} is not that of the source, {width / height:.3g} "
                "times as wide as high"
            )
        rows = (np.arange(height) + 0.5) * shape[0] // height
        columns = (np.arange(width) + 0.5) * shape[1] // width
        depth = depth[np.ix_(rows.astype(np.intp), columns.astype(np.intp))]
        readings = depth[~np.isnan(depth)]
        if self.kind == "depth_m" and readings.size:
            middle = float(np.median(readings))
            if not _CREDIBLE_M[0] <= middle <= _CREDIBLE_M[1]:
                raise ValueError(
                    f"{path}: its middle reading is {middle:.3g} m, which is hardly its unit; "
                    f"depth.scale ({self.scale:g}) gives "
                    "the metres per unit of integer files, float files are in metres"
                )
        return depth

    def explain(self, batch: Batch, row: int) -> tuple[str, str]:
        """Why a frame has no map."""
        path = self.path(batch, row)
        if self.files.needs_image and not str(batch["image"][row] if "image" in batch else ""):
            return (
                "MissingDepthFile",
                f"pattern {self.files.pattern} asks for {{image}}, but the source is not a folder "
                f"of pictures",
            )
        try:
            self._read(path, *batch["rgb"].shape[1:3])
        except FileNotFoundError as error:
            return "MissingDepthFile", str(error)
        except (OSError, ValueError) as error:
            return "UnreadableDepthFile", str(error)
        return "EmptyDepthFile", f"{path} holds no reading"
