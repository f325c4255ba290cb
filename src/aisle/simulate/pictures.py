"""The picture of a generated item: a drawing that shows its category, colour and pattern.

``picture`` is a pure function of displayed values, so a server draws it on request and nothing is stored.  The
``images`` column of a generated catalogue holds "aisle-picture:<item_id>"; ``picture_of(row)`` draws that row.
Items of other shops get a picture too: a shape for their department, or a plain parcel.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

from aisle.simulate.shapes import SHAPES
from aisle.simulate.taxonomy import HEX, LEAVES

ADDRESS = "aisle-picture:"

_SHAPE_OF_SHELF = {leaf.shelf: leaf.shape for leaf in LEAVES}
_SHAPE_OF_DEPARTMENT = {
    "Clothing": "tee",
    "Shoes": "sneaker",
    "Electronics": "screen",
    "Home": "armchair",
    "Kitchen": "pot",
}
_SHAPE_OF_DEPARTMENT |= {"Grocery": "bag", "Beauty": "bottle", "Sport": "ball", "Toys": "blocks", "Garden": "flowerpot"}
_BACKGROUNDS = ("#f4f1ec", "#eef2f4", "#f3eff3", "#eff3ee")
_NATURAL = {"Chocolate": "#6b4430", "Honey": "#e0a53a", "Olive Oil": "#93a043", "Coffee": "#7a5540", "Pasta": "#e3c878"}
_LABELS = ("#8fb3a5", "#d9a679", "#b98ca6", "#7d9cc0", "#c4b16a", "#a3a97f")


def picture(category: str, attributes: Mapping[str, str], seed: int = 0) -> str:
    """SVG text, 200 x 200.

    category: a path such as 'Clothing > Tops > T-Shirts'.  attributes: displayed texts; 'colour' (or 'color') and
    'pattern' are shown.  seed: chooses what is not an attribute, such as the label colour of a food bag.
    """
    steps = category.split(" > ")
    shape = _SHAPE_OF_SHELF.get(steps[-1]) or _SHAPE_OF_DEPARTMENT.get(steps[0], "parcel")
    named = attributes.get("colour") or attributes.get("color") or ""
    colour = HEX.get(named.lower()) or _NATURAL.get(steps[-1]) or _LABELS[seed % len(_LABELS)]
    name = f"p{seed}-{colour[1:]}"
    pattern = _pattern(attributes.get("pattern", "plain"), colour, name)
    fill = f"url(#{name})" if pattern else colour
    drawing = (
        SHAPES[shape].replace("{f}", fill).replace("{d}", _shade(colour, -0.3)).replace("{l}", _shade(colour, 0.55))
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 200 200" width="200" height="200" role="img">'
        f'{pattern}<rect width="200" height="200" fill="{_BACKGROUNDS[crc32(steps[0].encode()) % len(_BACKGROUNDS)]}"/>'
        f'<ellipse cx="100" cy="172" rx="66" ry="7" fill="#000" opacity=".07"/>{drawing}</svg>'
    )


def picture_of(row: Mapping[str, Any]) -> str:
    """The picture of one catalogue row (``table.to_pylist()[i]``), from what the row displays."""
    category: Sequence[str] = row.get("category") or [""]
    attributes = {a["name"]: a["text"] for a in row.get("attributes") or [] if a["text"]}
    return picture(category[0], attributes, crc32(str(row.get("group_id") or row["item_id"]).encode()))


def _pattern(pattern: str, colour: str, name: str) -> str:
    """The definition of a pattern fill; "" for plain and for patterns that are not known."""
    light, dark = _shade(colour, 0.6), _shade(colour, -0.35)
    marks = {
        "striped": f'<rect width="16" height="7" fill="{light}"/>',
        "dotted": f'<circle cx="8" cy="8" r="3.6" fill="{light}"/>',
        "checked": f'<rect width="8" height="16" fill="{dark}" opacity=".4"/>'
        f'<rect width="16" height="8" fill="{light}" opacity=".55"/>',
        "floral": "".join(
            f'<circle cx="{x}" cy="{y}" r="2.4" fill="{light}"/>' for x, y in ((8, 4), (4, 8), (12, 8), (8, 12))
        )
        + f'<circle cx="8" cy="8" r="2" fill="{dark}"/>',
    }
    if pattern not in marks:
        return ""
    return (
        f'<defs><pattern id="{name}" width="16" height="16" patternUnits="userSpaceOnUse">'
        f'<rect width="16" height="16" fill="{colour}"/>{marks[pattern]}</pattern></defs>'
    )


def _shade(colour: str, by: float) -> str:
    """The colour moved towards white (by > 0) or black (by < 0)."""
    match = re.fullmatch("#(..)(..)(..)", colour)
    assert match is not None
    end = 255 if by > 0 else 0
    return "#" + "".join(f"{round(int(c, 16) + (end - int(c, 16)) * abs(by)):02x}" for c in match.groups())
