"""Checks of docs/methods/mmr.md."""

from __future__ import annotations

import numpy as np
import pytest

from aisle.core.lists import ItemLists
from aisle.core.requests import Requests
from aisle.recipes.environment import memory_env
from aisle.reranking.mmr import Mmr, deepest
from aisle.simulate.known import two_tastes


@pytest.fixture(scope="module")
def env():
    return memory_env(two_tastes().items)


def reranked(env, items, scores, k=40, **settings):
    """The new order of one list."""
    lists = ItemLists(np.array(items, np.int32), np.array([0, len(items)]), {"score": np.array(scores, np.float32)})
    requests = env.engine.compile(Requests.make(["q"]))
    return Mmr(**settings).fit(None, env).rerank(requests, lists, k)


def test_without_diversity_the_order_stays(env):
    items = [4, 1, 0, 8, 3, 5]
    assert reranked(env, items, [9, 7, 7, 5, 2, 1], diversity=0.0).item.tolist() == items
    assert reranked(env, items, [9, 7, 7, 5, 2, 1], diversity=0.0, depth=2).item.tolist() == [4, 1, 0, 8, 3, 5]


def test_diversity_alone_alternates_kinds_and_brands(env):
    """Four kinds of brand stand in the shop: each comes once before any comes twice."""
    items = list(range(0, 40, 2)) + list(range(1, 40, 2))
    done = reranked(env, items, np.linspace(1, 0, 40), diversity=1.0)
    brands = env.engine.items.text("brand", done.item)
    assert done.item[0] % 2 != done.item[1] % 2
    assert sorted(brands[:4]) == ["Alder", "Birch", "Comet", "Drift"]
    assert sorted(done.item) == list(range(40)), "no row is lost"


def test_equals_hand_computed(env):
    """Rows 0, 4 and 8 are Alder lamps, 2 is a Birch lamp, 1 a Comet ball; scores fall from 1 to 0.

    Halves: after 0 the gains are 4: .45 - .5, 2: .4 - .25, 1: .1 - 0, 8: 0 - .5, so 2 is next; then the ball's .1 is best,
    then 4, then 8.
    """
    assert env.engine.items.text("brand", np.array([0, 2, 4, 8, 1])) == ["Alder", "Birch", "Alder", "Alder", "Comet"]
    done = reranked(env, [0, 4, 2, 1, 8], [1.0, 0.9, 0.8, 0.2, 0.0], diversity=0.5)
    assert done.item.tolist() == [0, 2, 1, 4, 8]
    np.testing.assert_allclose(done["score"], [1.0, 0.8, 0.2, 0.9, 0.0])


def test_the_rest_keeps_its_order(env):
    done = reranked(env, [0, 4, 8, 12, 1], [5, 4, 3, 2, 1], diversity=1.0, depth=2)
    assert done.item.tolist() == [0, 1, 4, 8, 12]


def test_k_cuts(env):
    assert reranked(env, [0, 4, 1], [3, 2, 1], k=2, diversity=1.0).item.tolist() == [0, 1]


def test_vectors_tell_likeness(env):
    rows = np.arange(40, dtype=np.int32)
    emb = np.eye(3, dtype=np.float32)[[0 if r % 2 == 0 else 1 for r in rows]]
    env.engine.put_vectors("planted", rows, emb)
    done = reranked(env, [0, 2, 4, 1], [1.0, 0.9, 0.8, 0.1], diversity=0.6, encoder="planted")
    assert done.item.tolist() == [0, 1, 2, 4]


def test_lists_do_not_see_each_other(env):
    lists = ItemLists(
        np.array([0, 4, 1, 0, 2], np.int32), np.array([0, 3, 3, 5]), {"score": np.array([3, 2, 1, 2, 1], np.float32)}
    )
    done = Mmr(diversity=1.0).fit(None, env).rerank(env.engine.compile(Requests.make(["a", "b", "c"])), lists, 10)
    assert done.counts.tolist() == [3, 0, 2]
    assert done.item.tolist() == [0, 1, 4, 0, 2]


def test_the_deepest_shelf(env):
    shelf = deepest(env.engine.items, "category")
    _, labels = env.engine.items.codes("category")
    assert {labels[c] for c in shelf} == {"Home > Lighting > Lamps", "Sport > Games > Balls"}
