"""Page: what a batch of requests gets back, and the cursor that leads to its next part."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aisle.core.errors import DataError
from aisle.core.lists import Array, ItemLists


@dataclass(frozen=True, slots=True)
class StageTrace:
    """One stage of one request batch: milliseconds, rows that left it, and why it was skipped if it was."""

    stage: str
    latency_ms: float
    rows: int
    skipped: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """Q answers.

    lists           the shown rows of each request, in order, with the columns of the ranked ones (missing beyond the prefix)
    facets          field -> counts over the filtered list, each without its own selection, one mapping a request
    total           int64[Q] rows (products, where variants are collapsed) that paging would reach
    total_is_exact  bool[Q]
    suggestion      did-you-mean, or None
    redirect        an address to go to instead, or None
    applied_rules   names of the merchandising rules that acted
    coverage        share of the plan's stages that ran, 0 to 1
    trace           every stage with its time
    cursor          what leads to the next part of the same list, "" at its end
    candidates      every ranked candidate of each request with all its columns, best first; None where none was kept
    """

    lists: ItemLists
    facets: Sequence[Mapping[str, Any]]
    total: Array
    total_is_exact: Array
    suggestion: Sequence[str | None]
    redirect: Sequence[str | None]
    applied_rules: Sequence[Sequence[str]]
    coverage: float
    trace: Sequence[StageTrace]
    cursor: Sequence[str]
    candidates: ItemLists | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Cursor:
    """Where a list goes on: the funnel and log sequence it was made with, its seed, the next offset, its ranked prefix, and
    the other rows that it lists beside those that the words match."""

    funnel: str
    generation: int
    sequence: int
    seed: int
    offset: int
    prefix: Array
    near: Array

    def encode(self) -> str:
        """Text that is safe in an address."""
        fields = [
            self.funnel,
            self.generation,
            self.sequence,
            self.seed,
            self.offset,
            _packed(self.prefix),
            _packed(self.near),
        ]
        return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Cursor:
        """Raises DataError for anything that ``encode`` did not write."""
        try:
            raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            funnel, generation, sequence, seed, offset, prefix, near = json.loads(raw)
            numbers = int(generation), int(sequence), int(seed), int(offset)
            return cls(str(funnel), *numbers, _unpacked(prefix), _unpacked(near))
        except (ValueError, TypeError, zlib.error) as error:
            raise DataError(
                f"the cursor {text[:20]!r}... is not one of ours ({error}); ask for the first page again"
            ) from None


def _packed(rows: Array) -> str:
    # A small window: the usual one takes longer to set up than a hundred rows to pack.
    packer = zlib.compressobj(level=1, wbits=9, memLevel=1)
    return base64.b64encode(packer.compress(rows.astype("<i4").tobytes()) + packer.flush()).decode()


def _unpacked(text: str) -> Array:
    unpacked = zlib.decompressobj().decompress(base64.b64decode(text), 4 * 100_000)
    return np.frombuffer(unpacked, "<i4").astype(np.int32)
