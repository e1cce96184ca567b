"""Legal but odd edits through a worker's real steps: each gives the right picture, or the frame and
a note that says why.

Depth comes from files, so masks are exact; the model is the built-in one, which leaves every pixel
outside an edit's region as it is, like any other.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from raydepth.edits.background import NOTHING_SEEN
from raydepth.edits.insert import HIDDEN, OUTSIDE
from raydepth.edits.planes import KEPT, NOT_THERE
from raydepth.layers.stage import EMPTY, FULL
from raydepth.output.codecs import decode_alpha, decode_rgb
from tests.support.clips import write_clip
from tests.support.runs import edit_first_part, small_job

HEIGHT, WIDTH = 64, 96
PINK = (240, 20, 200)
BLUE = (32, 64, 192)
BOX = 0.5
"""A plane between the clip's box (inverse depth 1) and its wall (0)."""
PASTE = {"compose__method": "paste"}
KV = {"compose__method": "featglac-kv", "compose__steps": 4, "compose__strength": 0.5}
BOTH = pytest.mark.parametrize("compose", [PASTE, KV], ids=["paste", "kv"])

Edit = Callable[..., list[dict[str, Any]]]


def write_depth(
    folder: Path, picture: int, height: int, width: int, metres: tuple[float, float]
) -> None:
    """The depth of one frame of ``write_clip``: its box and its wall, in metres."""
    depth = np.full((height, width), metres[1], np.float32)
    x = 4 + picture * 2 % (width - 40)
    depth[height // 3 : -8, x : x + 32] = metres[0]
    np.save(folder / f"depth_{picture}.npy", depth)


@pytest.fixture
def edit(tmp_path: Path) -> Edit:
    """Rows of an edited clip of a box before a wall, with exact depth; ``edited``, ``rgb`` and
    ``near`` as arrays.
    """

    def make(
        edit: dict[str, Any],
        *,
        size: tuple[int, int] = (HEIGHT, WIDTH),
        frames: int = 2,
        **fields: Any,
    ) -> list[dict[str, Any]]:
        clip = write_clip(tmp_path / "clip.mp4", frames=frames, height=size[0], width=size[1])
        for i in range(frames):
            write_depth(tmp_path, i, *size, (1.0, 4.0))
        fields = {
            "layers__at": BOX,
            "layers__min_area": 0,
            "layers__fill__dilate": 2,
            "input__size": None,
        } | fields
        depth = {"depth__model": f"files:{tmp_path}/depth_{{frame_index}}.npy"}
        out = Path(tempfile.mkdtemp(dir=tmp_path))  # good rows of another job's would stay
        rows = edit_first_part(small_job(clip, out, edit=edit, **depth | fields))
        assert [row["status"] for row in rows] == ["ok"] * frames, rows[0]["error_message"]
        for row in rows:
            row |= {"edited": decode_rgb(row["edited_png"]), "rgb": decode_rgb(row["rgb_png"])}
            row["near"] = decode_alpha(row["near_png"])
        return rows

    return make


@pytest.fixture
def thing(tmp_path: Path) -> str:
    """An object: a solid pink square of 30 pixels."""
    path = tmp_path / "thing.png"
    Image.fromarray(np.full((30, 30, 4), (*PINK, 255), np.uint8)).save(path)
    return str(path)


def insert(thing: str, **fields: Any) -> dict[str, Any]:
    return {
        "kind": "insert",
        "object": thing,
        "anchor": "picture",
        "height": 0.5,
        "point": [0.4, 0.8],
    } | fields


def shows(picture: np.ndarray, colour: tuple[int, int, int], off: int = 40) -> np.ndarray:
    return (np.abs(picture.astype(int) - colour) < off).all(axis=-1)


def unchanged(rows: list[dict[str, Any]], *notes: str) -> bool:
    """Whether every frame is the source's, nothing was composed, and its note says all of this and
    nothing else.
    """
    return all(
        np.array_equal(row["edited"], row["rgb"]) and row["note"].split("; ") == list(notes)
        for row in rows
    )


@BOTH
def test_an_object_wholly_hidden_and_one_wholly_outside(
    edit: Edit, thing: str, compose: dict[str, Any]
):
    # The box spans x 4..38, y 21..56: an object of 20 pixels that stands behind it is covered by
    # it.
    hidden = insert(thing, at=0.5, point=[0.22, 0.8], height=0.3)
    assert unchanged(edit(hidden, **compose), HIDDEN)
    assert unchanged(edit(insert(thing, at=0.5, point=[-0.5, 0.8]), **compose), OUTSIDE)
    assert unchanged(edit(insert(thing, at=-9.0), **compose), HIDDEN)


@BOTH
@pytest.mark.parametrize("at", [1.0, 9.0])
def test_an_object_wholly_in_front(edit: Edit, thing: str, compose: dict[str, Any], at: float):
    for row in edit(insert(thing, at=at, point=[0.25, 0.8]), **compose):
        assert not row["note"]
        where = np.zeros((HEIGHT, WIDTH), bool)
        where[51 - 32 : 51, 24 - 16 : 24 + 16] = True
        inner = cv2.erode(where.astype(np.uint8), np.ones((5, 5))) > 0
        assert shows(row["edited"], PINK, 3 if compose is PASTE else 90)[inner].mean() > 0.95
        around = cv2.dilate(where.astype(np.uint8), np.ones((17, 17))) > 0
        assert np.array_equal(row["edited"][~around], row["rgb"][~around])


@BOTH
@pytest.mark.parametrize("point", [[0.0, 0.8], [1.0, 0.8], [0.7, 1.2], [0.7, 0.2]])
def test_an_object_partly_outside(
    edit: Edit, thing: str, compose: dict[str, Any], point: list[float]
):
    for row in edit(insert(thing, at=9.0, point=point), **compose):
        seen = shows(row["edited"], PINK, 90).sum()
        assert 0.2 * 32 * 32 < seen < 0.8 * 32 * 32 and not row["note"]


@BOTH
def test_no_near_layer(edit: Edit, thing: str, tmp_path: Path, compose: dict[str, Any]):
    empty = {"layers__at": 5.0} | compose
    assert unchanged(edit({"kind": "remove"}, **empty), EMPTY)
    assert unchanged(edit({"kind": "recompose"}, **empty), EMPTY)
    assert unchanged(
        edit({"kind": "planes", "layers": ["remove", "keep"]}, **empty), EMPTY, NOT_THERE
    )
    for row in edit({"kind": "background", "source": "#2040c0"}, **empty):
        assert shows(row["edited"], BLUE, 1 if compose is PASTE else 60).mean() > 0.95
    graded = {"kind": "planes", "layers": ["keep", {"grade": {"exposure": -2.0}}]}
    for row in edit(graded, **empty):
        assert row["edited"].mean() < 0.7 * row["rgb"].mean() and row["note"] == EMPTY
    for row in edit(insert(thing, at=9.0), **empty):
        assert shows(row["edited"], PINK, 90).sum() > 0.8 * 32 * 32


@BOTH
def test_nothing_but_a_near_layer(edit: Edit, thing: str, compose: dict[str, Any]):
    full = {"layers__at": -5.0} | compose
    assert unchanged(edit({"kind": "remove"}, **full), FULL)
    assert unchanged(edit({"kind": "recompose"}, **full), FULL)
    assert unchanged(edit({"kind": "planes", "layers": ["remove", "keep"]}, **full), FULL)
    assert unchanged(edit({"kind": "planes", "layers": ["keep", "keep"]}, **full), FULL, KEPT)
    assert unchanged(edit({"kind": "background", "source": "#2040c0"}, **full), FULL, NOTHING_SEEN)
    graded = {"kind": "planes", "layers": [{"grade": {"exposure": -2.0}}, "keep"]}
    for row in edit(graded, **full):
        assert row["edited"].mean() < 0.7 * row["rgb"].mean()
    for row in edit(insert(thing, at=9.0), **full):
        assert shows(row["edited"], PINK, 90).sum() > 0.8 * 32 * 32


@BOTH
@pytest.mark.parametrize(
    "size", [(112, 48), (48, 112), (40, 96)], ids=["portrait", "21:9", "wider"]
)
def test_portrait_and_wide_frames(
    edit: Edit, thing: str, compose: dict[str, Any], size: tuple[int, int]
):
    for row in edit({"kind": "background", "source": "#2040c0"}, size=size, frames=1, **compose):
        # what is changed of the near layer is its rim
        near = cv2.erode((row["near"] > 0).astype(np.uint8), np.ones((17, 17))) > 0
        assert row["edited"].shape == (*size, 3) and near.any()
        assert np.array_equal(row["edited"][near], row["rgb"][near])
        far = cv2.dilate((row["near"] > 0).astype(np.uint8), np.ones((9, 9))) == 0
        assert shows(row["edited"], BLUE, 60)[far].mean() > 0.95
    for row in edit({"kind": "remove"}, size=size, frames=1, **compose):
        hole = cv2.erode((row["near"] > 0).astype(np.uint8), np.ones((5, 5))) > 0
        wall = row["rgb"][row["near"] == 0].mean(axis=0)
        assert np.abs(row["edited"][hole].mean(axis=0) - wall).max() < 40
        assert np.abs(row["rgb"][hole].mean(axis=0) - wall).max() > 80
    # 0.4 of the height, standing at three quarters of it, in the middle
    for row in edit(
        insert(thing, at=9.0, point=[0.5, 0.75], height=0.4), size=size, frames=1, **compose
    ):
        found = np.argwhere(shows(row["edited"], PINK, 90))
        low, high = np.percentile(found, [1, 99], axis=0)
        assert np.abs((low + high) / 2 + 0.5 - (0.55 * size[0], 0.5 * size[1])).max() < 3


@BOTH
@pytest.mark.parametrize("fill", ["telea", "plate"])
def test_a_clip_of_one_frame(edit: Edit, thing: str, compose: dict[str, Any], fill: str):
    (row,) = edit({"kind": "remove"}, frames=1, layers__fill__method=fill, **compose)
    hole = cv2.erode((row["near"] > 0).astype(np.uint8), np.ones((5, 5))) > 0
    assert hole.any() and not shows(row["edited"], (220, 180, 60))[hole].any()
    (row,) = edit(
        insert(thing, at=9.0, anchor="scene"), frames=1, layers__fill__method=fill, **compose
    )
    assert shows(row["edited"], PINK, 90).sum() > 0.8 * 32 * 32


@pytest.mark.parametrize(
    "at", [-3.0, 1.5, {"metres": 0.02}, {"metres": 500.0}, [7.0, {"metres": 900.0}]]
)
def test_planes_outside_the_range_of_depth(edit: Edit, at: Any):
    """Nothing is nearer than 2 cm, everything is nearer than 500 m: one of the layers is empty, and
    the note says which.
    """
    full = at in (-3.0, {"metres": 500.0}) or isinstance(at, list)
    assert unchanged(edit({"kind": "remove"}, layers__at=at, **PASTE), FULL if full else EMPTY)
    for row in edit({"kind": "background", "source": "#2040c0"}, layers__at=at, **PASTE):
        assert (
            np.array_equal(row["edited"], row["rgb"])
            if full
            else shows(row["edited"], BLUE, 1).all()
        )


def test_an_object_behind_everything_that_can_be_seen(edit: Edit, thing: str):
    assert unchanged(edit(insert(thing, at={"metres": 500.0}), **PASTE), HIDDEN)
    for row in edit(insert(thing, at={"metres": 0.02}), **PASTE):
        assert shows(row["edited"], PINK, 3).sum() > 0.8 * 32 * 32
