"""Checks of docs/methods/bm25.md."""

from __future__ import annotations

import numpy as np
import pytest

from aisle.core.errors import SettingError
from aisle.core.lists import ItemLists
from aisle.core.requests import Requests
from aisle.retrieval.bm25 import Bm25


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


def test_without_rewards_scores_add_up_over_fields_and_words(env):
    """Plain BM25: a sum over fields, and over the words of the query."""

    def score(text, weights):
        requests, _ = found(env, [text])
        return Bm25(weights=weights).fit(None, env).score(requests, everything)["score"]

    everything = ItemLists(np.arange(40, dtype=np.int32), np.array([0, 40]))
    joined = score("brass lamp", {"title": 1.0, "description": 0.5})
    title, description = score("brass lamp", {"title": 1.0}), score("brass lamp", {"description": 1.0})
    np.testing.assert_allclose(joined, title + 0.5 * description, rtol=1e-4)
    np.testing.assert_allclose(title, score("brass", {"title": 1.0}) + score("lamp", {"title": 1.0}), rtol=1e-4)
    assert title.max() > 0


def test_rewards_are_for_words_that_stand_together(env, view):
    requests, lists = found(env, ["wall lamp"])
    of = {
        name: Bm25(weights={"title": 1.0, **more}).fit(None, env).score(requests, lists)["score"]
        for name, more in {"plain": {}, "pairs": {"pairs": 0.6}, "all": {"all_words": 5.0}}.items()
    }
    both = np.array(["wall lamp" in title for title in view.items.text("title", lists.item)])
    assert 0 < both.sum() < len(both)
    np.testing.assert_allclose(of["all"] - of["plain"], np.where(both, 5.0, 0.0), atol=1e-4)
    assert (of["pairs"] - of["plain"])[both].min() > 0.1
    np.testing.assert_allclose((of["pairs"] - of["plain"])[~both], 0, atol=1e-5)


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


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("weights.titel=2", r"no text field 'titel'; did you mean 'title'\?"),
        ("weights.title=-1", "title weighs -1.0; a weight is 0 or more"),
        ('weights={"pairs": 1}', "no field weighs anything; give one of title"),
    ],
)
def test_weights_that_make_no_sense_are_refused(assignment, words):
    with pytest.raises(SettingError, match=words):
        Bm25().with_setting(assignment)


def test_an_item_with_every_word_beats_any_sum_of_fewer(env, view):
    """Rare "tennis" alone outweighs common "lamp"; together with it nothing outweighs both."""
    _, apart = found(env, ["tennis lamp"], k=1)
    assert "tennis" in view.items.text("title", apart.item)[0]
    _, together = found(env, ["white lamp"], k=3)
    assert all({"white", "lamp"} <= set(t.split()) for t in view.items.text("title", together.item))
