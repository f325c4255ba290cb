"""Surfaces: the patterns and material textures that fill a drawing, as tiles that repeat over the canvas, and emblems.

Roles are those of ``marks``; in a pattern ``p`` stands out against the colour, in a texture #ffffff and #000000 lighten
and darken what is below.
"""

from __future__ import annotations

from typing import NamedTuple

from aisle.simulate.pictures.marks import Marks, Paint, box, oval, path


class Tile(NamedTuple):
    """``marks`` on a square of ``size``, repeated from the canvas's corner."""

    size: int
    marks: Marks


def _paint(role: str, opacity: float = 1.0) -> Paint:
    return Paint(role, opacity=opacity)


def _stroke(role: str, width: float, opacity: float) -> Paint:
    return Paint("", role, width, opacity)


PATTERNS = {
    "striped": Tile(16, box(0, 0, 16, 7, 0, _paint("p"))),
    "dotted": Tile(16, oval(8, 8, 3.6, 3.6, _paint("p"))),
    "checked": Tile(20, box(0, 0, 10, 20, 0, _paint("p", 0.5)) + box(0, 0, 20, 10, 0, _paint("p", 0.5))),
    "floral": Tile(
        22,
        oval(11, 6, 3, 3.4, _paint("p"))
        + oval(11, 16, 3, 3.4, _paint("p"))
        + oval(6, 11, 3.4, 3, _paint("p"))
        + oval(16, 11, 3.4, 3, _paint("p"))
        + oval(11, 11, 2.4, 2.4, _paint("#ecc94b"))
        + oval(1.5, 1.5, 1.5, 1.5, _paint("p", 0.7)),
    ),
}

_WOODS = {"oak": "#c08a4a", "walnut": "#5f3d25", "pine": "#dcb36f", "bamboo": "#cbb86a", "beech": "#d9a679"}
_METALS = {
    "copper": "#c0703a",
    "brass": "#c9a63c",
    "cast iron": "#26282b",
    "zinc": "#9aa7ad",
    "damascus steel": "#6f7b84",
}
_METALS |= dict.fromkeys(("steel", "stainless steel", "aluminium"), "#d4dadd")


def _grain(colour: str) -> Tile:
    return Tile(
        40,
        box(0, 0, 40, 40, 0, _paint(colour, 0.45))
        + path(
            "M0 6 Q20 10 40 6 M0 15 Q20 11 40 15 M0 25 Q20 29 40 25 M0 34 Q20 31 40 34", _stroke("#000000", 1.6, 0.22)
        ),
    )


def _brushed(colour: str) -> Tile:
    return Tile(
        25,
        box(0, 0, 25, 25, 0, _paint(colour, 0.35))
        + path("M0 3 H25 M0 9 H25 M0 16 H25 M0 21 H25", _stroke("#ffffff", 1.2, 0.35)),
    )


_KNIT = Tile(10, path("M0 1 L5 6 L10 1 M0 6 L4 10 M6 10 L10 6", _stroke("#000000", 1.3, 0.25)))
_WEAVE = Tile(
    8, path("M0 2 H8 M0 6 H8", _stroke("#ffffff", 1.2, 0.3)) + path("M2 0 V8 M6 0 V8", _stroke("#000000", 1.0, 0.18))
)
_SHEEN = Tile(100, path("M0 78 L52 0 H76 L0 100Z M78 100 L100 67 V92 L95 100Z", _paint("#ffffff", 0.22)))
_GRAINED = Tile(
    14,
    oval(3, 3, 1.3, 1.0, _paint("#000000", 0.22))
    + oval(10, 6, 1.5, 1.1, _paint("#000000", 0.18))
    + oval(5, 11, 1.2, 1.0, _paint("#ffffff", 0.22)),
)
_SOFT = Tile(9, oval(2, 2, 1.2, 1.2, _paint("#ffffff", 0.3)) + oval(6.5, 6.5, 1.2, 1.2, _paint("#000000", 0.14)))
_MESH = Tile(8, oval(4, 4, 2.2, 2.2, _paint("#000000", 0.28)))
_GLOSS = Tile(
    200,
    path("M52 20 Q66 60 58 150 L72 150 Q82 60 74 20Z", _paint("#ffffff", 0.4))
    + oval(82, 46, 9, 14, _paint("#ffffff", 0.4)),
)
_CLEAR = Tile(200, box(0, 0, 200, 200, 0, _paint("#ffffff", 0.35)) + _GLOSS.marks)
_SPECKLE = Tile(
    18,
    oval(4, 5, 1.6, 1.6, _paint("#000000", 0.3))
    + oval(13, 9, 1.2, 1.2, _paint("#000000", 0.3))
    + oval(7, 15, 1, 1, _paint("#ffffff", 0.5)),
)
_CORK = Tile(
    18,
    box(0, 0, 18, 18, 0, _paint("#c69a62", 0.55))
    + oval(4, 5, 2, 1.4, _paint("#5b3a1c", 0.45))
    + oval(12, 12, 2.2, 1.5, _paint("#5b3a1c", 0.4)),
)
_RIBS = Tile(12, path("M6 0 V12", _stroke("#000000", 1.6, 0.2)))
_SPARKLE = Tile(16, path("M4 2 L5 4.5 L4 7 L3 4.5Z M12 9 L13 11.5 L12 14 L11 11.5Z", _paint("#ffffff", 0.75)))
_PLANKS = Tile(24, path("M0 0 H24", _stroke("#000000", 2.4, 0.35)) + oval(5, 6, 1.2, 1.2, _paint("#000000", 0.4)))
_RIVETS = Tile(34, oval(6, 6, 2.4, 2.4, _paint("#000000", 0.5)) + oval(5.4, 5.4, 1, 1, _paint("#ffffff", 0.8)))

TEXTURES = {
    **{wood: _grain(colour) for wood, colour in _WOODS.items()},
    **{metal: _brushed(colour) for metal, colour in _METALS.items()},
    **dict.fromkeys(("wool", "merino", "cashmere", "boucle"), _KNIT),
    **dict.fromkeys(("linen", "canvas"), _WEAVE),
    **dict.fromkeys(("polyester", "nylon", "leather"), _SHEEN),
    **dict.fromkeys(("suede", "nubuck"), _GRAINED),
    **dict.fromkeys(("fleece", "velvet", "microfibre", "foam"), _SOFT),
    **dict.fromkeys(("ceramic", "porcelain", "enamel", "plastic", "silicone", "glossy"), _GLOSS),
    "mesh": _MESH,
    "jersey": _RIBS,
    "glass": _CLEAR,
    "stoneware": _SPECKLE,
    "natural rubber": _GRAINED,
    "cork": _CORK,
    "shimmer": _SPARKLE,
}
"""Of a material or a finish; others are smooth."""

STYLES = {"rustic": _PLANKS, "industrial": _RIVETS}
"""Of a style of furniture; modern is smooth, scandinavian has pale legs."""

PALE_WOOD, BLACK_STEEL = "#dcbf94", "#34383d"
LEGS = {"scandinavian": PALE_WOOD, "industrial": BLACK_STEEL}
"""What stands in for the darker shade of a style of furniture."""


def _round(colour: str, shade: str, leaf: str = "#5d8a3f") -> Marks:
    return oval(0, 2, 12, 12, Paint(colour, shade, 2)) + path("M0 -10 Q4 -18 12 -16 Q8 -8 0 -10Z", Paint(leaf))


def _drumstick(colour: str) -> Marks:
    return path("M-12 8 Q-14 -8 2 -10 Q14 -8 10 4 Q2 14 -12 8Z", Paint(colour, "#5b3a28", 2)) + path(
        "M9 4 L17 10 M17 10 L20 7 M17 10 L17 14", Paint("", "#f2ead9", 4)
    )


def _fish(colour: str) -> Marks:
    return path("M-16 0 Q0 -14 12 0 Q0 14 -16 0Z M12 0 L21 -9 V9Z", Paint(colour, "#4a5560", 2)) + oval(
        -8, -2, 1.8, 1.8, Paint("#20252c")
    )


def _flower(colour: str) -> Marks:
    petals: Marks = ()
    for x, y in ((0, -8), (8, -2), (5, 8), (-5, 8), (-8, -2)):
        petals += oval(x, y, 6, 6, Paint(colour))
    return petals + oval(0, 0, 4, 4, Paint("#ecc94b"))


EMBLEMS = {
    "orange": _round("#ef8f2f", "#c46a14"),
    "lemon": oval(0, 0, 15, 10, Paint("#f4dc4e", "#c9ad1f", 2)) + path("M14 0 L19 0", Paint("", "#c9ad1f", 4)),
    "berry": oval(-6, 4, 7, 7, Paint("#7a3566"))
    + oval(6, 4, 7, 7, Paint("#8f3f78"))
    + oval(0, -6, 7, 7, Paint("#5f2a58")),
    "vanilla": _flower("#f6ecc8"),
    "sea salt": path("M0 -14 L12 0 L0 14 L-12 0Z", Paint("#e6f1f7", "#7fa7bf", 2)),
    "mild": path("M-14 8 Q-8 -14 14 -10 Q12 12 -14 8Z", Paint("#9cc48a", "#5d8a3f", 2)),
    "dark": oval(0, 0, 13, 9, Paint("#3b2418")) + path("M-11 0 Q0 -5 11 0", Paint("", "#7a5540", 2)),
    "chicken": _drumstick("#d9a05b"),
    "beef": _drumstick("#8e3b32"),
    "lamb": _drumstick("#c9887a"),
    "salmon": _fish("#f0906f"),
    "tuna": _fish("#7d93a8"),
    "rose": _flower("#d0718c"),
    "lavender": path("M0 14 V-6", Paint("", "#5d8a3f", 3))
    + oval(-3, -2, 4, 4, Paint("#9a82c6"))
    + oval(3, -6, 4, 4, Paint("#9a82c6"))
    + oval(0, -12, 4, 4, Paint("#7a60ac")),
    "citrus": oval(0, 0, 13, 13, Paint("#f4b942", "#e08f1f", 3))
    + path("M0 -10 V10 M-9 -5 L9 5 M-9 5 L9 -5", Paint("", "#fff2cf", 2)),
    "coconut": oval(0, 0, 13, 13, Paint("#6b4a30")) + oval(0, 1, 8, 8, Paint("#fbfaf6")),
}
"""Of a flavour or a scent, round (0, 0), about 30 wide; others have none."""

LABEL_AT = {"bag": (100, 110), "bottle": (100, 117), "jar": (100, 117), "box": (100, 107), "bar": (100, 102)}
LABEL_AT |= {"perfume": (100, 122)}
"""Where a package carries its emblem."""
