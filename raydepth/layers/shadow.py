"""The shadow and the contact area of a thing: what darkens the ground beside its foot."""

import cv2
import numpy as np

_DARKER = 0.93
"""Ratio of brightness below which ground is in shadow; its rim reaches up to ``_RIM``."""
_RIM = 0.97
_TINT = 0.02
"""Change of the channels' shares up to which darker ground is the same ground."""
_THIN_DARK = 0.6
"""Ratio of brightness below which thin things on the ground, such as a leash, go along."""
_THIN = 1 / 40
"""Width up to which they are thin, as a part of the thing's size."""
_REACH = 0.6
"""How far a shadow reaches from the thing at most, as a part of its size."""
_FRINGE = 0.15
"""Area up to which what else differs beside the thing is its own fringe, as a part of its area."""
_APART = 16.0
"""Grey levels by which a pixel differs from the bare ground, where that is known."""
_LARGEST = 1.0
"""Area of what differs and hangs on the thing, as a part of its own, above which it is something
else."""
_UNSURE = 0.85
"""The ratio that takes the place of ``_DARKER`` where the bare ground is only guessed."""


def cast_shadow(
    rgb: np.ndarray,
    mask: np.ndarray,
    ground: np.ndarray | None = None,
    stays: np.ndarray | None = None,
) -> np.ndarray:
    """Where a thing darkens the ground around the lower part of its mask.

    A pixel is in shadow where it is darker than the bare ground by a ratio while the channels keep
    their shares, and hangs together with the thing. The dark core of a shadow brings its soft rim
    along (hysteresis). What is dark and thin and begins at the thing goes too. Where the bare
    ground is known, whatever else stands on it, such as somebody's shoe, is left alone.

    Args:
        rgb: uint8 [H,W,3], the frame.
        mask: bool [H,W], the thing.
        ground: uint8 [H,W,3], the ground without the thing, such as a plate; None: guessed from
            what lies farther off, so that only clear shadows on even ground are found.
        stays: bool [H,W], other things, which are never taken for shadow; None: not known.

    Returns:
        bool [H,W], off the mask; empty where the mask is.
    """
    nothing = np.zeros(mask.shape, bool)
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    if not rows.size or mask.all():
        return nothing
    size = float(np.sqrt((np.ptp(rows) + 1) * (np.ptp(columns) + 1)))
    reach = round(size * _REACH)
    window = (
        slice(max(rows[0] - reach, 0), rows[-1] + reach + 1),
        slice(max(columns[0] - reach, 0), columns[-1] + reach + 1),
    )
    inner = mask[window]
    frame = cv2.GaussianBlur(rgb[window].astype(np.float32), (0, 0), 1.0) + 1
    if ground is None:
        bare, darker = _guessed(frame, inner, size), _UNSURE
    else:
        bare, darker = cv2.GaussianBlur(ground[window].astype(np.float32), (0, 0), 1.0) + 1, _DARKER
    away = cv2.distanceTransform((~inner).astype(np.uint8), cv2.DIST_L2, 5)
    lower = np.zeros(inner.shape, bool)
    lower[round((rows[0] + rows[-1]) / 2) - window[0].start :] = True
    place = lower & ~inner & (away <= reach)
    around = place & (away > reach / 4)
    if not around.any():
        return nothing
    light, bare_light = frame.sum(axis=2), bare.sum(axis=2)
    ratio = light / bare_light
    gain = max(float(np.median(ratio[around])), 1e-3)
    ratio /= gain
    tint = np.abs(frame / light[..., None] - bare / bare_light[..., None]).max(axis=2)
    same = tint <= _TINT
    fringe = np.zeros_like(place)
    if ground is not None:
        others, fringe = _standing(ratio, tint, inner, size)
        place &= ~others
    rim = place & same & (ratio < darker + _RIM - _DARKER)
    core = place & same & (ratio < darker)
    side = max(round(size * _THIN), 1) | 1
    dark = (place & (ratio < _THIN_DARK)).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    thick = cv2.dilate(cv2.morphologyEx(dark, cv2.MORPH_OPEN, kernel), np.ones((3, 3), np.uint8))
    thin = (dark > 0) & (thick == 0)
    touching = away <= max(size * _THIN, 3)
    found = _hanging(core | thin, touching & lower)
    found = _hanging(rim | found, found)
    found = cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    shadow = nothing.copy()
    shadow[window] = ((found > 0) & lower | _hanging(fringe, touching)) & ~inner
    if ground is not None:
        free = ~inner & ~shadow[window]  # what only touches the shadow is something else
        if stays is not None:
            free &= ~_grown(stays[window])
        shadow[window] |= _missed(np.abs(frame / gain - bare).max(axis=2), inner, free)
    return shadow if stays is None else shadow & ~stays


def grown_down(mask: np.ndarray, share: float) -> np.ndarray:
    """A mask bool [H,W] drawn downward by a part of its height."""
    rows = np.nonzero(mask.any(axis=1))[0]
    if not rows.size or share <= 0:
        return mask
    kernel = np.zeros((2 * round((np.ptp(rows) + 1) * share) + 1, 1), np.uint8)
    kernel[: len(kernel) // 2 + 1] = 1
    return cv2.dilate(mask.astype(np.uint8), kernel).astype(bool)


def _missed(apart: np.ndarray, mask: np.ndarray, free: np.ndarray) -> np.ndarray:
    """What differs from the known ground and hangs on the thing: parts that its mask has missed.

    What goes on beyond the window, or is larger than the thing, is something else.

    Args:
        apart: float32 [h,w], grey levels of difference.
        mask: bool [h,w], the thing.
        free: bool [h,w], where parts may be.
    """
    parts = ((apart > _APART) & free).astype(np.uint8)
    parts = cv2.morphologyEx(parts, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(parts)
    kept = stats[:, cv2.CC_STAT_AREA] <= _LARGEST * np.count_nonzero(mask)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        kept[np.unique(edge)] = False
    beside = np.zeros(len(kept), bool)
    beside[np.unique(labels[cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0])] = 1
    kept &= beside
    kept[0] = False
    return kept[labels]


def _grown(mask: np.ndarray) -> np.ndarray:
    return cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0


def _hanging(parts: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """The connected parts that a seed lies in, or one beside."""
    count, labels = cv2.connectedComponents(parts.astype(np.uint8), connectivity=8)
    kept = np.zeros(count, bool)
    kept[np.unique(labels[seeds & parts])] = True
    kept[0] = False
    return kept[labels]


def _standing(
    ratio: np.ndarray, tint: np.ndarray, mask: np.ndarray, size: float
) -> tuple[np.ndarray, np.ndarray]:
    """What differs from the bare ground and is no shadow, both bool [H,W].

    First other things with a rim around them: they are large, go on beyond the window, or stand
    apart from the thing and are not thin. Then parts of the thing that its mask has missed.
    """
    odd = ~mask & ((tint > 2 * _TINT) | (ratio < _THIN_DARK) | (ratio > 1.05))
    side = max(round(size * _THIN), 2) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    odd = cv2.morphologyEx(odd.astype(np.uint8), cv2.MORPH_OPEN, kernel)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(odd)
    small = stats[:, cv2.CC_STAT_AREA] < _FRINGE * np.count_nonzero(mask)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        small[np.unique(edge)] = False
    near = cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0
    body = max(round(size / 14), 2) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (body, body))
    bodies = np.unique(labels[cv2.morphologyEx(odd, cv2.MORPH_OPEN, kernel) > 0])
    small[np.setdiff1d(bodies, np.unique(labels[near]))] = False
    small[0] = False
    rim = 2 * round(size / 12) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (rim, rim))
    others = ((odd > 0) & ~small[labels]).astype(np.uint8)
    return cv2.dilate(others, kernel) > 0, small[labels]


def _guessed(frame: np.ndarray, mask: np.ndarray, size: float) -> np.ndarray:
    """The bare ground, as the frame shows it farther from the thing: float32 [H,W,3]."""
    away = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    weight = (away > size / 6).astype(np.float32)
    total = cv2.GaussianBlur(frame * weight[..., None], (0, 0), size / 6)
    mass = cv2.GaussianBlur(weight, (0, 0), size / 6)
    middle = np.median(frame[weight > 0], axis=0) if weight.any() else np.full(3, 128, np.float32)
    return np.where((mass > 1e-4)[..., None], total / np.maximum(mass, 1e-4)[..., None], middle)
