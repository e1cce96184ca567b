"""The edits that a job may name at ``edit.kind``, and what an edit does once a shot.

An edit is a module with an ``EditBuilder``: a batch after the layer stage in, an ``EditPlan`` out.
Nothing after that step knows the difference.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from raydepth.camera.track import View
from raydepth.depth.calibrate import Calibration
from raydepth.depth.estimator import DepthEstimator
from raydepth.edits import recompose, remove
from raydepth.edits.background import BackgroundBuilder, fix_scene
from raydepth.edits.clip import ClipEdit, fix_insert
from raydepth.edits.insert import InsertBuilder
from raydepth.edits.missing import left_without
from raydepth.edits.place import named_at
from raydepth.edits.plan import EditBuilder
from raydepth.edits.planes import PlanesBuilder, entries
from raydepth.edits.relight.light import ClipLight, background_light, insert_light
from raydepth.edits.settings import (
    Background,
    Insert,
    Planes,
    Recompose,
    Remove,
    ReplaceLayer,
)
from raydepth.errors import JobError
from raydepth.files.pictures import read_object, read_opaque
from raydepth.layers.settings import AtMetres, Layers, Segmentation
from raydepth.layers.stack import layer_names
from raydepth.layers.things.layering import Layering
from raydepth.layers.things.registry import named_sam
from raydepth.layers.things.said import thing_names
from raydepth.layers.things.settings import RESERVED
from raydepth.models.names import NamedModel
from raydepth.registry import Entry, Registry
from raydepth.section import Section


@dataclass(frozen=True)
class EditHost:
    """What a worker gives an edit."""

    layers: Layers
    clips: Mapping[str, tuple[Calibration, ClipEdit | None]]
    """By shot id, the depth scale and what ``fix_edit`` fixed."""
    estimator: DepthEstimator | None = None
    """The worker's, for edits that bring in a scene."""
    scenes: Mapping[str, Calibration | None] = field(default_factory=dict)
    """By shot id, what ``fix_scene_scale`` fixed."""
    matte: bool = False
    """Pixels at the edges of what is near are matted, see ``layers.matting.matte_edges``."""


def _fits(edit: Any, layers: Layers) -> None:
    return None


@dataclass(frozen=True)
class EditEntry(Entry):
    """An edit."""

    load: Callable[[Any, EditHost], EditBuilder]
    """Reads the pictures that it needs; raises JobError where one is not what it needs."""
    summary: str
    """What happened to the frames, for the report: follows "N frames"."""
    references: Callable[[Any], int] = lambda edit: 2
    """Distinct layer pictures of a frame."""
    matted_references: int = 0
    """How many more there are where edges are matted (``compose.matte_edges``)."""
    held_references: int = 3
    """Layer pictures that memory is planned for."""
    held_pictures: int = 3
    """Distinct pictures of a frame that are encoded, as memory is planned: the frame, the naive
    composite and the far layer, where they differ."""
    files: Callable[[Any], Iterable[tuple[str, str | None]]] = lambda edit: ()
    """Field and path of what it brings in: files, URIs, colours."""
    models: Callable[[Any], Iterable[NamedModel]] = lambda edit: ()
    """The models that it names."""
    check: Callable[[Any, Layers], None] | None = None
    """Opens what it names, before anything starts; None: ``load`` does that and needs no clip."""
    fits: Callable[[Any, Layers], None] = _fits
    """Raises ValueError where it does not fit the section ``layers``."""
    fix: Callable[..., ClipEdit] | None = None
    """Fixes what it needs for a shot; see ``fix_edit``. None: it needs nothing."""
    scene: Callable[..., Calibration | None] | None = None
    """Fixes the depth scale of the scene that it brings in; see ``fix_scene_scale``. None: it
    brings in none whose depth is estimated."""
    light: Callable[..., ClipLight | None] | None = None
    """Measures a shot's light; see ``measure_light``. None: it moves nothing to another light."""
    image_prompt: Callable[[Any], str | None] = lambda edit: None
    """The picture file of what it inserts; None: it inserts nothing."""
    segmentation: Callable[[Any], Segmentation | None] = lambda edit: None
    """How that is cut out of its picture, once a run; None: nothing is to be cut out."""
    prompt: Callable[[Any], str | None] = lambda edit: None
    """What the compositor is to make a picture of."""
    metres: Callable[[Any], Iterable[str]] = lambda edit: ()
    """Fields that ask for metres, which not every depth model has."""
    estimates: Callable[[Any], bool] = lambda edit: False
    """Whether it asks the depth model about a picture that it brings in."""
    things: Callable[[Any], list[str]] = lambda edit: []
    """Names of ``layers.things`` that it speaks of: a frame without one of them is left alone."""
    lifts: Callable[[Any], list[str]] = lambda edit: []
    """Those that are the near layers, in the place of what is nearer than ``layers.at``."""
    beside: Callable[[Any], bool] = lambda edit: False
    """Whether every thing is a layer of its own beside those between the planes."""
    shadow: Callable[[Any], bool] = lambda edit: False
    """Whether the shadow of what it lifts goes with it."""
    grow_down: Callable[[Any], float] = lambda edit: 0.0
    """By what part of its height the hole of what it lifts is drawn downward."""
    removes: Callable[[Any], list[str]] = lambda edit: []
    """Names of the layers that it takes away, where it speaks of layers by name."""
    splits: bool = True
    """Whether what is near and what is not are edited apart."""
    moves_itself: Callable[[Any], bool] = lambda edit: False
    """Whether it shows moving pictures of its own in the frame's place."""


EDITS: Registry[EditEntry] = Registry("edit.kind", "recompose")


def load_edit(
    edit: Section,
    layers: Layers,
    clips: Mapping[str, tuple[Calibration, ClipEdit | None]],
    estimator: DepthEstimator | None = None,
    *,
    scenes: Mapping[str, Calibration | None] | None = None,
    matte: bool = False,
) -> EditBuilder:
    """Reads the pictures that an edit needs and gives its builder.

    Args:
        edit: the job's section.
        layers: the job's section.
        clips: by shot id, the depth scale and what ``fix_edit`` fixed.
        estimator: the worker's, for edits that bring in a scene.
        scenes: by shot id, what ``fix_scene_scale`` fixed.
        matte: pixels at the edges of what is near are matted, see ``layers.matting.matte_edges``.

    Raises:
        JobError: a file cannot be read, or is not what the edit needs.
    """
    entry = EDITS.of(edit)
    build = entry.load(edit, EditHost(layers, clips, estimator, scenes or {}, matte))
    return left_without(build, names) if (names := layering(edit).needs) else build


def check_edit(edit: Section, layers: Layers) -> None:
    """Opens every file that an edit names, before anything starts; raises as ``load_edit``.

    Names of things are looked up in the file of ``layers.things`` where that is one.
    """
    entry = EDITS.of(edit)
    if isinstance(layers.things, str) and entry.things(edit):
        try:
            _refuse_unknown(entry.things(edit), thing_names(layers.things))
        except ValueError as error:
            raise JobError(str(error)) from error
    if entry.check is not None:
        entry.check(edit, layers)
    else:
        load_edit(edit, layers, {})


def layering(edit: Section) -> Layering:
    """What an edit makes of things, for the layer stage."""
    entry = EDITS.of(edit)
    return Layering(
        needs=tuple(dict.fromkeys(entry.things(edit))),
        lifts=tuple(dict.fromkeys(entry.lifts(edit))),
        beside=entry.beside(edit),
        removes=tuple(dict.fromkeys(entry.removes(edit))),
        shadow=entry.shadow(edit),
        grow_down=entry.grow_down(edit),
    )


def check_names(names: Iterable[str], layers: Layers) -> None:
    """Raises ValueError where a name is none of ``layers.things``, if they are a list."""
    if not isinstance(layers.things, str):
        _refuse_unknown(names, [thing.name for thing in layers.things])


def _refuse_unknown(names: Iterable[str], known: Iterable[str]) -> None:
    known = list(dict.fromkeys(known))
    for name in names:
        if name in known:
            continue
        if not known:
            raise ValueError(
                f"edit speaks of a thing {name!r}, but layers.things names none; say what it is, "
                f"for example layers.things: [{{name: {name}, point: [0.5, 0.5]}}]"
            )
        near = difflib.get_close_matches(name, known, 1)
        raise ValueError(
            f"edit speaks of a thing {name!r}; layers.things has {', '.join(known)}"
            + (f"; is {near[0]} meant?" if near else "")
        )


def is_in_shot(edit: Section, shot: int, first: int) -> bool:
    """Whether an edit is made in a shot of this number; frames of others stay as they are.

    ``first`` is the number of the first shot that the job covers. An edit whose place is a thing's
    is made where the thing is.
    """
    asked = getattr(edit, "shot", "all")
    if asked is None:
        return shot == first or bool(list(EDITS.of(edit).things(edit)))
    return asked in ("all", shot)


def fix_edit(
    edit: Section,
    sampled: list[np.ndarray],
    picture: np.ndarray,
    scale: Calibration,
    views: Callable[[], Iterable[View]],
    things: Mapping[str, float] | None = None,
) -> ClipEdit | None:
    """Fixes what the edit needs for a shot; None for edits that need nothing.

    Args:
        edit: the job's section.
        sampled: ``inv_depth`` float32 [H,W] of the frames sampled over the shot, its first frame
            first.
        picture: uint8 [H,W,3], the first frame.
        scale: the shot's.
        views: decodes the shot's wanted frames for tracking; called only for an object anchored in
            the scene.
        things: by name, the inverse depth of each thing where the shot shows it first.

    Raises:
        JobError: metres are asked of a model that has none.
    """
    fix = EDITS.of(edit).fix
    return None if fix is None else fix(edit, sampled, picture, scale, views, things or {})


def fix_scene_scale(
    edit: Section, frame: tuple[int, int], scale: Calibration, estimator: DepthEstimator
) -> Calibration | None:
    """Fixes the depth scale of the scene that the edit brings into a shot.

    Once per shot, and not by whoever comes first: the scene is seen in the clip's frame, and so its
    scale is another in a clip of another shape.

    Args:
        edit: the job's section.
        frame: the clip's (height, width).
        scale: the shot's.
        estimator: the worker's.

    Returns:
        None for edits that need none, and where the scene has no depth.
    """
    fix = EDITS.of(edit).scene
    return None if fix is None else fix(edit, frame, scale, estimator)


def measure_light(
    edit: Section,
    layers: Layers,
    frames: Sequence[np.ndarray],
    sampled: Sequence[np.ndarray],
    planes: Sequence[float],
    fixed: ClipEdit | None,
    near: Sequence[np.ndarray] | None = None,
) -> ClipLight | None:
    """Measures a shot's light once.

    Args:
        edit: the job's section.
        layers: says what is near.
        frames: uint8 [H,W,3], sampled over the shot.
        sampled: their ``inv_depth``, float32 [H,W].
        planes: the shot's.
        fixed: what ``fix_edit`` fixed.
        near: the share float32 [H,W] of what is near in each; None: what is nearer than the planes.

    Returns:
        None for edits that move nothing to another light, or where too little is seen.

    Raises:
        JobError: a picture that the edit names cannot be read.
    """
    light = EDITS.of(edit).light
    return None if light is None else light(edit, layers, frames, sampled, planes, fixed, near)


def _load_insert(edit: Insert, host: EditHost) -> EditBuilder:
    return InsertBuilder(edit, host.layers, host.clips, matte=host.matte)


def _check_insert(edit: Insert, layers: Layers) -> None:
    (read_opaque if edit.segment else read_object)(edit.object)


def _insert_metres(edit: Insert) -> Iterator[str]:
    if edit.height_m is not None:
        yield "edit.height_m"
    if isinstance(edit.at, AtMetres):
        yield "edit.at"


def _segmentation_model(edit: Insert) -> Iterator[NamedModel]:
    if edit.segment:
        yield from named_sam(edit.segment.model, "edit.segment.model")


def _load_background(edit: Background, host: EditHost) -> EditBuilder:
    if edit.depth == "aligned" and not getattr(host.estimator, "reads_pixels", True):
        raise JobError(
            "edit.depth: aligned estimates the new scene's depth, which depth.model: files: "
            "cannot; use behind"
        )
    scales = {video: scale for video, (scale, _) in host.clips.items()}
    return BackgroundBuilder(edit, scales, host.estimator, scenes=host.scenes, matte=host.matte)


def _load_planes(edit: Planes, host: EditHost) -> EditBuilder:
    return PlanesBuilder(edit, host.layers.fill.dilate)


def _insert_things(edit: Insert) -> list[str]:
    name = named_at(edit)
    return [] if name is None else [name]


def _planes_things(edit: Planes) -> list[str]:
    return [name for name in edit.named or () if not RESERVED.fullmatch(name)]


def _planes_fit(edit: Planes, layers: Layers) -> None:
    if edit.named is not None:
        own = layer_names(len(layers.planes))
        for name in edit.named:
            if RESERVED.fullmatch(name) and name not in own:
                raise ValueError(
                    f"edit.layers names a layer {name}, but layers.at has {len(layers.planes)} "
                    f"planes, which give the layers {', '.join(own)}"
                )
        return
    if len(edit.layers) != len(layers.planes) + 1:
        raise ValueError(
            f"edit.layers has {len(edit.layers)} entries, but layers.at has "
            f"{len(layers.planes)} planes, which give {len(layers.planes) + 1} layers; give one "
            "entry for each, nearest first"
        )


def _replaced(edit: Planes) -> Iterator[tuple[str, str]]:
    for key, entry in entries(edit):
        if isinstance(entry, ReplaceLayer):
            yield f"edit.layers.{key}.replace", entry.replace


def _planes_references(edit: Planes) -> int:
    """Things that are kept share the frame's picture; a list may have as many as entries."""
    if edit.named is None:
        return len(edit.layers)
    return 2 + sum(not isinstance(entry, str) for entry in edit.named.values())


EDITS.register(
    EditEntry(
        Recompose,
        lambda edit, host: recompose.build,
        "were split at depth, the hole behind the near layer was filled, and the layers became one "
        "picture again",
        held_references=2,
        held_pictures=2,
    )
)
EDITS.register(
    EditEntry(
        Remove,
        lambda edit, host: remove.build,
        "lost their near layer, and what lies behind was filled in",
        references=lambda edit: 1,
        held_references=1,
        held_pictures=2,
        things=lambda edit: edit.things,
        lifts=lambda edit: edit.things,
        removes=lambda edit: edit.things,
        shadow=lambda edit: bool(edit.things) and edit.shadow == "auto",
        grow_down=lambda edit: edit.grow_down if edit.things else 0.0,
    )
)
EDITS.register(
    EditEntry(
        Insert,
        _load_insert,
        "were edited by depth",
        matted_references=1,
        files=lambda edit: [("edit.object", edit.object)],
        models=_segmentation_model,
        check=_check_insert,
        fix=fix_insert,
        light=insert_light,
        splits=False,
        image_prompt=lambda edit: edit.object,
        segmentation=lambda edit: edit.segment,
        metres=_insert_metres,
        things=_insert_things,
    )
)
EDITS.register(
    EditEntry(
        Background,
        _load_background,
        "were edited by depth",
        held_references=2,
        files=lambda edit: [("edit.source", edit.source)],
        scene=fix_scene,
        light=background_light,
        moves_itself=lambda edit: edit.source is not None,
        prompt=lambda edit: edit.prompt,
        estimates=lambda edit: edit.depth == "aligned",
        things=lambda edit: edit.keep,
        lifts=lambda edit: edit.keep,
    )
)
EDITS.register(
    EditEntry(
        Planes,
        _load_planes,
        "were edited by depth",
        references=_planes_references,
        files=_replaced,
        fits=_planes_fit,
        things=_planes_things,
        beside=lambda edit: edit.named is not None,
        removes=lambda edit: [
            name for name, entry in (edit.named or {}).items() if entry == "remove"
        ],
    )
)
