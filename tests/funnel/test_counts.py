"""The number beside a facet's value is the number of products that choosing it shows, whatever was typed and chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from aisle import recipes
from aisle.core.filters import Filter, In, Range, Sort, both
from aisle.core.requests import Requests
from aisle.data.items import ItemTable
from aisle.data.view import View
from aisle.funnel import Funnel, fit
from aisle.recipes.environment import memory_env
from aisle.simulate.catalogue.items import catalogue

NUM_ITEMS = 600
PLANS = ("lexical", "hybrid_own")


@pytest.fixture(scope="module")
def funnels() -> dict[str, Funnel]:
    items = ItemTable.from_table(catalogue(NUM_ITEMS, seed=5))
    env = memory_env(items)
    # Shallow, so that much of the shop lies beyond what retrievers give.
    plans = {n: recipes.plan(n).with_setting("depth.retrieve=30").with_setting("depth.rank=20") for n in PLANS}
    return {name: fit(plan, View(items), env) for name, plan in plans.items()}


def queries(items: ItemTable, rng: np.random.Generator) -> list[str]:
    """One to four words of titles, whole, in part, mistyped, with phrases and exclusions, and none."""
    words = [w for t in items.text("title", rng.choice(NUM_ITEMS, 40).astype(np.int32)) for w in t.split()]

    def some(n: int) -> list[str]:
        return [str(w) for w in rng.choice(words, n)]

    typed = [" ".join(some(n)) for n in (1, 2, 3, 4)]
    word = max(some(5), key=len)
    return [*typed, word[:4] + "*", word[:-2] + word[-1], f"{some(1)[0]} -{some(1)[0]}", f'"{word}"', ""]


def chosen(
    filter: Filter | None, name: str, facet: dict[str, Any], rng: np.random.Generator
) -> tuple[Filter | None, int]:
    """The filter with one choice of a facet added, and the count that stood beside it."""
    if facet["kind"] == "values":
        value = facet["values"][int(rng.integers(len(facet["values"])))]
        return both(filter, In(name, (value["value"],))), value["count"]
    bucket = facet["buckets"][int(rng.integers(len(facet["buckets"])))]
    return both(filter, Range(name, bucket["low"], bucket["high"])), bucket["count"]


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("seed", range(3))
def test_choosing_a_value_shows_its_count(funnels, plan, seed):
    funnel, rng = funnels[plan], np.random.default_rng(seed)
    items = funnel.env.engine.items
    for query in queries(items, rng):
        filter: Filter | None = None
        page = funnel.serve(Requests.make([query], limit=5), facets=None, strict=True)
        for _ in range(3):
            facets = {n: f for n, f in page.facets[0].items() if f.get("values") or f.get("buckets")}
            open_ones = [name for name in facets if filter is None or name not in str(filter)]
            if not open_ones:
                break
            name = str(rng.choice(open_ones))
            filter, count = chosen(filter, name, facets[name], rng)
            page = funnel.serve(Requests.make([query], filters=[filter], limit=5), facets=None, strict=True)
            if count == 0:
                break
            assert page.total[0] == count, (query, filter)


@pytest.mark.parametrize("plan", PLANS)
def test_the_whole_list_is_as_long_as_its_total_and_sorting_changes_no_count(funnels, plan):
    funnel = funnels[plan]
    group = funnel.env.engine.items.group()
    for query in queries(funnel.env.engine.items, np.random.default_rng(9)):
        page = funnel.serve(Requests.make([query], limit=NUM_ITEMS), facets=["brand"], strict=True)
        assert len(page.lists.item) == page.total[0] == len(set(group[page.lists.item]))
        by_price = funnel.serve(
            Requests.make([query], limit=NUM_ITEMS, sort=Sort("price_cents")), facets=["brand"], strict=True
        )
        assert set(group[by_price.lists.item]) == set(group[page.lists.item])
        assert by_price.facets == page.facets


def test_pages_of_a_list_join_to_the_list(funnels):
    funnel = funnels["hybrid_own"]
    for query in queries(funnel.env.engine.items, np.random.default_rng(2))[:4]:
        whole = funnel.serve(Requests.make([query], limit=NUM_ITEMS), strict=True)
        rows, cursor, offset = [], "", 0
        while True:
            page = funnel.serve(Requests.make([query], limit=7, offset=offset), cursors=[cursor] if cursor else None)
            assert page.total[0] == whole.total[0]
            rows += page.lists.item.tolist()
            cursor, offset = page.cursor[0], offset + 7
            if not cursor:
                break
        assert rows == whole.lists.item.tolist()
