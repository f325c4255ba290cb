"""The losses that each arm reaches, as a plot in SVG: the first task's across, the last one's upwards, lower is better."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 560, 380, 66, 44, 34, 22
COLOURS = {"lagrangian": "#d1495b", "fixed": "#1b6ca8", "other": "#555555"}
GREEN = "#4f9a5b"
LETTER, LINE = 7, 12
"""The room that a letter takes."""

Point = tuple[float, float]


def plotted(points: Mapping[str, Point], tasks: tuple[str, str], margin: float) -> str:
    """``own-stage`` is the first task's level, its margin a shaded band, and ``TASK-alone`` what it reaches with all the steps:
    lines where they lie near the points, a note where not.  Other arms that left a task out are not drawn."""
    drawn = {name: p for name, p in points.items() if not name.startswith("own-stage") and not name.endswith("-alone")}
    level, alone = points["own-stage"][0], points[f"{tasks[0]}-alone"][0]
    near = [at for at in (level, alone) if _is_near(at, [p[0] for p in drawn.values()])]
    (left, right), (low, high) = _span([p[0] for p in drawn.values()] + near), _span([p[1] for p in drawn.values()])

    def place(point: Point) -> Point:
        across = (point[0] - left) / (right - left) * (WIDTH - LEFT - RIGHT)
        return LEFT + across, TOP + (high - point[1]) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = _frame(tasks)
    if level in near:
        parts += _level(place((level, low))[0], min(place((level * (1 + margin), low))[0], WIDTH - RIGHT), margin)
    else:
        side = "right" if level > right else "left"
        parts.append(_note(WIDTH - RIGHT, TOP - 4, f"level of {tasks[0]}: {level:.4f}, to the {side}", end=True))
    if alone in near:
        parts += _alone(place((alone, low))[0], tasks[0])
    parts += _ticks(left, right, low, high, place)
    best = front({name: p for name, p in drawn.items() if name.startswith("fixed")})
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(drawn[name]) for name in best))
    parts.append(f'<polyline points="{line}" fill="none" stroke="{COLOURS["fixed"]}" stroke-opacity=".5"/>')
    named = [name for name in drawn if not name.startswith("fixed") or name in best]
    at = {name: place(point) for name, point in drawn.items()}
    parts += [_mark(name, at[name], faint=name not in named) for name in drawn]
    parts += [_name(name, at[name], y) for name, y in _apart({name: at[name] for name in named}).items()]
    return "\n".join([*parts, "</svg>\n"])


def front(points: Mapping[str, Point]) -> list[str]:
    """Names of the points that no other one beats in both losses, from the lowest of the first."""
    names = sorted(points, key=lambda name: points[name])
    return [n for k, n in enumerate(names) if all(points[n][1] < points[before][1] for before in names[:k])]


def _mark(name: str, at: Point, *, faint: bool) -> str:
    radius = 5 if name.startswith("lagrangian") else 3.5
    opacity = 0.35 if faint else 1
    return f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="{radius}" fill="{_colour(name)}" fill-opacity="{opacity}"/>'


def _name(name: str, at: Point, y: float) -> str:
    end = at[0] > WIDTH - 130
    where = f'x="{at[0] - 8 if end else at[0] + 8:.1f}" y="{y + 4:.1f}" text-anchor="{"end" if end else "start"}"'
    return f'<text {where} fill="{_colour(name)}">{escape(_shown(name))}</text>'


def _shown(name: str) -> str:
    return name.removeprefix("fixed-")


def _colour(name: str) -> str:
    return COLOURS.get(name.partition("-")[0], COLOURS["other"])


def _apart(at: Mapping[str, Point]) -> dict[str, float]:
    """The height of each name: its mark's, or the nearest one in the frame where no other name stands, below before above.
    Names of what the plot is about choose first."""
    found: dict[str, float] = {}
    steps = sorted(range(-len(at), len(at) + 1), key=lambda n: (abs(n), -n))
    for name, (x, y) in sorted(at.items(), key=lambda item: (not item[0].startswith("lagrangian"), item[1][1])):
        near = [found[other] for other in found if _beside(name, x, other, at[other][0])]
        heights = [y + LINE * n for n in steps if TOP <= y + LINE * n <= HEIGHT - BOTTOM - LINE / 2]
        found[name] = next((h for h in heights if all(abs(h - other) >= LINE for other in near)), y)
    return found


def _beside(name: str, x: float, other: str, other_x: float) -> bool:
    """Whether two names would meet on one line."""
    left = name if x < other_x else other
    return abs(x - other_x) < LETTER * (len(_shown(left)) + 1)


def _is_near(value: float, values: list[float]) -> bool:
    room = max(values) - min(values)
    return min(values) - room / 2 <= value <= max(values) + room / 2


def _span(values: list[float]) -> Point:
    low, high = min(values), max(values)
    pad = 0.08 * (high - low)
    return low - pad, high + pad


def _frame(tasks: tuple[str, str]) -> list[str]:
    middle = TOP + (HEIGHT - TOP - BOTTOM) / 2
    title = "Test losses, lower is better; fixed weights blue, their Pareto front joined"
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="11" '
        f'role="img" aria-label="{title}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="18" font-size="12" fill="#222">{title}</text>',
        f'<text x="{LEFT + (WIDTH - LEFT - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle" fill="#222">'
        f"loss of {escape(tasks[0])} (first priority)</text>",
        f'<text x="14" y="{middle}" text-anchor="middle" fill="#222" transform="rotate(-90 14 {middle})">'
        f"loss of {escape(tasks[1])} (last priority)</text>",
    ]


def _level(at: float, end: float, margin: float) -> list[str]:
    return [
        f'<rect x="{at:.1f}" y="{TOP}" width="{max(end - at, 0):.1f}" height="{HEIGHT - BOTTOM - TOP}" fill="{GREEN}" '
        'opacity=".15"/>',
        _upright(at, "5 3"),
        _note(min(end, WIDTH - RIGHT - 205) + 4, TOP + 12, f"level of its stage; shaded: {100 * margin:g} % above"),
    ]


def _alone(at: float, task: str) -> list[str]:
    end = at > WIDTH - 140
    return [
        _upright(at, "1 3"),
        _note(at - 4 if end else at + 4, HEIGHT - BOTTOM - 6, f"{task} alone, all steps", end=end),
    ]


def _upright(at: float, dashes: str) -> str:
    return f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="{GREEN}" stroke-dasharray="{dashes}"/>'


def _note(x: float, y: float, text: str, *, end: bool = False) -> str:
    anchor = "end" if end else "start"
    return f'<text x="{x:.1f}" y="{y}" fill="{GREEN}" text-anchor="{anchor}">{escape(text)}</text>'


def _ticks(left: float, right: float, low: float, high: float, place: object) -> list[str]:
    parts = []
    for n in range(5):
        x, y = left + (right - left) * n / 4, low + (high - low) * n / 4
        at_x, at_y = place((x, y))  # type: ignore[operator]
        parts.append(f'<text x="{at_x:.1f}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle" fill="#555">{x:.5f}</text>')
        parts.append(f'<text x="{LEFT - 5}" y="{at_y + 4:.1f}" text-anchor="end" fill="#555">{y:.4f}</text>')
    return parts
