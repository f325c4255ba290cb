from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aisle.core.bags import Bags
from aisle.core.errors import ContractError, GenerationError, SettingError, StateError, UnknownName
from aisle.core.lists import ItemLists, splits_of
from aisle.core.requests import RowMasks
from aisle.core.shop import SparseIndex
from aisle.engine.embedded import impacts as module
from aisle.engine.embedded import impacts_files
from aisle.engine.embedded.engine import EmbeddedEngine
from aisle.engine.embedded.impacts import Impacts
from aisle.engine.embedded.impacts_kernels import BLOCK

ROWS = [0, 1, 2, 5, BLOCK - 1, BLOCK, BLOCK + 3, 3 * BLOCK + 7]
"""Rows at both ends of blocks, with a block that stays empty."""
SIZE = ROWS[-1] + 1
TERMS = [0, 1, 2, 7, 40_000, 2**31 - 1]

# Few distinct weights, so that scores are often equal.
pairs = st.lists(st.tuples(st.sampled_from(TERMS), st.sampled_from([0.25, 0.5, 0.1, 3.0])), max_size=5)
rows = st.sampled_from(ROWS)
bags_of_rows = st.dictionaries(rows, pairs, min_size=1, max_size=5)
steps = st.one_of(
    st.tuples(st.just("put"), bags_of_rows),
    st.tuples(st.just("delete"), st.lists(rows, max_size=3)),
    st.tuples(st.just("scale"), st.tuples(st.sampled_from(TERMS), st.sampled_from([0.0, 0.5, 1.0, 2.0]))),
    st.tuples(st.just("set"), st.tuples(rows, st.sampled_from(TERMS), st.sampled_from([None, 0.0, 0.1, 2.0]))),
    st.tuples(st.just("compact"), st.none()),
)


def bags(lists: list[list[tuple[int, float]]]) -> Bags:
    flat = [pair for one in lists for pair in one]
    splits = splits_of(np.array([len(one) for one in lists], np.int64))
    return Bags(np.array([t for t, _ in flat], np.int64), np.array([w for _, w in flat], np.float32), splits)


def summed(one: list[tuple[int, float]]) -> dict[int, np.float32]:
    out: dict[int, np.float32] = {}
    for term, weight in one:
        out[term] = np.float32(out.get(term, 0.0) + np.float32(weight))
    return out


class Plain:
    """The same index as dictionaries: what is searched, by brute force."""

    def __init__(self) -> None:
        self.own: dict[int, dict[int, float]] = {}
        self.factor: dict[int, float] = {}
        self.edit: dict[tuple[int, int], float] = {}

    def apply(self, step: str, value) -> None:
        if step == "put":
            self.own |= {row: summed(one) for row, one in value.items()}
        elif step == "delete":
            gone = [row for row in value if row in self.own]
            self.own = {r: b for r, b in self.own.items() if r not in gone}
            self.edit = {key: w for key, w in self.edit.items() if key[0] not in gone}
        elif step == "scale":
            self.factor[value[0]] = value[1]
        elif step == "set":
            row, term, weight = value
            if weight is not None:
                self.edit[row, term] = weight
                self.own.setdefault(row, {})
            else:
                self.edit.pop((row, term), None)

    def bag(self, row: int) -> dict[int, np.float32]:
        edits = {t: w for (r, t), w in self.edit.items() if r == row}
        both = {**self.own[row], **edits}
        return {t: np.float32(np.float16(w)) for t, w in both.items() if w > 0}

    def scores(self, query: list[tuple[int, float]]) -> dict[int, np.float32]:
        asked = {t: np.float32(np.float64(w) * self.factor.get(t, 1.0)) for t, w in sorted(summed(query).items())}
        out = {}
        for row in self.own:
            bag, total = self.bag(row), np.float32(0)
            for term, weight in asked.items():
                if term in bag and weight > 0:
                    total = np.float32(total + bag[term] * weight)
            out[row] = total
        return out


def apply(index: Impacts, step: str, value) -> None:
    if step == "put":
        index.put(np.array(list(value)), bags(list(value.values())))
    elif step == "delete":
        index.delete(np.array(value, np.int64))
    elif step == "scale":
        index.scale_term(*value)
    elif step == "set":
        index.set_weight(*value)
    else:
        index.compact()


def masks(bits: np.ndarray, num_queries: int) -> RowMasks:
    return RowMasks(np.atleast_2d(bits), np.zeros(num_queries, np.int64))


ALL = np.ones(SIZE, bool)


def check(index: Impacts, plain: Plain, queries: list[list[tuple[int, float]]], k: int, bits: np.ndarray) -> None:
    asked = bags(queries)
    found = index.search(asked, k, masks(bits, len(queries)))
    for q, query in enumerate(queries):
        expected = [(row, s) for row, s in plain.scores(query).items() if s > 0 and row < len(bits) and bits[row]]
        expected = sorted(expected, key=lambda pair: (-pair[1], pair[0]))[:k]
        mine = found.list_of(q)
        assert mine.item.tolist() == [row for row, _ in expected]
        assert mine["score"].tolist() == [s for _, s in expected]
        alone = index.search(bags([query]), k, masks(bits, 1))
        assert alone.item.tolist() == mine.item.tolist()
        assert alone["score"].tolist() == mine["score"].tolist()
    np.testing.assert_array_equal(index.score(asked, found), found["score"])
    every = ItemLists(np.tile(np.array(ROWS), len(queries)), np.arange(len(queries) + 1) * len(ROWS))
    wanted = [plain.scores(query).get(row, np.nan) for query in queries for row in ROWS]
    np.testing.assert_array_equal(index.score(asked, every), np.array(wanted, np.float32))
    assert index.num_rows == len(plain.own)


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    st.lists(steps, max_size=8), st.lists(pairs, min_size=1, max_size=3), st.integers(0, 4), st.sets(rows), st.data()
)
def test_every_history_answers_as_brute_force_does(tmp_path_factory, history, queries, k, hidden, data):
    index, plain = Impacts.empty(generation=3), Plain()
    bits = ALL.copy()
    bits[list(hidden)] = False
    for step, value in history:
        apply(index, step, value)
        plain.apply(step, value)
    check(index, plain, queries, k, bits)
    check(index, plain, queries, k, bits[:BLOCK])
    index.compact()
    check(index, plain, queries, k, bits)
    if data.draw(st.booleans()):
        folder = tmp_path_factory.mktemp("impacts") / "bags"
        kept = index.saved(folder)
        check(kept, plain, queries, k, bits)
        for step, value in data.draw(st.lists(steps.filter(lambda s: s[0] in ("scale", "set")), max_size=3)):
            # Overrides need no save, but a row that they made is kept with them.
            apply(kept, step, value)
            plain.apply(step, value)
        check(Impacts.open(folder, 3), plain, queries, k, bits)


@pytest.fixture(scope="module")
def world() -> tuple[Bags, Bags, np.ndarray, np.ndarray]:
    """3 blocks of rows and 12 queries with their exact scores by a dense product of float16 weights."""
    rng = np.random.default_rng(0)

    def made(n: int, length: int) -> Bags:
        counts = rng.integers(0, length, n)
        term = np.minimum(rng.zipf(1.3, counts.sum()), 400)
        return Bags(term, rng.random(len(term)).astype(np.float32) + 0.01, splits_of(counts))

    documents, queries = made(3 * BLOCK - 100, 12), made(12, 10)

    def dense(some: Bags) -> np.ndarray:
        out = np.zeros((len(some), 401), np.float32)
        np.add.at(out, (np.repeat(np.arange(len(some)), np.diff(some.splits)), some.term), some.weight)
        return out

    document_NV = dense(documents).astype(np.float16).astype(np.float32)
    return documents, queries, dense(queries), document_NV


@pytest.mark.parametrize("share", [1.0, 0.3, 0.01, 0.0])
def test_a_larger_index_is_exact_under_filters_in_pieces_and_merged(world, share):
    documents, queries, query_QV, document_NV = world
    num = len(documents)
    index = Impacts.empty()
    order = np.random.default_rng(1).permutation(num)
    for part in np.array_split(order, 7):
        index.put(part, documents.select(part))
    bits = np.random.default_rng(2).random(num) < share
    exact = np.where(bits, query_QV @ document_NV.T, -np.inf)
    found = index.search(queries, 50, masks(bits, 12))
    for q in range(12):
        mine = found.list_of(q)
        matching = int((exact[q] > 0).sum())
        best = np.sort(exact[q])[::-1][: min(50, matching)]
        assert len(mine.item) == len(best)
        np.testing.assert_allclose(mine["score"], best, rtol=1e-5)
        assert bits[mine.item].all()
        assert np.all((np.diff(mine["score"]) < 0) | (np.diff(mine.item) > 0)), "ties go to the lower row"
    index.compact()
    again = index.search(queries, 50, masks(bits, 12))
    np.testing.assert_array_equal(again.item, found.item)
    np.testing.assert_array_equal(again["score"], found["score"])


def test_segments_merge_by_themselves_and_the_background_loses_nothing(world, monkeypatch):
    monkeypatch.setattr(module, "SMALL_POSTINGS", 2000)
    documents, queries, query_QV, document_NV = world
    index, some = Impacts.empty(), np.arange(20_000)
    for n in range(0, len(some), 250):
        index.put(some[n : n + 250], documents.select(some[n : n + 250]))
        if n % 1000 == 0:
            index.delete(some[n : n + 10])
            index.put(some[n + 5 : n + 10], documents.select(some[n + 5 : n + 10]))
    end = time.monotonic() + 10
    # What came while a merge ran is merged after a later write, however slow the machine was.
    while (index._held or index.num_segments >= 20) and time.monotonic() < end:
        if not index._held:
            index.put(some[5:10], documents.select(some[5:10]))
        time.sleep(0.01)
    assert index.num_segments < 20, "nobody had to call compact"
    gone = (some % 1000) < 5
    assert index.num_rows == (~gone).sum()
    found = index.search(queries, 100, masks(np.ones(len(some), bool), 12))
    exact = np.where(gone, -1, query_QV @ document_NV[: len(some)].T)
    for q in range(12):
        best = np.sort(exact[q])[::-1][:100]
        np.testing.assert_allclose(found.list_of(q)["score"], best[best > 0], rtol=1e-5)
    held = index.num_postings
    index.delete(some)
    index.compact()
    assert held > index.num_postings == 0


def test_a_bag_explains_its_score_and_an_override_changes_only_its_row():
    index = Impacts.empty()
    index.put(np.array([0, 1]), Bags.of([{3: 0.5, 4: 1.0}, {3: 0.5, 9: 2.0}]))
    query, both = Bags.of([{3: 2.0, 9: 0.5}]), ItemLists(np.array([0, 1]), np.array([0, 2]))
    assert index.score(query, both).tolist() == [1.0, 2.0]
    index.set_weight(1, 3, 0.0)
    assert index.bag(1) == {9: 2.0}
    assert index.score(query, both).tolist() == [1.0, 1.0], "lower by exactly the product of the two weights"
    index.put(np.array([1]), Bags.of([{3: 4.0, 9: 2.0}]))
    assert index.score(query, both).tolist() == [1.0, 1.0], "it outlives a new bag"
    index.set_weight(1, 3, None)
    assert index.score(query, both).tolist() == [1.0, 9.0]
    index.scale_term(9, 0.0)
    assert index.bag(1) == {3: 4.0}
    assert index.overrides.factors == {9: 0.0}
    assert not index.overrides.edits


def saved(tmp_path) -> Impacts:
    index = Impacts.empty(generation=1)
    index.put(np.arange(50), Bags.of([{t: 0.5, t + 1: 1.5} for t in range(50)]))
    return index.saved(tmp_path / "bags")


def test_a_damaged_file_is_refused(tmp_path):
    saved(tmp_path)
    place = tmp_path / "bags" / "v1"
    for name in ("codes", "starts", "home"):
        file = place / f"{name}.npy"
        whole = file.read_bytes()
        flipped = bytearray(whole)
        flipped[-1] ^= 1
        for damage in (whole[:-3], bytes(flipped), b""):
            file.write_bytes(damage)
            with pytest.raises(StateError, match="hash"):
                Impacts.open(tmp_path / "bags", 1)
        file.unlink()
        with pytest.raises(StateError, match="put the bags again"):
            Impacts.open(tmp_path / "bags", 1)
        file.write_bytes(whole)
    assert Impacts.open(tmp_path / "bags", 1).num_rows == 50
    with pytest.raises(GenerationError, match="generation 1"):
        Impacts.open(tmp_path / "bags", 2)
    record = json.loads((place / "impacts.json").read_text())
    (place / "impacts.json").write_text(json.dumps(record | {"format": 9}))
    with pytest.raises(StateError, match="format 9"):
        Impacts.open(tmp_path / "bags", 1)


def test_a_failed_save_leaves_the_version_before(tmp_path, monkeypatch):
    index = saved(tmp_path)
    index.put(np.array([7]), Bags.of([{1: 1.0}]))
    monkeypatch.setattr(impacts_files, "sync_tree", lambda folder: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space"):
        index.saved(tmp_path / "bags")
    again = Impacts.open(tmp_path / "bags", 1)
    assert again.bag(7) == {1: 1.0}, "a put of an index that was saved lasts without another save"
    assert again.bag(8) == {8: 0.5, 9: 1.5}
    assert not list((tmp_path / "bags").glob(".work-*"))


@pytest.mark.parametrize("most_changes", [3, 100])
def test_another_process_follows_puts_deletes_and_overrides(tmp_path, monkeypatch, most_changes):
    monkeypatch.setattr(impacts_files, "MOST_CHANGES", most_changes)
    mine = saved(tmp_path)
    other = Impacts.open(tmp_path / "bags", 1)
    assert not other.follow()
    changes = (
        lambda: mine.put(np.array([7, 60]), Bags.of([{1: 1.0}, {2: 2.0}])),
        lambda: mine.delete(np.array([8])),
        lambda: mine.scale_term(9, 0.0),
        lambda: mine.set_weight(10, 40, 3.0),
        lambda: mine.put(np.array([10]), Bags.of([{5: 1.0}])),
        lambda: mine.put(np.array([61]), Bags.of([{3: 1.0}])),
        lambda: mine.delete(np.array([10])),
        lambda: mine.put(np.array([10]), Bags.of([{6: 1.0}])),
    )
    for change in changes:
        change()
        assert other.follow()
        assert not other.follow()
        for reader in (other, Impacts.open(tmp_path / "bags", 1)):
            assert [reader.bag(row) for row in range(70)] == [mine.bag(row) for row in range(70)]
    assert other.bag(10) == {6: 1.0}
    assert len(list((tmp_path / "bags").glob("v*"))) <= 3


def test_a_damaged_change_is_refused(tmp_path):
    saved(tmp_path).put(np.array([7]), Bags.of([{1: 1.0}]))
    [change] = (tmp_path / "bags" / "v1").glob("change-*.npz")
    whole = bytearray(change.read_bytes())
    whole[len(whole) // 2] ^= 1
    change.write_bytes(whole)
    with pytest.raises(StateError, match="put the bags again"):
        Impacts.open(tmp_path / "bags", 1)


@pytest.mark.parametrize(
    ("term", "weight", "splits"),
    [
        ([1], [0.0], [0, 1]),
        ([1], [float("nan")], [0, 1]),
        ([1], [70_000.0], [0, 1]),
        ([-1], [1.0], [0, 1]),
        ([2**31], [1.0], [0, 1]),
        ([1], [1.0], [0, 2]),
        ([1, 2], [1.0, 1.0], [0, 2, 1, 2]),
    ],
)
def test_wrong_bags_are_refused(term, weight, splits):
    with pytest.raises(ContractError):
        Bags(np.array(term), np.array(weight), np.array(splits))


def test_wrong_calls_are_refused():
    index = Impacts.empty()
    with pytest.raises(ContractError, match="each once"):
        index.put(np.array([1, 1]), Bags.of([{1: 1.0}, {1: 1.0}]))
    with pytest.raises(ContractError, match="one a row"):
        index.put(np.array([1]), Bags.of([]))
    with pytest.raises(SettingError, match="factor"):
        index.scale_term(1, -1.0)
    with pytest.raises(SettingError, match="weight"):
        index.set_weight(1, 1, float("nan"))


def test_the_engine_keeps_bags_beside_its_other_indexes(items, tmp_path):
    engine = EmbeddedEngine.build(items, tmp_path / "g")
    with pytest.raises(UnknownName, match="put_sparse"):
        engine.sparse("deepbow")
    engine.put_sparse("deepbow", np.arange(3), Bags.of([{1: 1.0}, {1: 2.0}, {2: 1.0}]))
    index: SparseIndex = engine.sparse("deepbow")
    query, mask = Bags.of([{1: 1.0}]), masks(np.ones(items.num_rows, bool), 1)
    assert index.search(query, 5, mask).item.tolist() == [1, 0]
    engine.save_sparse("deepbow")
    engine.sparse("deepbow").scale_term(1, 0.0)
    again = EmbeddedEngine.open(items, tmp_path / "g")
    assert again.sparse("deepbow").num_rows == 3
    assert again.sparse("deepbow").search(query, 5, mask).item.tolist() == []


def test_the_sparse_index_is_not_loaded_without_bags():
    code = "import sys, aisle.engine.embedded.engine, aisle.cli; print('aisle.engine.embedded.impacts' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(Path(module.__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert done.stdout.strip() == "False", done.stderr
