"""Section ``layers``: where a frame is cut, and how what the near layers hide is filled."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, SerializeAsAny, Tag, ValidationError, model_validator

from raydepth.layers.fill.registry import FILLERS
from raydepth.layers.fill.settings import Fill, OpenCVFill
from raydepth.layers.things.registry import SEGMENTERS
from raydepth.layers.things.settings import (
    DepthSegmenter,
    SamModel,
    Segmenter,
    Thing,
    Things,
    said_things,
)
from raydepth.registry import chosen_from
from raydepth.section import FRACTIONS, Box, Form, Labels, Point, Points, Section, Unit


class AtQuantile(Section):
    """The plane that leaves this fraction of the shot's sampled pixels farther away."""

    quantile: Annotated[float, Field(gt=0, lt=1, examples=[0.6]), Unit("fraction of the pixels")]


class AtMetres(Section):
    """The plane at this distance; needs a metric model."""

    metres: Annotated[float, Field(gt=0, examples=[2.5]), Unit("metres")]


class AtPoint(Section):
    """The plane just behind the thing at this point of the shot's first frame, in fractions of
    width and height.
    """

    point: Annotated[Point, FRACTIONS]


class AtBox(Section):
    """The plane just behind the thing in this box of the shot's first frame: x0, y0, x1, y1 as
    fractions.
    """

    box: Annotated[Box, FRACTIONS]

    @model_validator(mode="after")
    def _box_is_not_empty(self) -> "AtBox":
        x0, y0, x1, y1 = self.box
        if x1 <= x0 or y1 <= y0:
            raise ValueError(
                f"box must be [x0, y0, x1, y1] with x0 < x1 and y0 < y1, got {self.box}"
            )
        return self


def plane_form(value: Any) -> str:
    """Which of the forms of a plane a value has, as pydantic's tag for it."""
    if isinstance(value, dict):
        forms = ("quantile", "metres", "point", "box", "behind", "front")
        return next((key for key in forms if key in value), "auto")
    if isinstance(value, Section):
        return type(value).__name__[2:].lower()
    return "auto" if isinstance(value, str) else "value"


PLANES = (
    "auto, a normalised inverse depth (0 farthest, 1 nearest) such as 0.5, {quantile: 0.6}, "
    "{metres: 2.5}, {point: [0.5, 0.7]}, {box: [0.2, 0.3, 0.6, 0.9]}"
)
"""The forms of a plane, for messages; points and boxes are fractions of width and height."""

Plane = Annotated[
    Annotated[Literal["auto"], Tag("auto")]
    | Annotated[float, Field(ge=-10, le=10), Tag("value")]
    | Annotated[AtQuantile, Tag("quantile")]
    | Annotated[AtMetres, Tag("metres")]
    | Annotated[AtPoint, Tag("point")]
    | Annotated[AtBox, Tag("box")],
    Discriminator(plane_form),
    Form(PLANES),
]


class Layers(Section):
    """Where a frame is cut: ``layers``."""

    at: Annotated[
        Annotated[Plane, Tag("one")]
        | Annotated[list[Plane], Field(min_length=1, max_length=8), Tag("several")],
        Discriminator(lambda value: "several" if isinstance(value, list | tuple) else "one"),
        Form(f"{PLANES}, or a list of 1 to 8 of these"),
    ] = "auto"
    """``auto``, a normalised inverse depth 0..1 (larger = nearer), {quantile}, {metres}, {point},
    {box}, or a list."""
    feather: Annotated[float, Field(ge=0, le=1), Unit("normalised inverse depth")] = 0.0
    """Width of the soft edge in normalised inverse depth (logistic); 0: hard masks."""
    min_area: Annotated[int, Field(ge=0), Unit("pixels")] = 64
    """Islands and pin-holes of fewer pixels than this are removed."""
    edge_filter: bool = True
    """Median-filter depth at its discontinuities first, so that halos don't stay with the far
    layer."""
    within: Annotated[Box | None, FRACTIONS] = None
    """Only what lies in this box of the picture is near: x0, y0, x1, y1 as fractions; all else is
    the far layer's. So a table stays when what stands on it is lifted."""
    fill: Annotated[SerializeAsAny[Fill], chosen_from(FILLERS)] = OpenCVFill()
    things: Things = []
    """Objects with layers of their own beside the planes: a list, or a CSV file of clicks."""
    segmenter: Annotated[SerializeAsAny[Segmenter], chosen_from(SEGMENTERS)] = DepthSegmenter()
    """What finds the things' masks from clicks."""

    @model_validator(mode="after")
    def _within_is_not_empty(self) -> "Layers":
        if self.within is not None and (
            self.within[2] <= self.within[0] or self.within[3] <= self.within[1]
        ):
            raise ValueError(
                f"within must be [x0, y0, x1, y1] with x0 < x1 and y0 < y1, got {self.within}"
            )
        return self

    @model_validator(mode="after")
    def _words_can_be_read(self) -> "Layers":
        worded = [thing.name for thing in said_things(self.things) if thing.text]
        if worded and not SEGMENTERS.of(self.segmenter).reads_text(self.segmenter):
            raise ValueError(
                f"things: {', '.join(worded)}: text needs a model that finds things by words: give "
                "segmenter {method: sam, model: ..., detector: "
                "google/owlv2-base-patch16-ensemble}, or click the thing (point, points or box)"
            )
        return self

    @property
    def planes(self) -> list[Any]:
        """The planes asked for, always as a list."""
        return list(self.at) if isinstance(self.at, list) else [self.at]


class Segmentation(Section):
    """How the mask of an object's picture without alpha is made: ``edit.segment``. Once per job,
    before the workers start.
    """

    model: SamModel
    """As ``layers.segmenter.model``: for example ``facebook/sam-vit-base``."""
    point: Annotated[Point | None, FRACTIONS] = None
    """A point on the object, x, y as fractions of the picture's width and height; null, without
    ``points`` and ``box``: its middle."""
    points: Annotated[Points | None, FRACTIONS] = None
    """Several points, where one says too little: see ``labels``."""
    labels: Labels | None = None
    """One for each of ``points``: 1 on the object, 0 off it; null: all are on it."""
    box: Annotated[Box | None, FRACTIONS] = None
    """A box around the object, x0, y0, x1, y1 as fractions of the picture's width and height;
    ``points`` may stand beside it."""

    @model_validator(mode="after")
    def _prompted_once(self) -> "Segmentation":
        if isinstance(self.model, str) and (
            self.model == "builtin" or self.model.endswith(".onnx")
        ):
            raise ValueError(
                "model must be the hub id or the directory of a Segment Anything checkpoint, or "
                "{encoder: FILE.onnx, decoder: FILE.onnx}"
            )
        if self.point is not None and (self.box is not None or self.points is not None):
            other = "box" if self.box is not None else "points"
            raise ValueError(f"point and {other} both say where the object is; give one of them")
        try:
            _ = self.clicked
        except ValidationError as error:
            words = str(error.errors(include_url=False)[0]["msg"])
            raise ValueError(words.removeprefix("Value error, cut-out: ")) from None
        return self

    @property
    def clicked(self) -> Thing:
        """The prompt, as what is clicked of a thing."""
        somewhere = self.point or self.points or self.box
        return Thing(
            name="cut-out",
            point=self.point if somewhere else [0.5, 0.5],
            points=self.points,
            labels=self.labels,
            box=self.box,
        )
