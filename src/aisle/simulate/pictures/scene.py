"""The picture of a generated item: a drawing that shows its kind, colour, pattern, material, cut and size.

A picture is a pure function of the address that stands in the ``images`` column; ``picture_of(row)`` draws it on request
as SVG, ``raster`` as pixels, both from the same ``Scene``.  Items of other shops get a picture too: a shape for their
department in their colour, or a plain parcel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from zlib import crc32

import numpy as np

from aisle.core.lists import Array
from aisle.simulate.catalogue.appearance import ACCENTS, ADDRESS, COLOUR_NAMES, GRADED, Appearance, read
from aisle.simulate.catalogue.taxonomy import HEX, LEAVES, TEXTS, Leaf
from aisle.simulate.catalogue.taxonomy import KINDS as TAXONOMY_KINDS
from aisle.simulate.catalogue.taxonomy import PATTERNS as PATTERN_NAMES
from aisle.simulate.pictures.garments import KINDS, Garment, garment
from aisle.simulate.pictures.marks import CANVAS, Marks, Paint, box, moved, oval, path
from aisle.simulate.pictures.shapes import SHAPES
from aisle.simulate.pictures.surfaces import EMBLEMS, LABEL_AT, LEGS, PATTERNS, STYLES, TEXTURES, Tile

__all__ = ["ADDRESS", "Scene", "contact_sheet", "landmarks", "picture", "picture_of", "scene_of", "shows", "svg"]

_LEAF_OF_SHELF = {leaf.shelf: n for n, leaf in enumerate(LEAVES)}
_SHAPE_OF_DEPARTMENT = {
    "Clothing": "tee", "Shoes": "sneaker", "Electronics": "screen", "Home": "armchair", "Kitchen": "pot",
    "Grocery": "bag", "Beauty": "bottle", "Sport": "ball", "Health": "heatpad", "Toys": "blocks", "Garden": "flowerpot",
    "Pets": "dogbed", "Office": "notebook",
}  # fmt: skip
_BACKGROUNDS = ("#f6f3ee", "#eff3f5", "#f5f1f5", "#f0f4ef")
_DULL = ("#d8cfc2", "#c9ccd0", "#cfc6bb", "#c4cbbf")
_NATURAL = {"Chocolate": "#6b4430", "Honey": "#e0a53a", "Olive Oil": "#93a043", "Coffee": "#7a5540", "Pasta": "#e3c878"}
_NATURAL |= {"Rice": "#efe9da", "Breakfast Cereals": "#d9a45b", "Dog Food": "#a97b52"}
_LABELS = ("#8fb3a5", "#d9a679", "#b98ca6", "#7d9cc0", "#c4b16a", "#a3a97f")
GOOD_PHOTO = 63
FOOT = (100.0, 172.0)
"""The point on the canvas where things stand, which a zoom leaves in place."""


@dataclass(frozen=True)
class Scene:
    """All that a drawing needs.

    marks       of the thing, on the canvas of 200 x 200, before ``zoom`` round FOOT
    colour      of role f; ``dark`` of role d
    pattern, textures  tiles over what has role f
    behind, before     marks behind and before it, not zoomed
    background  colour
    """

    marks: Marks
    colour: str
    dark: str
    pattern: Tile | None
    textures: tuple[Tile, ...]
    behind: Marks
    before: Marks
    background: str
    zoom: float
    garment: Garment | None = None

    def role(self, name: str) -> str:
        """The colour of a role; that of f without pattern and texture."""
        if name == "f":
            return self.colour
        if name == "d":
            return self.dark
        if name == "l":
            return shade(self.colour, 0.55)
        if name == "p":
            return shade(self.colour, 0.65) if _lightness(self.colour) < 0.62 else shade(self.colour, -0.42)
        return name


def scene_of(row: Mapping[str, Any]) -> Scene:
    """The scene of a catalogue row, from the address of its picture, else from what the row displays."""
    address = next(iter(row.get("images") or []), "") or ""
    seen = read(address)
    if seen is not None:
        return _scene(seen)
    category: Sequence[str] = row.get("category") or [""]
    attributes = {a["name"]: a["text"] for a in row.get("attributes") or [] if a["text"]}
    return _displayed(category[0], attributes, crc32(str(row.get("group_id") or row["item_id"]).encode()))


def picture_of(row: Mapping[str, Any]) -> str:
    """SVG text, 200 x 200, of one catalogue row (``table.to_pylist()[i]``)."""
    return svg(scene_of(row))


def picture(category: str, attributes: Mapping[str, str], seed: int = 0) -> str:
    """SVG text, 200 x 200, of what is displayed.

    category: a path such as 'Clothing > Tops > T-Shirts'.  attributes: displayed texts.  seed: chooses what is not an
    attribute, such as the label colour of a food bag.
    """
    return svg(_displayed(category, attributes, seed))


def svg(scene: Scene) -> str:
    """SVG text, 200 x 200."""
    name = f"{crc32(repr((scene.colour, scene.pattern, scene.textures)).encode()):x}"
    tiles = [("p" + name, scene.pattern)] if scene.pattern else []
    tiles += [(f"t{n}{name}", tile) for n, tile in enumerate(scene.textures)]
    defs = "".join(
        _svg_tile(scene, key, tile, n == 0 and scene.pattern is not None) for n, (key, tile) in enumerate(tiles)
    )
    fill = f"url(#p{name})" if scene.pattern else scene.colour
    overlays = [key for key, tile in tiles if tile is not scene.pattern]
    thing = "".join(_svg_mark(scene, mark.path, mark.paint, fill, overlays) for mark in scene.marks)
    behind = "".join(_svg_mark(scene, mark.path, mark.paint, fill, []) for mark in scene.behind)
    before = "".join(_svg_mark(scene, mark.path, mark.paint, fill, []) for mark in scene.before)
    dx, dy = FOOT[0] * (1 - scene.zoom), FOOT[1] * (1 - scene.zoom)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 200 200" width="200" height="200" role="img">'
        f'{"<defs>" + defs + "</defs>" if defs else ""}<rect width="200" height="200" fill="{scene.background}"/>{behind}'
        f'<g transform="translate({dx:g} {dy:g}) scale({scene.zoom:g})">{thing}</g>{before}</svg>'
    )


def landmarks(row: Mapping[str, Any]) -> tuple[tuple[str, ...], Array]:
    """Names, and float32[M, 2] places in [0, 1] of the picture, of the control points of a garment; none for other items."""
    scene = scene_of(row)
    if scene.garment is None:
        return (), np.zeros((0, 2), np.float32)
    names, xy = scene.garment.control_points()
    return names, (xy * scene.zoom + np.array(FOOT) / CANVAS * (1 - scene.zoom)).astype(np.float32)


def shows(leaf: Leaf) -> frozenset[str]:
    """The attributes of a shelf that can be seen in its pictures; the others cannot be known from them."""
    seen = {"colour", "pattern", "material", "finish", "style", *GRADED}
    if leaf.shape in KINDS:
        seen.add("fit")
    if leaf.shape in LABEL_AT:
        seen |= {"flavour", "scent"}
    return frozenset(seen & {TAXONOMY_KINDS[kind].name for kind in leaf.kinds})


def contact_sheet(rows: Sequence[Mapping[str, Any]], columns: int = 10) -> str:
    """SVG text: the pictures of these rows side by side, each with the beginning of its title below."""
    from html import escape

    cells = []
    for n, row in enumerate(rows):
        x, y = n % columns * 210, n // columns * 236
        inner = picture_of(row).replace("<svg ", f'<svg x="{x}" y="{y}" ', 1)
        title = escape(str(row.get("title") or row["item_id"])[:32])
        cells.append(f'{inner}<text x="{x}" y="{y + 218}" font-size="12" font-family="sans-serif">{title}</text>')
    width, height = columns * 210, -(-len(rows) // columns) * 236
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f'<rect width="{width}" height="{height}" fill="#fff"/>{"".join(cells)}</svg>'
    )


def shade(colour: str, by: float) -> str:
    """The colour moved towards white (by > 0) or black (by < 0)."""
    end = 255 if by > 0 else 0
    return "#" + "".join(f"{round(c + (end - c) * abs(by)):02x}" for c in rgb(colour))


def rgb(colour: str) -> tuple[int, int, int]:
    """0 to 255 each, of '#rrggbb'."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _lightness(colour: str) -> float:
    r, g, b = rgb(colour)
    return (0.30 * r + 0.59 * g + 0.11 * b) / 255


def _scene(seen: Appearance) -> Scene:
    leaf = LEAVES[seen.leaf]
    colour = COLOUR_NAMES[seen.colour] if seen.colour < len(COLOUR_NAMES) else ""
    texts = tuple(TEXTS[code] for code in (seen.material, seen.accent) if code < len(TEXTS))
    pattern = PATTERN_NAMES[seen.pattern] if seen.pattern < len(PATTERN_NAMES) else ""
    quality = seen.photo / GOOD_PHOTO
    zoom = round(20 * (0.79 + 0.07 * seen.step) * (0.86 + 0.14 * quality)) / 20
    return _composed(
        leaf.shape, leaf.shelf, leaf.department, colour, pattern, texts, seen.cut, seen.variation, quality, zoom
    )


def _displayed(category: str, attributes: Mapping[str, str], seed: int) -> Scene:
    steps = category.split(" > ")
    known = _LEAF_OF_SHELF.get(steps[-1])
    shape = LEAVES[known].shape if known is not None else _SHAPE_OF_DEPARTMENT.get(steps[0], "parcel")
    colour = (attributes.get("colour") or attributes.get("color") or "").lower()
    texts = tuple(attributes[n] for n in ("material", *ACCENTS) if n in attributes)
    pattern = attributes.get("pattern", "")
    return _composed(shape, steps[-1], steps[0], colour, pattern, texts, 1, seed % 2**16, 1.0, 0.96)


@lru_cache(maxsize=4096)
def _composed(
    shape: str, shelf: str, department: str, colour: str, pattern: str, texts: tuple[str, ...], cut: int, variation: int,
    quality: float, zoom: float,
) -> Scene:  # fmt: skip
    base = HEX.get(colour) or _NATURAL.get(shelf) or _LABELS[variation % len(_LABELS)]
    clothes = garment(shape, cut, variation & 255) if shape in KINDS else None
    marks = clothes.marks if clothes else SHAPES[shape]
    emblem = next((text for text in texts if text in EMBLEMS), None)
    if emblem and shape in LABEL_AT:
        marks += moved(EMBLEMS[emblem], *LABEL_AT[shape])
    style = next((text for text in texts if text in LEGS or text in STYLES), "")
    textures = tuple(TEXTURES[text] for text in texts if text in TEXTURES)
    if style in STYLES:
        textures += (STYLES[style],)
    background = _BACKGROUNDS[crc32(department.encode()) % len(_BACKGROUNDS)]
    if quality < 0.3:
        background = _DULL[variation >> 8 & 3]
    shadow = oval(100, 174, 64 * zoom, 6, Paint("#000000", opacity=0.10))
    dim = round(0.4 * max(0.0, 0.6 - quality) / 0.6, 1)
    return Scene(
        marks,
        base,
        LEGS.get(style) or shade(base, -0.3),
        PATTERNS.get(pattern),
        textures,
        (_clutter(variation) if quality < 0.2 else ()) + shadow,
        box(0, 0, 200, 200, 0, Paint("#101418", opacity=dim)) if dim else (),
        background,
        zoom,
        clothes,
    )


def _clutter(variation: int) -> Marks:
    """What stands around on a careless photograph."""
    wall = path("M0 132 H200 V200 H0Z", Paint("#8a7a66", opacity=0.45))
    things = (
        box(-14, 70, 44, 76, 6, Paint("#6d7f8c", opacity=0.6)),
        oval(186, 150, 30, 22, Paint("#a6674e", opacity=0.6)),
        path("M150 0 L200 0 V64 L176 54Z", Paint("#5f6b4d", opacity=0.55)),
        path("M0 20 L60 0 H0Z M0 160 L40 200 H0Z", Paint("#4e5560", opacity=0.5)),
    )
    return wall + things[variation >> 10 & 3] + things[variation >> 12 & 3]


def _svg_mark(scene: Scene, d: str, paint: Paint, fill: str, overlays: Sequence[str]) -> str:
    def colour(role: str) -> str:
        return fill if role == "f" else scene.role(role) if role else "none"

    stroke = ""
    if paint.stroke:
        stroke = f' stroke="{colour(paint.stroke)}" stroke-width="{paint.width:g}" stroke-linejoin="round" stroke-linecap="round"'
    faint = f' opacity="{paint.opacity:g}"' if paint.opacity < 1 else ""
    drawn = f'<path d="{d}" fill="{colour(paint.fill)}"{stroke}{faint}/>'
    if paint.fill == "f":
        drawn += "".join(f'<path d="{d}" fill="url(#{key})"/>' for key in overlays)
        if overlays and stroke:
            drawn += f'<path d="{d}" fill="none"{stroke}{faint}/>'
    return drawn


def _svg_tile(scene: Scene, key: str, tile: Tile, is_pattern: bool) -> str:
    size = tile.size
    ground = f'<rect width="{size}" height="{size}" fill="{scene.colour}"/>' if is_pattern else ""
    marks = "".join(_svg_mark(scene, mark.path, mark.paint, scene.colour, []) for mark in tile.marks)
    # Undoes the zoom of the thing: surfaces lie on the canvas, so that pixels need each of them once a size.
    x, y = (-at * (1 - scene.zoom) for at in FOOT)
    back = f"scale({1 / scene.zoom:.4f}) translate({x:g} {y:g})"
    return (
        f'<pattern id="{key}" width="{size}" height="{size}" patternUnits="userSpaceOnUse" patternTransform="{back}">'
        f"{ground}{marks}</pattern>"
    )
