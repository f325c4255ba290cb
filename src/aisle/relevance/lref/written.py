"""The reasoning of an expert explaining, for a person."""

from __future__ import annotations

import re

WORDS = {
    "brand:asked": "",
    "brand:other": "another brand than asked",
    "brand:silent": "no brand named",
    "category:match": "the kind of product asked for",
    "category:near": "a kind of product near the one asked for",
    "category:mismatch": "another kind of product",
    "attribute:all": "with all that was asked",
    "attribute:partial": "with part of what was asked",
    "attribute:conflict": "against something that was asked",
    "keywords:all": "every word in its title",
    "keywords:some": "",
    "keywords:none": "no word in its title",
}
"""Verdict -> words; "" where nothing is worth saying."""


def aspects_in_words(text: str) -> str:
    """ ": the kind of product asked for, with all that was asked"; "" where the text holds no verdict."""
    said = [WORDS[mark] for mark in re.findall(r"<([a-z]+:[a-z]+)>", text) if WORDS.get(mark)]
    return f": {', '.join(dict.fromkeys(said))}" if said else ""
