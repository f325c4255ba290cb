from __future__ import annotations

import numpy as np
import pytest

from aisle.engine.embedded import orders
from aisle.engine.embedded.orders import Order


def expected(column, chosen, descending):
    known = np.nan_to_num(-column if descending else column)
    return sorted(chosen.tolist(), key=lambda r: (np.isnan(column[r]), known[r], r))


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("most", [0, 500])
def test_mending_equals_sorting(descending, most, monkeypatch):
    monkeypatch.setattr(orders, "MOST_MENDED", most)
    rng = np.random.default_rng(3)

    def values(size):
        return np.where(rng.random(size) < 0.2, np.nan, rng.integers(0, 20, size).astype(float))

    column = values(300)
    order = Order.of(column, descending)
    for _ in range(10):
        column = np.concatenate([column, values(int(rng.integers(0, 4)))])
        some = rng.choice(len(column), 15, replace=False)
        column[some] = values(15)
        order = order.followed(column)
        every = np.arange(len(column), dtype=np.int32)
        assert order.sorted(every).tolist() == order.rows.tolist() == expected(column, every, descending)
        few = rng.choice(every, 20, replace=False)
        assert order.sorted(few).tolist() == expected(column, few, descending)
    assert order.followed(column) is order
