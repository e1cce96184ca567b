"""Triangle meshes of patches and solids, with normals and texture coordinates."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from raydepth.synth.scene import Material, Patch, Solid

_AROUND = 96
"""Corners of a round solid's horizontal sections."""


@dataclasses.dataclass(frozen=True)
class Mesh:
    """Triangles in the world.

    They are `points` and unit `normals` float32 [V, 3], `uv` float32 [V, 2] in tiles, and `faces`
    uint32 [F, 3].
    """

    points: np.ndarray
    normals: np.ndarray
    uv: np.ndarray
    faces: np.ndarray


def patch_mesh(patch: Patch) -> Mesh:
    """Two triangles."""
    normal = np.eye(3)["xyz".index(patch.facing)]
    across, along = (np.eye(3)[axis] for axis in range(3) if axis != "xyz".index(patch.facing))
    if patch.facing == "x":
        across, along = along, across  # v runs upwards on every wall
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * patch.half
    points = np.array(patch.centre) + corners[:, :1] * across + corners[:, 1:] * along
    return _mesh(
        points, np.tile(normal, (4, 1)), _tiled(patch.material, corners), [(0, 1, 2), (0, 2, 3)]
    )


def solid_mesh(solid: Solid) -> Mesh:
    """The solid's surface in the world, closed except for cards."""
    if solid.kind == "box":
        points, normals, uv, faces = _box(solid)
    elif solid.kind == "card":
        points, normals, uv, faces = _card(solid)
    else:
        points, normals, uv, faces = _turned(solid)
    cos, sin = math.cos(solid.yaw), math.sin(solid.yaw)
    turn = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    return _mesh(points @ turn.T + np.array(solid.centre), normals @ turn.T, uv, faces)


def _mesh(points: np.ndarray, normals: np.ndarray, uv: np.ndarray, faces: Any) -> Mesh:
    return Mesh(
        points.astype(np.float32),
        normals.astype(np.float32),
        uv.astype(np.float32),
        np.asarray(faces, np.uint32).reshape(-1, 3),
    )


def _tiled(material: Material, metres: np.ndarray) -> np.ndarray:
    return metres * material.tiles_per_metre + np.array(material.shift)


def _box(solid: Solid) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    half = np.array(solid.half)
    square = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    points: list[np.ndarray] = []
    normals, uv, faces = [], [], []
    for axis in range(3):
        across, along = ((2, 1), (0, 2), (0, 1))[axis]
        for side in (-1.0, 1.0):
            corner = np.zeros((4, 3))
            corner[:, axis], corner[:, across], corner[:, along] = side, square[:, 0], square[:, 1]
            faces += [
                (len(points) * 4 + i, len(points) * 4 + j, len(points) * 4 + k)
                for i, j, k in ((0, 1, 2), (0, 2, 3))
            ]
            points.append(corner * half)
            normals.append(np.tile(side * np.eye(3)[axis], (4, 1)))
            uv.append(_tiled(solid.material, (corner * half)[:, [across, along]]))
    return np.concatenate(points), np.concatenate(normals), np.concatenate(uv), np.array(faces)


def _card(solid: Solid) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A fan around the middle; the outline is a waisted figure, a rounded sign or a bush."""
    angle = np.linspace(0, 2 * math.pi, 240, endpoint=False)
    power = (4.0, 10.0, 2.5)[solid.material.variant % 3]
    radius = (np.abs(np.cos(angle)) ** power + np.abs(np.sin(angle)) ** power) ** (-1 / power)
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    if solid.material.variant % 3 == 0:
        x = x * (1 - 0.25 * np.cos(3.1 * y + 6.3 * solid.material.shift[0]) ** 2)
    elif solid.material.variant % 3 == 2:
        wobble = (
            0.9
            + 0.07 * np.cos(9 * angle + 6.3 * solid.material.shift[0])
            + 0.03 * np.cos(21 * angle)
        )
        x, y = x * wobble, np.where(y > 0, y * wobble, y)
    flat = np.stack([x * solid.half[0], y * solid.half[1]], 1)
    flat = np.concatenate([np.zeros((1, 2)), flat])
    points = np.column_stack([flat, np.zeros(len(flat))])
    ring = np.arange(len(angle))
    faces = np.stack([np.zeros_like(ring), ring + 1, (ring + 1) % len(angle) + 1], 1)
    return points, np.tile([0.0, 0.0, -1.0], (len(points), 1)), _tiled(solid.material, flat), faces


def _turned(solid: Solid) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Surfaces of revolution: strips of a profile (radius, height), turned about the vertical.

    Each strip is smooth in itself.
    """
    bottom, top = [(0.0, -1.0), (1.0, -1.0)], [(1.0, 1.0), (0.0, 1.0)]
    ticks = np.linspace(-1, 1, 41)
    profiles: dict[str, list[Any]] = {
        "sphere": [np.stack([np.cos(ticks * math.pi / 2), np.sin(ticks * math.pi / 2)], 1)],
        "cylinder": [bottom, [(1.0, -1.0), (1.0, 1.0)], top],
        "cone": [bottom, np.stack([(1 - ticks) / 2, ticks], 1)],
        "vase": [
            [(0.0, -1.0), (0.55, -1.0)],
            np.stack(
                [
                    0.72
                    + 0.28 * np.sin(2.6 * ticks + 0.4)
                    - 0.17 * (ticks < -0.9) * (-ticks - 0.9) * 10,
                    ticks,
                ],
                1,
            ),
            [(0.72 + 0.28 * math.sin(3.0), 1.0), (0.0, 1.0)],
        ],
    }
    half = np.array(solid.half)
    wide = (half[0] + half[2]) / 2
    # Whole tiles around, so that the texture has no seam.
    around = max(1, round(2 * math.pi * wide * solid.material.tiles_per_metre))
    angle = np.linspace(0, 2 * math.pi, _AROUND + 1)
    ring = np.stack([np.cos(angle), np.sin(angle)], 1)
    points, normals, uv, faces, first = [], [], [], [], 0
    for strip in profiles[solid.kind]:
        profile = np.asarray(strip, float)
        steps = np.diff(profile * [wide, half[1]], axis=0)
        length = np.concatenate([[0.0], np.cumsum(np.hypot(*steps.T))])
        slope = np.gradient(profile * [wide, half[1]], axis=0)
        outward = np.stack([slope[:, 1], -slope[:, 0]], 1)
        unit = np.stack(
            [
                profile[:, :1] * ring[:, 0],
                np.repeat(profile[:, 1:], _AROUND + 1, 1),
                profile[:, :1] * ring[:, 1],
            ],
            -1,
        )
        normal = np.stack(
            [
                outward[:, :1] * ring[:, 0] * wide / half[0],
                np.repeat(outward[:, 1:], _AROUND + 1, 1),
                outward[:, :1] * ring[:, 1] * wide / half[2],
            ],
            -1,
        )
        points.append((unit * half).reshape(-1, 3))
        normals.append(
            (normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)).reshape(
                -1, 3
            )
        )
        u = np.broadcast_to(angle / (2 * math.pi) * around, (len(profile), _AROUND + 1))
        v = np.repeat(length[:, None] * solid.material.tiles_per_metre, _AROUND + 1, 1)
        uv.append(np.stack([u, v], -1).reshape(-1, 2) + np.array(solid.material.shift))
        row, column = np.meshgrid(np.arange(len(profile) - 1), np.arange(_AROUND), indexing="ij")
        corner = (first + row * (_AROUND + 1) + column).reshape(-1)
        faces += [np.stack([corner, corner + _AROUND + 1, corner + 1], 1)]
        faces += [np.stack([corner + 1, corner + _AROUND + 1, corner + _AROUND + 2], 1)]
        first += len(profile) * (_AROUND + 1)
    return (
        np.concatenate(points),
        np.concatenate(normals),
        np.concatenate(uv),
        np.concatenate(faces),
    )
