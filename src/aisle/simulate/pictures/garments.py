"""Garments: outlines with named control points, cut by their attributes.

Control points are named as the viewer sees them (``left`` has the smaller x) and lie on the canvas of ``marks``.  The
outline runs through them, so a garment is as long, as wide and as low in the neck as its points say.

Legend: M control points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import cos, radians, sin
from typing import NamedTuple

import numpy as np

from aisle.core.lists import Array
from aisle.simulate.pictures.marks import CANVAS, DARK, LINE, Marks, Paint, path

Point = tuple[float, float]


class Cut(NamedTuple):
    """Half widths and heights on the canvas; ``sleeve`` is a length, 0 for none; ``angle`` in degrees below level.

    flare: how much wider than the waist (tops, dresses, skirts) or the thigh (trousers) the hem is.
    """

    width: float
    hem: float
    neck: float = 22.0
    sleeve: float = 0.0
    angle: float = 60.0
    flare: float = 0.0


@dataclass(frozen=True, eq=False)
class Garment:
    """``points`` by name, ``outline`` as an SVG path through them, and ``marks``: the outline and what is on it."""

    kind: str
    points: Mapping[str, Point]
    outline: str
    marks: Marks

    def control_points(self) -> tuple[tuple[str, ...], Array]:
        """Names, and float32[M, 2] of the points in [0, 1]."""
        return tuple(self.points), (np.array(list(self.points.values())) / CANVAS).astype(np.float32)


SLEEVES = {"tee": 34.0, "shirt": 100.0, "sweater": 98.0, "hoodie": 98.0, "jacket": 102.0, "dress": 0.0, "swimsuit": 0.0}
LENGTHS = {"tee": 158.0, "shirt": 162.0, "sweater": 156.0, "hoodie": 158.0, "jacket": 164.0, "dress": 170.0}
LEGS = {"trousers": 172.0, "leggings": 170.0, "shorts": 104.0}
KINDS = (*SLEEVES, *LEGS, "skirt")


def garment(kind: str, cut: int, variation: int) -> Garment:
    """A garment of a kind in KINDS.

    cut: 0 slim, 1 regular, 2 relaxed.  variation: 0 to 255, the length (3 bits), the neck (2), the sleeve (2), a bit left.
    """
    long, neck, sleeve = variation & 7, variation >> 3 & 3, variation >> 5 & 3
    ease = (-5.0, 0.0, 6.0)[min(cut, 2)]
    if kind in LEGS:
        width = {"leggings": 11.0}.get(kind, 15.0) + ease * 0.7
        return _legs(kind, Cut(width, LEGS[kind] - (long - 3) * 1.2, flare=(2.0 if kind == "shorts" else -4.0)))
    if kind == "skirt":
        return _skirt(Cut(28.0, 116.0 + 7 * long, flare=16.0 + 6 * neck))
    if kind == "swimsuit":
        return _swimsuit(Cut(27.0, 142.0 + 1.5 * long, neck=24.0 + 6 * neck))
    if kind == "dress":
        cut_of = Cut(29.0, 132.0 + 6 * long, 14.0 + 6 * neck, (0.0, 0.0, 30.0, 84.0)[sleeve], 62.0, 20.0 + 3 * long)
        return _top(kind, cut_of)
    short = 0.0 if kind == "tee" else 30.0
    length = SLEEVES[kind] + (sleeve - 1) * (5.0 if kind == "tee" else 2.0)
    angle = 46.0 if kind == "tee" else 68.0
    return _top(
        kind, Cut(36.0 + ease, LENGTHS[kind] + 2.2 * (long - 3), 12.0 + 5 * neck * (short == 0), length, angle, 1.5)
    )


def _top(kind: str, cut: Cut) -> Garment:
    collar, shoulder = 24.0, cut.width + 8
    waist = cut.width - (8 if kind == "dress" else 1)
    top: dict[str, Point] = {"neck": (0.0, 40 + cut.neck)}
    side: dict[str, Point] = {"collar": (collar, 40.0), "shoulder": (shoulder, 48.0)}
    if cut.sleeve:
        along, across = (cos(radians(cut.angle)), sin(radians(cut.angle))), 21.0 if cut.sleeve < 60 else 18.0
        end = (shoulder + cut.sleeve * along[0], 48.0 + cut.sleeve * along[1])
        side["cuff_outer"] = end
        side["cuff_inner"] = (end[0] - across * along[1], end[1] + across * along[0])
    side["armpit"] = (cut.width, 84.0)
    side["waist"] = (waist, 116.0)
    side["hem"] = (waist + cut.flare + (6 if kind != "dress" else 0), cut.hem)
    points = _mirrored(top, side)
    names = ["shoulder", *(("cuff_outer", "cuff_inner") if cut.sleeve else ()), "armpit"]
    p = {name: _at(point) for name, point in points.items()}
    right = " ".join(f"L{p[f'{name}_right']}" for name in names)
    left = " ".join(f"L{p[f'{name}_left']}" for name in reversed(names[:-1]))
    outline = (
        f"M{p['collar_left']} Q100 {40 + 2 * cut.neck:.1f} {p['collar_right']} {right} "
        f"Q{p['waist_right']} {p['hem_right']} Q100 {cut.hem + 8:.1f} {p['hem_left']} "
        f"Q{p['waist_left']} {p['armpit_left']} {left}Z"
    )
    return Garment(kind, points, outline, path(outline) + _details(kind, points, cut))


def _details(kind: str, p: Mapping[str, Point], cut: Cut) -> Marks:
    low = 40 + cut.neck
    if kind == "shirt":
        buttons = "".join(f" M100 {y:.0f} V{y + 1:.0f}" for y in np.arange(low + 14, cut.hem - 6, 18))
        return path(f"M78 38 L100 {low + 6:.1f} L122 38 M100 {low + 4:.1f} V{cut.hem + 3:.1f}", LINE) + path(
            buttons.strip(), Paint("", "l", 5)
        )
    if kind == "jacket":
        return path(
            f"M82 40 L100 {low + 22:.1f} L118 40 M100 {low:.1f} V{cut.hem + 3:.1f} M70 124 H88 M112 124 H130", LINE
        ) + path(f"M76 40 L88 66 L100 {low + 20:.1f} L86 44Z M124 40 L112 66 L100 {low + 20:.1f} L114 44Z", DARK)
    if kind == "hoodie":
        hood = f"M76 42 Q100 8 124 42 Q100 {low + 22:.1f} 76 42Z"
        return (
            path(hood, DARK)
            + path(f"M74 {cut.hem - 36:.1f} H126 L116 {cut.hem - 56:.1f} H84Z", LINE)
            + path(f"M92 {low + 4:.1f} V{low + 24:.1f} M108 {low + 4:.1f} V{low + 24:.1f}", Paint("", "l", 3))
        )
    hem_left, hem_right = p["hem_left"], p["hem_right"]
    if kind == "sweater":
        band = (
            f"M{hem_left[0] + 1:.1f} {cut.hem - 9:.1f} Q100 {cut.hem - 2:.1f} {hem_right[0] - 1:.1f} {cut.hem - 9:.1f}"
        )
        for side in ("left", "right"):
            above = _part(p[f"cuff_outer_{side}"], p[f"shoulder_{side}"], 0.1)
            below = _part(p[f"cuff_inner_{side}"], p[f"armpit_{side}"], 0.1)
            band += f" M{_at(above)} L{_at(below)}"
        return path(band, LINE)
    if kind == "dress":
        return path(
            f"M{_at(p['waist_left'])} Q100 124 {_at(p['waist_right'])} M90 122 L84 {cut.hem:.1f} M110 122 L116 {cut.hem:.1f}",
            LINE,
        )
    return path(f"M76 41 Q100 {44 + 2 * cut.neck:.1f} 124 41", LINE)


def _legs(kind: str, cut: Cut) -> Garment:
    hip, leg = 2 * cut.width + 6, cut.width + cut.flare
    knee_y = 34 + (cut.hem - 34) * 0.62
    centre = cut.width + 8.0
    # Short ones lie lower, in the middle of the picture.
    drop = 0.4 * max(172.0 - cut.hem - 10.0, 0.0)
    side: dict[str, Point] = {
        "waist": (hip - 5, 32.0),
        "hip": (hip, 58.0),
        "knee": (centre + leg + 1, knee_y),
        "hem_outer": (centre + leg, cut.hem),
        "hem_inner": (centre - leg, cut.hem),
    }
    p = _mirrored({"crotch": (0.0, 84.0)}, side)
    p = {name: (x, y + drop) for name, (x, y) in p.items()}
    outline = (
        f"M{_at(p['waist_left'])} L{_at(p['waist_right'])} Q{_at(p['hip_right'])} {_at(p['knee_right'])} "
        f"L{_at(p['hem_outer_right'])} L{_at(p['hem_inner_right'])} L{_at(p['crotch'])} L{_at(p['hem_inner_left'])} "
        f"L{_at(p['hem_outer_left'])} L{_at(p['knee_left'])} Q{_at(p['hip_left'])} {_at(p['waist_left'])}Z"
    )
    waist_left, waist_right = p["waist_left"][0], p["waist_right"][0]
    side_y, top_y = 58 + drop, 44 + drop
    details = path(f"M{waist_left - 1:.1f} {43 + drop:.1f} H{waist_right + 1:.1f}", LINE)
    if kind != "leggings":
        fly = f"M100 {43 + drop:.1f} V{72 + drop:.1f}"
        for x, inwards in ((waist_left, 1), (waist_right, -1)):
            fly += f" M{x + 2 * inwards:.1f} {side_y:.1f} Q{x + 14 * inwards:.1f} {side_y:.1f} {x + 16 * inwards:.1f} {top_y:.1f}"
        details += path(fly, LINE)
    return Garment(kind, p, outline, path(outline) + details)


def _skirt(cut: Cut) -> Garment:
    side: dict[str, Point] = {
        "waist": (cut.width, 46.0),
        "hip": (cut.width + 10, 76.0),
        "hem": (cut.width + 10 + cut.flare, cut.hem),
    }
    p = _mirrored({}, side)
    outline = (
        f"M{_at(p['waist_left'])} L{_at(p['waist_right'])} L{_at(p['hip_right'])} L{_at(p['hem_right'])} "
        f"Q100 {cut.hem + 14:.1f} {_at(p['hem_left'])} L{_at(p['hip_left'])}Z"
    )
    folds = f"M72 58 H128 M88 60 L80 {cut.hem:.1f} M112 60 L120 {cut.hem:.1f}"
    return Garment("skirt", p, outline, path(outline) + path(folds, LINE))


def _swimsuit(cut: Cut) -> Garment:
    side: dict[str, Point] = {
        "strap_inner": (18.0, 30.0),
        "strap_outer": (25.0, 30.0),
        "armpit": (cut.width + 4, 74.0),
        "waist": (cut.width - 3, 102.0),
        "hip": (cut.width + 7, 132.0),
    }
    p = _mirrored({"neck": (0.0, 34 + cut.neck), "crotch": (0.0, cut.hem + 22)}, side)
    outline = (
        f"M{_at(p['strap_inner_left'])} Q92 {34 + 1.4 * cut.neck:.1f} {_at(p['neck'])} "
        f"Q108 {34 + 1.4 * cut.neck:.1f} {_at(p['strap_inner_right'])} L{_at(p['strap_outer_right'])} "
        f"L{_at(p['armpit_right'])} Q{_at(p['waist_right'])} {_at(p['hip_right'])} Q116 142 110 {cut.hem + 22:.1f} "
        f"L90 {cut.hem + 22:.1f} Q84 142 {_at(p['hip_left'])} Q{_at(p['waist_left'])} {_at(p['armpit_left'])} "
        f"L{_at(p['strap_outer_left'])}Z"
    )
    return Garment("swimsuit", p, outline, path(outline) + path("M76 104 Q100 112 124 104", LINE))


def _mirrored(middle: Mapping[str, Point], side: Mapping[str, Point]) -> dict[str, Point]:
    """Points by name on the canvas; x is given from the middle line outwards."""
    points = {name: (CANVAS / 2 + x, y) for name, (x, y) in middle.items()}
    for name, (x, y) in side.items():
        points[f"{name}_left"] = (CANVAS / 2 - x, y)
        points[f"{name}_right"] = (CANVAS / 2 + x, y)
    return points


def _part(start: Point, end: Point, share: float) -> Point:
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])


def _at(point: Point) -> str:
    return f"{point[0]:.1f} {point[1]:.1f}"
