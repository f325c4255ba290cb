from __future__ import annotations

from mmap import mmap

import numpy as np
import pytest

from aisle.core.errors import ContractError, GenerationError, StateError
from aisle.core.lists import ItemLists
from aisle.core.requests import RowMasks
from aisle.engine.embedded import vectors
from aisle.engine.embedded.vectors import Vectors, encoder_name, folder_name
from aisle.engine.embedded.vectors_files import MOST_CHANGES

NUM, DIM, CLUSTERS = 30_000, 64, 60


def unit(x: np.ndarray) -> np.ndarray:
    """Unit rows as float16 can hold them, which is how they are stored."""
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)


@pytest.fixture(scope="module")
def world():
    """Clustered vectors with their cluster, and queries from the same clusters."""
    rng = np.random.default_rng(0)
    centre = rng.normal(size=(CLUSTERS, DIM))
    cluster, asked = rng.integers(0, CLUSTERS, NUM), rng.integers(0, CLUSTERS, 24)
    items = unit(centre[cluster] + 0.8 * rng.normal(size=(NUM, DIM)))
    queries = unit(centre[asked] + 0.8 * rng.normal(size=(24, DIM)))
    return items, cluster, queries


@pytest.fixture(scope="module")
def coded(world) -> Vectors:
    """An index of many cells."""
    index = Vectors.empty(DIM, one_cell=200)
    index.put(np.arange(NUM), world[0])
    index.train()
    assert index._state.base.num_cells > 100
    return index


def memory_of(array: np.ndarray) -> object:
    while isinstance(array, np.ndarray) and array.base is not None:
        array = array.base
    return array


def masks(bits: np.ndarray, num_queries: int) -> RowMasks:
    return RowMasks(bits[None], np.zeros(num_queries, np.int64))


def best(world, bits: np.ndarray, k: int) -> list[np.ndarray]:
    score = np.where(bits, world[2] @ world[0].T, -np.inf)
    return [np.argsort(-s, kind="stable")[: min(k, bits.sum())] for s in score]


def recall(found: ItemLists, expected: list[np.ndarray]) -> float:
    return float(np.mean([np.isin(e, found.list_of(q).item).mean() for q, e in enumerate(expected)]))


@pytest.mark.parametrize("share", [1.0, 0.1, 0.01, 0.001])
@pytest.mark.parametrize("correlated", [False, True])
def test_recall_under_random_and_correlated_filters(world, coded, share, correlated):
    rng = np.random.default_rng(3)
    if correlated:
        order = np.argsort(world[1] + 0.5 * rng.random(NUM))
        bits = np.zeros(NUM, bool)
        bits[order[: int(share * NUM)]] = True
    else:
        bits = rng.random(NUM) < share
    found = coded.search(world[2], 100, masks(bits, 24))
    assert bits[found.item].all()
    assert recall(found, best(world, bits, 100)) >= 0.97


def test_few_rows_are_exact(world):
    index = Vectors.empty(DIM)
    index.put(np.arange(2000), world[0][:2000])
    index.train()
    for share in (1.0, 0.3):
        bits = np.random.default_rng(1).random(NUM) < share
        bits[2000:] = False
        found = index.search(world[2], 50, masks(bits[:2000], 24))
        np.testing.assert_array_equal(found.item.reshape(24, 50), best(world, bits, 50))
        expected = (world[2] @ world[0].T)[found.owner, found.item]
        np.testing.assert_allclose(found["score"], expected, atol=3e-5)


@pytest.mark.parametrize("share", [1.0, 0.002])
def test_a_batch_answers_as_each_query_alone_and_score_agrees(world, coded, share):
    bits = np.random.default_rng(4).random(NUM) < share
    batch = coded.search(world[2], 20, masks(bits, 24))
    np.testing.assert_array_equal(coded.score(world[2], batch), batch["score"])
    for q in range(24):
        alone = coded.search(world[2][q : q + 1], 20, masks(bits, 1))
        np.testing.assert_array_equal(alone.item, batch.list_of(q).item)
        np.testing.assert_array_equal(alone["score"], batch.list_of(q)["score"])


def test_a_query_under_several_filters_finds_what_it_finds_under_each(world, coded):
    rng = np.random.default_rng(6)
    few = np.zeros(NUM, bool)
    few[:300] = True
    bits = np.stack([np.ones(NUM, bool), rng.random(NUM) < 0.3, world[1] == 4, few, np.zeros(NUM, bool)])
    query = world[2][[3, 3, 3, 8, 3, 3]]
    which = np.array([0, 1, 2, 1, 3, 4])
    together = coded.search(query, 20, RowMasks(bits, which))
    for q in range(6):
        alone = coded.search(query[q : q + 1], 20, RowMasks(bits, which[q : q + 1]))
        np.testing.assert_array_equal(alone.item, together.list_of(q).item)
        np.testing.assert_array_equal(alone["score"], together.list_of(q)["score"])
    np.testing.assert_array_equal(coded.score(query, together), together["score"])
    assert together.counts.tolist() == [20, 20, 20, 20, 20, 0]


def test_new_and_changed_rows_are_found_before_the_next_training(world):
    index = Vectors.empty(DIM, one_cell=200)
    index.put(np.arange(5000), world[0][:5000])
    index.train()
    index.put(np.array([7, 5003]), world[2][:2])
    everything = np.ones(5004, bool)
    found = index.search(world[2][:2], 5, masks(everything, 2))
    assert found.item[found.splits[:-1]].tolist() == [7, 5003]
    assert len(set(found.list_of(0).item)) == 5
    assert index.num_rows == 5001
    np.testing.assert_array_equal(
        index.vectors(np.array([5003, 5001, 9999])), [world[2][1], np.zeros(DIM), np.zeros(DIM)]
    )
    score = index.score(world[2][:1], ItemLists(np.array([7, 5001, 9999]), np.array([0, 3])))
    np.testing.assert_allclose(score, [1, np.nan, np.nan], atol=1e-3)
    hidden = everything.copy()
    hidden[7] = False
    assert 7 not in index.search(world[2][:1], 50, masks(hidden, 1)).item
    before = index.search(world[2], 10, masks(everything, 24))
    index.train()
    after = index.search(world[2], 10, masks(everything, 24))
    assert np.mean(before.item == after.item) > 0.95


@pytest.mark.parametrize("one_cell", [200, 20_000])
def test_saved_and_opened_answers_the_same(world, tmp_path, one_cell):
    index = Vectors.empty(DIM, generation=3, one_cell=one_cell)
    rows = np.arange(0, 6000, 2)
    index.put(rows, world[0][rows])
    index.train()
    everything = masks(np.ones(6000, bool), 24)
    expected = index.search(world[2], 10, everything)
    for saved in (index.saved(tmp_path), Vectors.open(tmp_path, 3, one_cell=one_cell)):
        found = saved.search(world[2], 10, everything)
        np.testing.assert_array_equal(found.item, expected.item)
        np.testing.assert_array_equal(found["score"], expected["score"])
        assert isinstance(memory_of(saved._state.base.base), mmap), "memory-mapped"
    with pytest.raises(GenerationError, match="generation 3"):
        Vectors.open(tmp_path, 4)


def test_an_older_version_stays_readable_while_a_new_one_is_written(world, tmp_path):
    index = Vectors.empty(DIM)
    index.put(np.arange(10), world[0][:10])
    index.train()
    first = index.saved(tmp_path)
    for n in range(3):
        index.put(np.array([n]), world[0][100:101])
        index.train()
        index.saved(tmp_path)
    assert sorted(p.name for p in tmp_path.glob("[!.]*")) == ["CURRENT", "v1", "v3", "v4"], "v1 is open"
    np.testing.assert_array_equal(first.vectors(np.arange(10)), world[0][:10])
    np.testing.assert_array_equal(Vectors.open(tmp_path, 0).vectors(np.array([2])), world[0][100:101])


def test_bad_vectors_are_refused(world, tmp_path):
    index = Vectors.empty(DIM)
    with pytest.raises(ContractError, match="shape"):
        index.put(np.arange(2), world[0][:3])
    with pytest.raises(ContractError, match="NaN"):
        index.put(np.arange(1), np.full((1, DIM), np.nan, np.float32))
    with pytest.raises(ContractError, match="once"):
        index.put(np.array([1, 1]), world[0][:2])
    with pytest.raises(ContractError, match="width"):
        index.search(world[0][:1, :5], 3, masks(np.ones(5, bool), 1))
    with pytest.raises(StateError, match="encode the catalogue again"):
        Vectors.open(tmp_path / "none", 0)
    assert len(index.search(world[2], 3, masks(np.ones(5, bool), 24)).item) == 0


@pytest.mark.parametrize("name", ["minilm", "./models/e5", "a b/ü", ".."])
def test_encoder_names_survive_as_folders(name):
    folder = folder_name(name)
    assert "/" not in folder
    assert not folder.startswith(".")
    assert encoder_name(folder) == name


def test_a_mask_that_leaves_hardly_more_than_k_is_kept(world):
    index = Vectors.empty(DIM)
    index.put(np.arange(40), world[0][:40])
    index.train()
    bits = np.arange(40) < 25
    found = index.search(world[2][:1], 20, masks(bits, 1))
    assert bits[found.item].all()


def test_a_sweep_goes_on_where_the_allowed_rows_lie_far_from_the_query(world, coded):
    """Only clusters other than the query's own are allowed: the nearest cells hold nothing."""
    items, cluster, queries = world
    near = np.argsort(-(queries[:1] @ np.stack([items[cluster == c].mean(0) for c in range(CLUSTERS)]).T)[0])[:30]
    bits = ~np.isin(cluster, near)
    expected = best((items, cluster, queries[:1]), bits, 100)
    assert recall(coded.search(queries[:1], 100, masks(bits, 1)), expected) >= 0.95


def test_deleted_rows_are_not_found_and_come_back_when_put_again(world, coded_small):
    index, everything = coded_small, masks(np.ones(6000, bool), 1)
    rows = index.search(world[2][:1], 3, everything).item
    index.delete(rows[:2])
    assert index.num_rows == 5998
    assert index.search(world[2][:1], 3, everything).item[0] == rows[2]
    assert np.isnan(index.score(world[2][:1], ItemLists(rows, np.array([0, 3])))[:2]).all()
    index.put(rows[:1], world[0][rows[:1]])
    assert index.search(world[2][:1], 1, everything).item.tolist() == [rows[0]]
    index.train()
    assert index.search(world[2][:1], 1, everything).item.tolist() == [rows[0]]
    assert index.num_rows == 5999


@pytest.fixture
def coded_small(world) -> Vectors:
    index = Vectors.empty(DIM, one_cell=200)
    index.put(np.arange(6000), world[0][:6000])
    index.train()
    return index


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_large_delta_is_folded_in_the_background_and_loses_nothing(
    world, tmp_path, monkeypatch, on_disk, coded_small
):
    monkeypatch.setattr(vectors, "FOLD_ROWS", 50)
    monkeypatch.setattr(vectors, "FOLD_SHARE", 0.0)
    index = coded_small.saved(tmp_path) if on_disk else coded_small
    real = dict(enumerate(world[0][:6000]))
    rng = np.random.default_rng(5)
    for n in range(40):
        rows = rng.choice(6500, 7, replace=False)
        index.put(rows, world[0][10_000 + 7 * n : 10_007 + 7 * n])
        real |= dict(zip(rows.tolist(), world[0][10_000 + 7 * n : 10_007 + 7 * n], strict=True))
        if n % 5 == 0:
            index.delete(rows[:1])
            del real[int(rows[0])]
    index.wait()
    assert index.num_delta < 40 * 7
    for kept in (index, Vectors.open(tmp_path, 0, one_cell=200)) if on_disk else (index,):
        assert np.flatnonzero(kept.present).tolist() == sorted(real)
        np.testing.assert_array_equal(kept.vectors(np.array(list(real))), list(real.values()))


def test_another_process_follows_what_is_put_and_folded(world, tmp_path, coded_small):
    writer = coded_small.saved(tmp_path)
    reader = Vectors.open(tmp_path, 0, one_cell=200)
    assert not reader.follow()
    for n in range(MOST_CHANGES + 5):
        writer.put(np.array([n]), world[0][20_000 + n : 20_001 + n])
        if n % 9 == 0:
            assert reader.follow()
            np.testing.assert_array_equal(reader.vectors(np.arange(7000)), writer.vectors(np.arange(7000)))
    writer.delete(np.array([3]))
    assert len(list(tmp_path.glob("v1/change-*"))) <= 7, "many small changes are written as one"
    newer = writer.saved(tmp_path)
    newer.put(np.array([6100]), world[0][:1])
    assert reader.follow()
    for rows in (reader, Vectors.open(tmp_path, 0)):
        np.testing.assert_array_equal(rows.vectors(np.arange(7000)), newer.vectors(np.arange(7000)))
        assert not rows.has(np.array([3]))[0]
        assert rows.has(np.array([6100]))[0]
    assert not reader.follow()


@pytest.mark.parametrize("name", ["base.npy", "codes.npy", "row.npy", "vectors.json", "change-000000001.npz"])
@pytest.mark.parametrize("how", ["cut", "flip"])
def test_a_damaged_file_is_refused(world, tmp_path, coded_small, name, how):
    index = coded_small.saved(tmp_path)
    index.put(np.arange(100), world[0][:100])
    path = tmp_path / "v1" / name
    data = bytearray(path.read_bytes())
    if how == "cut":
        del data[len(data) // 2 :]
    else:
        data[len(data) // 2] ^= 255
    path.write_bytes(data)
    with pytest.raises(StateError, match="encode the catalogue again"):
        Vectors.open(tmp_path, 0)
