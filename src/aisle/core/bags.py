"""Bags: sparse vectors as terms with weights, one bag a query or a row.

Legend: N bags, P terms in all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aisle.core.errors import ContractError
from aisle.core.lists import Array, splits_of

LARGEST = 65504.0
"""The largest weight: what float16 can hold."""


@dataclass(frozen=True, slots=True, eq=False)
class Bags:
    """N bags of weighted terms; never changed in place.

    term    int32[P]    number of the term, not negative, in any order; a repeated term stands for the sum of its weights
    weight  float32[P]  above 0, at most 65504
    splits  int64[N+1]  bag n owns ``splits[n]:splits[n+1]``

    Raises ContractError when lengths disagree or a term or weight is out of range.
    """

    term: Array
    weight: Array
    splits: Array

    def __post_init__(self) -> None:
        _as(self, "weight", np.float32)
        _as(self, "splits", np.int64)
        if len(self.term) and (self.term.min() < 0 or self.term.max() > np.iinfo(np.int32).max):
            raise ContractError(
                f"terms from {self.term.min()} to {self.term.max()}; they are numbers of 0 to 2**31 - 1"
            )
        _as(self, "term", np.int32)
        size = len(self.term)
        if len(self.weight) != size or not len(self.splits) or self.splits[0] != 0 or self.splits[-1] != size:
            raise ContractError(
                f"{size} terms came with {len(self.weight)} weights and splits {self.splits[:1]}..{self.splits[-1:]}; "
                "give one weight a term, and splits from 0 to the number of terms"
            )
        if (np.diff(self.splits) < 0).any():
            raise ContractError("splits of bags fall somewhere; they are the running number of terms")
        # A comparison with NaN is False, so it is refused too.
        if not ((self.weight > 0) & (self.weight <= LARGEST)).all():
            raise ContractError(f"a weight is not in (0, {LARGEST:g}]; leave a term out instead of giving it weight 0")

    def __len__(self) -> int:
        """Number of bags."""
        return len(self.splits) - 1

    @classmethod
    def of(cls, bags: Sequence[Mapping[int, float]]) -> Bags:
        """From one mapping of term to weight a bag."""
        term = np.array([t for bag in bags for t in bag], np.int64)
        weight = np.array([w for bag in bags for w in bag.values()], np.float32)
        return cls(term, weight, splits_of(np.array([len(bag) for bag in bags], np.int64)))

    def select(self, bags: Array) -> Bags:
        """The given bags, in that order."""
        counts = np.diff(self.splits)[bags]
        splits = splits_of(counts)
        source = np.arange(splits[-1]) + np.repeat(self.splits[bags] - splits[:-1], counts)
        return Bags(self.term[source], self.weight[source], splits)

    def joined(self, other: Bags) -> Bags:
        """These bags, then those of ``other``."""
        splits = np.concatenate([self.splits, self.splits[-1] + other.splits[1:]])
        return Bags(np.concatenate([self.term, other.term]), np.concatenate([self.weight, other.weight]), splits)


def _as(bags: Bags, name: str, dtype: type) -> None:
    if getattr(bags, name).dtype != dtype:
        object.__setattr__(bags, name, getattr(bags, name).astype(dtype))
