"""What the picture of an item shows, packed into the address of the picture.

The address stands in the catalogue as the name of an image file does in any shop.  It is scrambled, so that nothing can
be read off its digits: whoever wants to know what a picture shows has to look at the picture.

Legend: I items.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aisle.core.draws import key_of, mixed
from aisle.core.lists import Array
from aisle.simulate.catalogue.taxonomy import CHOICES, COLOURS, ENTRIES, LEAVES, PATTERNS, TEXTS
from aisle.simulate.catalogue.truth import Truth

ADDRESS = "aisle-picture:"

COLOUR_NAMES = tuple(value for family in COLOURS.values() for value in family)
ACCENTS = ("flavour", "scent", "finish", "style")
"""Attributes that a picture shows by an emblem on a package, by gloss, or by how furniture is made; a shelf has one."""

CUTS = ("slim fit", "regular fit", "relaxed fit")
GRADED = ("width", "screen size", "capacity", "weight", "volume", "pieces", "persons", "battery life")
"""Amounts that make a thing larger in its picture."""


class Appearance(NamedTuple):
    """
    leaf       index into LEAVES
    colour     index into COLOUR_NAMES, pattern into PATTERNS, material and accent into TEXTS, cut into CUTS;
               each one past its last when the item has none
    step       0 to 3: how large an item is among its kind
    photo      0 to 63: how good the picture is
    variation  0 to 65535: what no attribute says: lengths, necklines, label colours
    """

    leaf: int
    colour: int
    pattern: int
    material: int
    accent: int
    cut: int
    step: int
    photo: int
    variation: int


_BITS = Appearance(7, 6, 3, 8, 8, 2, 2, 6, 16)
assert sum(_BITS) <= 64
_ODD = 0x9DDFEA08EB382D69
_INVERSE = pow(_ODD, -1, 2**64)
_HEX = np.array([f"{byte:02x}" for byte in range(256)], "S2")


def addresses(truth: Truth) -> pa.Array:
    """string[I]: the address of each item's picture."""
    packed = np.zeros(len(truth.leaf), np.uint64)
    for bits, column in zip(_BITS, _columns(truth), strict=True):
        packed = (packed << np.uint64(bits)) | column.astype(np.uint64)
    scrambled = packed * np.uint64(_ODD)
    scrambled ^= scrambled >> np.uint64(32)
    digits = pa.array(_HEX[scrambled.astype(">u8").view(np.uint8)].view("S16"))
    if isinstance(digits, pa.ChunkedArray):  # Arrow does so beyond 32 MB, which are two million addresses
        digits = digits.combine_chunks()
    return pc.binary_join_element_wise(ADDRESS, digits.cast(pa.string()), "")


def read(address: str) -> Appearance | None:
    """What the picture at an address shows; None when the address is not one of a generated shop."""
    digits = address.removeprefix(ADDRESS)
    if digits == address or len(digits) != 16 or not set(digits) <= set("0123456789abcdef"):
        return None
    value = int(digits, 16)
    value ^= value >> 32
    packed = value * _INVERSE % 2**64
    parts = []
    for bits in reversed(_BITS):
        parts.append(packed % 2**bits)
        packed >>= bits
    seen = Appearance(*reversed(parts))
    return seen if packed == 0 and _known(seen) else None


def _known(seen: Appearance) -> bool:
    limits = (len(LEAVES) - 1, len(COLOUR_NAMES), len(PATTERNS), len(TEXTS), len(TEXTS), len(CUTS))
    return all(value <= limit for value, limit in zip(seen, limits, strict=False))


def _columns(truth: Truth) -> tuple[Array, ...]:
    count = len(truth.leaf)
    return (
        truth.leaf,
        _index(truth, "colour", COLOUR_NAMES),
        _index(truth, "pattern", PATTERNS),
        _first_text(truth, ("material",)),
        _first_text(truth, ACCENTS),
        _index(truth, "fit", CUTS),
        _step(truth),
        np.round(63 * truth.photo),
        mixed(truth.key, key_of("variation")) % np.uint64(2**16) if count else np.zeros(0),
    )


def _index(truth: Truth, name: str, values: tuple[str, ...]) -> Array:
    codes = truth.texts.get(name)
    if codes is None:
        return np.full(len(truth.leaf), len(values))
    lookup = np.full(len(TEXTS) + 1, len(values))
    for n, value in enumerate(values):
        lookup[TEXTS.index(value)] = n
    return lookup[codes]


def _first_text(truth: Truth, names: tuple[str, ...]) -> Array:
    found = np.full(len(truth.leaf), len(TEXTS))
    for name in names:
        codes = truth.texts.get(name)
        if codes is not None:
            found = np.where((found == len(TEXTS)) & (codes >= 0), codes, found)
    return found


def _steps() -> Array:
    """int8[S, E]: the place of an amount among those of its shelf, 0 to 3; -1 where an entry is no such amount."""
    step = np.full((len(LEAVES), len(ENTRIES)), -1, np.int8)
    for leaf, slots in enumerate(CHOICES):
        for slot in slots:
            if ENTRIES[slot[0]].name in GRADED:
                step[leaf, slot] = np.round(3 * np.arange(len(slot)) / max(len(slot) - 1, 1))
    return step


_STEP_SE = _steps()


def _step(truth: Truth) -> Array:
    """int64[I], 0 to 3; 2 for what has no such amount."""
    step: Array = np.where(truth.entry >= 0, _STEP_SE[truth.leaf[:, None], truth.entry], -1).max(axis=1)
    return np.where(step < 0, 2, step)
