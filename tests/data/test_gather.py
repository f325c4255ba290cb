"""Gathering rows equals Arrow's own take."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from aisle.data import gather as gather_module
from aisle.data.gather import gather, gather_table


@pytest.mark.parametrize("sizes", [[0], [5], [3, 0, 4, 1], [0, 2, 0]])
@pytest.mark.parametrize("block", [2, 1000])
def test_gather_equals_take(sizes: list[int], block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather_module, "BLOCK_ROWS", block)
    total = sum(sizes)
    values = pa.array(
        [None if n % 3 == 0 else [{"a": str(n)}] * n for n in range(total)], pa.list_(pa.struct({"a": pa.string()}))
    )
    begins = np.cumsum([0, *sizes])
    column = pa.chunked_array([values.slice(b, n) for b, n in zip(begins, sizes, strict=False)], values.type)
    table = pa.table({"x": column, "n": pa.array(np.arange(total))})
    rng = np.random.default_rng(0)
    for count in (0, 1, 7, 20) if total else (0,):
        rows = rng.integers(0, max(total, 1), count)
        for chosen in (rows, np.sort(rows)):
            assert gather(column, chosen).to_pylist() == column.take(pa.array(chosen, pa.int64())).to_pylist()
            assert gather_table(table, chosen).to_pydict() == table.take(pa.array(chosen, pa.int64())).to_pydict()
