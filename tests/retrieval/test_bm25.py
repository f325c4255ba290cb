"""Checks of docs/methods/bm25.md."""

from __future__ import annotations

import numpy as np
import pytest

from aisle.core.errors import SettingError
from aisle.core.requests import Requests
from aisle.recipes.environment import memory_env
from aisle.retrieval.bm25 import Bm25
from aisle.simulate.known import two_tastes


@pytest.fixture(scope="module")
def view():
    return two_tastes()


@pytest.fixture(scope="module")
def env(view):
    return memory_env(view.items)


def found(env, queries, k=40, method=None, **more):
    requests = env.engine.compile(Requests.make(queries, **more))
    return requests, (method or Bm25()).fit(None, env).retrieve(requests, k)


def test_a_kind_is_found_and_nothing_else(env):
    _, lists = found(env, ["lamps", "ball"])
    assert sorted(lists.list_of(0).item) == list(range(0, 40, 2))
    assert sorted(lists.list_of(1).item) == list(range(1, 40, 2))


def test_more_of_the_words_is_better(env, view):
    _, lists = found(env, ["birch wall lamp"])
    titles = view.items.text("title", lists.item)
    words = [sum(w in t.lower() for w in ("birch", "wall", "lamp")) for t in titles]
    assert words[0] == 3
    assert words[: words.count(3)] == [3] * words.count(3)


def test_a_field_of_no_weight_does_not_count(env):
    _, anywhere = found(env, ["made"], method=Bm25(weights={"description": 1.0}))
    _, titles = found(env, ["made"], method=Bm25(weights={"title": 1.0}))
    assert len(anywhere.item) == 40
    assert len(titles.item) == 0


def test_scores_add_up_over_fields(env):
    requests, lists = found(env, ["brass"])
    of = {n: Bm25(weights={n: 1.0}).fit(None, env).score(requests, lists)["score"] for n in ("title", "description")}
    joined = Bm25(weights={"title": 1.0, "description": 0.5}).fit(None, env).score(requests, lists)["score"]
    np.testing.assert_allclose(joined, of["title"] + 0.5 * of["description"], rtol=1e-4)


def test_an_anchor_asks_with_its_title(env):
    requests, lists = found(env, [""], anchor=np.array([4]))
    assert lists.item[0] == 4, "the funnel takes the anchor itself out"
    assert (lists.item[1:9] % 2 == 0).all()
    assert requests.query == ("",)


def test_unknown_words_and_nothing_typed_find_nothing(env):
    _, lists = found(env, ["", "xyzzy"])
    assert lists.counts.tolist() == [0, 0]


def test_explain_names_words_and_fields(env):
    requests, lists = found(env, ["birch lamp"], k=3)
    reasons = Bm25().fit(None, env).explain(requests, lists)
    assert len(reasons) == 3
    in_title = next(r for r in reasons[0] if r.words.endswith("in the title"))
    assert "'birch'" in in_title.words
    assert "'lamp'" in in_title.words
    assert in_title.weight == Bm25().weights["title"]
    assert in_title.stage == "retrieval.bm25"


def test_an_unknown_field_is_refused():
    with pytest.raises(SettingError, match=r"no text field 'titel'; did you mean 'title'\?"):
        Bm25().with_setting("weights.titel=2")


def test_an_item_with_every_word_beats_any_sum_of_fewer(env, view):
    """Rare "tennis" alone outweighs common "lamp"; together with it nothing outweighs both."""
    _, apart = found(env, ["tennis lamp"], k=1)
    assert "tennis" in view.items.text("title", apart.item)[0]
    _, together = found(env, ["white lamp"], k=3)
    assert all({"white", "lamp"} <= set(t.split()) for t in view.items.text("title", together.item))
