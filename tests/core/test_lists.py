from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aisle.core.errors import ContractError, GenerationError, UnknownName
from aisle.core.lists import ItemLists, Ragged, missing_value, splits_of


def lists_of(*rows, generation=None, **columns):
    """``lists_of([3, 1], [])``: two lists."""
    item = np.array([i for row in rows for i in row], np.int32)
    return ItemLists(item, splits_of(np.array([len(r) for r in rows])), columns, generation)


def as_rows(lists):
    return [lists.item[a:b].tolist() for a, b in zip(lists.splits[:-1], lists.splits[1:], strict=True)]


def test_union_holds_every_item_once_and_missing_values_of_each_dtype():
    words = lists_of([5, 2], [7], score=np.array([1, 2, 3], np.float32), rank=np.array([0, 1, 0], np.int32))
    likes = lists_of([2, 9], [], found=np.array([True, True]), seen=np.array([4, 5], np.uint8))
    both = ItemLists.union([words, likes])
    assert as_rows(both) == [[2, 5, 9], [7]]
    assert {n: c.dtype for n, c in both.columns.items()} == {
        "score": np.float32, "rank": np.int32, "found": np.bool_, "seen": np.uint8,
    }  # fmt: skip
    np.testing.assert_array_equal(both["score"], [2, 1, np.nan, 3])
    np.testing.assert_array_equal(both["rank"], [1, 0, -1, 0])
    np.testing.assert_array_equal(both["found"], [True, False, True, False])
    np.testing.assert_array_equal(both["seen"], [4, 0, 5, 0])


def test_union_keeps_the_width_of_a_wide_column():
    wide = lists_of([1], emb=np.ones((1, 3), np.float32))
    both = ItemLists.union([wide, lists_of([0])])
    np.testing.assert_array_equal(both["emb"], [[np.nan] * 3, [1, 1, 1]])


ROWS = st.lists(
    st.lists(st.tuples(st.integers(0, 6), st.integers(-50, 50)), max_size=5, unique_by=lambda r: r[0]),
    min_size=3,
    max_size=3,
)


@given(st.lists(ROWS, min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_union_equals_a_dictionary(parts):
    made = [
        lists_of(
            *[[i for i, _ in row] for row in part], **{f"c{p}": np.array([v for r in part for _, v in r], np.int16)}
        )
        for p, part in enumerate(parts)
    ]
    expected = [{} for _ in range(3)]
    for p, part in enumerate(parts):
        for q, row in enumerate(part):
            for item, value in row:
                expected[q].setdefault(item, {})[f"c{p}"] = value
    both = ItemLists.union(made)
    assert as_rows(both) == [sorted(found) for found in expected]
    for p in range(len(parts)):
        wanted = [found[i].get(f"c{p}", -1) for found in expected for i in sorted(found)]
        assert both[f"c{p}"].dtype == np.int16
        assert both[f"c{p}"].tolist() == wanted


def test_union_and_find_keep_unknown_items_apart_by_list():
    unknown = lists_of([-1, 4], [-1], score=np.array([1, 2, 3], np.float32))
    assert [sorted(row) for row in as_rows(ItemLists.union([unknown, unknown]))] == [[-1, 4], [-1]]
    assert unknown.find(lists_of([], [-1])).tolist() == [2]


def test_union_of_batches_of_other_sizes_is_refused():
    with pytest.raises(ContractError, match="2 and 3 lists"):
        ItemLists.union([lists_of([1], [2]), lists_of([1], [2], [3])])


def test_lists_of_two_generations_never_meet():
    old, new, by_hand = lists_of([1], generation=1), lists_of([1], generation=2), lists_of([3])
    for join in (ItemLists.union, ItemLists.concat):
        with pytest.raises(GenerationError, match=r"\[1, 2\].*fit or load"):
            join([old, new])
        assert join([by_hand, new]).generation == 2


def test_take_keeps_lists_even_when_they_become_empty():
    lists = lists_of([4, 5], [6], [7, 8], a=np.arange(5))
    some = lists.take(np.array([1, 4, 3]))
    assert as_rows(some) == [[5], [], [8, 7]]
    assert some["a"].tolist() == [1, 4, 3]
    assert as_rows(lists.take(lists["a"] > 2)) == [[], [], [7, 8]]


def test_top_breaks_ties_by_row_and_puts_nan_last():
    lists = lists_of([9, 3, 5, 1], [2], score=np.array([1, 1, np.nan, 0, np.nan], np.float32))
    assert as_rows(lists.top(3, "score")) == [[3, 9, 1], [2]]
    assert as_rows(lists.top(9, "score")) == [[3, 9, 1, 5], [2]]
    ranked = lists.with_columns(score=np.array([0, 2, 2, 1, 0], np.uint8))
    assert as_rows(ranked.top(2, "score")) == [[3, 5], [2]]


def test_select_repeats_and_reorders_lists():
    lists = lists_of([4, 5], [], [6], a=np.array([1, 2, 3]))
    again = lists.select(np.array([2, 0, 2, 1]))
    assert as_rows(again) == [[6], [4, 5], [6], []]
    assert again["a"].tolist() == [3, 1, 2, 3]
    assert as_rows(lists.list_of(0)) == [[4, 5]]


def test_find_looks_within_the_same_list():
    lists = lists_of([4, 5], [5, 6])
    assert lists.find(lists_of([5, 9], [4, 6, 5])).tolist() == [1, -1, -1, 3, 2]
    assert ItemLists.empty(2).find(lists_of([1], [2])).tolist() == [-1, -1]
    assert lists.find(ItemLists.empty(2)).tolist() == []


def test_concat_puts_batches_one_after_the_other():
    both = ItemLists.concat([lists_of([1], [], a=np.array([1])), lists_of([2, 3], a=np.array([2, 3]))])
    assert as_rows(both) == [[1], [], [2, 3]]
    assert both["a"].tolist() == [1, 2, 3]
    assert both.position.tolist() == [0, 0, 1]
    assert both.owner.tolist() == [0, 2, 2]


def test_lengths_must_agree():
    with pytest.raises(ContractError, match="do not cover 2 rows"):
        ItemLists(np.zeros(2, np.int32), np.array([0, 1]))
    with pytest.raises(ContractError, match="column 'score' has 3 rows"):
        lists_of([1, 2], score=np.zeros(3))


def test_an_unknown_column_names_the_nearest():
    with pytest.raises(UnknownName, match="did you mean 'score_bm25'"):
        lists_of([1], score_bm25=np.zeros(1))["score_bm52"]


def test_lists_are_never_changed_in_place():
    lists = lists_of([1, 2], a=np.array([1, 2]))
    more = lists.with_columns(b=np.array([3, 4]))
    assert set(lists.columns) == {"a"}
    assert set(more.only("b").columns) == {"b"}
    with pytest.raises(AttributeError):
        lists.item = np.zeros(2, np.int32)


def test_ragged_take():
    ragged = Ragged(np.array([1, 2, 3, 4]), np.array([0, 2, 2, 4]))
    taken = ragged.take(np.array([2, 1, 0, 2]))
    assert [taken[i].tolist() for i in range(len(taken))] == [[3, 4], [], [1, 2], [3, 4]]
    assert taken.owner.tolist() == [0, 0, 2, 2, 3, 3]
    assert len(ragged.take(np.zeros(0, np.int64))) == 0


@pytest.mark.parametrize(("dtype", "value"), [("i4", -1), ("u2", 0), ("?", False)])
def test_missing_values(dtype, value):
    assert missing_value(np.dtype(dtype)) == value
    assert np.isnan(missing_value(np.dtype("f4")))


@pytest.mark.parametrize("k", [0, 1, 7, 60, 500])
def test_the_best_rows_of_one_list_are_those_of_a_batch(k):
    rng = np.random.default_rng(k)
    score = rng.integers(0, 20, 400).astype(np.float32)
    score[rng.integers(0, 400, 9)] = np.nan
    one = ItemLists(rng.permutation(400).astype(np.int32), np.array([0, 400]), {"score": score})
    both = ItemLists.concat([one, one])
    np.testing.assert_array_equal(one.top(k, "score").item, both.top(k, "score").list_of(1).item)
    np.testing.assert_array_equal(both.first(1).item, one.item)
    assert both.first(2) is both
