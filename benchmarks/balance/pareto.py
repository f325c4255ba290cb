"""The losses that each arm reaches, as a plot in SVG: the first task's across, the second's upwards, lower is better."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 560, 380, 66, 44, 34, 22
COLOURS = {"lagrangian": "#d1495b", "fixed": "#1b6ca8", "other": "#555555"}
Point = tuple[float, float]


def plotted(points: Mapping[str, Point], tasks: tuple[str, str], margin: float) -> str:
    """``own-stage`` is drawn as the level of the first task, its margin as a shaded band; arms that left a task out are not."""
    level = points["own-stage"][0]
    drawn = {name: p for name, p in points.items() if name != "own-stage" and not name.endswith("-alone")}
    (left, right), (low, high) = (_span([p[n] for p in drawn.values()], [level] if n == 0 else []) for n in (0, 1))

    def place(point: Point) -> Point:
        across = (point[0] - left) / (right - left) * (WIDTH - LEFT - RIGHT)
        return LEFT + across, TOP + (high - point[1]) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = _frame(tasks)
    parts += _level(place((level, low))[0], min(place((level * (1 + margin), low))[0], WIDTH - RIGHT), tasks[0], margin)
    parts += _ticks(left, right, low, high, place)
    fixed = [place(p) for name, p in drawn.items() if name.startswith("fixed")]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in fixed)
    parts.append(f'<polyline points="{line}" fill="none" stroke="{COLOURS["fixed"]}" stroke-opacity=".4"/>')
    for name, point in drawn.items():
        x, y = place(point)
        kind = name.partition("-")[0]
        colour = COLOURS.get(kind, COLOURS["other"])
        label = name.replace("fixed-", "")
        end = x > WIDTH - 130
        at = f'x="{x - 8 if end else x + 8:.1f}" y="{y + 4:.1f}" text-anchor="{"end" if end else "start"}"'
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{5 if kind == "lagrangian" else 3.5}" fill="{colour}"/>')
        parts.append(f'<text {at} fill="{colour}">{escape(label)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _span(values: list[float], also: list[float]) -> Point:
    low, high = min(values + also), max(values + also)
    pad = 0.08 * (high - low)
    return low - pad, high + pad


def _frame(tasks: tuple[str, str]) -> list[str]:
    middle = TOP + (HEIGHT - TOP - BOTTOM) / 2
    title = "Test losses of two tasks: fixed weights of the first task (blue) and other balancers"
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="11" '
        f'role="img" aria-label="{title}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="18" font-size="12" fill="#222">{title}</text>',
        f'<text x="{LEFT + (WIDTH - LEFT - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle" fill="#222">'
        f"loss of {escape(tasks[0])} (first priority)</text>",
        f'<text x="14" y="{middle}" text-anchor="middle" fill="#222" transform="rotate(-90 14 {middle})">'
        f"loss of {escape(tasks[1])}</text>",
    ]


def _level(at: float, end: float, task: str, margin: float) -> list[str]:
    bottom = HEIGHT - BOTTOM
    return [
        f'<rect x="{at:.1f}" y="{TOP}" width="{max(end - at, 0):.1f}" height="{bottom - TOP}" fill="#4f9a5b" opacity=".15"/>',
        f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{bottom}" stroke="#4f9a5b" stroke-dasharray="5 3"/>',
        f'<text x="{end + 4:.1f}" y="{TOP + 12}" fill="#4f9a5b">{escape(task)} alone; shaded: '
        f"{100 * margin:g} % above</text>",
    ]


def _ticks(left: float, right: float, low: float, high: float, place: object) -> list[str]:
    parts = []
    for n in range(5):
        x, y = left + (right - left) * n / 4, low + (high - low) * n / 4
        at_x, at_y = place((x, y))  # type: ignore[operator]
        parts.append(f'<text x="{at_x:.1f}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle" fill="#555">{x:.5f}</text>')
        parts.append(f'<text x="{LEFT - 5}" y="{at_y + 4:.1f}" text-anchor="end" fill="#555">{y:.4f}</text>')
    return parts
