"""Feature declarations: one specification of how raw columns become ids, for training and serving alike.

    features = {
        "brand": [SelectField(field="brand"), Hash()],
        "price": [SelectField(field="price_cents"), Bucketize(boundaries=(999, 4999, 19999))],
        "query_brand": [SelectField(field="query"), Hash(), FeatureCross(field="brand"), Mod(divisor=1 << 30)],
    }

Chains are settings: JSON on disk, compared by value.  ``compiled.py`` runs them, all chains in step.
"""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, field_validator

from aisle.core.method import Settings

MULTIPLIERS = (1, 3, 5, 7)
PRIME_SHARES = (29, 47, 67, 83)


class SelectField(Settings):
    """A raw column: numbers, text, or lists of either."""

    op: Literal["select"] = "select"
    field: str


class Hash(Settings):
    """Text to 52-bit ids by MurmurHash64A over its UTF-8 bytes; whole numbers by the mixing of the id map."""

    op: Literal["hash"] = "hash"
    seed: int = Field(0, ge=0)


class Mod(Settings):
    """The id, read as an unsigned 64-bit number, modulo ``divisor``."""

    op: Literal["mod"] = "mod"
    divisor: int = Field(ge=1, lt=1 << 63)


class Bucketize(Settings):
    """A number to how many boundaries are at or below it; missing (NaN) numbers to one bucket more."""

    op: Literal["bucketize"] = "bucketize"
    boundaries: tuple[float, ...] = Field(min_length=1)

    @field_validator("boundaries")
    @classmethod
    def _rising(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(b <= a for a, b in pairwise(value)):
            raise ValueError("boundaries must rise")
        return value


class IDMultiHash(Settings):
    """One id to up to four in small tables: h_i = ((m_i id) mod p_i) mod n_i, m = 1, 3, 5, 7, p_i the largest prime up to
    29, 47, 67, 83 times n_i.  Ends a chain; its features are called ``name_0`` to ``name_3``."""

    op: Literal["multi_hash"] = "multi_hash"
    num_buckets: tuple[int, ...] = Field(min_length=1, max_length=4)

    @cached_property
    def primes(self) -> tuple[int, ...]:
        return tuple(_largest_prime(share * n) for share, n in zip(PRIME_SHARES, self.num_buckets, strict=False))


class FeatureCross(Settings):
    """Every pair of a sample's ids with those of another field (text is hashed), as one 52-bit id a pair; factors multiply."""

    op: Literal["cross"] = "cross"
    field: str


class SequenceTruncate(Settings):
    """At most ``length`` ids a sample, from the ``side`` that is kept."""

    op: Literal["truncate"] = "truncate"
    length: int = Field(ge=1)
    keep: Literal["first", "last"] = "last"


Op = Annotated[
    SelectField | Hash | Mod | Bucketize | IDMultiHash | FeatureCross | SequenceTruncate, Field(discriminator="op")
]


def _largest_prime(most: int) -> int:
    """The largest prime that is not above ``most`` (at least 2)."""
    n = max(most, 2)
    while any(n % d == 0 for d in range(2, int(n**0.5) + 1)):
        n -= 1
    return n
