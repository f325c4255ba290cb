"""The picture this server draws of any product: a generated shop's own drawing, else initials on a pleasant colour."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from html import escape
from typing import Any

DRAWN = "aisle-picture:"
FONT = "system-ui,-apple-system,Segoe UI,Roboto,sans-serif"


def picture_svg(record: Mapping[str, Any]) -> str:
    """An SVG document of one catalogue record."""
    if next(iter(record["images"] or []), "").startswith(DRAWN):
        drawn = _drawn(record)
        if drawn:
            return drawn
    return placeholder_svg(record["title"] or record["item_id"], record["brand"] or "")


def _drawn(record: Mapping[str, Any]) -> str | None:
    try:
        from aisle.simulate.pictures.scene import picture_of
    except ImportError:
        return None
    return picture_of(record)


def placeholder_svg(title: str, brand: str) -> str:
    """Initials of the brand (else the title) on a ground whose colour follows the brand, its pattern the title."""
    mood = _number(brand or title)
    shape = _number(title)
    hue = mood % 360
    ground, accent, ink = f"hsl({hue} 46% 90%)", f"hsl({(hue + 24) % 360} 52% 82%)", f"hsl({hue} 42% 34%)"
    x, y, r = 60 + shape % 280, 60 + (shape >> 9) % 280, 110 + (shape >> 18) % 90
    x2, y2 = 400 - x, 400 - y
    letters = escape(initials(brand or title))
    label = escape(_short(brand, 24))
    size = 92 if len(letters) < 3 else 72
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 400" role="img">'
        f'<rect width="400" height="400" fill="{ground}"/>'
        f'<circle cx="{x}" cy="{y}" r="{r}" fill="{accent}"/>'
        f'<circle cx="{x2}" cy="{y2}" r="{r // 2}" fill="{accent}" opacity=".7"/>'
        f'<text x="200" y="192" font-family="{FONT}" font-size="{size}" font-weight="600" '
        f'letter-spacing="-1" text-anchor="middle" dominant-baseline="central" fill="{ink}">{letters}</text>'
        f'<text x="200" y="276" font-family="{FONT}" font-size="21" '
        f'text-anchor="middle" fill="{ink}" opacity=".8">{label}</text></svg>'
    )


def initials(text: str) -> str:
    """Up to two letters: of the first two words, else the first two of the only one."""
    words = re.findall(r"[^\W_]+", text)
    if not words:
        return "·"
    if len(words) == 1 or not words[1][0].isalpha():
        return str(words[0][:2]).upper() if words[0].isascii() else str(words[0][:1]).upper()
    return str(words[0][0] + words[1][0]).upper()


def _short(text: str, size: int) -> str:
    return text if len(text) <= size else text[: size - 1].rstrip() + "…"


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(errors="replace"), digest_size=4).digest(), "little")
