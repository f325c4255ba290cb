"""Small line plots as SVG text: logarithmic or plain axes, one colour and one label a line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

import numpy as np

from aisle.core.lists import Array

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 420, 260, 66, 40, 28, 12
COLOURS = ("#1b6ca8", "#d1495b", "#4f9a5b", "#c98b2b", "#6b4fa0", "#555555")


@dataclass(frozen=True)
class Axis:
    """``from_zero``: a plain axis begins at 0; otherwise a little below its values."""

    label: str
    log: bool = False
    from_zero: bool = True

    def place(self, values: Array, low: float, high: float) -> Array:
        """0 at ``low``, 1 at ``high``."""
        if self.log:
            values, low, high = np.log10(values), np.log10(low), np.log10(high)
        placed: Array = (np.asarray(values, float) - low) / max(high - low, 1e-12)
        return placed

    def ticks(self, low: float, high: float) -> list[float]:
        if self.log:
            return [10.0**n for n in range(int(np.ceil(np.log10(low))), int(np.floor(np.log10(high))) + 1)]
        step = 10.0 ** np.floor(np.log10(max(high - low, 1e-12)))
        step = next(s for s in (step / 5, step / 2, step, 2 * step) if (high - low) / s <= 6)
        return [float(t) for t in np.arange(np.ceil(low / step) * step, high + step / 2, step) if t <= high]


def lines(
    title: str,
    of: Mapping[str, tuple[Array, Array]],
    x: Axis,
    y: Axis,
    *,
    names_below: bool = False,
    names_left: bool = False,
    strokes: Mapping[str, tuple[str, str]] | None = None,
) -> str:
    """A plot of name -> (x, y), with the names in a corner, the upper right one unless said otherwise.

    strokes  name -> colour and dashes (``"4 3"``, or ``""`` for a whole line); a colour each in turn where it is not given
    """
    strokes = strokes or {name: (COLOURS[n % len(COLOURS)], "") for n, name in enumerate(of)}
    names_x, anchor = (LEFT + 8, "start") if names_left else (WIDTH - RIGHT - 6, "end")
    every_x, every_y = (np.concatenate([np.asarray(v[n], float) for v in of.values()]) for n in (0, 1))
    (x_low, x_high), (y_low, y_high) = (_ends(v, a) for v, a in ((every_x, x), (every_y, y)))
    inner_w, inner_h = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="sans-serif" font-size="11" role="img" aria-label="{escape(title)}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="16" font-size="13" fill="#222">{escape(title)}</text>',
    ]
    for tick in x.ticks(x_low, x_high):
        at = LEFT + inner_w * float(x.place(np.array([tick]), x_low, x_high)[0])
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{TOP + inner_h}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{at:.1f}" y="{TOP + inner_h + 14}" text-anchor="middle" fill="#555">{tick:g}</text>')
    for tick in y.ticks(y_low, y_high):
        at = TOP + inner_h * (1 - float(y.place(np.array([tick]), y_low, y_high)[0]))
        parts.append(f'<line x1="{LEFT}" x2="{LEFT + inner_w}" y1="{at:.1f}" y2="{at:.1f}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{at + 4:.1f}" text-anchor="end" fill="#555">{tick:g}</text>')
    for n, (name, (xs, ys)) in enumerate(of.items()):
        px = LEFT + inner_w * x.place(xs, x_low, x_high)
        py = TOP + inner_h * (1 - y.place(ys, y_low, y_high))
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(px, py, strict=True))
        colour, dashes = strokes[name]
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.8"{dashed}/>')
        label_y = TOP + inner_h - 8 - 15 * (len(of) - 1 - n) if names_below else TOP + 14 + 15 * n
        parts.append(f'<text x="{names_x}" y="{label_y}" text-anchor="{anchor}" fill="{colour}">{escape(name)}</text>')
    parts.append(
        f'<text x="{LEFT + inner_w / 2}" y="{HEIGHT - 6}" text-anchor="middle" fill="#222">{escape(x.label)}</text>'
    )
    parts.append(
        f'<text x="12" y="{TOP + inner_h / 2}" text-anchor="middle" fill="#222" '
        f'transform="rotate(-90 12 {TOP + inner_h / 2})">{escape(y.label)}</text>'
    )
    return "\n".join([*parts, "</svg>\n"])


def _ends(values: Array, axis: Axis) -> tuple[float, float]:
    values = values[values > 0] if axis.log else values
    low, high = float(values.min()), float(values.max())
    if axis.log:
        return low, high
    return (min(low, 0.0), high * 1.03) if axis.from_zero else (low - 0.1 * (high - low), high + 0.05 * (high - low))
