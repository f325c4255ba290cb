"""What queries say no to, as masks over the catalogue: operators exclude rows, words make them count less.

Legend: M bitmaps, I items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from aisle.core.lists import Array, mask_of_size
from aisle.core.requests import Requests, RowMasks
from aisle.core.shop import TextIndex


def with_denied(requests: Requests, text: TextIndex) -> Requests:
    """Compiled requests without the rows that their queries exclude, and with ``unwanted``."""
    asked = {query: text.asked(query) for query in set(requests.query) if query}
    excluded = {query: a.excluded for query, a in asked.items() if a.excluded is not None}
    unwanted = {query: a.has for query, a in asked.items() if a.has is not None}
    if not excluded and not unwanted:
        return requests
    masks = requests.masks()
    return replace(
        requests,
        allowed=_less(masks, requests.query, excluded) if excluded else masks,
        unwanted=_masks(requests.query, unwanted, masks.bits.shape[1]) if unwanted else None,
    )


def _less(masks: RowMasks, queries: Sequence[str], excluded: dict[str, Array]) -> RowMasks:
    """The masks, with one more for each filter and query that excludes something."""
    which, bits, place = masks.which.copy(), list(masks.bits), dict[tuple[int, str], int]()
    for q, query in enumerate(queries):
        if query in excluded:
            key = int(masks.which[q]), query
            if key not in place:
                place[key] = len(bits)
                bits.append(masks.bits[key[0]] & ~mask_of_size(excluded[query], masks.bits.shape[1]))
            which[q] = place[key]
    return RowMasks(np.stack(bits), which)


def _masks(queries: Sequence[str], rows: dict[str, Array], size: int) -> RowMasks:
    """One mask a query of ``rows``, and an empty one for all others."""
    place = {query: n for n, query in enumerate(rows, 1)}
    bits = np.stack([np.zeros(size, bool), *(mask_of_size(mask, size) for mask in rows.values())])
    return RowMasks(bits, np.array([place.get(query, 0) for query in queries], np.int64))
