"""Draws what ``growth.py`` printed: ``python benchmarks/speed/growth.py > growth.json; python benchmarks/speed/growth_plot.py
growth.json docs/images/growth.svg``.  Three panels over the number of products, both axes logarithmic."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import ceil, floor, log10
from pathlib import Path

WIDTH, HEIGHT, LEFT, TOP, GAP = 250, 210, 46, 34, 64
COLOURS = ("#0b6e99", "#c4501b", "#3c7a3c", "#7a4fa3")
PANELS = {
    "milliseconds a query (p50, dashed p99)": ("p50_ms:page", "p50_ms:bm25", "p50_ms:vector"),
    "megabytes": ("resident_mb", "disk_mb"),
    "seconds to build and open": ("build_s:text", "build_s:vectors", "open_s"),
}
Points = Sequence[tuple[float, float]]


def series(rows: Sequence[Mapping[str, object]], metric: str) -> Points:
    return sorted((float(str(r["plan"])), float(str(r["value"]))) for r in rows if r["metric"] == metric)


def panel(title: str, lines: Mapping[str, Points], at_x: int) -> str:
    """One chart: a line a metric, named at its right end, and its p99 dashed where there is one."""
    named = {name: points for name, points in lines.items() if points}
    xs, ys = ([p[n] for points in named.values() for p in points] for n in (0, 1))
    low, high = floor(log10(min(ys))), ceil(log10(max(ys)))

    def place(x: float, y: float) -> tuple[float, float]:
        share_x = (log10(x) - log10(min(xs))) / max(log10(max(xs)) - log10(min(xs)), 1e-9)
        share_y = (log10(y) - low) / max(high - low, 1)
        return at_x + LEFT + share_x * WIDTH, TOP + HEIGHT - share_y * HEIGHT

    out = [f'<text x="{at_x + LEFT}" y="18" font-weight="600">{title}</text>']
    for power in range(low, high + 1):
        _, y = place(min(xs), 10.0**power)
        label = f"{10.0**power:g}"
        out.append(f'<line x1="{at_x + LEFT}" x2="{at_x + LEFT + WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#8884"/>')
        out.append(f'<text x="{at_x + LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    for x in sorted(set(xs)):
        px, _ = place(x, 10.0**low)
        name = f"{x / 1e6:g}M" if x >= 1e6 else f"{x / 1e3:g}k"
        out.append(f'<text x="{px:.1f}" y="{TOP + HEIGHT + 16}" text-anchor="middle">{name}</text>')
    solid = [name for name in named if not name.startswith("p99")]
    for name, points in named.items():
        colour = COLOURS[solid.index(name.replace("p99", "p50")) % len(COLOURS)]
        dash = ' stroke-dasharray="4 3"' if name.startswith("p99") else ""
        for (x1, y1), (x2, y2) in pairwise([place(*p) for p in points]):
            ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
            out.append(f'<line {ends} stroke="{colour}" stroke-width="2"{dash}/>')
    for n, name in enumerate(solid):
        words = name.replace("p50_ms:", "").replace("build_s:", "build ").replace("_s", "").replace("_mb", "")
        out.append(f'<text x="{at_x + LEFT + 8}" y="{TOP + 12 + 14 * n}" fill="{COLOURS[n]}">{words}</text>')
    return "\n".join(out)


def drawn(rows: Sequence[Mapping[str, object]]) -> str:
    parts = []
    for n, (title, metrics) in enumerate(PANELS.items()):
        also = [m.replace("p50", "p99") for m in metrics if m.startswith("p50")]
        parts.append(panel(title, {m: series(rows, m) for m in (*metrics, *also)}, n * (WIDTH + GAP)))
    width = len(PANELS) * (WIDTH + GAP)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT + TOP + 28}" font-family="sans-serif"'
    body = "\n".join(parts)
    return f'{head} font-size="11" fill="#555">\n<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:3])
    target.write_text(drawn(json.loads(source.read_text())), encoding="utf-8")
