"""The contact sheet of one frame: what comes in, what the job sees in it, what it makes of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from raydepth.report.pictures import colour_depth, outline_hole

WIDTH = 1600
"""Pixels of the sheet; a phone shows it whole, a screen reads it."""

_PAD, _CAPTION = 20, 46
_PAPER, _INK, _FAINT = (250, 249, 246), (28, 26, 24), (120, 116, 110)
_LAYERS = ((255, 122, 60), (255, 205, 70), (90, 200, 120), (80, 170, 235), (160, 120, 230))
_THINGS = ((64, 224, 196), (255, 90, 160), (250, 220, 60), (90, 160, 255), (170, 255, 90))
_REGION = (255, 255, 255)
_DEPTH = 1
"""Number of the panel with depth, whose scale stands above it."""


@dataclass(frozen=True)
class Mark:
    """A point that the sheet shows."""

    x: float
    """Fraction of the width."""
    y: float
    """Fraction of the height."""
    label: str
    colour: tuple[int, int, int] = (255, 255, 255)


@dataclass(frozen=True)
class Outline:
    """A thing as the sheet shows it."""

    name: str
    alpha: np.ndarray
    """float32 [H,W], 0..1."""


@dataclass(frozen=True)
class Sheet:
    """All that is drawn; pictures are uint8 [H,W,3] RGB of one size."""

    title: str
    rgb: np.ndarray
    inv_depth: np.ndarray
    """float32 [H,W], normalised."""
    planes: Sequence[float]
    alphas: np.ndarray
    """float32 [K+1,H,W], near first."""
    layer_names: Sequence[str]
    """What each of them is, near first."""
    hole: np.ndarray
    """bool [H,W]."""
    background: np.ndarray
    edited: np.ndarray
    region: np.ndarray
    """float32 [H,W]: where the edit may change pixels."""
    metres: Callable[[float], float] | None = None
    """From normalised inverse depth; None: the depth is relative."""
    marks: Sequence[Mark] = ()
    things: Sequence[Outline] = ()
    lines: Sequence[str] = ()
    """What is said below the pictures."""
    grid: bool = True
    values: Sequence[str] = field(default_factory=list)
    """What is measured under the marks."""


def draw(sheet: Sheet) -> np.ndarray:
    """The sheet as uint8 RGB [H, 1600, 3]: two columns of panels, three of upright pictures."""
    height, width = sheet.rgb.shape[:2]
    columns = 2 if width >= height else 3
    wide = (WIDTH - _PAD * (columns + 1)) // columns
    high = max(round(wide * height / width), 1)
    scaled = _Scaled(wide, high)
    panels = [
        ("Input, fractions of width and height", _input(sheet, scaled)),
        ("Depth and planes", _depth(sheet, scaled)),
        ("Layers" + (" and things" if sheet.things else ""), _layers(sheet, scaled)),
        ("Background, filled inside the line", _background(sheet, scaled)),
        ("Result", scaled.picture(sheet.edited)),
        ("What the edit may change", _region(sheet, scaled)),
    ]
    said = [line for text in (*sheet.lines, *sheet.values) for line in _wrapped(text, 17)]
    row = _CAPTION + high + _PAD
    rows = -(-len(panels) // columns)
    top = 74
    total = top + rows * row + len(said) * 25 + 2 * _PAD
    page = Image.new("RGB", (WIDTH, total), _PAPER)
    pen = ImageDraw.Draw(page)
    pen.text((_PAD, 22), sheet.title, _INK, _font(27))
    for number, (caption, panel) in enumerate(panels):
        x = _PAD + (number % columns) * (wide + _PAD)
        y = top + (number // columns) * row
        pen.text((x, y + 17), caption, _FAINT, _font(17))
        page.paste(panel, (x, y + _CAPTION))
        if number == _DEPTH:
            _draw_scale(page, (x + 190, x + wide - 40, y + 10), sheet)
    y = top + rows * row + 4
    for line in said:
        pen.text((_PAD, y), line, _INK, _font(17))
        y += 25
    return np.asarray(page.crop((0, 0, WIDTH, y + _PAD)))


@dataclass(frozen=True)
class _Scaled:
    """Brings a frame's pictures and masks to a panel's size."""

    wide: int
    high: int

    def picture(self, rgb: np.ndarray) -> Image.Image:
        how = cv2.INTER_AREA if rgb.shape[1] > self.wide else cv2.INTER_CUBIC
        return Image.fromarray(cv2.resize(rgb, (self.wide, self.high), interpolation=how))

    def values(self, values: np.ndarray) -> np.ndarray:
        small = values.astype(np.float32)
        return cv2.resize(small, (self.wide, self.high), interpolation=cv2.INTER_LINEAR)


def _input(sheet: Sheet, scaled: _Scaled) -> Image.Image:
    panel = scaled.picture(sheet.rgb)
    if sheet.grid:
        veil = Image.new("RGBA", panel.size)
        pen = ImageDraw.Draw(veil)
        for step in range(1, 10):
            strength = 190 if step == 5 else 105
            x, y = round(step / 10 * scaled.wide), round(step / 10 * scaled.high)
            for shift, colour in ((1, (0, 0, 0, strength // 2)), (0, (255, 255, 255, strength))):
                pen.line((x + shift, 0, x + shift, scaled.high), colour)
                pen.line((0, y + shift, scaled.wide, y + shift), colour)
        panel = Image.alpha_composite(panel.convert("RGBA"), veil).convert("RGB")
        pen = ImageDraw.Draw(panel)
        for step in range(1, 10):
            x, y = round(step / 10 * scaled.wide), round(step / 10 * scaled.high)
            _label(pen, (x, 13), f".{step}", 14)
            _label(pen, (16, y), f".{step}", 14)
    _draw_marks(panel, sheet.marks)
    return panel


def _depth(sheet: Sheet, scaled: _Scaled) -> Image.Image:
    depth = scaled.values(sheet.inv_depth)
    panel = Image.fromarray(np.ascontiguousarray(colour_depth(depth, 0.0, 1.0)[..., ::-1]))
    for plane in sheet.planes:
        _draw_contours(panel, depth >= plane, (255, 255, 255), _said(sheet, plane))
    _draw_marks(panel, sheet.marks)
    return panel


def _layers(sheet: Sheet, scaled: _Scaled) -> Image.Image:
    grey = cv2.cvtColor(cv2.cvtColor(sheet.rgb, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    base = np.asarray(scaled.picture(grey)).astype(np.float32)
    far = scaled.values(sheet.alphas[-1])[..., None]
    shown = base * (1 - 0.35 * far)
    for number, alpha in enumerate(sheet.alphas[:-1]):
        share = 0.55 * scaled.values(alpha)[..., None]
        shown = shown * (1 - share) + share * np.array(_LAYERS[number % len(_LAYERS)], np.float32)
    panel = Image.fromarray(shown.round().clip(0, 255).astype(np.uint8))
    for number, thing in enumerate(sheet.things):
        colour = _THINGS[number % len(_THINGS)]
        _draw_contours(panel, scaled.values(thing.alpha) >= 0.5, colour, thing.name)
    pen = ImageDraw.Draw(panel)
    for number, (name, alpha) in enumerate(zip(sheet.layer_names, sheet.alphas, strict=True)):
        last = number == len(sheet.alphas) - 1
        colour = (200, 200, 200) if last else _LAYERS[number % len(_LAYERS)]
        y = 20 + 30 * number
        _label(pen, (10, y), f"{name}  {100 * float(alpha.mean()):.0f} %", 16, "lm", colour)
    named = {thing.name for thing in sheet.things}  # at their outlines
    marks = [replace(mark, label="") if mark.label in named else mark for mark in sheet.marks]
    _draw_marks(panel, marks)
    return panel


def _background(sheet: Sheet, scaled: _Scaled) -> Image.Image:
    picture = np.asarray(scaled.picture(sheet.background))
    hole = scaled.values(sheet.hole) >= 0.5
    drawn = outline_hole(picture[..., ::-1], hole.astype(np.float32), 0)
    return Image.fromarray(np.ascontiguousarray(drawn[..., ::-1]))


def _region(sheet: Sheet, scaled: _Scaled) -> Image.Image:
    picture = np.asarray(scaled.picture(sheet.edited)).astype(np.float32)
    region = scaled.values(sheet.region)[..., None].clip(0, 1)
    shown = region * picture + (1 - region) * (0.25 * picture + 0.75 * np.array(_PAPER))
    panel = Image.fromarray(shown.round().astype(np.uint8))
    _draw_contours(panel, region[..., 0] >= 0.5, _REGION, "")
    return panel


def _draw_scale(page: Image.Image, place: tuple[int, int, int], sheet: Sheet) -> None:
    """The bar of colours from ``left`` to ``right`` at ``top``, with values and metres below."""
    left, right, top = place
    ramp = np.tile(np.linspace(0, 1, right - left, dtype=np.float32), (10, 1))
    bar = np.ascontiguousarray(colour_depth(ramp, 0.0, 1.0)[..., ::-1])
    page.paste(Image.fromarray(bar), (left, top))
    pen = ImageDraw.Draw(page)
    steps = 4 if right - left > 420 else 2
    for step in range(steps + 1):
        x = left + round(step / steps * (right - left))
        pen.line((x, top + 10, x, top + 14), _FAINT)
        pen.text((x, top + 16), _said(sheet, step / steps), _FAINT, _font(13), "ma")


def _said(sheet: Sheet, value: float) -> str:
    if sheet.metres is None:
        return f"{value:.2f}"
    return f"{value:.2f} · {in_metres(sheet.metres(value))}"


def in_metres(metres: float) -> str:
    """A distance for readers."""
    return f"{metres:.2f} m" if metres < 10 else f"{metres:.0f} m" if metres < 1e4 else "far"


def _draw_contours(
    panel: Image.Image, mask: np.ndarray, colour: tuple[int, int, int], label: str
) -> None:
    """Lines around what a mask covers, dark below so that they are seen on any ground, and a label
    on the longest of them.
    """
    # Wide enough that what runs along the picture's border is drawn outside of it.
    padded = np.pad(mask.astype(np.uint8), 8, mode="edge")
    found, _ = cv2.findContours(padded, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE, offset=(-8, -8))
    least = 0.04 * sum(panel.size)
    lines = [line for line in found if len(line) >= least] or list(found)
    picture = np.array(panel)
    for shade, width in (((20, 18, 16), 5), (colour, 2)):
        cv2.polylines(picture, lines, True, shade, width, cv2.LINE_AA)
    panel.paste(Image.fromarray(picture), (0, 0))
    if not lines or not label:
        return
    wide, high = panel.size
    points = max(lines, key=len)[:, 0]
    inside = points[
        (points[:, 0] > 0.1 * wide)
        & (points[:, 0] < 0.9 * wide)
        & (points[:, 1] > 0.08 * high)
        & (points[:, 1] < 0.9 * high)
    ]
    inside = inside if len(inside) else points
    top = inside[np.argmin(inside[:, 1])]
    _label(ImageDraw.Draw(panel), (int(top[0]), max(int(top[1]), 14)), label, 15, "mm", colour)


def _draw_marks(panel: Image.Image, marks: Sequence[Mark]) -> None:
    pen = ImageDraw.Draw(panel)
    for mark in marks:
        x, y = mark.x * panel.width, mark.y * panel.height
        for radius, colour, width in ((9, (20, 18, 16), 5), (8, mark.colour, 3)):
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), None, colour, width)
        if not mark.label:
            continue
        right = x < 0.85 * panel.width
        at = (round(x) + (14 if right else -14), round(y))
        _label(pen, at, mark.label, 15, "lm" if right else "rm", mark.colour)


def _label(
    pen: ImageDraw.ImageDraw,
    at: tuple[int, int],
    text: str,
    size: int,
    anchor: str = "mm",
    colour: tuple[int, int, int] = (255, 255, 255),
) -> None:
    font = _font(size)
    left, top, right, bottom = pen.textbbox(at, text, font, anchor)
    pen.rounded_rectangle((left - 5, top - 3, right + 5, bottom + 4), 5, (20, 18, 16))
    pen.text(at, text, colour, font, anchor)


def _wrapped(text: str, size: int) -> list[str]:
    """A text in lines that fit the sheet."""
    font, lines = _font(size), [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if font.getlength(longer) <= WIDTH - 2 * _PAD:
            lines[-1] = longer
        else:
            lines.append(f"    {word}")
    return lines


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own typeface."""
    return ImageFont.load_default(size)
