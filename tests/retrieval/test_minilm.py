"""Checks of docs/methods/minilm.md, on the encoder that every shop has: its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aisle.core.errors import UnknownName
from aisle.core.filters import In, Not
from aisle.core.lists import ItemLists
from aisle.core.requests import Requests
from aisle.funnel import embed
from aisle.nn.encoders import Encoders
from aisle.nn.item_vectors import item_texts
from aisle.recipes.environment import memory_env
from aisle.retrieval.minilm import MiniLm, MiniLmStage
from aisle.simulate.known import grown


@pytest.fixture(scope="module")
def stage(view, env):
    return MiniLm(encoder="own").fit(view, env)


def asked(env, queries, **more):
    requests = env.engine.compile(Requests.make(queries, **more))
    return requests.with_columns(emb_own=embed(requests, "own", env))


def test_a_misspelt_kind_is_found(env, stage):
    lists = stage.retrieve(asked(env, ["bedsid lampp", "tenis bal"]), 10)
    assert (lists.list_of(0).item % 2 == 0).all()
    assert (lists.list_of(1).item % 2 == 1).all()


def test_the_score_is_the_inner_product(env, stage, view):
    requests = asked(env, ["red ball"])
    lists = stage.retrieve(requests, 5)
    vectors = env.engine.vectors("own").vectors(lists.item)
    np.testing.assert_allclose(lists["score"], vectors @ requests["emb_own"][0], atol=1e-5)
    texts = item_texts(view.items, lists.item)
    np.testing.assert_allclose(vectors, env.encoder("own").encode(texts), atol=3e-4)  # kept as float16


def test_who_asks_nothing_gets_nothing(env, stage):
    lists = stage.retrieve(asked(env, ["", "lamp"]), 5)
    assert lists.counts.tolist() == [0, 5]


def test_an_anchor_finds_its_like(env, stage):
    lists = stage.retrieve(asked(env, [""], anchor=np.array([7])), 6)
    assert lists.item[0] == 7
    assert (lists.item % 2 == 1).all()


def test_a_history_finds_its_like(env, stage):
    history = ItemLists(np.array([2, 6], np.int32), np.array([0, 2]))
    lists = stage.retrieve(asked(env, [""], history=history), 6)
    assert (lists.item % 2 == 0).all()


def test_a_row_without_a_vector_is_not_scored_and_is_encoded_by_the_next_fit(view, env, stage):
    encoder = env.encoder("own")
    bigger = replace(
        memory_env(view.items.upserted(grown(view.items.table, 0.1))), encoders=Encoders(own=lambda: encoder)
    )
    rows = np.arange(40, dtype=np.int32)
    bigger.engine.put_vectors("own", rows, env.engine.vectors("own").vectors(rows))
    new = ItemLists(np.array([40, 41], np.int32), np.array([0, 2]))
    requests = asked(bigger, ["lamp"])
    assert np.isnan(MiniLmStage(bigger, MiniLm(encoder="own")).score(requests, new)["score"]).all()
    refitted = MiniLm(encoder="own").fit(view, bigger)
    assert (np.abs(refitted.score(requests, new)["score"]) > 0).any()


def test_an_encoder_that_is_not_there_is_named(view, env):
    with pytest.raises(UnknownName, match="no encoder 'onw'; did you mean 'own'"):
        MiniLm(encoder="onw").fit(view, env)


def test_the_floor_is_a_share_of_the_best_in_the_shop_whatever_the_filter(env, view, stage):
    requests = asked(env, ["red ball"])
    everything = MiniLmStage(env, MiniLm(encoder="own", share=0)).retrieve(requests, 40)
    floor = 0.7 * everything["score"].max()
    near = MiniLmStage(env, MiniLm(encoder="own", share=0.7)).retrieve(requests, 40)
    assert 0 < len(near.item) < len(everything.item)
    assert near.item.tolist() == everything.item[everything["score"] >= floor].tolist()

    best_hidden = Not(In("brand", (view.items.text("brand", near.item[:1])[0],)))
    filtered = asked(env, ["red ball"], filters=best_hidden)
    within = MiniLmStage(env, MiniLm(encoder="own", share=0.7)).retrieve(filtered, 40)
    allowed = filtered.masks().of(0)
    assert within.item.tolist() == [i for i in near.item.tolist() if allowed[i]], (
        "a filter neither lowers nor lifts the floor"
    )
    assert not len(MiniLmStage(env, MiniLm(encoder="own", least=1.1)).retrieve(requests, 40).item)
