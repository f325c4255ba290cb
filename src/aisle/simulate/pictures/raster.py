"""Pictures as pixels: the scene of an item as an RGB array or a PNG file, without a graphics library.

Painting is linear in the colours: what a mark covers becomes its colour, the rest stays.  So for one shape at one size
the share of each role in each pixel is worked out once and kept; a picture is then a weighted sum of a few colours.

Legend: S pixels a side, R roles of a scene, N rows.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from aisle.core.errors import SettingError
from aisle.core.lists import Array
from aisle.simulate.pictures.marks import CANVAS, Mark, Marks, coverage, outlines, repeated, stroked
from aisle.simulate.pictures.scene import FOOT, Scene, rgb, scene_of
from aisle.simulate.pictures.surfaces import Tile


class Shares(NamedTuple):
    """Names of roles, float32[R, S * S] their shares, and float32[S * S] what is left of what was there before."""

    names: tuple[str, ...]
    share: Array
    rest: Array


LARGEST, SMALL = 1024, 64


def pixels(row: Mapping[str, Any], size: int = 64) -> Array:
    """uint8[S, S, 3]: the picture of a catalogue row.  Raises SettingError for a size outside 8 to 1024."""
    return drawn(scene_of(row), size)


def batch(rows: Sequence[Mapping[str, Any]], size: int = 64) -> Array:
    """uint8[N, S, S, 3]: the pictures of catalogue rows."""
    return np.stack([pixels(row, size) for row in rows]) if rows else np.zeros((0, size, size, 3), np.uint8)


def png(row: Mapping[str, Any], size: int = 256) -> bytes:
    """A PNG file of the picture of a catalogue row."""
    return png_of(pixels(row, size))


def drawn(scene: Scene, size: int) -> Array:
    """uint8[S, S, 3]."""
    if not 8 <= size <= LARGEST:
        raise SettingError(f"a picture of {size} pixels a side was asked for; give 8 to {LARGEST}")
    image = np.array(rgb(scene.background), np.float32)[:, None]
    image = _painted(image, scene, shares(scene.behind, size, 1.0))
    image = _painted(image, scene, shares(scene.marks, size, scene.zoom), _surface(scene, size))
    image = _painted(image, scene, shares(scene.before, size, 1.0))
    colours = np.broadcast_to(np.rint(image), (3, size * size)).astype(np.uint8)
    return np.ascontiguousarray(colours.T).reshape(size, size, 3)


def png_of(image: Array) -> bytes:
    """A PNG file of uint8[H, W, 3]."""
    height, width, _ = image.shape
    lines = np.zeros((height, 1 + 3 * width), np.uint8)
    lines[:, 1:] = image.reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def shares(marks: Marks, size: int, zoom: float) -> Shares | None:
    """The share of each role in each pixel after these marks are painted one over the other; None without marks."""
    if not marks:
        return None
    return (_kept if size <= SMALL else _kept_large)(marks, size, zoom)


def _shares(marks: Marks, size: int, zoom: float) -> Shares:
    scale = size / CANVAS * zoom
    shift = np.array(FOOT) * (1 - zoom) * size / CANVAS
    found: dict[str, Array] = {}
    for mark in marks:
        for role, polygons in _parts(mark, scale, shift):
            over = coverage(polygons, size) * np.float32(mark.paint.opacity)
            for share in found.values():
                share *= 1 - over
            found[role] = found[role] + over if role in found else over
    share = np.stack(list(found.values())).reshape(len(found), -1)
    return Shares(tuple(found), share, 1 - share.sum(axis=0))


# At most about 100 MB each: for the sizes that models learn from and for those that people look at.
_kept, _kept_large = lru_cache(maxsize=1024)(_shares), lru_cache(maxsize=32)(_shares)


def _parts(mark: Mark, scale: float, shift: Array) -> list[tuple[str, list[Array]]]:
    """(role, outlines in pixels) of the fill and the stroke of a mark."""
    lines = [(points * scale + shift, closed) for points, closed in outlines(mark.path)]
    parts = []
    if mark.paint.fill:
        parts.append((mark.paint.fill, [points for points, _ in lines]))
    if mark.paint.stroke:
        width = mark.paint.width * scale
        parts.append((mark.paint.stroke, [p for points, closed in lines for p in stroked(points, closed, width)]))
    return parts


def _painted(image: Array, scene: Scene, covered: Shares | None, surface: Array | None = None) -> Array:
    """float32[3, S * S]: ``image`` after painting; ``surface`` is what the role f looks like, by default its colour."""
    if covered is None:
        return image
    colours = np.array([rgb(scene.role(name)) for name in covered.names], np.float32)
    place = covered.names.index("f") if surface is not None and "f" in covered.names else None
    if place is not None:
        colours[place] = 0
    out: Array = image * covered.rest + colours.T @ covered.share
    if place is not None:
        out += surface * covered.share[place]
    return out


def _surface(scene: Scene, size: int) -> Array:
    """float32[3, 1] or float32[3, S * S]: the colour with its pattern and textures."""
    surface = np.array(rgb(scene.colour), np.float32)[:, None]
    for tile in (scene.pattern, *scene.textures):
        if tile is not None:
            surface = _painted(surface, scene, _tiled(tile, size))
    return surface


@lru_cache(maxsize=128)
def _tiled(tile: Tile, size: int) -> Shares:
    """The shares of a tile repeated over the canvas."""
    return _shares(repeated(tile.marks, tile.size), size, 1.0)
