"""Sections ``layers.things`` and ``layers.segmenter``: what a thing is, and what finds its mask."""

import re
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from raydepth.section import FRACTIONS, Box, Form, Labels, Names, Point, Points, Section, Unit

Name = Annotated[
    str,
    Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,31}$", examples=["dog"]),
    Form("a name of letters, digits, - and _ that begins with a letter, such as dog"),
]
"""A thing's name, by which edits speak of it."""

RESERVED = re.compile(r"near\d*|far|object|edited|rgb", re.IGNORECASE)
"""Names of other layers and pictures, which no thing can have."""


class Thing(Section):
    """An object, said by a click, a box, mask files or a word; its mask is found in every frame of
    its shot.

    Several entries may have one name: where the same thing is clicked in several shots, or again
    in one shot, at another ``at_s``, where its track has lost it.
    """

    name: Name
    """By which edits speak of it."""
    point: Annotated[Point | None, FRACTIONS] = None
    """A point on the thing, x, y as fractions of width and height of the frame at ``at_s``."""
    points: Annotated[Points | None, FRACTIONS] = None
    """Several points, where one says too little: see ``labels``."""
    labels: Labels | None = None
    """One for each of ``points``: 1 on the thing, 0 off it; null: all are on it."""
    box: Annotated[Box | None, FRACTIONS] = None
    """A box around the thing, x0, y0, x1, y1 as fractions; points may stand beside it."""
    masks: Annotated[
        Annotated[str, Field(min_length=1, examples=["{parent}/masks/{frame_index:06d}.png"])]
        | None,
        Names("pattern"),
    ] = None
    """Mask files beside the input, one a frame, named by a pattern: grey or alpha (half and more is
    the thing), or a label image; see ``label``."""
    label: Annotated[Annotated[int, Field(ge=1, le=65535)] | None, Unit("number")] = None
    """With ``masks``: the thing's number in label images; null: the files are grey or alpha."""
    text: Annotated[str, Field(min_length=1, examples=["dog"])] | None = None
    """A word for the thing; a detector (``layers.segmenter.detector``) finds it in every shot."""
    which: Literal["largest", "nearest", "all"] = "largest"
    """With ``text``: which of those that are found; ``all`` makes one thing of them."""
    at_s: Annotated[Annotated[float, Field(ge=0)] | None, Unit("seconds")] = None
    """Time of the frame that was clicked, in seconds after the source's first frame; null: the
    first frame of ``shot``, or of the source."""
    shot: Annotated[int, Field(ge=0)] | None = None
    """Number of the shot that was clicked, from 0; null: the one that ``at_s`` lies in."""

    @model_validator(mode="after")
    def _said_once(self) -> "Thing":
        if RESERVED.fullmatch(self.name):
            raise ValueError(f"{self.name} is the name of another layer; give the thing another")
        clicked = [name for name in ("point", "points", "box") if getattr(self, name) is not None]
        ways = [*(["click"] if clicked else []), *(["masks"] if self.masks else [])]
        ways += ["text"] if self.text else []
        if len(ways) != 1 or {"point", "points"} <= set(clicked):
            raise ValueError(
                f"{self.name}: give one of point, points or box (points may stand beside a box), "
                "masks, or text"
            )
        if self.box is not None and (self.box[2] <= self.box[0] or self.box[3] <= self.box[1]):
            raise ValueError(
                f"{self.name}: box must be [x0, y0, x1, y1] with x0 < x1 and y0 < y1, got "
                f"{self.box}"
            )
        if self.labels is not None and len(self.labels) != len(self.points or []):
            raise ValueError(
                f"{self.name}: labels has {len(self.labels)} entries for "
                f"{len(self.points or [])} points; give one for each of points"
            )
        if self.labels is not None and self.box is None and 1 not in self.labels:
            raise ValueError(f"{self.name}: no point is on the thing; one label at least is 1")
        if self.label is not None and not self.masks:
            raise ValueError(f"{self.name}: label is a number in the files of masks; give masks")
        if not clicked and (self.at_s is not None or self.shot is not None):
            raise ValueError(f"{self.name}: at_s and shot say what was clicked; it has no click")
        if self.which != "largest" and not self.text:
            raise ValueError(f"{self.name}: which chooses among what text finds; give text")
        return self


Things = Annotated[
    Annotated[list[Thing], Tag("several")] | Annotated[str, Field(min_length=1), Tag("word")],
    Discriminator(lambda value: "word" if isinstance(value, str) else "several"),
    Names("file"),
    Form(
        "a list of things such as [{name: dog, point: [0.4, 0.6]}], or a CSV file with the columns "
        "source, name, at_s, x, y (and x1, y1 for a box)"
    ),
]
"""Forms of ``layers.things``."""


def said_things(things: Any) -> list[Thing]:
    """The things of the job itself; empty where they are in a file."""
    return list(things) if isinstance(things, list) else []


class Segmenter(Section):
    """What all ways to find a thing's mask share: ``layers.segmenter``."""

    method: str
    """Name of the way."""
    every: Annotated[Annotated[int, Field(ge=1, le=240)] | None, Unit("frames")] = None
    """The mask is found anew in every n-th frame of the source, and carried by optical flow
    between; null: what the method does by default."""


class DepthSegmenter(Segmenter):
    """Method ``depth``: what hangs together in depth around the click, once the ground is out."""

    method: Literal["depth"] = "depth"


class OnnxPair(Section):
    """A Segment Anything model as two ONNX files with the official signature."""

    encoder: Annotated[str, Field(min_length=1, examples=["encoder.onnx"]), Names("model")]
    """Picture in, embedding out."""
    decoder: Annotated[str, Field(min_length=1, examples=["decoder.onnx"]), Names("model")]
    """Embedding and prompts in, masks out."""

    def __str__(self) -> str:
        return f"{self.encoder} with {self.decoder}"


SamModel = Annotated[
    Annotated[str, Field(min_length=1), Tag("word")] | Annotated[OnnxPair, Tag("one")],
    Discriminator(lambda value: "word" if isinstance(value, str) else "one"),
    Names("model"),
    Form(
        "a hub id such as facebook/sam2.1-hiera-tiny, a local directory, or "
        "{encoder: FILE.onnx, decoder: FILE.onnx}"
    ),
]
"""Names of a Segment Anything model."""


class SamSegmenter(Segmenter):
    """Method ``sam``: a Segment Anything model."""

    method: Literal["sam"]
    model: SamModel
    """Hub id or directory of a SAM, SAM 2 or SAM 2 video checkpoint of transformers, or an ONNX
    pair. A video checkpoint (``facebook/sam2.1-hiera-tiny`` is one) remembers earlier frames."""
    detector: Annotated[str | None, Names("model")] = None
    """Hub id or directory of an OWLv2 or Grounding DINO checkpoint of transformers, which finds
    what a thing's ``text`` says; null: things are clicked."""
