"""The shots' plates in the output folder, one PNG a shot.

Its alpha says where a sampled frame showed the plate (255); of a mosaic also where it is filled
(128) and where it is empty (0).
"""

from collections.abc import Callable, Mapping
from functools import lru_cache

import cv2
import numpy as np

from raydepth.errors import JobError
from raydepth.layers.fill.plate import Plate
from raydepth.output.folder import OutputFolder
from raydepth.output.record import CALIBRATIONS, PlateRecord

REDO_HINT = (
    f"delete {CALIBRATIONS} there to have the shots measured again, which gives the same plates "
    "unless "
    "depth.calibration_frames has changed"
)

_FILLED = 128


def plate_name(shot: str) -> str:
    """The plate's file inside the output folder, by the shot's id."""
    return f"plates/{shot}.png"


def write_plate(folder: OutputFolder, shot: str, plate: Plate | str) -> PlateRecord:
    """Keeps a shot's plate, so that a resumed run fills from the same one.

    A shot without a plate leaves no file.
    """
    if isinstance(plate, str):
        return PlateRecord(missing=plate)
    seen = np.where(plate.seen, 255, 0).astype(np.uint8)
    if plate.known is not None:
        seen[plate.known & ~plate.seen] = _FILLED
    picture = np.dstack([plate.rgb[..., ::-1], seen])
    folder.write(plate_name(shot), cv2.imencode(".png", picture)[1].tobytes())
    return PlateRecord(plate.still, frame=plate.frame, remark=plate.remark)


def read_plate(folder: OutputFolder, shot: str, record: PlateRecord) -> Plate | str:
    """A shot's plate, or why it has none.

    Raises:
        JobError: the file is damaged.
    """
    if record.missing:
        return record.missing
    name = plate_name(shot)
    try:
        picture = cv2.imdecode(np.frombuffer(folder.read(name), np.uint8), cv2.IMREAD_UNCHANGED)
        if picture is None or picture.ndim != 3 or picture.shape[2] != 4:
            raise ValueError("no RGBA picture")
    except (OSError, ValueError, cv2.error) as error:
        raise JobError(f"{folder.uri}/{name} cannot be read ({error}); {REDO_HINT}") from error
    rgb, alpha = np.ascontiguousarray(picture[..., 2::-1]), picture[..., 3]
    if record.still:
        return Plate(rgb, alpha > 0, True)
    return Plate(rgb, alpha > _FILLED, False, alpha > 0, record.frame, record.remark)


def cache_plates(
    folder: OutputFolder, records: Mapping[str, PlateRecord | None]
) -> Callable[[str], Plate | str]:
    """Shot id -> its plate, or why it has none; the last few are kept in memory.

    Raises:
        JobError: a file is gone.
    """
    gone = [
        shot
        for shot, record in records.items()
        if record and not record.missing and not folder.exists(plate_name(shot))
    ]
    if gone:
        raise JobError(f"{folder.uri}/{plate_name(gone[0])} is gone; {REDO_HINT}")

    @lru_cache(4)
    def plate(shot: str) -> Plate | str:
        record = records.get(shot)
        return read_plate(folder, shot, record) if record else "none was made"

    return plate
