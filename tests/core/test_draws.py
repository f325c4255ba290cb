"""Draws that belong to their keys."""

from __future__ import annotations

import numpy as np

from aisle.core.draws import key_of, mixed, normal, uniform


def test_draws_are_even_normal_and_unrelated() -> None:
    key = mixed(7, np.arange(40_000))
    for draw in (0, 1, 5):
        value = uniform(key, draw)
        assert 0 <= value.min() <= value.max() < 1
        assert abs(value.mean() - 0.5) < 0.01
        assert abs(np.histogram(value, 10, (0, 1))[0] / 4000 - 1).max() < 0.08
    assert abs(np.corrcoef(uniform(key), uniform(key, 1))[0, 1]) < 0.02
    assert abs(np.corrcoef(uniform(key)[1:], uniform(key)[:-1])[0, 1]) < 0.02
    value = normal(key)
    assert abs(value.mean()) < 0.02
    assert abs(value.std() - 1) < 0.02
    assert abs((value > 1.96).mean() - 0.025) < 0.004


def test_a_key_is_its_parts_in_their_order_whatever_stands_beside_it() -> None:
    user, item = np.array([[3], [4]]), np.array([5, 6, 7])
    grid = mixed(1, user, item)
    assert grid.shape == (2, 3)
    assert grid[1, 2] == mixed(1, 4, 7)[0]
    assert len(np.unique(grid)) == 6
    assert mixed(1, 2)[0] != mixed(2, 1)[0]
    assert mixed(np.array([-1]))[0] == mixed(-1)[0]


def test_names_have_their_numbers_for_ever() -> None:
    assert key_of("navy") == 14667562688431623819
    assert key_of("navy") != key_of("blue")
