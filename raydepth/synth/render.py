"""A small ray caster in torch: colour, exact depth and layer ids of a synthetic scene."""

from __future__ import annotations

import dataclasses
import math

import torch

from raydepth.synth.scene import FIRST_SOLID, Camera, Light, Material, Plane, Scene, Solid, Vector
from raydepth.synth.textures import sample, texture

FAR = 65.0
"""Depth in metres of what no surface covers, and the largest depth returned (16-bit millimetres hold 65.535 m)."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """What the ray caster returns for N views.

    Attributes:
        rgb: sRGB, float32 [N, H, W, 3] in 0..1.
        depth: Distance along the optical axis at the pixel centres in metres, float32 [N, H, W].
        layer: Which surface is at the pixel centres, int64 [N, H, W]: FLOOR, WALL or FIRST_SOLID + index of the solid.
    """

    rgb: torch.Tensor
    depth: torch.Tensor
    layer: torch.Tensor


def render(scene: Scene, cameras: list[Camera], size: tuple[int, int], *, supersample: int = 2, shadow_samples: int = 4) -> Picture:
    """Renders a scene from several cameras.

    Primary rays, shadow rays to points spread over the lamps, Lambert and Blinn-Phong terms, and a hemisphere light
    dimmed by the closed-form occlusion of every solid's inscribed sphere.

    Args:
        scene: What is there.
        cameras: One view each.
        size: (height, width) in pixels.
        supersample: Colour rays along one side of a pixel. Depth and layer always come from one ray in the pixel's centre.
        shadow_samples: Shadow rays for each colour ray and lamp; 1 gives hard shadows.

    Returns:
        Colour, depth and layer of every view.
    """
    rgbs, depths, layers = [], [], []
    for camera in cameras:
        directions, forward = _rays(camera, size, 1)
        distance, surface = _nearest(scene, camera.position, directions)
        along = directions[0] * forward[0] + directions[1] * forward[1] + directions[2] * forward[2]
        depths.append((distance * along).clamp(max=FAR).view(size))
        ids = torch.tensor([p.layer for p in scene.planes] + [FIRST_SOLID + i for i in range(len(scene.solids))] + [-1])
        layers.append(ids[surface].view(size))
        if supersample > 1:
            directions, forward = _rays(camera, size, supersample)
            distance, surface = _nearest(scene, camera.position, directions)
        pixel = 1.0 / (camera.focal * size[0] * supersample)
        fine = (size[0] * supersample, size[1] * supersample)
        linear = _shade(scene, camera, directions, distance, surface, pixel, fine, shadow_samples)
        coarse = torch.nn.functional.avg_pool2d(_film(linear).view(1, 3, *fine), supersample)
        rgbs.append(coarse[0].permute(1, 2, 0))
    return Picture(torch.stack(rgbs), torch.stack(depths), torch.stack(layers))


def _film(linear: torch.Tensor) -> torch.Tensor:
    """Linear light to sRGB with a soft shoulder instead of clipping."""
    shoulder = linear * (1 + linear / 9.0) / (1 + linear * 0.45)
    return shoulder.clamp(0, 1) ** (1 / 2.2)


def axes(camera: Camera) -> tuple[Vector, Vector, Vector]:
    """Returns the camera's right, up and forward unit vectors in world coordinates."""
    fx, fy, fz = (t - p for t, p in zip(camera.target, camera.position, strict=True))
    norm = math.sqrt(fx * fx + fy * fy + fz * fz)
    fx, fy, fz = fx / norm, fy / norm, fz / norm
    flat = math.hypot(fx, fz)
    right = (fz / flat, 0.0, -fx / flat)
    up = (-fx * fy / flat, flat, -fz * fy / flat)
    return right, up, (fx, fy, fz)


def _rays(camera: Camera, size: tuple[int, int], supersample: int) -> tuple[torch.Tensor, Vector]:
    """Unit ray directions [3, P] through the centres of the (sub)pixels, and the optical axis."""
    height, width = size[0] * supersample, size[1] * supersample
    right, up, forward = axes(camera)
    across = ((torch.arange(width) + 0.5 - width / 2) / (height * camera.focal))[None].expand(height, width).reshape(-1)
    upward = ((height / 2 - 0.5 - torch.arange(height)) / (height * camera.focal))[:, None].expand(height, width).reshape(-1)
    rays = torch.stack([right[i] * across + up[i] * upward + forward[i] for i in range(3)])
    return rays / rays.norm(dim=0), forward


def _nearest(scene: Scene, origin: Vector, directions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
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
        rays, distance = _hit(solid, start, directions)
        closer = distance < best[rays]
        best[rays[closer]] = distance[closer]
        which[rays[closer]] = len(scene.planes) + index
    return best, which


def _turn(solid: Solid, vectors: torch.Tensor) -> torch.Tensor:
    """World directions [3, P] in the solid's own axes."""
    cos, sin = math.cos(solid.yaw), math.sin(solid.yaw)
    return torch.stack([cos * vectors[0] - sin * vectors[2], vectors[1], sin * vectors[0] + cos * vectors[2]])


def _hit(solid: Solid, origin: torch.Tensor, directions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of the rays that hit the solid, and their distances; rays that miss its bounding sphere are skipped early.

    Args:
        solid: What to hit.
        origin: [3, P], or [3, 1] where all rays start in one point.
        directions: Unit vectors [3, P].
    """
    offset = origin - torch.tensor(solid.centre)[:, None]
    along = (offset * directions).sum(0)
    square = (offset * offset).sum(0)
    bound = solid.half[0] if len(set(solid.half)) == 1 and solid.kind == "sphere" else math.dist(solid.half, (0, 0, 0))
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


def _surface(solid: Solid, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
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


def _albedo(material: Material, p: torch.Tensor, normal: torch.Tensor, footprint: torch.Tensor) -> torch.Tensor:
    """Linear RGB [3, P] by projecting the texture along the axes, blended by the normal where the surface is curved."""
    stack = texture(material.kind, material.variant)
    scale = material.tiles_per_metre
    weights = normal.abs() ** 6
    weights = weights / weights.sum(0)
    value = torch.zeros(stack.shape[0], p.shape[1])
    for axis, (first, second) in enumerate(((2, 1), (0, 2), (0, 1))):
        rays = torch.nonzero(weights[axis] > 0.01).squeeze(1)
        if len(rays):
            u, v = p[first, rays] * scale + material.shift[0], material.shift[1] - p[second, rays] * scale
            value[:, rays] += weights[axis, rays] * sample(stack, u, v, footprint[rays] * scale)
    dark, light = torch.tensor(material.dark)[:, None], torch.tensor(material.light)[:, None]
    return dark + (light - dark) * value if len(value) == 1 else value**2.2 * light


def _shade(scene: Scene, camera: Camera, directions: torch.Tensor, distance: torch.Tensor, surface: torch.Tensor,
           pixel: float, size: tuple[int, int], shadow_samples: int) -> torch.Tensor:
    """Linear RGB [3, P] of the rays' first hits."""
    points = torch.tensor(camera.position)[:, None] + directions * distance
    normals = torch.zeros_like(points)
    albedo = torch.ones_like(points) * torch.tensor(scene.sky)[:, None]
    gloss = torch.zeros_like(distance)
    bodies: list[Plane | Solid] = [*scene.planes, *scene.solids]
    for index, body in enumerate(bodies):
        rays = torch.nonzero(surface == index).squeeze(1)
        if not len(rays):
            continue
        hit = points[:, rays]
        if isinstance(body, Plane):
            world = torch.tensor(body.normal)[:, None].expand_as(hit)
            local, axis = hit, world
        else:
            world, local, axis = _surface(body, hit)
        world = torch.where((world * directions[:, rays]).sum(0) > 0, -world, world)
        normals[:, rays] = world
        facing = (world * directions[:, rays]).sum(0).abs().clamp(min=0.02)
        footprint = distance[rays] * pixel / facing.sqrt()
        albedo[:, rays] = _albedo(body.material, local, axis, footprint)
        gloss[rays] = body.material.gloss

    upness = 0.5 + 0.5 * normals[1]
    sky, ground = torch.tensor(scene.sky)[:, None], torch.tensor(scene.ground)[:, None]
    light = (ground + (sky - ground) * upness) * _openness(scene, points, normals)
    shine = torch.zeros_like(light)
    raised = points + normals * 2e-3
    for lamp in scene.lights:
        towards = torch.tensor(lamp.position)[:, None] - points
        towards = towards / towards.norm(dim=0)
        lambert = (normals * towards).sum(0).clamp(min=0)
        visible = _visibility(scene, lamp, raised, lambert, size, shadow_samples)
        colour = torch.tensor(lamp.colour)[:, None]
        light = light + colour * (lambert * visible)
        middle = towards - directions
        middle = middle / middle.norm(dim=0)
        shine = shine + colour * (visible * gloss * (normals * middle).sum(0).clamp(min=0) ** 40)
    return torch.where(surface < 0, albedo, albedo * light * 1.25 + shine)


def _openness(scene: Scene, points: torch.Tensor, normals: torch.Tensor) -> torch.Tensor:
    """Share [P] of the hemisphere that the solids leave open: each solid counts as a sphere (Quilez, sphere occlusion)."""
    share = torch.ones_like(points[0])
    for solid in scene.solids:
        if solid.kind == "card":
            continue
        offset = torch.tensor(solid.centre)[:, None] - points
        square = (offset * offset).sum(0)
        radius = min(solid.half[0], solid.half[1]) * 0.9
        blocked = (normals * offset).sum(0).clamp(min=0) * square.rsqrt() * (radius * radius / square)
        share = share * (1 - 0.75 * torch.where(square > radius * radius, blocked, 0.0).clamp(0, 1))
    return share


def _visibility(scene: Scene, lamp: Light, raised: torch.Tensor, lambert: torch.Tensor, size: tuple[int, int],
                shadow_samples: int) -> torch.Tensor:
    """Share [P] of the lamp's disc that each point sees; the 2 x 2 subpixels of a pixel look at different points of it."""
    lit = torch.nonzero(lambert > 0).squeeze(1)
    total = torch.zeros_like(lambert)
    rows = torch.arange(size[0])[:, None].expand(size).reshape(-1)[lit]
    columns = torch.arange(size[1])[None].expand(size).reshape(-1)[lit]
    corner = (rows % 2) * 2 + columns % 2 if shadow_samples > 1 else torch.zeros_like(lit)
    starts = raised[:, lit]
    for index in range(shadow_samples):
        number = (index * 4 + corner).float()
        # A sunflower spiral spreads the points evenly over the disc (Vogel 1979).
        radius = lamp.radius * ((number + 0.5) / (4 * shadow_samples)).sqrt() if shadow_samples > 1 else number
        angle = number * 2.399963
        aim = torch.stack([lamp.position[0] + radius * torch.cos(angle), torch.full_like(angle, lamp.position[1]),
                           lamp.position[2] + radius * torch.sin(angle)]) - starts
        reach = aim.norm(dim=0)
        aim = aim / reach
        clear = torch.ones_like(reach)
        for solid in scene.solids:
            rays, distance = _hit(solid, starts, aim)
            clear[rays[distance < reach[rays]]] = 0.0
        total[lit] += clear / shadow_samples
    return total
