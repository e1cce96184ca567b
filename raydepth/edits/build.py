"""Makes the edit that the job names ready for a worker; the one place that knows all edits.

An edit is a module with an ``EditBuilder``: a batch after the layer stage in, an ``EditPlan`` out.
A new one adds its section to edits/settings.py and its module here. Nothing after this step knows
the difference.
"""

from collections.abc import Mapping

from raydepth.depth.calibrate import Calibration
from raydepth.depth.estimator import DepthEstimator
from raydepth.edits import recompose, remove
from raydepth.edits.background import BackgroundBuilder
from raydepth.edits.clip import ClipEdit
from raydepth.edits.insert import InsertBuilder
from raydepth.edits.plan import EditBuilder
from raydepth.edits.planes import PlanesBuilder
from raydepth.edits.settings import Background, Edit, Insert, Planes, Remove
from raydepth.errors import JobError
from raydepth.files.pictures import read_object, read_opaque
from raydepth.layers.settings import Layers


def load_edit(
    edit: Edit,
    layers: Layers,
    clips: Mapping[str, tuple[Calibration, ClipEdit | None]],
    estimator: DepthEstimator | None = None,
    *,
    split: bool = False,
) -> EditBuilder:
    """Reads the pictures that an edit needs and gives its builder.

    Args:
        edit: the job's section; its type chooses the builder.
        layers: the job's section.
        clips: by video id, the depth scale and what ``fix_edit`` fixed.
        estimator: the worker's, for edits that bring in a scene.
        split: pixels at the edges of what is near are split, see ``matte_edges``.

    Raises:
        JobError: a file cannot be read, or is not what the edit needs.
    """
    match edit:
        case Insert():
            return InsertBuilder(edit, layers, clips, split=split)
        case Background():
            if edit.depth == "aligned" and not getattr(estimator, "reads_pixels", True):
                raise JobError(
                    "edit.depth: aligned estimates the new scene's depth, which depth.model: "
                    "files: cannot; use behind"
                )
            scales = {video: scale for video, (scale, _) in clips.items()}
            return BackgroundBuilder(edit, scales, estimator, split=split)
        case Planes():
            return PlanesBuilder(edit, layers.fill.dilate)
        case Remove():
            return remove.build
    return recompose.build


def check_edit(edit: Edit, layers: Layers) -> None:
    """Opens every file that an edit names, before anything starts.

    Raises JobError as ``load_edit``.
    """
    if isinstance(edit, Insert):
        (read_opaque if edit.segment else read_object)(edit.object)
    else:
        load_edit(edit, layers, {})
