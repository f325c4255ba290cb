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

END = b"\n"
"""Of what a cursor says before its rows."""


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
    """Where a list goes on: the funnel and log sequence it was made with, its seed, the next offset, its ranked prefix
    (int32), and the other rows that it lists beside those that the words match (int32, ascending)."""

    funnel: str
    generation: int
    sequence: int
    seed: int
    offset: int
    prefix: Array
    near: Array

    def encode(self) -> str:
        """Text that is safe in an address."""
        steps = np.diff(self.near, prepend=0)
        width = _bytes_of(max(self.prefix.max(initial=0), steps.max(initial=0)))
        fields = [self.funnel, self.generation, self.sequence, self.seed, self.offset, len(self.prefix), width]
        body = json.dumps(fields).encode() + END + _packed(self.prefix, width) + _packed(steps, width)
        return base64.urlsafe_b64encode(zlib.crc32(body).to_bytes(4, "little") + body).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Cursor:
        """Raises DataError for anything that ``encode`` did not write."""
        try:
            packed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            if zlib.crc32(packed[4:]) != int.from_bytes(packed[:4], "little"):
                raise ValueError("a part of it is missing or different")
            head, _, body = packed[4:].partition(END)
            funnel, generation, sequence, seed, offset, size, width = json.loads(head)
            rows, numbers = _unpacked(body, int(width)), (int(generation), int(sequence), int(seed), int(offset))
            return cls(str(funnel), *numbers, rows[: int(size)], np.cumsum(rows[int(size) :], dtype=np.int32))
        except (ValueError, TypeError, ArithmeticError) as error:
            raise DataError(
                f"the cursor {text[:20]!r}... is not one of ours ({error}); ask for the first page again"
            ) from None


def _bytes_of(largest: int) -> int:
    """How many bytes the numbers up to this one take."""
    return max(1, (int(largest).bit_length() + 7) // 8)


def _packed(numbers: Array, width: int) -> bytes:
    """The lowest ``width`` bytes of each, none of which is negative."""
    return numbers.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :width].tobytes()


def _unpacked(body: bytes, width: int) -> Array:
    """int32: the inverse of ``_packed``."""
    whole = np.zeros((len(body) // width, 4), np.uint8)
    whole[:, :width] = np.frombuffer(body, np.uint8).reshape(-1, width)
    return whole.view("<u4").astype(np.int32).ravel()
