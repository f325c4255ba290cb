from __future__ import annotations

import numpy as np
import pytest

from aisle.core.errors import ContractError, GenerationError, StateError
from aisle.core.lists import ItemLists
from aisle.core.requests import RowMasks
from aisle.engine.embedded.vectors import Vectors, encoder_name, folder_name

NUM, DIM, CLUSTERS = 30_000, 64, 60


def unit(x: np.ndarray) -> np.ndarray:
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def world():
    """Clustered vectors with their cluster, and queries from the same clusters."""
    rng = np.random.default_rng(0)
    centre = rng.normal(size=(CLUSTERS, DIM))
    cluster, asked = rng.integers(0, CLUSTERS, NUM), rng.integers(0, CLUSTERS, 24)
    vectors = unit(centre[cluster] + 0.8 * rng.normal(size=(NUM, DIM)))
    queries = unit(centre[asked] + 0.8 * rng.normal(size=(24, DIM)))
    return vectors, cluster, queries


@pytest.fixture(scope="module")
def coded(world) -> Vectors:
    """An index that goes by codes as soon as more than 200 rows are allowed."""
    index = Vectors.empty(DIM, exact_rows=200)
    index.put(np.arange(NUM), world[0])
    index.train()
    assert index._index is not None
    return index


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
        np.testing.assert_allclose(found["score"], expected, atol=1e-5)


@pytest.mark.parametrize("share", [1.0, 0.002])
def test_a_batch_answers_as_each_query_alone_and_score_agrees(world, coded, share):
    bits = np.random.default_rng(4).random(NUM) < share
    batch = coded.search(world[2], 20, masks(bits, 24))
    np.testing.assert_array_equal(coded.score(world[2], batch), batch["score"])
    for q in range(24):
        alone = coded.search(world[2][q : q + 1], 20, masks(bits, 1))
        np.testing.assert_array_equal(alone.item, batch.list_of(q).item)
        np.testing.assert_array_equal(alone["score"], batch.list_of(q)["score"])


def test_new_and_changed_rows_are_found_before_the_next_training(world):
    index = Vectors.empty(DIM, exact_rows=200)
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
    np.testing.assert_allclose(score, [1, np.nan, np.nan], atol=1e-6)
    hidden = everything.copy()
    hidden[7] = False
    assert 7 not in index.search(world[2][:1], 50, masks(hidden, 1)).item
    before = index.search(world[2], 10, masks(everything, 24))
    index.train()
    after = index.search(world[2], 10, masks(everything, 24))
    assert np.mean(before.item == after.item) > 0.95


@pytest.mark.parametrize(("dtype", "exact_rows"), [(np.float32, 200), (np.float16, 20_000)])
def test_saved_and_opened_answers_the_same(world, tmp_path, dtype, exact_rows):
    index = Vectors.empty(DIM, generation=3, dtype=dtype, exact_rows=exact_rows)
    rows = np.arange(0, 6000, 2)
    index.put(rows, world[0][rows])
    index.train()
    everything = masks(np.ones(6000, bool), 24)
    expected = index.search(world[2], 10, everything)
    for saved in (index.saved(tmp_path), Vectors.open(tmp_path, 3, exact_rows=exact_rows)):
        found = saved.search(world[2], 10, everything)
        np.testing.assert_array_equal(found.item, expected.item)
        np.testing.assert_array_equal(found["score"], expected["score"])
        assert not saved._base.flags.writeable, "memory-mapped"
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
    assert sorted(p.name for p in tmp_path.iterdir()) == ["CURRENT", "v3", "v4"]
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
