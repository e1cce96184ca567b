"""Makes a contact sheet of synthetic worlds and of one case with all its truths.

python -m benchmarks.worlds OUT.jpg
"""

import sys

import numpy as np
from PIL import Image, ImageDraw

from raydepth.synth.case import Snapshot
from raydepth.synth.random_scene import random_scene
from raydepth.synth.render import World
from raydepth.synth.setup import random_setup

SIDE = 160
COLUMNS = 7
CASE = 3


def worlds() -> list[tuple[str, np.ndarray]]:
    cells = []
    for seed in range(COLUMNS):
        scene = random_scene(seed, style="wide" if seed % 2 else "calm")
        picture = World(scene).colour(scene.path.at(0), (SIDE, SIDE))
        cells.append((f"world {seed}", picture))
    return cells


def case(seed: int) -> list[tuple[str, np.ndarray]]:
    snapshot = Snapshot(random_setup(seed, 1.0), 0.0, (SIDE, SIDE), samples=100)
    rgb = snapshot.rgb()
    near, rest = snapshot.layers(rgb)
    depth = (255 * snapshot.depth.min() / snapshot.depth).astype(np.uint8)
    picture, box = snapshot.cut_out()
    return [
        ("frame", rgb),
        ("depth", np.dstack([depth] * 3)),
        ("near layer", _on_board(near)),
        ("rest, shadowed", rest),
        ("true removal", snapshot.fill()[0]),
        ("object", _on_board(_framed(picture, box))),
        ("true insertion", snapshot.insert()[0]),
        ("another place", snapshot.other()[0]),
        ("true background", snapshot.composite()[0]),
    ]


def _framed(picture: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    whole = np.zeros((SIDE, SIDE, 4), np.uint8)
    x0, y0, x1, y1 = (int(value) for value in box)
    whole[y0:y1, x0:x1] = picture
    return whole


def _on_board(rgba: np.ndarray) -> np.ndarray:
    rows, columns = np.indices(rgba.shape[:2]) // 10
    board = np.where((rows + columns) % 2, 190, 225)[..., None]
    alpha = rgba[..., 3:] / 255
    return (alpha * rgba[..., :3] + (1 - alpha) * board).astype(np.uint8)


def sheet(cells: list[tuple[str, np.ndarray]]) -> Image.Image:
    rows = -(-len(cells) // COLUMNS)
    page = Image.new("RGB", (COLUMNS * (SIDE + 4) - 4, rows * (SIDE + 16) - 2), "white")
    draw = ImageDraw.Draw(page)
    for number, (label, picture) in enumerate(cells):
        x, y = number % COLUMNS * (SIDE + 4), number // COLUMNS * (SIDE + 16)
        page.paste(Image.fromarray(picture), (x, y))
        draw.text((x + 2, y + SIDE + 1), label, fill="black")
    return page


if __name__ == "__main__":
    sheet((case(CASE) + worlds())[: 2 * COLUMNS]).save(sys.argv[1], quality=88)
