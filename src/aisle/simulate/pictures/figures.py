"""Figures: drawn models with a known pose, and garments on them by a known map, for try-on.

A figure stands on the canvas of ``marks``; ``dress`` says where each control point of a garment belongs on it and carries
every point of the flat garment there, triangle by triangle, so that a warp can be checked against the truth.

Legend: J joints, T triangles, M points, S pixels a side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import cos, radians, sin
from typing import Any, NamedTuple

import numpy as np

from aisle.core.draws import key_of, mixed, uniform
from aisle.core.errors import SettingError
from aisle.core.lists import Array
from aisle.simulate.pictures.garments import LEGS, Garment, Point
from aisle.simulate.pictures.marks import CANVAS, Marks, Paint, coverage, outlines, oval, path, stroked

SKINS = ("#f3d3b8", "#e2b48c", "#c68d5f", "#97633c", "#6b4428", "#4c3020")
HAIRS = ("#2b2320", "#5a3b22", "#a2743c", "#8c8c8c", "#c9a55a")
UNDERWEAR = "#e9e4dc"
FLAT_LEG = 88.0
"""The length of a garment's leg, from the crotch, that reaches the ankle."""

LEG_THICKNESS = 1.35
"""Of a leg, in thicknesses of an arm."""

JOINTS = (
    "head", "neck", "shoulder_left", "elbow_left", "wrist_left", "shoulder_right", "elbow_right", "wrist_right",
    "hip_left", "knee_left", "ankle_left", "hip_right", "knee_right", "ankle_right",
)  # fmt: skip
PARTS = ("background", "leg_left", "leg_right", "torso", "arm_left", "arm_right", "head", "hair", "underwear")
"""Values of the body parse, in the order in which they are painted."""


class Pose(NamedTuple):
    """Half widths and lengths on the canvas; angles in degrees below level, of either arm, and from upright, of the legs."""

    shoulder: float = 21.0
    hip: float = 16.0
    torso: float = 52.0
    arm: float = 56.0
    leg: float = 76.0
    thickness: float = 11.0
    arm_left: float = 66.0
    arm_right: float = 66.0
    stance: float = 5.0
    skin: int = 1
    hair: int = 1


@dataclass(frozen=True, eq=False)
class Figure:
    """``joints``: name -> place on the canvas."""

    pose: Pose
    joints: Mapping[str, Point]

    @property
    def marks(self) -> Marks:
        """The figure in underwear."""
        return tuple(mark for marks in self.parts.values() for mark in marks)

    @cached_property
    def parts(self) -> dict[str, Marks]:
        """Marks of each part of PARTS but the background."""
        j, pose = self.joints, self.pose
        skin = SKINS[pose.skin]
        limb = Paint("", skin, pose.thickness)
        parts: dict[str, Marks] = {}
        for side in ("left", "right"):
            parts[f"leg_{side}"] = _line(
                Paint("", skin, pose.thickness * LEG_THICKNESS), *(j[f"{n}_{side}"] for n in ("hip", "knee", "ankle"))
            )
        parts["torso"] = path(_trunk(j, pose, 0.0, 1.0), Paint(skin)) + _line(limb, j["neck"], j["head"])
        for side in ("left", "right"):
            parts[f"arm_{side}"] = _line(limb, *(j[f"{n}_{side}"] for n in ("shoulder", "elbow", "wrist")))
        x, y = j["head"]
        parts["head"] = oval(x, y, 10.5, 13, Paint(skin))
        parts["hair"] = path(
            f"M{x - 11:.1f} {y + 3:.1f} Q{x - 14:.1f} {y - 17:.1f} {x:.1f} {y - 16:.1f} Q{x + 14:.1f} {y - 17:.1f} {x + 11:.1f} "
            f"{y + 3:.1f} Q{x + 7:.1f} {y - 8:.1f} {x - 3:.1f} {y - 8:.1f} Q{x - 9:.1f} {y - 6:.1f} {x - 11:.1f} {y + 3:.1f}Z",
            Paint(HAIRS[pose.hair]),
        )
        parts["underwear"] = path(_trunk(j, pose, 0.22, 0.5), Paint(UNDERWEAR)) + path(
            _trunk(j, pose, 0.82, 1.0), Paint(UNDERWEAR)
        )
        return parts

    def joint_points(self) -> Array:
        """float32[J, 2] in [0, 1], in the order of JOINTS."""
        return (np.array([self.joints[name] for name in JOINTS]) / CANVAS).astype(np.float32)

    def parse(self, size: int) -> Array:
        """uint8[S, S]: index into PARTS of what is seen at each pixel."""
        seen = np.zeros((size, size), np.uint8)
        for part, marks in self.parts.items():
            seen[covered(marks, size) > 0.5] = PARTS.index(part)
        return seen


def figure(pose: Pose | None = None) -> Figure:
    """The figure in a pose.  Raises SettingError for a skin or hair that there is not."""
    pose = pose or Pose()
    if not (0 <= pose.skin < len(SKINS) and 0 <= pose.hair < len(HAIRS)):
        raise SettingError(f"skin {pose.skin} and hair {pose.hair}: give below {len(SKINS)} and below {len(HAIRS)}")
    middle, top = CANVAS / 2, 46.0
    joints: dict[str, Point] = {"head": (middle, top - 21), "neck": (middle, top - 4)}
    for side, sign in (("left", -1.0), ("right", 1.0)):
        shoulder = (middle + sign * pose.shoulder, top + 4)
        angle = radians(pose.arm_left if side == "left" else pose.arm_right)
        hip = (middle + sign * pose.hip * 0.62, top + pose.torso)
        lean = radians(pose.stance)
        joints[f"shoulder_{side}"] = shoulder
        for name, share in (("elbow", 0.5), ("wrist", 1.0)):
            along = share * pose.arm
            joints[f"{name}_{side}"] = (shoulder[0] + sign * along * cos(angle), shoulder[1] + along * sin(angle))
        joints[f"hip_{side}"] = hip
        for name, share in (("knee", 0.5), ("ankle", 1.0)):
            along = share * pose.leg
            joints[f"{name}_{side}"] = (hip[0] + sign * along * sin(lean), hip[1] + along * cos(lean))
    return Figure(pose, joints)


def figures(count: int, seed: int = 0) -> list[Figure]:
    """``count`` different figures in different poses; the first m of n are the same for every n >= m."""
    made = []
    for n in range(count):
        key = mixed(seed, key_of("figure"), n)
        draw = [float(uniform(key, place + 1)[0]) for place in range(11)]
        low = Pose(18.5, 13.5, 49.0, 52.0, 71.0, 9.0, 20.0, 20.0, 2.0, 0, 0)
        high = Pose(24.0, 19.0, 55.0, 60.0, 80.0, 13.0, 82.0, 82.0, 11.0, len(SKINS), len(HAIRS))
        values: dict[str, Any] = {
            name: a + u * (b - a) for name, a, b, u in zip(Pose._fields, low, high, draw, strict=True)
        }
        whole = {name: int(values[name]) for name in ("skin", "hair")}
        made.append(figure(Pose()._replace(**values)._replace(**whole)))
    return made


@dataclass(frozen=True, eq=False)
class Dressing:
    """
    points   control point -> its place on the figure
    source   float64[T, 3, 2]  triangles of the flat garment
    target   float64[T, 3, 2]  where each lies on the figure; later ones lie over earlier ones
    """

    points: Mapping[str, Point]
    source: Array
    target: Array

    def carried(self, xy: Array) -> Array:
        """float64[M, 2]: where points of the flat garment come to lie; NaN off the garment's triangles."""
        out = np.full(xy.shape, np.nan)
        for source, target in zip(self.source, self.target, strict=True):
            weight = barycentric(source, xy)
            inside = (weight > -1e-6).all(axis=1)
            out[inside] = weight[inside] @ target
        return out

    def texture(self, size: int) -> tuple[Array, Array]:
        """float32[S, S, 2] the place on the flat garment, in [0, 1], that is seen at each pixel of the figure, and bool[S, S]
        where there is any."""
        step = CANVAS / size
        x, y = np.meshgrid((np.arange(size) + 0.5) * step, (np.arange(size) + 0.5) * step)
        pixels = np.stack([x.ravel(), y.ravel()], axis=1)
        place, seen = np.zeros((size * size, 2), np.float32), np.zeros(size * size, bool)
        for source, target in zip(self.source, self.target, strict=True):
            near = ((pixels >= target.min(axis=0) - step) & (pixels <= target.max(axis=0) + step)).all(axis=1)
            rows = np.flatnonzero(near)
            weight = barycentric(target, pixels[rows])
            inside = (weight > -1e-6).all(axis=1)
            place[rows[inside]] = (weight[inside] @ source) / CANVAS
            seen[rows[inside]] = True
        return place.reshape(size, size, 2), seen.reshape(size, size)


def dress(wearer: Figure, cloth: Garment) -> Dressing:
    """A garment of ``garments`` on a figure: lengths and ease as it is cut, turned and bent as the figure stands.

    Raises SettingError for a garment that is worn neither on the trunk nor on the legs.
    """
    if cloth.kind in LEGS:
        return _dressed(cloth, _legs_on(wearer, cloth), _TROUSERS)
    if cloth.kind == "skirt":
        return _dressed(cloth, _skirt_on(wearer, cloth), _SKIRT)
    if "shoulder_left" not in cloth.points:
        raise SettingError(f"a {cloth.kind} is not dressed here; give a top, a dress, a skirt or something with legs")
    pieces = _TRUNK + (_SLEEVES if "cuff_outer_left" in cloth.points else ())
    return _dressed(cloth, _top_on(wearer, cloth), pieces)


Corners = tuple[str, ...]
"""Control points round a piece of a garment that bends as a fan of triangles from the first."""

_TRUNK: tuple[Corners, ...] = (
    ("shoulder_left", "collar_left", "neck", "armpit_left"),
    ("collar_right", "shoulder_right", "armpit_right", "neck"),
    ("armpit_left", "neck", "armpit_right"),
    ("armpit_left", "armpit_right", "waist_right", "waist_left"),
    ("waist_left", "waist_right", "hem_right", "hem_left"),
)
_SLEEVES: tuple[Corners, ...] = (
    ("shoulder_left", "armpit_left", "cuff_inner_left", "cuff_outer_left"),
    ("shoulder_right", "armpit_right", "cuff_inner_right", "cuff_outer_right"),
)
_TROUSERS: tuple[Corners, ...] = tuple(
    corners
    for side in ("left", "right")
    for corners in (
        (f"waist_{side}", "middle", "crotch", f"hip_{side}"),
        (f"hip_{side}", "crotch", f"knee_inner_{side}", f"knee_{side}"),
        (f"knee_{side}", f"knee_inner_{side}", f"hem_inner_{side}", f"hem_outer_{side}"),
    )
)
_SKIRT: tuple[Corners, ...] = (
    ("waist_left", "waist_right", "hip_right", "hip_left"),
    ("hip_left", "hip_right", "hem_right", "hem_left"),
)
_FLAT_SHOULDER_Y, _FLAT_WIDTH = 48.0, 44.0
"""Of a regular top on the canvas: the height of its shoulder and its half width there."""


def _top_on(wearer: Figure, cloth: Garment) -> dict[str, Point]:
    j, p = wearer.joints, cloth.points
    middle, top = CANVAS / 2, j["shoulder_left"][1] - 3
    trunk = wearer.pose.torso / 74.0
    across = (wearer.pose.shoulder + 3.5) / _FLAT_WIDTH
    found: dict[str, Point] = {"neck": (middle, top - 3 + (p["neck"][1] - 40) * 0.55)}
    for side, sign in (("left", -1.0), ("right", 1.0)):
        for name in ("collar", "shoulder", "armpit", "waist", "hem"):
            x, y = p[f"{name}_{side}"]
            away = (x - middle) * across
            if name in ("waist", "hem"):
                away = sign * max(abs(away), wearer.pose.hip + 1.5)
            found[f"{name}_{side}"] = (middle + away, top + (y - _FLAT_SHOULDER_Y) * trunk)
        if f"cuff_outer_{side}" in p:
            shoulder, cuff = p[f"shoulder_{side}"], p[f"cuff_outer_{side}"]
            share = min(float(np.hypot(cuff[0] - shoulder[0], cuff[1] - shoulder[1])) / 100.0, 1.0)
            start, wrist = j[f"shoulder_{side}"], j[f"wrist_{side}"]
            end = (start[0] + share * (wrist[0] - start[0]), start[1] + share * (wrist[1] - start[1]))
            length = max(float(np.hypot(wrist[0] - start[0], wrist[1] - start[1])), 1e-6)
            aside = (-(wrist[1] - start[1]) / length, (wrist[0] - start[0]) / length)
            half = wearer.pose.thickness / 2 + 3.0
            found[f"cuff_outer_{side}"] = (end[0] - sign * aside[0] * half, end[1] - sign * aside[1] * half)
            found[f"cuff_inner_{side}"] = (end[0] + sign * aside[0] * half, end[1] + sign * aside[1] * half)
    return found


def _legs_on(wearer: Figure, cloth: Garment) -> dict[str, Point]:
    j, p = wearer.joints, cloth.points
    middle, waist_y = CANVAS / 2, j["hip_left"][1] - 12
    crotch = (middle, j["hip_left"][1] + 12)
    found: dict[str, Point] = {"crotch": crotch, "middle": (middle, waist_y)}
    for side, sign in (("left", -1.0), ("right", 1.0)):
        hip, ankle = j[f"hip_{side}"], j[f"ankle_{side}"]
        cut = abs(p[f"hem_outer_{side}"][0] - p[f"hem_inner_{side}"][0]) / 2 * 0.55
        wide = max(cut, wearer.pose.thickness * LEG_THICKNESS / 2) + 1.0
        found[f"waist_{side}"] = (middle + sign * (wearer.pose.hip + 1), waist_y)
        found[f"hip_{side}"] = (middle + sign * (wearer.pose.hip + 4), hip[1])
        share = (p[f"hem_outer_{side}"][1] - p["crotch"][1]) / FLAT_LEG
        low = hip[1] + 14 + share * (ankle[1] - hip[1] - 14)
        knee = hip[1] + 14 + 0.5 * share * (ankle[1] - hip[1] - 14)
        for name, y in (("hem", low), ("knee", knee)):
            x = hip[0] + (ankle[0] - hip[0]) * (y - hip[1]) / (ankle[1] - hip[1])
            outer, inner = (f"{name}_outer", f"{name}_inner") if name == "hem" else ("knee", "knee_inner")
            found[f"{outer}_{side}"] = (x + sign * wide, y)
            found[f"{inner}_{side}"] = (x - sign * min(wide, abs(x - middle) - 0.5), y)
    return found


def _skirt_on(wearer: Figure, cloth: Garment) -> dict[str, Point]:
    j, p = wearer.joints, cloth.points
    middle, waist_y = CANVAS / 2, j["hip_left"][1] - 12
    down = (j["ankle_left"][1] - waist_y) / 132.0
    across = (wearer.pose.hip + 1) / (p["waist_right"][0] - middle)
    return {
        name: (middle + (x - middle) * across, waist_y + (y - p["waist_left"][1]) * down) for name, (x, y) in p.items()
    }


def _dressed(cloth: Garment, points: Mapping[str, Point], pieces: tuple[Corners, ...]) -> Dressing:
    flat = dict(cloth.points)
    for side in ("left", "right"):
        if f"knee_{side}" in flat:
            knee, outer, inner = flat[f"knee_{side}"], flat[f"hem_outer_{side}"], flat[f"hem_inner_{side}"]
            flat[f"knee_inner_{side}"] = (inner[0] + (knee[0] - outer[0]) * -0.3, knee[1])
    if "crotch" in flat and "waist_left" in flat:
        flat["middle"] = (CANVAS / 2, flat["waist_left"][1])
    source, target = [], []
    for first, *others in pieces:
        for second, third in pairwise(others):
            source.append([flat[name] for name in (first, second, third)])
            target.append([points[name] for name in (first, second, third)])
    named = {name: points[name] for name in cloth.points}
    return Dressing(named, np.array(source), np.array(target))


def covered(marks: Marks, size: int) -> Array:
    """float32[S, S] in [0, 1]: what these marks cover."""
    scale = size / CANVAS
    polygons = []
    for mark in marks:
        for points, closed in outlines(mark.path):
            if mark.paint.fill:
                polygons.append(points * scale)
            if mark.paint.stroke:
                polygons += stroked(points * scale, closed, mark.paint.width * scale)
    return coverage(polygons, size)


def barycentric(triangle: Array, xy: Array) -> Array:
    """float64[M, 3]: the weights of the corners [3, 2] that give each point [M, 2]."""
    base = np.stack([triangle[1] - triangle[0], triangle[2] - triangle[0]], axis=1)
    if abs(np.linalg.det(base)) < 1e-9:
        return np.full((len(xy), 3), -1.0)
    rest = (xy - triangle[0]) @ np.linalg.inv(base).T
    weights: Array = np.column_stack([1 - rest.sum(axis=1), rest])
    return weights


def _line(paint: Paint, *points: Point) -> Marks:
    return path("M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in points), paint)


def _trunk(j: Mapping[str, Point], pose: Pose, start: float, end: float) -> str:
    """The outline of the trunk between two shares of its height."""
    middle, top, bottom = CANVAS / 2, j["shoulder_left"][1] - 3, j["hip_left"][1] + 10
    rows = []
    for share in np.linspace(start, end, 7):
        waist = 1 - 0.22 * sin(np.pi * min(share / 0.9, 1.0)) ** 2
        half = (pose.shoulder + (pose.hip - pose.shoulder) * share) * waist
        rows.append((half, top + share * (bottom - top)))
    right = [f"{middle + half:.1f} {y:.1f}" for half, y in rows]
    left = [f"{middle - half:.1f} {y:.1f}" for half, y in reversed(rows)]
    return "M" + " L".join([*right, *left]) + "Z"
