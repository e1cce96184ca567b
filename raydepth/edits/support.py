"""The support plane of an inserted object, which never covers the object; see ``insert``."""

import numpy as np

from raydepth.edits.place import Placement

_REACH = 0.5
"""Half the depth of an object's ground contact on the picture, as a part of the object's width: a
round one seen from straight above."""
_SIDE = 1.0
"""Where the surface is looked for, to either side of the contact, as a part of the object's
width."""
_OFF = 0.02
"""Inverse depth by which a pixel may miss the surface, at least."""
_SEEN = 0.08
"""Part of the pixels around the contact that must lie on the surface behind the object's depth, and
before it."""
_TRIES = 48


def support_plane(inv_depth: np.ndarray, at: Placement, object_inv_depth: float) -> float | None:
    """Inverse depth of the support plane under the front of an object's ground contact.

    None where the object does not stand on a plane. An object has one inverse depth, that of its
    middle, but its ground contact reaches nearer. Seen from above, the ground before that middle
    would cover the contact. That cannot be, since a support plane lies under its object.

    A plane's inverse depth is affine in picture coordinates (pinhole camera). So the plane is the
    affine map that most pixels around the contact lie on. It must reach the object's depth at most
    half the object's width above the lower edge: a table before the object rises to its depth
    elsewhere, a wall nowhere. It is found by random sample consensus (Fischler and Bolles 1981)
    with a fixed seed, so a frame always gives the same. What covers the object must be nearer than
    this.

    Args:
        inv_depth: float32 [H,W] of the scene.
        at: where the object stands.
        object_inv_depth: its inverse depth.
    """
    x, y = at.contact
    low, high = int(y - 2 * _REACH * at.width), int(y + _REACH * at.width) + 1
    left, right = int(x - _SIDE * at.width), int(x + _SIDE * at.width) + 1
    window = slice(max(low, 0), max(high, 0)), slice(max(left, 0), max(right, 0))
    part = inv_depth[window]
    if part.size < 3:
        return None
    rows, columns = np.mgrid[window][:, : part.shape[0], : part.shape[1]].reshape(2, -1) + 0.5
    terms = np.stack([np.ones(part.size), (columns - x) / at.width, (rows - y) / at.width], axis=-1)
    depths = part.ravel().astype(np.float64)
    trials = np.random.default_rng(0).integers(0, part.size, (_TRIES, 3))
    solvable = np.abs(np.linalg.det(terms[trials])) > 1e-3
    planes = np.linalg.solve(terms[trials[solvable]], depths[trials[solvable]][..., None])[..., 0]
    contact, rise = planes[:, 0], planes[:, 2]
    # The plane reaches the object's depth within the ground contact.
    planes = planes[(contact >= object_inv_depth) & (contact - _REACH * rise <= object_inv_depth)]
    if not len(planes):
        return None
    on = np.abs(depths - planes @ terms.T) < _OFF
    best = on[on.sum(axis=1).argmax()]
    plane = np.linalg.lstsq(terms[best], depths[best], rcond=None)[0]
    best = np.abs(depths - terms @ plane) < _OFF
    # A plane all at the object's own depth is something that the object stands close behind.
    behind, before = depths <= object_inv_depth - _OFF, depths > object_inv_depth
    if min((best & behind).mean(), (best & before).mean()) < _SEEN:
        return None
    return float(plane[0]) + _OFF
