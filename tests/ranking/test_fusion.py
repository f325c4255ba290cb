"""Checks of docs/methods/fusion.md."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aisle.core.errors import SettingError
from aisle.core.lists import ItemLists
from aisle.core.requests import Requests
from aisle.data.items import ItemTable
from aisle.ranking._scores import nearness_to_best, reciprocal_rank, standardised
from aisle.ranking.fusion import Fusion
from aisle.recipes.environment import memory_env
from aisle.simulate.known import two_kinds

NAN = np.nan


def lists_of(*counts, **columns):
    n = sum(counts)
    splits = np.concatenate([[0], np.cumsum(counts)])
    return ItemLists(np.arange(n, dtype=np.int32), splits, {c: np.array(v) for c, v in columns.items()})


def scored(method, lists):
    return method.fit(None, None).score(Requests.make(["q"] * len(lists)), lists)["score"]


def test_rrf_equals_hand_computed():
    lists = lists_of(3, 1, rank_a=np.array([0, 2, -1, 4], np.int32), rank_b=np.array([1, -1, -1, 0], np.int32))
    method = Fusion(retrievers={"a": 1.0, "b": 2.0}, kind="rrf", k=60.0)
    np.testing.assert_allclose(scored(method, lists), [1 / 61 + 2 / 62, 1 / 63, 0, 1 / 65 + 2 / 61], rtol=1e-6)


def test_rrf_of_k_0_is_the_reciprocal_rank():
    assert reciprocal_rank(np.array([0, 1, 3, -1]), 0.0).tolist() == [1, 0.5, 0.25, 0]


def test_standardised_equals_hand_computed():
    lists = lists_of(3, 2, score_a=np.array([1, 2, 3, 5, 5], np.float32), score_b=np.array([0, 0, 3, 1, 3], np.float32))
    z = np.sqrt(1.5)
    expected_a, expected_b = [-z, 0, z, 0, 0], [-np.sqrt(0.5), -np.sqrt(0.5), np.sqrt(2), -1, 1]
    method = Fusion(retrievers={"a": 1.0, "b": 0.5})
    np.testing.assert_allclose(
        scored(method, lists), np.array(expected_a) + 0.5 * np.array(expected_b), rtol=1e-5, atol=1e-6
    )


SCORES = st.lists(st.integers(-100, 100), min_size=6, max_size=6)


@given(SCORES, SCORES, st.floats(0.01, 100), st.floats(-1000, 1000))
@settings(max_examples=60, deadline=None)
def test_rescaling_one_retriever_changes_nothing(a, b, factor, shift):
    method = Fusion(retrievers={"a": 1.0, "b": 1.0})
    plain = lists_of(4, 2, score_a=np.array(a, np.float64), score_b=np.array(b, np.float64))
    moved = plain.with_columns(score_a=plain["score_a"] * factor + shift)
    np.testing.assert_allclose(scored(method, moved), scored(method, plain), rtol=1e-3, atol=1e-3)


def test_a_missing_score_counts_as_the_lowest_of_its_list():
    lists = lists_of(3, 2, score_a=np.array([4, NAN, 1, 9, NAN], np.float32))
    filled = lists_of(3, 2, score_a=np.array([4, 1, 1, 9, 9], np.float32))
    np.testing.assert_array_equal(
        scored(Fusion(retrievers={"a": 1.0}), lists), scored(Fusion(retrievers={"a": 1.0}), filled)
    )


def test_a_retriever_that_found_nothing_says_nothing():
    lists = lists_of(3, score_a=np.array([3, 2, 1], np.float32), score_b=np.full(3, NAN, np.float32))
    np.testing.assert_array_equal(
        scored(Fusion(retrievers={"a": 1.0, "b": 5.0}), lists), scored(Fusion(retrievers={"a": 1.0}), lists)
    )


def test_standardised_within_each_list():
    lists = lists_of(40, 60)
    score = np.random.default_rng(0).normal(5, 3, 100).astype(np.float32)
    z = standardised(score, lists)
    for part in (z[:40], z[40:]):
        assert abs(part.mean()) < 1e-5
        assert part.std() == pytest.approx(1, abs=1e-4)


def test_share_equals_hand_computed():
    """Below zero and missing are nothing; a list whose best is nothing stays nothing."""
    lists = lists_of(
        3, 2, score_a=np.array([4, 1, NAN, -1, -2], np.float32), score_b=np.array([0, 2, 1, 0, 5], np.float32)
    )
    method = Fusion(retrievers={"a": 1.0, "b": 0.5}, kind="share")
    np.testing.assert_allclose(scored(method, lists), [1, 0.25 + 0.5, 0.25, 0, 0.5])


def test_share_of_a_scaled_retriever_is_the_same():
    lists = lists_of(3, score_a=np.array([4, 1, 3], np.float32), score_b=np.array([1, 2, 3], np.float32))
    method = Fusion(retrievers={"a": 1.0, "b": 1.0}, kind="share")
    scaled = lists.with_columns(score_a=lists["score_a"] * 1000)
    np.testing.assert_allclose(scored(method, scaled), scored(method, lists), rtol=1e-6)


def test_a_score_that_is_still_made_counts_as_the_best_of_the_others():
    words, meaning = np.array([4, 2, 4, 1], np.float32), np.array([0.5, 1.0, NAN, NAN], np.float32)
    lists = lists_of(3, 1, score_words=words, score_meaning=meaning)
    late = Fusion(retrievers={"words": 1.0, "meaning": 2.0}, kind="share", late=("meaning",))
    np.testing.assert_allclose(scored(late, lists), [1 + 1, 0.5 + 2, 1 + 2, 1 + 0])
    np.testing.assert_allclose(scored(late.with_setting("late=[]"), lists), [1 + 1, 0.5 + 2, 1 + 0, 1 + 0])


def test_a_row_without_a_vector_is_as_near_to_the_best_as_its_list_on_average():
    env = memory_env(ItemTable.from_table(two_kinds(6)))
    env.engine.put_vectors("minilm", np.arange(4), np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32))
    lists = lists_of(5, score=np.array([5, 4, 3, 2, 1], np.float32))
    near = nearness_to_best(lists, env.engine.vectors("minilm"), 2)
    np.testing.assert_allclose(near, [1, 1, 0, 0, 0.5], atol=1e-6)


def test_feedback_moves_what_is_like_the_best_up():
    """Rows 0 and 3 point one way, 1 and 2 another: with equal scores the one like the best comes before the other."""
    env = memory_env(ItemTable.from_table(two_kinds(6)))
    rows = np.arange(6, dtype=np.int32)
    env.engine.put_vectors("planted", rows, np.eye(2, dtype=np.float32)[[0, 1, 1, 0, 1, 1]])
    lists = lists_of(4, score_a=np.array([4, 2, 2, 2], np.float32))
    method = Fusion(retrievers={"a": 1.0}, kind="share", feedback=1, feedback_weight=0.25, feedback_encoder="planted")
    score = method.fit(None, env).score(Requests.make(["q"]), lists)["score"]
    near, z = np.array([1, -1, -1, 1]), np.array([3, -1, -1, -1]) / np.sqrt(3)
    np.testing.assert_allclose(score, z + 0.25 * near, rtol=1e-5)
    assert method.with_setting("feedback=0").fit(None, env).score(Requests.make(["q"]), lists)["score"].tolist() == [
        1,
        0.5,
        0.5,
        0.5,
    ]
    feed = method.fit(None, env).score(Requests.make([""]), lists)["score"]
    assert feed.tolist() == [1, 0.5, 0.5, 0.5], "the best of a feed say nothing of what the rest should be like"


def test_what_it_reads_follows_from_its_settings():
    assert Fusion(retrievers={"a": 1.0}).reads == {"score_a"}
    assert Fusion(retrievers={"a": 1.0}, kind="rrf").reads == {"rank_a"}
    with pytest.raises(SettingError, match=r"'standardised'.* or 'rrf'"):
        Fusion(kind="borda")


def test_explain_skips_what_says_nothing():
    lists = lists_of(2, score_a=np.array([3, NAN], np.float32), score_b=np.array([1, 1], np.float32))
    reasons = Fusion(retrievers={"a": 1.0, "b": 0.0}).fit(None, None).explain(Requests.make(["q"]), lists)
    assert [[r.words for r in row] for row in reasons] == [["a gave it 3"], []]
