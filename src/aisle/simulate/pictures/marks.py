"""Marks: what a drawing is made of, once for both ways of drawing it, as SVG and as pixels.

A drawing lives on a canvas of 200 x 200.  Colours are roles until the picture is drawn: ``f`` the fill (the colour with
its pattern and texture), ``d`` darker, ``l`` lighter, ``p`` what stands out against the fill; or a colour such as #3d3a40.

Legend: P points of an outline.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from aisle.core.lists import Array

CANVAS = 200.0
_STEPS = 8
"""Straight pieces of a curve."""


class Paint(NamedTuple):
    """``fill`` and ``stroke`` are roles or colours, "" for none; ``width`` of the stroke; ``opacity`` of both."""

    fill: str = ""
    stroke: str = ""
    width: float = 3.0
    opacity: float = 1.0


class Mark(NamedTuple):
    """One shape: an SVG path of M L H V Q T Z with absolute coordinates."""

    path: str
    paint: Paint


Marks = tuple[Mark, ...]

BODY = Paint("f", "d", 3)
DARK = Paint("d")
LIGHT = Paint("l")
LINE = Paint("", "d", 3)
THICK = Paint("", "d", 9)
GLASS = Paint("#dfeaf3")
INK = Paint("#3d3a40")


def path(d: str, paint: Paint = BODY) -> Marks:
    return (Mark(d, paint),)


def box(x: float, y: float, w: float, h: float, r: float = 6, paint: Paint = BODY) -> Marks:
    """A rectangle with round corners."""
    r = min(r, w / 2, h / 2)
    x2, y2 = x + w, y + h
    d = (
        f"M{x + r:g} {y:g} H{x2 - r:g} Q{x2:g} {y:g} {x2:g} {y + r:g} V{y2 - r:g} Q{x2:g} {y2:g} {x2 - r:g} {y2:g} "
        f"H{x + r:g} Q{x:g} {y2:g} {x:g} {y2 - r:g} V{y + r:g} Q{x:g} {y:g} {x + r:g} {y:g}Z"
    )
    return (Mark(d, paint),)


def oval(x: float, y: float, rx: float, ry: float, paint: Paint = BODY) -> Marks:
    """An ellipse, by eight quadratic arcs (off by less than a thousandth of its radius)."""
    angle = np.arange(9) * np.pi / 4
    on = np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)
    half = angle[:-1] + np.pi / 8
    off = np.stack([x + rx * np.cos(half) / np.cos(np.pi / 8), y + ry * np.sin(half) / np.cos(np.pi / 8)], axis=1)
    arcs = "".join(
        f" Q{a:.2f} {b:.2f} {c:.2f} {d:.2f}" for (a, b), (c, d) in zip(off.tolist(), on[1:].tolist(), strict=True)
    )
    return (Mark(f"M{on[0, 0]:.2f} {on[0, 1]:.2f}{arcs}Z", paint),)


@lru_cache(maxsize=4096)
def outlines(d: str) -> tuple[tuple[Array, bool], ...]:
    """(float64[P, 2] points, whether it is closed) of each part of a path."""
    tokens = re.findall(r"[A-Za-z]|-?\d+(?:\.\d+)?", d)
    parts: list[tuple[list[tuple[float, float]], bool]] = []
    points: list[tuple[float, float]] = []
    command, control, at = "", (0.0, 0.0), 0

    def number() -> float:
        nonlocal at
        at += 1
        return float(tokens[at - 1])

    while at < len(tokens):
        if tokens[at].isalpha():
            command = tokens[at]
            at += 1
        if command == "Z":
            parts[-1], command = (points, True), ""
            continue
        if command == "M":
            points = [(number(), number())]
            parts.append((points, False))
            command = "L"
        elif command == "L":
            points.append((number(), number()))
        elif command == "H":
            points.append((number(), points[-1][1]))
        elif command == "V":
            points.append((points[-1][0], number()))
        elif command in "QT":
            start = points[-1]
            control = (number(), number()) if command == "Q" else (2 * start[0] - control[0], 2 * start[1] - control[1])
            end = (number(), number())
            for step in range(1, _STEPS + 1):
                t = step / _STEPS
                a, b, c = (1 - t) ** 2, 2 * t * (1 - t), t * t
                points.append((a * start[0] + b * control[0] + c * end[0], a * start[1] + b * control[1] + c * end[1]))
        else:
            raise ValueError(f"a path may hold M L H V Q T Z, not {command!r}: {d}")
    return tuple((np.array(part), closed) for part, closed in parts)


def moved(marks: Marks, x: float, y: float) -> Marks:
    """The marks shifted by (x, y)."""
    return tuple(mark._replace(path=_shifted(mark.path, x, y)) for mark in marks)


def repeated(marks: Marks, size: int) -> Marks:
    """The marks of a square tile, cut at its edges, at every place of the canvas."""
    starts = np.arange(0, CANVAS, size).tolist()
    return tuple(
        mark._replace(path=" ".join(_shifted(mark.path, x, y, size) for x in starts for y in starts)) for mark in marks
    )


def _shifted(d: str, x: float, y: float, edge: float = np.inf) -> str:
    parts = []
    for points, closed in outlines(d):
        inside = points if edge == np.inf else np.clip(points, 0, edge)
        corners = " L".join(f"{px + x:.2f} {py + y:.2f}" for px, py in inside.tolist())
        parts.append(f"M{corners}{'Z' if closed else ''}")
    return " ".join(parts)


def stroked(points: Array, closed: bool, width: float) -> list[Array]:
    """Outlines that together cover a line of this width with round joins and ends."""
    if closed:
        points = np.concatenate([points, points[:1]])
    step = np.diff(points, axis=0)
    length = np.hypot(step[:, 0], step[:, 1])
    keep = length > 1e-9
    start, end, step = points[:-1][keep], points[1:][keep], step[keep] / length[keep, None]
    side = np.stack([-step[:, 1], step[:, 0]], axis=1) * width / 2
    quads = np.stack([start + side, start - side, end - side, end + side], axis=1)
    angle = np.arange(12) * np.pi / 6
    disc = np.stack([np.cos(angle), np.sin(angle)], axis=1) * width / 2
    return [*quads, *(points[:, None] + disc)]


def coverage(polygons: list[Array], size: int) -> Array:
    """float32[size, size] in [0, 1]: the share of each pixel that is inside any of the polygons (in pixels).

    Exact along the rows, four lines a pixel across them: each edge adds its direction right of where it crosses a line,
    and what adds up to other than 0 is inside.
    """
    lines = 4 * size
    start, end = _edges(polygons)
    down = start[:, 1] <= end[:, 1]
    top, bottom = np.where(down[:, None], start, end), np.where(down[:, None], end, start)
    first = np.clip(np.ceil(4 * top[:, 1] - 0.5), 0, lines).astype(np.int64)
    last = np.clip(np.ceil(4 * bottom[:, 1] - 0.5), 0, lines).astype(np.int64)
    count = last - first
    edge = np.repeat(np.arange(len(count)), count)
    line = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    height = np.maximum(bottom[:, 1] - top[:, 1], 1e-12)
    slope = (bottom[:, 0] - top[:, 0]) / height
    x = np.clip(top[edge, 0] + ((line + 0.5) / 4 - top[edge, 1]) * slope[edge], 0, size)
    column = np.floor(x).astype(np.int64)
    sign = np.where(down[edge], 1.0, -1.0)
    place = line * (size + 2) + column
    total = lines * (size + 2)
    change = (
        np.bincount(place, sign * (1 - (x - column)), total)
        + np.bincount(place + 1, sign * (x - column), total)[:total]
    )
    winding = np.cumsum(change.reshape(lines, size + 2), axis=1)[:, :size]
    inside: Array = np.minimum(np.abs(winding), 1).reshape(size, 4, size).mean(axis=1).astype(np.float32)
    return inside


def _edges(polygons: list[Array]) -> tuple[Array, Array]:
    """float64[E, 2] starts and ends of the edges, every polygon run round in the same sense."""
    corners = np.concatenate(polygons)
    size = np.array([len(p) for p in polygons])
    last = np.cumsum(size) - 1
    following = np.arange(1, len(corners) + 1)
    following[last] = last - size + 1
    after = corners[following]
    twice_area = np.add.reduceat(corners[:, 0] * after[:, 1] - corners[:, 1] * after[:, 0], last - size + 1)
    backwards = np.repeat(twice_area < 0, size)[:, None]
    return np.where(backwards, after, corners), np.where(backwards, corners, after)
