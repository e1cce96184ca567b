"""Section ``edit``: what is made of the layers."""

import re
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from raydepth.layers.settings import (
    PLANES,
    AtBox,
    AtMetres,
    AtPoint,
    AtQuantile,
    Segmentation,
    plane_form,
)
from raydepth.layers.things.settings import Name
from raydepth.section import FRACTIONS, Form, Names, Point, Section, Unit


class Recompose(Section):
    """The frame's near layers over its own filled far layer."""

    kind: Literal["recompose"] = "recompose"


ThingNames = Annotated[list[Name], Field(max_length=32, examples=[["dog"]])]
"""Names of entries of ``layers.things``."""


class Remove(Section):
    """The far layer alone, its hole filled: what lies behind."""

    kind: Literal["remove"]
    things: ThingNames = []
    """Names of ``layers.things`` that are removed, in the place of what is nearer than
    ``layers.at``; []: that."""
    shadow: Literal["auto", "off"] = "auto"
    """With ``things``: ``auto`` takes away what darkens the ground beside the thing's foot too, and
    small parts that its mask has missed. Where ``layers.fill.method`` is plate, the bare ground is
    known, and shadows are found better."""
    grow_down: Annotated[float, Field(ge=0, le=1), Unit("fraction of the thing's height")] = 0.0
    """With ``things``: so far their masks are drawn downward, for a contact shadow that is not
    found."""


Place = Annotated[
    list[Annotated[float, Field(ge=-10, le=10)]],
    Field(min_length=2, max_length=2, examples=[[0.5, 0.9]]),
    FRACTIONS,
]
"""x, y as fractions of width and height, 0, 0 the upper left corner; beyond 0..1 lies outside the
frame."""


PointOrName = Annotated[
    Annotated[Point, FRACTIONS, Tag("value")] | Annotated[Name, Tag("word")],
    Discriminator(lambda value: "word" if isinstance(value, str) else "value"),
    Form(
        "a point [0.5, 0.7] in fractions of width and height, or the name of one of layers.things"
    ),
]


class AtBehind(Section):
    """Just behind a thing, which covers the object with its whole outline.

    The thing is one of ``layers.things`` by its name, or what is at this point of the shot's first
    frame, in fractions of width and height.
    """

    behind: PointOrName


class AtFront(Section):
    """Just in front of a thing, which never covers the object.

    The thing is one of ``layers.things`` by its name, or what is at this point of the shot's first
    frame, in fractions of width and height.
    """

    front: PointOrName


InsertPlane = Annotated[
    Annotated[Literal["auto"], Tag("auto")]
    | Annotated[float, Field(ge=-10, le=10), Tag("value")]
    | Annotated[AtQuantile, Tag("quantile")]
    | Annotated[AtMetres, Tag("metres")]
    | Annotated[AtPoint, Tag("point")]
    | Annotated[AtBox, Tag("box")]
    | Annotated[AtBehind, Tag("behind")]
    | Annotated[AtFront, Tag("front")],
    Discriminator(plane_form),
    Form(
        f"{PLANES}, {{behind: [0.5, 0.7]}}, {{front: [0.5, 0.7]}}, {{behind: dog}} or "
        "{front: dog} with a name of layers.things"
    ),
]


InsertShot = Annotated[
    Annotated[Literal["all"], Tag("word")] | Annotated[int, Field(ge=0), Tag("number")],
    Discriminator(lambda value: "word" if isinstance(value, str) else "number"),
    Form("the number of a shot, from 0, or all"),
    Unit("number"),
]


class Insert(Section):
    """A picture with alpha, stood into the scene: what is nearer covers it, it covers what is
    farther.
    """

    kind: Literal["insert"]
    object: Annotated[str, Field(min_length=1, examples=["chair.png"]), Names("file")]
    """A picture file, local or in object storage, with alpha (RGBA PNG or WebP) or to be cut out by
    ``segment``."""
    segment: Segmentation | None = None
    """Cuts the object out of a picture without alpha; null: the picture must have alpha."""
    at: InsertPlane | None = None
    """The object's depth: a form of ``layers.at``; {behind: [x, y]} or {front: [x, y]} the thing at
    a point of the shot's first frame; {behind: dog} or {front: dog} one of ``layers.things``, frame
    by frame; null: the scene's depth in the first frame under the object's foot."""
    point: Place | None = None
    """Where the middle of the object's foot stands, as fractions of width and height of the shot's
    first frame."""
    box: Annotated[
        Annotated[
            list[Annotated[float, Field(ge=-10, le=10)]],
            Field(min_length=4, max_length=4, examples=[[0.2, 0.3, 0.6, 0.9]]),
        ]
        | None,
        FRACTIONS,
    ] = None
    """Instead of ``point``: x0, y0, x1, y1; the object is fitted in and stands on the middle of its
    lower edge."""
    height: Annotated[
        Annotated[float, Field(gt=0, le=10, examples=[0.4])] | None,
        Unit("fraction of the frame's height"),
    ] = None
    """The object's height as a fraction of the frame's; with ``point``, 0.4 where neither height is
    given."""
    height_m: Annotated[
        Annotated[float, Field(gt=0, le=1000, examples=[0.9])] | None, Unit("metres")
    ] = None
    """The object's height in metres, seen in perspective (f * height_m / Z pixels); needs a metric
    depth model."""
    fov_deg: Annotated[float, Field(gt=0, lt=180), Unit("degrees")] = 60.0
    """Angle that the camera sees across the frame's longer side, in degrees; gives f for
    ``height_m``."""
    anchor: Literal["picture", "scene"] = "scene"
    """``picture``: it stays at its pixels; ``scene``: it moves with the scene as the camera
    does."""
    shadow: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Strength of a soft contact shadow on the floor; 0: none."""
    shot: InsertShot | None = None
    """Number of the shot that the object is in, from 0, or ``all``: the same place in every shot;
    null: the first shot of each source, or, where ``at`` names a thing, the shots that it is in.
    Frames of other shots stay as they are."""

    @model_validator(mode="after")
    def _placed_and_sized_once(self) -> "Insert":
        if (self.point is None) == (self.box is None):
            raise ValueError("give either point: [x, y] (of the foot) or box: [x0, y0, x1, y1]")
        sizes = [name for name in ("box", "height", "height_m") if getattr(self, name) is not None]
        if len(sizes) > 1:
            raise ValueError(f"{' and '.join(sizes)} both give a size; give one of them")
        if self.box is not None and (self.box[2] <= self.box[0] or self.box[3] <= self.box[1]):
            raise ValueError(
                f"box must be [x0, y0, x1, y1] with x0 < x1 and y0 < y1, got {self.box}"
            )
        return self


Colour = Annotated[
    str, Field(pattern=r"^#[0-9a-fA-F]{6}$"), Form("a colour #rrggbb in quotes, such as '#2040c0'")
]


class Background(Section):
    """The frame's near layers over something else."""

    kind: Literal["background"]
    keep: ThingNames = []
    """Names of ``layers.things`` that are kept before the new scene, in the place of what is nearer
    than ``layers.at``; []: that."""
    source: Annotated[Annotated[str, Field(min_length=1)] | None, Names("file")] = None
    """A picture, a clip (video or folder of images), or a colour ``#rrggbb``; scaled and cropped to
    cover the frame."""
    prompt: str | None = None
    """Instead of ``source``: what the compositor is to make up behind the near layers (a model with
    a text encoder)."""
    play: Literal["in_step", "loop"] = "in_step"
    """A clip is shown at the frame's own time: ``in_step`` holds its last frame after its end,
    ``loop`` starts again."""
    depth: Literal["behind", "aligned"] = "behind"
    """``behind``: all of the new scene lies behind the near layers. ``aligned``: its depth is
    estimated and brought to the shot's scale (metres with a metric model, else both 2 %..98 %
    ranges are taken for equal); what is nearer covers."""
    decontaminate: bool = True
    """Takes the old background's colour out of the near layers' edges."""
    soften: Annotated[float, Field(ge=0, le=16), Unit("pixels")] = 0.0
    """Pixels over which the near layers fade out inside their edges, so that the mask's steps do
    not show; 0: as cut."""

    @model_validator(mode="after")
    def _has_one_source(self) -> "Background":
        if (self.source is None) == (self.prompt is None):
            raise ValueError("give either source (a picture, a clip or a colour #rrggbb) or prompt")
        if self.source is not None and re.fullmatch(r"#(?![0-9a-fA-F]{6}$).*", self.source):
            raise ValueError(
                f"source: got {self.source!r}; a colour is # and six hexadecimal digits, such as "
                "'#2040c0'; write a file's name that begins with # as ./#..."
            )
        return self


class Grade(Section):
    """A change of a layer's light and colour, in linear light."""

    exposure: Annotated[float, Field(ge=-10, le=10), Unit("stops")] = 0.0
    """In stops: +1 doubles the light."""
    saturation: Annotated[float, Field(ge=0, le=4)] = 1.0
    """0: grey, 1: as it is."""
    tint: Colour = "#ffffff"
    """The colour of a filter before the layer, ``#rrggbb``; white changes nothing."""


class GradeLayer(Section):
    """Layer entry ``{grade: {...}}``."""

    grade: Grade


class ReplaceLayer(Section):
    """Layer entry ``{replace: FILE}``: a picture in the layer's place, scaled and cropped to cover
    the frame.
    """

    replace: Annotated[str, Field(min_length=1, examples=["wall.jpg"]), Names("file")]


def _layer_form(value: Any) -> str:
    if isinstance(value, dict):
        return "replace" if "replace" in value else "grade"
    return (
        type(value).__name__.removesuffix("Layer").lower() if isinstance(value, Section) else "word"
    )


LayerEntry = Annotated[
    Annotated[Literal["keep", "remove"], Tag("word")]
    | Annotated[ReplaceLayer, Tag("replace")]
    | Annotated[GradeLayer, Tag("grade")],
    Discriminator(_layer_form),
    Form("keep, remove, {replace: wall.jpg} or {grade: {exposure: -1, saturation: 0.5}}"),
]


LayerName = Annotated[
    Name, Form("near (near1 and so on, with several planes), far, or the name of a thing")
]

PlaneLayers = Annotated[
    Annotated[list[LayerEntry], Field(min_length=2, max_length=9), Tag("several")]
    | Annotated[dict[LayerName, LayerEntry], Field(min_length=1, max_length=41), Tag("named")],
    Discriminator(lambda value: "named" if isinstance(value, dict) else "several"),
    Form(
        "a list with one entry for each layer, nearest first, such as [remove, keep], or entries "
        "by the layers' names, such as {dog: remove, far: {grade: {exposure: -1}}}"
    ),
]


class Planes(Section):
    """Every layer of the frame on its own: kept, removed, replaced or graded."""

    kind: Literal["planes"]
    layers: Annotated[PlaneLayers, Field(examples=[["remove", "keep"]])]
    """Entries ``keep``, ``remove``, {replace: FILE} or {grade: {exposure, saturation, tint}}: a
    list, nearest first, one more than ``layers.at`` has planes; or by name, where ``layers.things``
    are layers of their own, ``near`` (``near1``, ``near2`` and so on with several planes) and
    ``far`` are the rest, and what is not named is kept."""

    @property
    def named(self) -> dict[str, Any] | None:
        """The entries by the layers' names; None where they are a list."""
        return self.layers if isinstance(self.layers, dict) else None

    @model_validator(mode="after")
    def _something_lies_behind(self) -> "Planes":
        last = self.layers[-1] if isinstance(self.layers, list) else self.layers.get("far")
        if last == "remove":
            raise ValueError(
                "the farthest layer cannot be removed, as nothing lies behind it; replace it"
            )
        return self


Edit = Annotated[Recompose | Insert | Background | Remove | Planes, Field(discriminator="kind")]


class Light(Section):
    """How far layers from another place are brought into the new scene's light before composing:
    ``compose.light``.

    With edits ``background`` (the near layers) and ``insert`` (the object); see
    ``raydepth.edits.relight.light``.
    """

    colour: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Part of the difference in mean colour between the two places; 0: none."""
    brightness: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The same for mean brightness."""
    shading: Annotated[float, Field(ge=0, le=1)] = 0.0
    """With ``insert``: part of the difference between the side that the scene is lit from and that
    the object is lit from."""

    @property
    def asked(self) -> bool:
        """Whether any of it is to be matched."""
        return any((self.colour, self.brightness, self.shading))
