"""The drawings behind the pictures, as SVG on a canvas of 200 x 200.

{f} stands for the fill (a colour or a pattern), {d} for a darker shade and {l} for a lighter one.
"""

from __future__ import annotations

_GARMENT = 'fill="{f}" stroke="{d}" stroke-width="3" stroke-linejoin="round"'
_DARK = 'fill="{d}"'
_LIGHT = 'fill="{l}"'
_LINE = 'fill="none" stroke="{d}" stroke-width="3" stroke-linecap="round"'
_THICK = 'fill="none" stroke="{d}" stroke-width="9" stroke-linecap="round"'


def _d(path: str, paint: str = _GARMENT) -> str:
    return f'<path d="{path}" {paint}/>'


def _r(x: float, y: float, w: float, h: float, r: float = 6, paint: str = _GARMENT) -> str:
    return f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="{r}" {paint}/>'


def _o(x: float, y: float, rx: float, ry: float, paint: str = _GARMENT) -> str:
    return f'<ellipse cx="{x}" cy="{y}" rx="{rx}" ry="{ry}" {paint}/>'


_TEE = _d("M72 46 Q100 66 128 46 L166 68 L152 98 L138 90 V160 H62 V90 L48 98 L34 68Z")
_LONG = _d("M74 42 Q100 60 126 42 L150 54 L172 142 L150 148 L136 92 V162 H64 V92 L50 148 L28 142 L50 54Z")
_BOTTLE = _r(72, 74, 56, 92, 14) + _r(88, 52, 24, 24, 3, _DARK) + _r(80, 100, 40, 34, 4, _LIGHT)
_LEGS = _d("M58 158 V168 M142 158 V168", _THICK)

SHAPES = {
    "tee": _TEE,
    "shirt": _LONG + _d("M84 46 L100 64 L116 46 M100 64 V160", _LINE),
    "sweater": _LONG + _d("M66 152 H134 M32 132 L52 138 M148 138 L168 132", _LINE),
    "hoodie": _LONG + _d("M76 44 Q100 16 124 44 Q100 74 76 44Z", _DARK) + _d("M76 124 H124 L116 106 H84Z", _LINE),
    "trousers": _d("M66 36 H134 L144 166 H112 L100 82 L88 166 H56Z") + _d("M66 50 H134", _LINE),
    "skirt": _d("M74 48 H126 L152 152 Q100 166 48 152Z") + _d("M74 60 H126 M90 62 L82 152 M110 62 L118 152", _LINE),
    "dress": _d("M80 32 Q100 54 120 32 L128 36 L122 86 L152 160 Q100 174 48 160 L78 86 L72 36Z")
    + _d("M78 86 H122", _LINE),
    "jacket": _LONG + _d("M100 52 V162 M82 46 L100 74 L118 46 M74 122 H90 M110 122 H126", _LINE),
    "sneaker": _d("M28 132 Q26 92 48 88 Q62 102 80 84 L128 112 Q168 116 172 138Z")
    + _r(26, 132, 148, 16, 8, _LIGHT)
    + _d("M82 96 L94 88 M94 104 L106 96 M106 112 L118 104", _LINE),
    "boot": _d("M62 38 H110 V104 Q152 108 158 140 H62Z")
    + _r(58, 140, 104, 14, 4, _DARK)
    + _d("M92 64 H110 M92 82 H110", _LINE),
    "sandal": _d("M24 138 Q26 116 62 124 Q120 134 168 120 Q184 138 160 146 H36Z")
    + _d("M60 124 Q92 62 124 128 M92 128 Q120 80 146 124", _THICK),
    "headphones": _d("M46 118 Q46 44 100 44 Q154 44 154 118", _THICK)
    + _r(32, 106, 32, 52, 14)
    + _r(136, 106, 32, 52, 14),
    "speaker": _r(60, 36, 80, 130, 16)
    + _o(100, 120, 28, 28, _DARK)
    + _o(100, 120, 11, 11, _LIGHT)
    + _o(100, 66, 14, 14, _DARK),
    "soundbar": _r(20, 88, 160, 30, 12)
    + _d("M36 96 V110 M50 96 V110 M64 96 V110 M136 96 V110 M150 96 V110 M164 96 V110", _LINE),
    "laptop": _r(50, 52, 100, 70, 6) + _r(57, 59, 86, 56, 2, 'fill="#dfeaf3"') + _d("M34 126 H166 L176 142 H24Z"),
    "screen": _r(26, 46, 148, 90, 6)
    + _r(33, 53, 134, 76, 2, 'fill="#dfeaf3"')
    + _d("M100 138 V156 M70 160 H130", _THICK),
    "keyboard": _r(22, 78, 156, 56, 8)
    + _d("M36 92 H164 M36 106 H164", 'fill="none" stroke="{l}" stroke-width="8" stroke-dasharray="9 5"')
    + _d("M66 121 H134", 'fill="none" stroke="{l}" stroke-width="8"'),
    "phone": _r(66, 30, 68, 140, 14) + _r(73, 42, 54, 112, 4, 'fill="#dfeaf3"') + _o(100, 162, 4, 4, _LIGHT),
    "charger": _r(66, 50, 60, 64, 12)
    + _d("M82 50 V32 M110 50 V32", _THICK)
    + _d("M96 114 Q96 150 130 150 T160 166", _THICK),
    "sofa": _r(44, 66, 112, 54, 14)
    + _r(24, 92, 30, 58, 12)
    + _r(146, 92, 30, 58, 12)
    + _r(52, 112, 96, 38, 8)
    + _d("M100 112 V150", _LINE)
    + _d("M42 154 V162 M158 154 V162", _THICK),
    "armchair": _r(62, 48, 76, 76, 18)
    + _r(44, 88, 26, 62, 12)
    + _r(130, 88, 26, 62, 12)
    + _r(66, 114, 68, 36, 8)
    + _LEGS,
    "table": _r(24, 74, 152, 16, 4) + _d("M40 92 L34 160 M160 92 L166 160", _THICK),
    "bookcase": _r(54, 30, 92, 140, 4)
    + "".join(_r(62, y, 76, 34, 2, _LIGHT) for y in (40, 84, 128))
    + _d("M72 74 V50 M82 74 V46 M92 74 V52 M118 118 V92 M128 118 V96", _THICK),
    "wardrobe": _r(48, 28, 104, 134, 4) + _d("M100 28 V162 M92 92 V106 M108 92 V106", _LINE) + _LEGS,
    "rug": _d("M48 58 H152 L178 146 H22Z") + _d("M58 70 H142 L160 134 H40Z", _LINE),
    "curtains": _d("M30 34 H170", _THICK)
    + _d("M40 38 H94 Q92 110 58 160 H40Z")
    + _d("M160 38 H106 Q108 110 142 160 H160Z"),
    "bed": _r(32, 48, 136, 50, 8, _DARK)
    + _r(28, 92, 144, 60, 10)
    + _r(44, 74, 48, 28, 10, _LIGHT)
    + _r(108, 74, 48, 28, 10, _LIGHT),
    "floorlamp": _d("M100 78 V160 M74 164 H126", _THICK) + _d("M82 34 H118 L138 82 H62Z"),
    "pendant": _d("M100 22 V72", _LINE)
    + _d("M92 70 H108 Q150 82 152 124 H48 Q50 82 92 70Z")
    + _o(100, 128, 14, 12, 'fill="#fbe7a1"'),
    "pan": _o(82, 106, 58, 52) + _o(82, 106, 44, 39, _DARK) + _r(134, 98, 54, 14, 7, _DARK),
    "pot": _d("M50 84 H150 V136 Q150 156 130 156 H70 Q50 156 50 136Z")
    + _r(44, 70, 112, 14, 7, _DARK)
    + _d("M34 100 H48 M152 100 H166", _THICK)
    + _o(100, 63, 9, 7, _DARK),
    "mug": _d("M132 82 Q168 80 166 108 Q164 134 130 132", _THICK)
    + _d("M52 62 H134 V136 Q134 156 114 156 H72 Q52 156 52 136Z"),
    "plate": _o(100, 104, 76, 62) + _o(100, 104, 48, 38, _LINE),
    "kettle": _d("M62 76 H130 L144 154 H52Z")
    + _d("M78 74 Q96 30 136 62 Q150 78 146 104", _THICK)
    + _d("M60 96 L32 78 L62 82Z")
    + _o(96, 72, 8, 7, _DARK),
    "blender": _d("M66 36 H134 L124 116 H76Z", 'fill="#dfeaf3" stroke="{d}" stroke-width="3"')
    + _d("M71 76 H129 L124 116 H76Z")
    + _r(66, 118, 68, 46, 8)
    + _o(100, 142, 9, 9, _LIGHT)
    + _r(70, 26, 60, 10, 4, _DARK),
    "bag": _d("M60 48 H140 L148 164 H52Z") + _d("M60 62 H140", _LINE) + _r(74, 88, 52, 44, 6, _LIGHT),
    "bottle": _BOTTLE,
    "jar": _r(58, 74, 84, 90, 16) + _r(56, 50, 88, 24, 6, _DARK) + _r(70, 98, 60, 38, 4, _LIGHT),
    "bar": _d("M44 56 H156 V148 H44Z") + _d("M44 86 H156 M44 118 H156 M82 56 V148 M118 56 V148", _LINE),
    "box": _d("M52 58 H148 V160 H52Z") + _d("M52 58 L66 40 H162 L148 58Z", _DARK) + _r(66, 84, 68, 46, 4, _LIGHT),
    "lipstick": _d("M86 92 V56 Q108 34 114 60 V92Z")
    + _r(82, 92, 36, 24, 2, _LIGHT)
    + _r(76, 114, 48, 52, 4, 'fill="#3d3a40"'),
    "polish": _r(66, 96, 68, 68, 16) + _d("M88 96 V40 Q100 30 112 40 V96Z", 'fill="#3d3a40"'),
    "dumbbell": _d("M66 104 H134", _THICK)
    + _r(30, 70, 20, 68, 6)
    + _r(50, 62, 20, 84, 6)
    + _r(130, 62, 20, 84, 6)
    + _r(150, 70, 20, 68, 6),
    "mat": _d("M40 62 H138 V146 H40Z") + _o(146, 104, 18, 42) + _o(146, 104, 7, 17, _DARK),
    "tent": _d("M100 42 L178 154 H22Z")
    + _d("M100 72 L128 154 H72Z", _DARK)
    + _d("M100 42 L96 30 M100 42 L104 30", _LINE),
    "backpack": _d("M82 46 Q100 22 118 46", _THICK)
    + _r(56, 44, 88, 120, 28)
    + _r(68, 104, 64, 46, 10, _DARK)
    + _d("M68 84 H132", _LINE),
    "helmet": _d("M28 122 Q32 50 104 50 Q168 54 174 122 Q100 136 28 122Z")
    + _d("M62 76 Q82 66 92 112 M112 66 Q134 74 140 112", _THICK)
    + _d("M52 128 Q70 166 96 130", _LINE),
    "ball": _o(100, 102, 62, 62)
    + _d("M100 78 L124 96 L114 124 H86 L76 96Z", _DARK)
    + _d("M100 78 V42 M124 96 L158 84 M114 124 L136 150 M86 124 L64 150 M76 96 L42 84", _LINE),
    "teddy": _o(66, 56, 18, 18)
    + _o(134, 56, 18, 18)
    + _o(100, 132, 44, 38)
    + _o(100, 80, 42, 38)
    + _o(100, 92, 17, 13, _LIGHT)
    + _o(84, 74, 5, 5, 'fill="#2b2b30"')
    + _o(116, 74, 5, 5, 'fill="#2b2b30"')
    + _o(100, 87, 6, 4, 'fill="#2b2b30"'),
    "blocks": _r(30, 106, 66, 52)
    + _r(102, 106, 66, 52, 6, _DARK)
    + _r(66, 50, 66, 52)
    + _r(40, 98, 16, 10, 3)
    + _r(76, 42, 16, 10, 3)
    + _r(106, 42, 16, 10, 3)
    + _r(144, 98, 16, 10, 3, _DARK),
    "puzzle": _d("M46 62 H84 Q78 38 100 38 Q122 38 116 62 H154 V100 Q178 94 178 114 Q178 134 154 128 V162 H46Z"),
    "flowerpot": _d("M58 96 H142 L130 164 H70Z")
    + _r(50, 82, 100, 18, 4)
    + _d("M100 82 Q92 52 66 44 Q70 76 100 82 Q104 40 136 34 Q136 70 100 82Z", 'fill="#6fa56f"'),
    "can": _d("M62 74 H128 V156 H62Z")
    + _d("M128 132 L174 76", _THICK)
    + _d("M164 64 L184 82", _THICK)
    + _d("M62 92 Q24 92 30 126 Q36 148 62 142", _THICK),
    "parcel": _d("M46 70 L100 46 L154 70 V142 L100 166 L46 142Z") + _d("M46 70 L100 94 L154 70 M100 94 V166", _LINE),
}
