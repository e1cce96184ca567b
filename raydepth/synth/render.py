"""A small ray caster in torch: colour, exact depth and layer ids of a synthetic scene."""

from __future__ import annotations

import dataclasses

import torch

from raydepth.synth.cast import camera_rays, first_hits, hit_solid, solid_surface
from raydepth.synth.scene import FIRST_SOLID, Camera, Light, Material, Plane, Scene, Solid
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


def render(
    scene: Scene,
    cameras: list[Camera],
    size: tuple[int, int],
    *,
    supersample: int = 2,
    shadow_samples: int = 4,
) -> Picture:
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
        directions, forward = camera_rays(camera, size, 1)
        distance, surface = first_hits(scene, camera.position, directions)
        along = directions[0] * forward[0] + directions[1] * forward[1] + directions[2] * forward[2]
        depths.append((distance * along).clamp(max=FAR).view(size))
        ids = torch.tensor(
            [p.layer for p in scene.planes] + [FIRST_SOLID + i for i in range(len(scene.solids))] + [-1]
        )
        layers.append(ids[surface].view(size))
        if supersample > 1:
            directions, forward = camera_rays(camera, size, supersample)
            distance, surface = first_hits(scene, camera.position, directions)
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


def _albedo(
    material: Material, p: torch.Tensor, normal: torch.Tensor, footprint: torch.Tensor
) -> torch.Tensor:
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


def _shade(
    scene: Scene,
    camera: Camera,
    directions: torch.Tensor,
    distance: torch.Tensor,
    surface: torch.Tensor,
    pixel: float,
    size: tuple[int, int],
    shadow_samples: int,
) -> torch.Tensor:
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
            world, local, axis = solid_surface(body, hit)
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


def _visibility(
    scene: Scene,
    lamp: Light,
    raised: torch.Tensor,
    lambert: torch.Tensor,
    size: tuple[int, int],
    shadow_samples: int,
) -> torch.Tensor:
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
        radius = (
            lamp.radius * ((number + 0.5) / (4 * shadow_samples)).sqrt() if shadow_samples > 1 else number
        )
        angle = number * 2.399963
        aim = (
            torch.stack(
                [
                    lamp.position[0] + radius * torch.cos(angle),
                    torch.full_like(angle, lamp.position[1]),
                    lamp.position[2] + radius * torch.sin(angle),
                ]
            )
            - starts
        )
        reach = aim.norm(dim=0)
        aim = aim / reach
        clear = torch.ones_like(reach)
        for solid in scene.solids:
            rays, distance = hit_solid(solid, starts, aim)
            clear[rays[distance < reach[rays]]] = 0.0
        total[lit] += clear / shadow_samples
    return total
