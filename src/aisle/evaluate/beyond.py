"""What a run shows beyond relevance: how much of the catalogue, how varied each list, and who gets the attention.

Legend: Q lists, N rows, I items, D width, G groups, C codes, K cut-off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aisle.core.errors import ContractError
from aisle.core.lists import Array, ItemLists, Ragged
from aisle.core.shop import Items


@dataclass(frozen=True, slots=True, eq=False)
class ItemFacts:
    """What these metrics know of the items.

    num_items  how many items could have been shown
    likeness   by row: codes (such as category codes), or vectors float[I, D]; for diversity
    group      int[I] by row: who gains from being shown, such as the brand, -1 unknown; for exposure
    """

    num_items: int
    likeness: Ragged | Array | None = None
    group: Array | None = None

    @classmethod
    def of(cls, items: Items, likeness: str = "category", group: str = "brand") -> ItemFacts:
        """Facts of a catalogue: the live items, the codes of one field, and the first code of another."""
        codes, _ = items.codes(group)
        first = np.full(len(codes), -1, np.int64)
        filled = np.diff(codes.splits) > 0
        first[filled] = codes.values[codes.splits[:-1][filled]]
        return cls(int(items.live.sum()), items.codes(likeness)[0], first)


def coverage(lists: ItemLists, num_items: int, k: int | None = None) -> float:
    """The share of the catalogue that stands among the first k of any list, 0 to 1."""
    return len(np.unique(_top(lists, k).item)) / num_items if num_items else float("nan")


def diversity(lists: ItemLists, likeness: Ragged | Array, k: int | None = None) -> Array:
    """float64[Q]: 1 minus the mean cosine of all pairs among the first k, NaN for a list of fewer than 2.

    Codes count as vectors of ones: two items are alike by the share of codes that they have in common.  An item
    without a code, or with a zero vector, is like nothing.
    """
    lists = _top(lists, k)
    if isinstance(likeness, Ragged):
        square_sum, sum_square = _code_sums(lists, likeness)
    else:
        square_sum, sum_square = _vector_sums(lists, likeness)
    pairs = lists.counts * (lists.counts - 1)
    mean: Array = np.divide(square_sum - sum_square, pairs, out=np.full(len(lists), np.nan), where=pairs > 0)
    return 1.0 - mean


def exposure(lists: ItemLists, group: Array, k: int | None = None) -> Array:
    """float64[G]: each group's share of the attention of all lists, adding up to 1 (all 0 when nothing was shown).

    The attention of place p, from 0, is 1 / log2(p + 2).  Items of group -1 are left out.
    """
    lists = _top(lists, k)
    owner = np.asarray(group)[lists.item]
    known = owner >= 0
    num_groups = int(np.max(group, initial=-1)) + 1
    attention_G = np.bincount(owner[known], 1.0 / np.log2(lists.position[known] + 2.0), num_groups)
    return attention_G / (attention_G.sum() or 1.0)


def gini(share_G: Array) -> float:
    """How unequal the shares are: 0 when all are equal, towards 1 when one has everything; NaN without any."""
    share_G = np.sort(np.asarray(share_G, np.float64))
    total, n = share_G.sum(), len(share_G)
    if not total > 0:
        return float("nan")
    return float((2 * np.arange(1, n + 1) - n - 1) @ share_G / (n * total))


def _top(lists: ItemLists, k: int | None) -> ItemLists:
    bare = lists.only()
    return bare if k is None else bare.take(bare.position < k)


def _vector_sums(lists: ItemLists, vectors_ID: Array) -> tuple[Array, Array]:
    """For each list: the squared length of the sum of its unit vectors, and the sum of their squared lengths."""
    if lists.item.max(initial=-1) >= len(vectors_ID):
        raise ContractError(
            f"row {lists.item.max()} has no vector, there are {len(vectors_ID)}; encode the new rows first"
        )
    unit_ND = np.asarray(vectors_ID[lists.item], np.float64)
    length_N = np.linalg.norm(unit_ND, axis=1)
    unit_ND /= np.where(length_N > 0, length_N, 1.0)[:, None]
    filled = lists.counts > 0
    sum_QD = np.zeros((len(lists), unit_ND.shape[1]))
    if filled.any():
        sum_QD[filled] = np.add.reduceat(unit_ND, lists.splits[:-1][filled], axis=0)
    return (sum_QD**2).sum(1), np.bincount(lists.owner, length_N > 0, len(lists))


def _code_sums(lists: ItemLists, codes: Ragged) -> tuple[Array, Array]:
    """The same sums, with an item as the unit vector of its set of codes."""
    if lists.item.max(initial=-1) >= len(codes):
        raise ContractError(f"row {lists.item.max()} has no codes, there are {len(codes)} rows; read the codes again")
    own = codes.take(lists.item)
    size_N = np.diff(own.splits)
    weight = np.repeat(1.0 / np.sqrt(np.maximum(size_N, 1)), size_N)
    num_codes = int(own.values.max(initial=-1)) + 1
    key = lists.owner[own.owner] * max(num_codes, 1) + own.values
    pair, slot = np.unique(key, return_inverse=True)
    sum_C = np.bincount(slot, weight, len(pair))
    square_sum = np.bincount(pair // max(num_codes, 1), sum_C**2, len(lists))
    return square_sum, np.bincount(lists.owner, size_N > 0, len(lists))
