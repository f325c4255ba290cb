"""The checks of the card that concern tables in one process."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from aisle.core import registry
from aisle.core.errors import ContractError, SettingError, UnknownName
from aisle.core.tables import Ids
from aisle.sparse.recis import Recis

ADAM = {"kind": "adam", "lr": 0.1, "decay": 0.02}


def test_registered():
    assert registry.method("sparse.recis") is Recis
    assert registry.name_of(Recis) == "sparse.recis"


def ragged(rng, num, most, size):
    splits = np.concatenate([[0], rng.integers(0, size + 1, num).cumsum()])
    return Ids(rng.integers(0, most, splits[-1]), splits)


# 1. Coalesced output equals separate tables bit for bit.


@pytest.mark.parametrize("threads", [1, 2])
def test_coalesced_equals_separate(made, threads):
    """First values are 0, because they follow from the key, which holds the table's number."""
    rng = np.random.default_rng(1)
    embeddings = {n: {"dim": 9, "init_std": 0.0, "combiner": "mean"} for n in "abc"}
    together = made(embeddings, threads=threads)
    assert len(together.tables) == threads
    apart = {n: made({n: embeddings[n]}) for n in "abc"}
    for _ in range(5):
        columns = {n: ragged(rng, 16, 12, 3) for n in "abc"}
        target = torch.from_numpy(rng.standard_normal((3, 16, 9)).astype(np.float32))
        out = together(columns)
        sum((out[n] - t).square().sum() for n, t in zip("abc", target, strict=True)).backward()
        together.step()
        for n, t in zip("abc", target, strict=True):
            alone = apart[n]({n: columns[n]})[n]
            assert torch.equal(alone, out[n])
            (alone - t).square().sum().backward()
            apart[n].step()


# 2. Equals nn.Embedding with AdamW on touched rows, global step.


@pytest.mark.parametrize("dim", [3, 16])
@pytest.mark.parametrize("step", ["global", "row"])
def test_adam_equals_reference(made, vectors, dim, step):
    rng = np.random.default_rng(2)
    num = 10
    tables = made({"f": {"dim": dim}}, optimiser=ADAM | {"step": step})
    tables({"f": np.arange(num)})
    weight = torch.from_numpy(vectors(tables, "f", np.arange(num))).clone().requires_grad_()
    m, v, own = torch.zeros_like(weight), torch.zeros_like(weight), torch.zeros(num)
    for t in range(1, 8):
        ids = torch.from_numpy(rng.integers(0, num, 5))
        target = torch.from_numpy(rng.standard_normal((5, dim)).astype(np.float32))
        loss = (tables({"f": ids})["f"] - target).square().mean()
        loss.backward()
        tables.step()
        expected = (torch.nn.functional.embedding(ids, weight) - target).square().mean()
        (g,) = torch.autograd.grad(expected, weight)
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
        touched = torch.unique(ids)
        own[touched] += 1
        with torch.no_grad():
            k = own[touched, None] if step == "row" else torch.tensor(float(t))
            m[touched] = 0.9 * m[touched] + 0.1 * g[touched]
            v[touched] = 0.999 * v[touched] + 0.001 * g[touched] ** 2
            size = 0.1 * torch.sqrt(1 - 0.999**k) / (1 - 0.9**k)
            weight[touched] = (1 - 0.1 * 0.02) * weight[touched] - size * m[touched] / (v[touched].sqrt() + 1e-8)
    np.testing.assert_allclose(vectors(tables, "f", np.arange(num)), weight.detach(), rtol=2e-4, atol=1e-6)


def test_late_ids_step_too_far_with_a_global_step_only(made, vectors):
    """The first step of an id that arrives at step 1001 is 3.16 lr with the global count and lr with its own."""
    moved = {}
    for step in ("global", "row"):
        tables = made({"f": {"dim": 1, "init_std": 0.0}}, optimiser={"kind": "adam", "lr": 0.1, "step": step})
        tables.steps = 1_000_000
        tables({"f": np.array([5])})["f"].sum().backward()
        tables.step()
        moved[step] = -vectors(tables, "f", [5])[0, 0]
    assert moved["row"] == pytest.approx(0.1, rel=1e-3)
    assert moved["global"] == pytest.approx(0.1 * 0.1 / np.sqrt(0.001), rel=1e-3)


def test_decay_by_one_is_the_tensorflow_variant(made, vectors):
    tables = made({"f": {"dim": 2}}, optimiser=ADAM | {"decay_by": "one", "lr": 1e-12})
    tables({"f": np.array([1])})["f"].sum().backward()
    before = vectors(tables, "f", [1])
    tables.step()
    np.testing.assert_allclose(vectors(tables, "f", [1]), 0.98 * before, rtol=1e-5)


@pytest.mark.parametrize("sums", ["row", "number"])
@pytest.mark.parametrize("dim", [5, 16])
def test_adagrad_equals_reference(made, vectors, sums, dim):
    rng = np.random.default_rng(3)
    tables = made({"f": {"dim": dim}}, optimiser={"kind": "adagrad", "lr": 0.1, "sums": sums})
    tables({"f": np.arange(6)})
    weight = vectors(tables, "f", np.arange(6))
    total = np.zeros((6, 1 if sums == "row" else dim))
    for _ in range(6):
        ids, grad = rng.integers(0, 6, 4), rng.standard_normal((4, dim)).astype(np.float32)
        tables({"f": ids})["f"].backward(torch.from_numpy(grad))
        tables.step()
        g = np.zeros((6, dim))
        np.add.at(g, ids, grad)
        rows = np.unique(ids)
        total[rows] += (g[rows] ** 2).mean(1, keepdims=True) if sums == "row" else g[rows] ** 2
        weight[rows] -= 0.1 * g[rows] / (np.sqrt(total[rows]) + 1e-8)
    np.testing.assert_allclose(vectors(tables, "f", np.arange(6)), weight, rtol=1e-4, atol=1e-6)


def test_sgd_changes_touched_rows_only(made, vectors):
    tables = made({"f": {"dim": 11}}, optimiser={"kind": "sgd", "lr": 0.5, "decay": 0.1})
    tables({"f": np.arange(4)})
    before = vectors(tables, "f", np.arange(4))
    tables({"f": np.array([1, 1, 3])})["f"].sum().backward()
    tables.step()
    after = vectors(tables, "f", np.arange(4))
    np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])
    np.testing.assert_allclose(after[[1, 3]], 0.95 * before[[1, 3]] - 0.5 * np.array([[2], [1]]), rtol=1e-5)


# 3. Freed rows are handed out again, and start fresh.


def test_freed_rows_return_fresh(made, vectors):
    tables = made({"f": {"dim": 4}})
    table = tables.tables[0]
    tables({"f": np.arange(1000)})["f"].sum().backward()
    tables.step()
    height = table.ids.num_rows
    freed = table.ids.erase(np.arange(500))
    assert len(tables) == 500
    tables({"f": np.arange(5000, 5500)})
    assert table.ids.num_rows == height == 1000
    assert len(tables) == 1000
    rows = table.ids.find(np.arange(5000, 5500), table.rows.data, 0)
    assert rows.tolist() == freed[::-1].tolist(), "the last freed row is handed out first"
    assert not table.rows.slot("m", rows).any()
    assert not table.rows.slot("v", rows).any()
    fresh = made({"f": {"dim": 4}})
    fresh({"f": np.arange(5000, 5500)})
    np.testing.assert_array_equal(
        vectors(tables, "f", np.arange(5000, 5500)), vectors(fresh, "f", np.arange(5000, 5500))
    )
    assert (vectors(tables, "f", np.arange(500, 1000)) != 0).all(), "the others kept their vectors"


def test_growth_moves_nothing(made):
    tables = made({"f": {"dim": 4}}, block_rows=64)
    rows = tables.tables[0].rows
    tables({"f": np.arange(10)})
    first, blocks = rows.data[:40].copy(), rows.num_blocks
    address = rows.data.ctypes.data
    tables({"f": np.arange(5000)})
    assert rows.num_blocks > blocks
    assert rows.data.ctypes.data == address
    np.testing.assert_array_equal(rows.data[:40], first)


def test_memory_made_ready_changes_no_number(made):
    ready, plain = (made({"f": {"dim": 4}, "g": {"dim": 2}}, ready_ids=n) for n in (50_000, 0))
    assert len(ready) == 0
    capacity = ready.tables[0].ids.mask
    for tables in (ready, plain):
        tables({"f": np.arange(20_000), "g": np.arange(20_000)})["f"].sum().backward()
        tables.step()
    assert ready.tables[0].ids.mask == capacity, "the map did not grow"
    columns = {"f": np.arange(20_000), "g": np.arange(20_000)}
    assert torch.equal(ready.packed(columns), plain.packed(columns))


def test_the_map_holds_what_a_dictionary_holds():
    """Random puts and erases, with keys that fall into few places, against a dict."""
    from aisle.sparse.recis.id_map import IdMap

    rng = np.random.default_rng(4)
    ids, known = IdMap(16), {}
    nothing = np.zeros(1, np.float32)
    for _ in range(60):
        new = np.setdiff1d(rng.integers(0, 400, 30), np.array(list(known), np.int64))
        row = rng.permutation(1000)[: len(new)].astype(np.int32)
        ids.put(new, row)
        known |= dict(zip(new.tolist(), row.tolist(), strict=True))
        gone = rng.integers(0, 400, 25)
        ids.erase(gone)
        for key in gone.tolist():
            known.pop(key, None)
        asked = np.arange(400)
        assert ids.find(asked, nothing, 0).tolist() == [known.get(k, -1) for k in asked.tolist()]
        assert len(ids) == len(known)


# 4. Ids of two tables never collide; ids that differ above 52 bits only are the same.


def test_equal_ids_of_two_tables_are_two_rows(made):
    tables = made({"a": {"dim": 4}, "b": {"dim": 4}})
    same = np.array([0, 7, (1 << 52) - 1])
    out = tables({"a": same, "b": same})
    assert len(tables.tables) == 1
    assert len(tables) == 6
    assert not torch.equal(out["a"], out["b"])


def test_ids_above_52_bits_are_cut(made):
    tables = made({"a": {"dim": 4}})
    out = tables({"a": np.array([5, 5 + (1 << 52), -1, (1 << 52) - 1])})["a"]
    assert len(tables) == 2
    assert torch.equal(out[0], out[1])
    assert torch.equal(out[2], out[3])


def test_features_can_share_a_table(made):
    tables = made({"clicked": {"dim": 4, "table": "item", "combiner": "mean"}, "item": {"dim": 4, "table": "item"}})
    out = tables({"clicked": Ids(np.array([3, 3]), np.array([0, 2])), "item": np.array([3])})
    assert len(tables) == 1
    assert torch.equal(out["clicked"], out["item"])
    with pytest.raises(SettingError, match="shares table"):
        made({"a": {"dim": 4, "table": "t"}, "b": {"dim": 8, "table": "t"}})


# 6. Step filter; size cap; frequency.


def test_step_filter(made):
    tables = made({"f": {"dim": 2, "keep_steps": 3}}, evict_every=1)
    tables({"f": np.array([1])})["f"].sum().backward()
    tables.step()
    alive = []
    for _ in range(4):
        tables({"f": np.array([2])})["f"].sum().backward()
        tables.step()
        alive.append(len(tables))
    assert alive == [2, 2, 2, 1], "unmet for 3 steps it stays, at the 4th it goes"


def test_a_look_in_eval_mode_does_not_count_as_meeting(made):
    tables = made({"f": {"dim": 2, "keep_steps": 1}}, evict_every=1)
    tables({"f": np.array([1])})["f"].sum().backward()
    tables.step()
    for _ in range(2):
        tables.eval()
        tables({"f": np.array([1])})
        tables.train()
        tables.step()
    assert len(tables) == 0


def test_size_cap_keeps_the_latest(made, vectors):
    tables = made({"f": {"dim": 2, "max_rows": 10}, "g": {"dim": 2}}, evict_every=1)
    assert len(tables.tables) == 2, "a capped table stands alone"
    for s in range(5):
        out = tables({"f": np.arange(4 * s, 4 * s + 4), "g": np.zeros(4, np.int64)})
        out["f"].sum().backward()
        tables.step()
    assert len(tables.tables[0]) == 10
    assert (vectors(tables, "f", np.arange(12, 20)) != 0).all()
    assert not vectors(tables, "f", np.arange(0, 8)).any()


def test_ids_enter_when_met_often_enough(made):
    tables = made({"f": {"dim": 2, "min_count": 3}})
    first = tables({"f": np.array([8, 8, 9])})["f"]
    assert not first.detach().any()
    first.sum().backward()
    tables.step()
    assert len(tables) == 0
    second = tables({"f": np.array([8, 8, 9])})["f"].detach()
    assert second[0].any()
    assert torch.equal(second[0], second[1])
    assert not second[2].any()
    assert len(tables) == 1


# 7. Read-only.


def test_eval_inserts_nothing(made):
    tables = made({"f": {"dim": 3}})
    tables({"f": np.arange(5)})
    tables.eval()
    out = tables({"f": np.array([2, 77])})["f"]
    assert out[0].any()
    assert not out[1].any()
    assert len(tables) == 5
    tables.train()
    with torch.no_grad():
        tables({"f": np.array([78])})
    assert len(tables) == 5, "nor does a forward without gradients"
    tables({"f": np.arange(5)})
    assert len(tables) == 5, "a second equal lookup inserts nothing"


def test_read_only_feature(made):
    tables = made({"item": {"dim": 3, "table": "i"}, "seen": {"dim": 3, "table": "i", "admit": "read_only"}})
    out = tables({"item": np.array([1, 2]), "seen": np.array([2, 9])})["seen"].detach()
    assert len(tables) == 2
    assert out[0].any()
    assert not out[1].any()


def test_untrained_feature(made, vectors):
    tables = made({"a": {"dim": 3, "trainable": False}, "b": {"dim": 3}})
    out = tables({"a": np.array([1]), "b": np.array([1])})
    before = {f: vectors(tables, f, [1]) for f in "ab"}
    (out["a"].sum() + out["b"].sum()).backward()
    tables.step()
    assert np.array_equal(vectors(tables, "a", [1]), before["a"])
    assert not np.array_equal(vectors(tables, "b", [1]), before["b"])


# 8. Accumulation.


@pytest.mark.parametrize("reduce", ["worker", "id"])
def test_accumulation(made, vectors, reduce):
    """Two batches and step(parts=2) equal one batch of both with a mean loss; rows met twice are merged by row."""
    rng = np.random.default_rng(5)
    ids = rng.integers(40, 60, 32)
    target = torch.from_numpy(rng.standard_normal((32, 5)).astype(np.float32))
    if reduce == "id":  # means over occurrences join over batches only when each batch meets each id once
        ids = np.concatenate([rng.permutation(16), rng.permutation(16)])
    results = []
    for k in (1, 4 if reduce == "worker" else 2):
        tables = made({"f": {"dim": 5, "reduce": reduce}}, optimiser={"kind": "sgd", "lr": 1.0})
        for part in np.split(np.arange(32), k):
            loss = (tables({"f": ids[part]})["f"] - target[part]).square()
            (loss.mean() if reduce == "worker" else loss.sum()).backward()
        if k > 1:
            waiting = tables.gradients()[0]
            assert len(waiting.row) == len(np.unique(ids))
        tables.step(parts=k)
        results.append(vectors(tables, "f", np.unique(ids)))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-5, atol=1e-6)


def test_clipping_through_gradients(made, vectors):
    tables = made({"f": {"dim": 2, "init_std": 0.0}}, optimiser={"kind": "sgd", "lr": 1.0})
    tables({"f": np.array([1, 1])})["f"].sum().backward()
    for gradient in tables.gradients():
        gradient.value.mul_(0.25)
    tables.step()
    assert vectors(tables, "f", [1]).tolist() == [[-0.5, -0.5]]
    tables.step()
    assert vectors(tables, "f", [1]).tolist() == [[-0.5, -0.5]], "nothing waits after a step"


# Combiners and weights, against torch.


@pytest.mark.parametrize("combiner", ["sum", "mean", "tile"])
@pytest.mark.parametrize("dim", [3, 8, 19])
def test_combiners_and_their_gradients(made, vectors, combiner, dim):
    rng = np.random.default_rng(6)
    splits = np.array([0, 3, 3, 4, 9])
    ids = rng.integers(0, 6, 9)
    factor = rng.random(9).astype(np.float32)
    tables = made(
        {"f": {"dim": dim, "combiner": combiner, "tile_len": 3 if combiner == "tile" else 0}, "one": {"dim": dim}},
        optimiser={"kind": "sgd", "lr": 1.0},
    )
    columns = {"f": Ids(ids, splits, factor), "one": np.arange(4)}
    tables(columns)
    weight = torch.from_numpy(vectors(tables, "f", np.arange(6))).requires_grad_()
    vector = weight[ids] * torch.from_numpy(factor)[:, None]
    if combiner == "tile":
        rows = [torch.nn.functional.pad(v[:3], (0, 0, 0, max(0, 3 - len(v)))) for v in vector.split([3, 0, 1, 5])]
        expected = torch.stack(rows)
    else:
        rows = [v.sum(0) / (max(len(v), 1) if combiner == "mean" else 1) for v in vector.split([3, 0, 1, 5])]
        expected = torch.stack(rows)
    out = tables(columns)["f"]
    assert out.shape == expected.shape
    torch.testing.assert_close(out, expected)
    grad = torch.from_numpy(rng.standard_normal(expected.shape).astype(np.float32))
    expected.backward(grad)
    tables.zero_grad()
    out.backward(grad)
    tables.step()
    present = np.unique(ids)
    change = vectors(tables, "f", present) - weight.detach().numpy()[present]
    np.testing.assert_allclose(change, -weight.grad.numpy()[present], rtol=1e-4, atol=1e-6)


def test_packed_is_the_same_numbers(made):
    tables = made({"a": {"dim": 4}, "b": {"dim": 2}, "c": {"dim": 4}})
    columns = {n: np.arange(3) for n in "abc"}
    named, packed = tables(columns), tables.packed(columns)
    for name, (first, size) in tables.columns.items():
        assert torch.equal(packed[:, first : first + size], named[name])


def test_two_dimensional_ids_are_k_a_sample(made):
    tables = made({"f": {"dim": 4}})
    out = tables({"f": torch.tensor([[1, 2], [3, 3]])})["f"]
    one = tables({"f": torch.tensor([1, 2, 3])})["f"]
    torch.testing.assert_close(out, torch.stack([one[0] + one[1], 2 * one[2]]))


# First values and storage.


def test_first_values_depend_on_id_and_seed_only(made, vectors):
    one, other = made({"f": {"dim": 16}}, seed=1), made({"f": {"dim": 16}}, seed=1)
    one({"f": np.arange(2000)})
    other({"f": np.arange(2000)[::-1].copy()})
    first = vectors(one, "f", np.arange(2000))
    np.testing.assert_array_equal(first, vectors(other, "f", np.arange(2000)))
    assert abs(first.mean()) < 3e-4
    assert first.std() == pytest.approx(0.01, rel=0.02)
    assert np.abs(first).max() <= 0.0347
    assert abs(np.corrcoef(first[:, 0], first[:, 1])[0, 1]) < 0.1
    differing = made({"f": {"dim": 16}}, seed=2)
    differing({"f": np.arange(2000)})
    assert (vectors(differing, "f", np.arange(2000)) != first).mean() > 0.99


@pytest.mark.parametrize("kind", ["adam", "adagrad", "sgd"])
def test_bfloat16_storage(made, vectors, kind):
    """Half the bytes a vector; steps far smaller than a bfloat16 digit still add up."""
    full, half = (
        made({"f": {"dim": 8, "dtype": dtype}}, optimiser={"kind": kind, "lr": 1e-3})
        for dtype in ("float32", "bfloat16")
    )
    ids = np.arange(64)
    for _ in range(300):
        for tables in (full, half):
            tables({"f": ids})["f"].sum().backward()
            tables.step()
    assert full.tables[0].rows.width - half.tables[0].rows.width == 4
    a, b = vectors(full, "f", ids), vectors(half, "f", ids)
    assert a.mean() == pytest.approx(b.mean(), rel=0.02), "rounding by chance is right in the mean"
    assert np.abs(a - b).max() < 0.2 * np.abs(a).max()


# Errors.


def test_errors_say_what_to_do(made):
    tables = made({"brand": {"dim": 4}, "item": {"dim": 4}})
    with pytest.raises(UnknownName, match="no column 'brand'; did you mean 'brands'"):
        tables({"brands": np.array([1]), "item": np.array([1])})
    with pytest.raises(ContractError, match="has 1 samples, others have 2"):
        tables({"brand": np.array([1, 2]), "item": np.array([1])})
    with pytest.raises(ContractError, match="begin at 0 and never fall"):
        tables({"brand": Ids(np.array([1, 2]), np.array([0, 3, 2])), "item": np.array([1, 2])})
    with pytest.raises(SettingError, match="tile_len"):
        made({"f": {"combiner": "tile"}})


@pytest.mark.parametrize("dim", [16, 11])
@pytest.mark.parametrize("ragged", [False, True])
def test_vectors_and_gradients_in_bfloat16(made, dim, ragged):
    """What is written in bfloat16 is the float32 rounded; bfloat16 gradients are what they say, not float32 bits."""
    rng = np.random.default_rng(0)
    ids = {"a": rng.integers(0, 30, 40), "b": rng.integers(0, 30, 40)}
    if ragged:
        ids["b"] = Ids(rng.integers(0, 30, 80), np.arange(0, 81, 2))
    half, full = (made({"a": {"dim": dim}, "b": {"dim": dim, "init_std": 1.0}}) for _ in range(2))
    for _ in range(2):
        rounded, exact = half.packed(ids, torch.bfloat16), full.packed(ids)
        assert torch.equal(rounded, exact.to(torch.bfloat16))
        gradient = torch.from_numpy(rng.standard_normal(exact.shape).astype(np.float32)).to(torch.bfloat16)
        rounded.backward(gradient)
        exact.backward(gradient.float())
        half.step()
        full.step()
    half.eval()
    full.eval()
    assert torch.equal(half.packed(ids), full.packed(ids))
    assert torch.equal(half.packed(ids, torch.bfloat16), full.packed(ids).to(torch.bfloat16))
