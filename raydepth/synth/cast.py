"""Rays and where they meet the surfaces of a scene, in closed form."""

from __future__ import annotations

import math

import torch

from raydepth.synth.scene import Camera, Scene, Solid, Vector


def axes(camera: Camera) -> tuple[Vector, Vector, Vector]:
    """Returns the camera's right, up and forward unit vectors in world coordinates."""
    fx, fy, fz = (t - p for t, p in zip(camera.target, camera.position, strict=True))
    norm = math.sqrt(fx * fx + fy * fy + fz * fz)
    fx, fy, fz = fx / norm, fy / norm, fz / norm
    flat = math.hypot(fx, fz)
    right = (fz / flat, 0.0, -fx / flat)
    up = (-fx * fy / flat, flat, -fz * fy / flat)
    return right, up, (fx, fy, fz)


def camera_rays(camera: Camera, size: tuple[int, int], supersample: int) -> tuple[torch.Tensor, Vector]:
    """Unit ray directions [3, P] through the centres of the (sub)pixels, and the optical axis."""
    height, width = size[0] * supersample, size[1] * supersample
    right, up, forward = axes(camera)
    across = (
        ((torch.arange(width) + 0.5 - width / 2) / (height * camera.focal))[None]
        .expand(height, width)
        .reshape(-1)
    )
    upward = (
        ((height / 2 - 0.5 - torch.arange(height)) / (height * camera.focal))[:, None]
        .expand(height, width)
        .reshape(-1)
    )
    rays = torch.stack([right[i] * across + up[i] * upward + forward[i] for i in range(3)])
    return rays / rays.norm(dim=0), forward


def first_hits(scene: Scene, origin: Vector, directions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Distance [P] along each ray to the first surface, and that surface's index (planes, solids, -1 = nothing)."""
    best = torch.full_like(directions[0], 1e4)
    which = torch.full(best.shape, -1)
    start = torch.tensor(origin)[:, None]
    for index, plane in enumerate(scene.planes):
        slope = sum(n * d for n, d in zip(plane.normal, directions, strict=True) if n)
        height = plane.offset - sum(n * o for n, o in zip(plane.normal, origin, strict=True))
        distance = height / torch.where(slope < -1e-6, slope, -1e-6)
        closer = distance < best
        best = torch.where(closer, distance, best)
        which = torch.where(closer, index, which)
    for index, solid in enumerate(scene.solids):
        rays, distance = hit_solid(solid, start, directions)
        closer = distance < best[rays]
        best[rays[closer]] = distance[closer]
        which[rays[closer]] = len(scene.planes) + index
    return best, which


def _turn(solid: Solid, vectors: torch.Tensor) -> torch.Tensor:
    """World directions [3, P] in the solid's own axes."""
    cos, sin = math.cos(solid.yaw), math.sin(solid.yaw)
    return torch.stack([cos * vectors[0] - sin * vectors[2], vectors[1], sin * vectors[0] + cos * vectors[2]])


def hit_solid(
    solid: Solid, origin: torch.Tensor, directions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of the rays that hit the solid, and their distances; rays that miss its bounding sphere are skipped early.

    Args:
        solid: What to hit.
        origin: [3, P], or [3, 1] where all rays start in one point.
        directions: Unit vectors [3, P].
    """
    offset = origin - torch.tensor(solid.centre)[:, None]
    along = (offset * directions).sum(0)
    square = (offset * offset).sum(0)
    bound = (
        solid.half[0]
        if len(set(solid.half)) == 1 and solid.kind == "sphere"
        else math.dist(solid.half, (0, 0, 0))
    )
    rays = torch.nonzero((square - along * along < bound * bound) & (along < bound)).squeeze(1)
    o = _turn(solid, offset if offset.shape[1] == 1 else offset[:, rays])
    d = _turn(solid, directions[:, rays])
    hx, hy, hz = solid.half
    if solid.kind == "sphere":
        scale = torch.tensor([[1 / hx], [1 / hy], [1 / hz]])
        o, d = o * scale, d * scale
        a, b, c = (d * d).sum(0), (o * d).sum(0), (o * o).sum(0) - 1
        root = b * b - a * c
        distance = (-b - root.clamp(min=0).sqrt()) / a
        good = root > 0
    elif solid.kind == "box":
        near, far = _slabs(o, d, (hx, hy, hz))
        distance, good = near, near < far
    elif solid.kind == "cylinder":
        a = (d[0] * d[0] + d[2] * d[2]).clamp(min=1e-9)
        b = o[0] * d[0] + o[2] * d[2]
        root = b * b - a * (o[0] * o[0] + o[2] * o[2] - hx * hx)
        wide = root.clamp(min=0).sqrt()
        low, high = _slabs(o[1:2], d[1:2], (hy,))
        near, far = torch.maximum((-b - wide) / a, low), torch.minimum((-b + wide) / a, high)
        distance, good = near, (root > 0) & (near < far)
    else:
        distance = -o[2] / torch.where(d[2].abs() < 1e-6, 1e-6, d[2])
        x, y = (o[0] + distance * d[0]) / hx, (o[1] + distance * d[1]) / hy
        # A rounded, waisted outline, so that cards read as people, bushes and signs.
        waist = 1 - 0.25 * torch.cos(3.1 * y + 6.3 * solid.yaw) ** 2
        good = (x / waist).abs() ** 4 + y.abs() ** 4 < 1
    good = good & (distance > 1e-3)
    return rays[good], distance[good]


def _slabs(o: torch.Tensor, d: torch.Tensor, half: tuple[float, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Entry and exit distances of the ray in an axis-aligned slab product (Kay and Kajiya 1986)."""
    inverse = 1 / torch.where(d.abs() < 1e-7, 1e-7, d)
    reach = torch.tensor(half)[:, None] * inverse.abs()
    middle = -o * inverse
    return (middle - reach).amax(0), (middle + reach).amin(0)


def solid_surface(solid: Solid, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Outward unit normals [3, P] in world axes, local points [3, P] and local normals [3, P] of points on the solid."""
    p = _turn(solid, points - torch.tensor(solid.centre)[:, None])
    half = torch.tensor(solid.half)[:, None]
    if solid.kind == "sphere":
        local = p / (half * half)
    elif solid.kind == "box":
        face = (p.abs() / half).argmax(0)
        local = torch.nn.functional.one_hot(face, 3).T * p.sign()
    elif solid.kind == "cylinder":
        cap = p[1].abs() > half[1] - 1e-3 * solid.half[1]
        flat = torch.zeros_like(p[0])
        local = torch.where(cap, torch.stack([flat, p[1].sign(), flat]), torch.stack([p[0], flat, p[2]]))
    else:
        local = torch.stack([torch.zeros_like(p[0]), torch.zeros_like(p[0]), -torch.ones_like(p[0])])
    local = local / local.norm(dim=0).clamp(min=1e-9)
    cos, sin = math.cos(solid.yaw), math.sin(solid.yaw)
    world = torch.stack([cos * local[0] + sin * local[2], local[1], cos * local[2] - sin * local[0]])
    return world, p, local
