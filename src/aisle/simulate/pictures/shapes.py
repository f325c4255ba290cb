"""The drawings behind the pictures, by the name of the shape; garments are in ``garments``, since their cut varies."""

from __future__ import annotations

from aisle.simulate.pictures.marks import BODY, DARK, GLASS, INK, LIGHT, LINE, THICK, Marks, Paint, box, oval, path

_EYE = Paint("#2b2b30")


def _row(x: float, y: float, keys: int) -> Marks:
    """A row of keys."""
    marks: Marks = ()
    for key in range(keys):
        marks += box(x + 15 * key, y, 11, 9, 2, LIGHT)
    return marks


_BOTTLE = box(72, 74, 56, 92, 14) + box(88, 52, 24, 24, 3, DARK) + box(80, 100, 40, 34, 4, LIGHT)
_LEGS = path("M58 158 V168 M142 158 V168", THICK)

SHAPES = {
    "sneaker": path("M28 132 Q26 92 48 88 Q62 102 80 84 L128 112 Q168 116 172 138Z")
    + box(26, 132, 148, 16, 8, LIGHT)
    + path("M82 96 L94 88 M94 104 L106 96 M106 112 L118 104", LINE),
    "boot": path("M62 38 H110 V104 Q152 108 158 140 H62Z")
    + box(58, 140, 104, 14, 4, DARK)
    + path("M92 64 H110 M92 82 H110", LINE),
    "sandal": path("M24 138 Q26 116 62 124 Q120 134 168 120 Q184 138 160 146 H36Z")
    + path("M60 124 Q92 62 124 128 M92 128 Q120 80 146 124", THICK),
    "headphones": path("M46 118 Q46 44 100 44 Q154 44 154 118", THICK)
    + box(32, 106, 32, 52, 14)
    + box(136, 106, 32, 52, 14),
    "speaker": box(60, 36, 80, 130, 16)
    + oval(100, 120, 28, 28, DARK)
    + oval(100, 120, 11, 11, LIGHT)
    + oval(100, 66, 14, 14, DARK),
    "soundbar": box(20, 88, 160, 30, 12)
    + path("M36 96 V110 M50 96 V110 M64 96 V110 M136 96 V110 M150 96 V110 M164 96 V110", LINE),
    "laptop": box(50, 52, 100, 70, 6) + box(57, 59, 86, 56, 2, GLASS) + path("M34 126 H166 L176 142 H24Z"),
    "screen": box(26, 46, 148, 90, 6) + box(33, 53, 134, 76, 2, GLASS) + path("M100 138 V156 M70 160 H130", THICK),
    "keyboard": box(22, 78, 156, 56, 8) + _row(34, 88, 9) + _row(34, 102, 9) + box(66, 116, 68, 9, 3, LIGHT),
    "phone": box(66, 30, 68, 140, 14) + box(73, 42, 54, 112, 4, GLASS) + oval(100, 162, 4, 4, LIGHT),
    "charger": box(66, 50, 60, 64, 12)
    + path("M82 50 V32 M110 50 V32", THICK)
    + path("M96 114 Q96 150 130 150 T160 166", THICK),
    "sofa": box(44, 66, 112, 54, 14)
    + box(24, 92, 30, 58, 12)
    + box(146, 92, 30, 58, 12)
    + box(52, 112, 96, 38, 8)
    + path("M100 112 V150", LINE)
    + path("M42 154 V162 M158 154 V162", THICK),
    "armchair": box(62, 48, 76, 76, 18)
    + box(44, 88, 26, 62, 12)
    + box(130, 88, 26, 62, 12)
    + box(66, 114, 68, 36, 8)
    + _LEGS,
    "table": box(24, 74, 152, 16, 4) + path("M40 92 L34 160 M160 92 L166 160", THICK),
    "bookcase": box(54, 30, 92, 140, 4)
    + box(62, 40, 76, 34, 2, LIGHT)
    + box(62, 84, 76, 34, 2, LIGHT)
    + box(62, 128, 76, 34, 2, LIGHT)
    + path("M72 74 V50 M82 74 V46 M92 74 V52 M118 118 V92 M128 118 V96", THICK),
    "wardrobe": box(48, 28, 104, 134, 4) + path("M100 28 V162 M92 92 V106 M108 92 V106", LINE) + _LEGS,
    "rug": path("M48 58 H152 L178 146 H22Z") + path("M58 70 H142 L160 134 H40Z", LINE),
    "curtains": path("M30 34 H170", THICK)
    + path("M40 38 H94 Q92 110 58 160 H40Z")
    + path("M160 38 H106 Q108 110 142 160 H160Z"),
    "bed": box(32, 48, 136, 50, 8, DARK)
    + box(28, 92, 144, 60, 10)
    + box(44, 74, 48, 28, 10, LIGHT)
    + box(108, 74, 48, 28, 10, LIGHT),
    "floorlamp": path("M100 78 V160 M74 164 H126", THICK) + path("M82 34 H118 L138 82 H62Z"),
    "pendant": path("M100 22 V72", LINE)
    + path("M92 70 H108 Q150 82 152 124 H48 Q50 82 92 70Z")
    + oval(100, 128, 14, 12, Paint("#fbe7a1")),
    "pan": oval(82, 106, 58, 52) + oval(82, 106, 44, 39, DARK) + box(134, 98, 54, 14, 7, DARK),
    "pot": path("M50 84 H150 V136 Q150 156 130 156 H70 Q50 156 50 136Z")
    + box(44, 70, 112, 14, 7, DARK)
    + path("M34 100 H48 M152 100 H166", THICK)
    + oval(100, 63, 9, 7, DARK),
    "mug": path("M132 82 Q168 80 166 108 Q164 134 130 132", THICK)
    + path("M52 62 H134 V136 Q134 156 114 156 H72 Q52 156 52 136Z"),
    "plate": oval(100, 104, 76, 62) + oval(100, 104, 48, 38, LINE),
    "kettle": path("M62 76 H130 L144 154 H52Z")
    + path("M78 74 Q96 30 136 62 Q150 78 146 104", THICK)
    + path("M60 96 L32 78 L62 82Z")
    + oval(96, 72, 8, 7, DARK),
    "blender": path("M66 36 H134 L124 116 H76Z", Paint("#dfeaf3", "d", 3))
    + path("M71 76 H129 L124 116 H76Z")
    + box(66, 118, 68, 46, 8)
    + oval(100, 142, 9, 9, LIGHT)
    + box(70, 26, 60, 10, 4, DARK),
    "bag": path("M60 48 H140 L148 164 H52Z") + path("M60 62 H140", LINE) + box(74, 88, 52, 44, 6, LIGHT),
    "bottle": _BOTTLE,
    "jar": box(58, 74, 84, 90, 16) + box(56, 50, 88, 24, 6, DARK) + box(70, 98, 60, 38, 4, LIGHT),
    "bar": path("M44 56 H156 V148 H44Z") + path("M44 86 H156 M44 118 H156 M82 56 V148 M118 56 V148", LINE),
    "box": path("M52 58 H148 V160 H52Z") + path("M52 58 L66 40 H162 L148 58Z", DARK) + box(66, 84, 68, 46, 4, LIGHT),
    "lipstick": path("M86 92 V56 Q108 34 114 60 V92Z") + box(82, 92, 36, 24, 2, LIGHT) + box(76, 114, 48, 52, 4, INK),
    "polish": box(66, 96, 68, 68, 16) + path("M88 96 V40 Q100 30 112 40 V96Z", INK),
    "dumbbell": path("M66 104 H134", THICK)
    + box(30, 70, 20, 68, 6)
    + box(50, 62, 20, 84, 6)
    + box(130, 62, 20, 84, 6)
    + box(150, 70, 20, 68, 6),
    "mat": path("M40 62 H138 V146 H40Z") + oval(146, 104, 18, 42) + oval(146, 104, 7, 17, DARK),
    "tent": path("M100 42 L178 154 H22Z")
    + path("M100 72 L128 154 H72Z", DARK)
    + path("M100 42 L96 30 M100 42 L104 30", LINE),
    "backpack": path("M82 46 Q100 22 118 46", THICK)
    + box(56, 44, 88, 120, 28)
    + box(68, 104, 64, 46, 10, DARK)
    + path("M68 84 H132", LINE),
    "helmet": path("M28 122 Q32 50 104 50 Q168 54 174 122 Q100 136 28 122Z")
    + path("M62 76 Q82 66 92 112 M112 66 Q134 74 140 112", THICK)
    + path("M52 128 Q70 166 96 130", LINE),
    "ball": oval(100, 102, 62, 62)
    + path("M100 78 L124 96 L114 124 H86 L76 96Z", DARK)
    + path("M100 78 V42 M124 96 L158 84 M114 124 L136 150 M86 124 L64 150 M76 96 L42 84", LINE),
    "teddy": oval(66, 56, 18, 18)
    + oval(134, 56, 18, 18)
    + oval(100, 132, 44, 38)
    + oval(100, 80, 42, 38)
    + oval(100, 92, 17, 13, LIGHT)
    + oval(84, 74, 5, 5, _EYE)
    + oval(116, 74, 5, 5, _EYE)
    + oval(100, 87, 6, 4, _EYE),
    "blocks": box(30, 106, 66, 52)
    + box(102, 106, 66, 52, 6, DARK)
    + box(66, 50, 66, 52)
    + box(40, 98, 16, 10, 3)
    + box(76, 42, 16, 10, 3)
    + box(106, 42, 16, 10, 3)
    + box(144, 98, 16, 10, 3, DARK),
    "puzzle": path("M46 62 H84 Q78 38 100 38 Q122 38 116 62 H154 V100 Q178 94 178 114 Q178 134 154 128 V162 H46Z"),
    "flowerpot": path("M58 96 H142 L130 164 H70Z")
    + box(50, 82, 100, 18, 4)
    + path("M100 82 Q92 52 66 44 Q70 76 100 82 Q104 40 136 34 Q136 70 100 82Z", Paint("#6fa56f")),
    "can": path("M62 74 H128 V156 H62Z")
    + path("M128 132 L174 76", THICK)
    + path("M164 64 L184 82", THICK)
    + path("M62 92 Q24 92 30 126 Q36 148 62 142", THICK),
    "sock": path("M78 34 H120 V112 Q122 126 152 140 Q162 156 140 162 Q104 160 84 142 Q76 132 78 112Z")
    + path("M78 34 H120 V52 H78Z", DARK)
    + path("M128 130 Q118 142 124 160 M80 124 Q92 124 92 146", LINE),
    "scarf": path("M58 50 Q100 26 142 50 Q150 72 126 82 L132 164 H104 L98 92 Q64 84 58 50Z")
    + path("M74 54 Q100 40 126 54 Q112 74 74 54Z", DARK)
    + path("M108 164 V174 M116 164 V174 M124 164 V174", LINE),
    "cap": path("M44 116 Q44 58 100 56 Q152 58 154 112 Q190 118 186 134 Q150 128 44 130Z")
    + path("M100 56 V50 M100 56 Q74 76 72 124 M100 56 Q128 76 130 122", LINE),
    "belt": path("M30 84 H170 Q178 84 178 100 Q178 116 170 116 H30Z")
    + box(22, 76, 34, 48, 6, Paint("", "#b9a86a", 7))
    + path("M38 100 H62", Paint("", "#b9a86a", 6))
    + oval(118, 100, 3, 3, DARK)
    + oval(134, 100, 3, 3, DARK)
    + oval(150, 100, 3, 3, DARK),
    "tablet": box(50, 26, 100, 146, 10) + box(58, 36, 84, 126, 3, GLASS) + oval(100, 31, 2, 2, LIGHT),
    "phonecase": box(60, 26, 80, 148, 18)
    + box(68, 34, 28, 44, 10, DARK)
    + oval(82, 46, 7, 7, LIGHT)
    + oval(82, 66, 7, 7, LIGHT)
    + path("M72 150 H128", LINE),
    "watch": path("M80 62 L84 22 H116 L120 62 M80 138 L84 178 H116 L120 138", BODY)
    + box(64, 58, 72, 84, 20, DARK)
    + box(71, 65, 58, 70, 14, Paint("#20252c"))
    + path("M84 84 H116 M84 100 H108 M84 116 H112", Paint("", "l", 5))
    + box(136, 92, 8, 18, 3, DARK),
    "camera": box(28, 66, 144, 88, 12)
    + path("M72 66 L80 48 H120 L128 66Z", DARK)
    + oval(100, 112, 34, 34, DARK)
    + oval(100, 112, 24, 24, Paint("#2a3038"))
    + oval(92, 104, 8, 8, Paint("#8fb0cc"))
    + box(142, 76, 20, 10, 3, LIGHT),
    "desk": box(20, 72, 160, 12, 3)
    + box(124, 84, 46, 50, 3)
    + path("M124 109 H170 M142 97 H152 M142 121 H152", LINE)
    + path("M30 84 V164 M170 134 V164", THICK),
    "officechair": box(66, 26, 68, 72, 16)
    + box(58, 104, 84, 20, 10)
    + path("M100 124 V148 M64 166 L100 148 L136 166 M46 100 V84 M154 100 V84", THICK)
    + oval(64, 170, 6, 6, DARK)
    + oval(136, 170, 6, 6, DARK),
    "pillow": path("M38 66 Q100 54 162 66 Q176 104 162 142 Q100 154 38 142 Q24 104 38 66Z")
    + path("M52 78 Q100 70 148 78 M52 130 Q100 138 148 130", LINE),
    "knife": path("M20 92 L124 84 V118 Q60 118 20 92Z", Paint("#cfd6db", "#8f989f", 2))
    + path("M124 84 H172 Q184 92 180 116 H140 L124 118Z")
    + oval(140, 98, 3, 3, LIGHT)
    + oval(158, 100, 3, 3, LIGHT),
    "flask": box(74, 58, 52, 112, 14) + box(82, 34, 36, 26, 6, DARK) + path("M76 84 H124 M118 40 Q136 44 124 58", LINE),
    "coffeemachine": path("M46 36 H146 V66 H92 V136 H152 V164 H46Z")
    + box(100, 66, 36, 12, 3, DARK)
    + path("M112 78 V90 M124 78 V90", LINE)
    + path("M104 104 H134 V122 Q134 134 119 134 Q104 134 104 122Z", Paint("#ffffff", "#8f989f", 2))
    + oval(66, 52, 7, 7, LIGHT)
    + oval(88, 52, 5, 5, LIGHT),
    "frother": path("M62 70 H132 V150 Q132 164 118 164 H76 Q62 164 62 150Z")
    + path("M62 70 L46 58 H62 M132 86 Q162 86 160 116 Q158 140 132 140", Paint("", "d", 7))
    + path("M62 70 Q78 44 97 54 Q118 42 132 70Z", Paint("#fbfaf6", "#d8d3c8", 2))
    + path("M84 62 Q97 74 110 62", Paint("", "#b98d62", 4)),
    "perfume": box(62, 82, 76, 84, 10)
    + box(86, 60, 28, 22, 3, LIGHT)
    + box(78, 34, 44, 28, 5, DARK)
    + box(76, 102, 48, 40, 3, LIGHT),
    "sleepingbag": path("M70 30 Q100 14 130 30 L138 150 Q100 180 62 150Z")
    + path("M78 40 Q100 26 122 40 Q112 64 100 62 Q88 64 78 40Z", DARK)
    + path("M66 84 Q100 94 134 84 M64 112 Q100 122 136 112 M62 138 Q100 150 138 138", LINE),
    "bikelight": box(54, 62, 74, 64, 16)
    + oval(126, 94, 22, 34, DARK)
    + oval(130, 94, 15, 25, Paint("#fff3b8"))
    + path("M152 80 L178 66 M156 94 H184 M152 108 L178 122", Paint("", "#f0d879", 5))
    + path("M78 126 V146 Q90 158 102 146 V126", THICK),
    "racket": oval(100, 74, 42, 52, Paint("#f7f6f0", "f", 11))
    + path("M80 32 V116 M100 24 V124 M120 32 V116 M60 56 H140 M58 76 H142 M62 96 H138", Paint("", "#c9c4b6", 2))
    + path("M84 122 L96 140 V178 H104 V140 L116 122", Paint("f", "d", 5)),
    "kneesleeve": path(
        "M64 30 Q100 40 136 30 Q130 72 140 100 Q132 140 128 170 Q100 178 74 170 Q70 140 62 100 Q72 72 64 30Z"
    )
    + oval(102, 100, 22, 26, DARK)
    + oval(102, 100, 12, 15, LIGHT)
    + path("M66 44 Q100 54 134 44 M74 158 Q100 166 128 158", LINE),
    "massagegun": box(40, 52, 108, 40, 16)
    + path("M104 92 H136 L146 168 H116Z")
    + box(28, 62, 14, 20, 3, DARK)
    + oval(20, 72, 12, 16, LIGHT)
    + oval(134, 72, 6, 6, LIGHT),
    "heatpad": box(40, 48, 120, 96, 18)
    + path("M66 116 Q74 96 66 78 M100 116 Q108 96 100 78 M134 116 Q142 96 134 78", Paint("", "l", 5))
    + path("M150 144 Q164 160 178 150", Paint("", "d", 5))
    + box(166, 138, 16, 26, 5, DARK),
    "game": box(36, 52, 128, 104, 6)
    + box(46, 62, 108, 84, 3, LIGHT)
    + path("M46 83 H154 M46 104 H154 M46 125 H154 M73 62 V146 M100 62 V146 M127 62 V146", LINE)
    + oval(86, 93, 8, 8, Paint("#c8393b"))
    + oval(113, 114, 8, 8, Paint("#3a6fb7"))
    + box(132, 132, 26, 26, 5, Paint("#fbfaf6", "#55585c", 2))
    + oval(145, 145, 3, 3, INK),
    "dogbed": path("M24 110 Q24 82 60 82 H140 Q176 82 176 110 V138 Q176 158 150 158 H50 Q24 158 24 138Z")
    + oval(100, 116, 56, 20, LIGHT)
    + path("M70 134 Q100 150 130 134", LINE),
    "cattree": box(40, 158, 120, 12, 4, DARK)
    + box(62, 64, 16, 94, 3, Paint("#d3bd93", "#a38c63", 2))
    + box(122, 104, 16, 54, 3, Paint("#d3bd93", "#a38c63", 2))
    + box(40, 50, 64, 16, 6)
    + box(100, 90, 60, 16, 6)
    + box(88, 128, 44, 30, 6)
    + oval(110, 146, 10, 11, Paint("#3d3a40")),
    "notebook": box(52, 34, 100, 134, 6)
    + path("M66 34 V168", LINE)
    + box(82, 56, 54, 26, 3, LIGHT)
    + path("M48 54 H60 M48 78 H60 M48 102 H60 M48 126 H60 M48 150 H60", Paint("", "#8f989f", 5)),
    "pen": path("M44 148 L128 44 Q142 34 152 44 Q160 54 150 66 L66 166Z")
    + path("M44 148 L30 176 L66 166Z", Paint("#d7b45a", "#8f7836", 2))
    + path("M96 86 L118 104 M30 176 L50 158", Paint("", "d", 4)),
    "parcel": path("M46 70 L100 46 L154 70 V142 L100 166 L46 142Z") + path("M46 70 L100 94 L154 70 M100 94 V166", LINE),
}
