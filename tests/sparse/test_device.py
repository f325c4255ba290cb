"""The path for GPUs, run on CPU tensors, gives what the compiled one gives."""

from __future__ import annotations

import importlib
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from numba.core.errors import TypingError

from aisle.core.errors import SettingError
from aisle.core.tables import Ids
from aisle.sparse.recis import Recis, map_kernels, optimiser_kernels
from aisle.sparse.recis.device_engine import DeviceTables
from aisle.sparse.recis.device_map import DeviceMap, mixed
from aisle.sparse.recis.layout import coalesced
from aisle.sparse.recis.spread import slice_of

EMBEDDINGS = {
    "item": {"dim": 6, "keep_steps": 3},
    "seen": {"dim": 6, "table": "item", "combiner": "mean", "keep_steps": 3},
    "last": {"dim": 6, "combiner": "tile", "tile_len": 2, "keep_steps": 3},
    "brand": {"dim": 3, "reduce": "id", "combiner": "mean"},
    "look": {"dim": 3, "reduce": "id", "table": "brand", "combiner": "mean", "admit": "read_only"},
    "shade": {"dim": 8, "reduce": "id"},
    "rare": {"dim": 4, "min_count": 3},
    "capped": {"dim": 4, "max_rows": 12},
}


def both(optimiser):
    part = Recis(embeddings=EMBEDDINGS, optimiser=optimiser, evict_every=2, block_rows=16, seed=3)
    device = DeviceTables(
        part.embeddings, {}, coalesced(part.embeddings, 1), part.optimiser,
        seed=3, threads=1, block_rows=16, ready_ids=0, evict_every=2, device="cpu",
    )  # fmt: skip
    return part.build(), device


@pytest.mark.parametrize(
    "optimiser",
    [
        {"kind": "adam", "lr": 0.1, "decay": 0.01},
        {"kind": "adam", "lr": 0.1, "step": "row"},
        {"kind": "adagrad", "lr": 0.1},
        {"kind": "adagrad", "lr": 0.1, "sums": "number"},
        {"kind": "sgd", "lr": 0.1},
    ],
    ids=lambda o: "-".join(map(str, o.values())),
)
def test_device_equals_compiled(optimiser, tmp_path):
    rng = np.random.default_rng(0)
    pair = both(optimiser)
    for step in range(9):
        splits = np.concatenate([[0], rng.integers(0, 5, 16).cumsum()])
        columns = {
            "item": rng.integers(0, 90, 16),
            "seen": Ids(rng.integers(0, 90, splits[-1]), splits, rng.random(splits[-1]).astype(np.float32)),
            "last": Ids(rng.integers(0, 90, splits[-1]), splits),
            "brand": rng.integers(0, 20, (16, 2)),
            "look": rng.integers(0, 40, 16),
            "shade": rng.integers(0, 20, 16),
            "rare": rng.integers(0, 30, 16),
            "capped": rng.integers(0, 40, 16),
        }
        outs = [tables(columns) for tables in pair]
        for name in EMBEDDINGS:
            torch.testing.assert_close(*(o[name] for o in outs), rtol=1e-4, atol=1e-5, msg=f"{step} {name}")
        target = {n: torch.from_numpy(rng.standard_normal(v.shape).astype(np.float32)) for n, v in outs[0].items()}
        for out in outs:
            sum((out[n] * target[n]).sum() for n in out).backward()
        if step % 3:
            for tables in pair:
                tables.step(parts=2)
        assert len(pair[0]) == len(pair[1])
    pair[1].save(tmp_path)
    pair[0].load(tmp_path)
    for (name, ids, values), (_, other, others) in zip(pair[0].content(), pair[1].content(), strict=True):
        assert np.array_equal(ids, other), name
        assert all(np.array_equal(values[s], others[s]) for s in values), name
    for tables in pair:
        tables.eval()
    torch.testing.assert_close(pair[0](columns)["seen"], pair[1](columns)["seen"])


def test_the_map_holds_what_a_dictionary_holds():
    rng = np.random.default_rng(1)
    ids, known = DeviceMap(torch.device("cpu")), {}
    for _ in range(30):
        new = np.setdiff1d(rng.integers(0, 3000, 200), np.array(list(known), np.int64))
        rows = ids.new_rows(len(new))
        ids.enter(torch.from_numpy(new), rows)
        known |= dict(zip(new.tolist(), rows.tolist(), strict=True))
        gone = rng.permutation(np.array(list(known)))[: len(known) // 2]
        ids.erase(torch.from_numpy(gone))
        for key in gone.tolist():
            known.pop(key)
        place, found = ids.find(torch.arange(3000))
        got = torch.where(found, ids.row[place], -1)
        assert got.tolist() == [known.get(k, -1) for k in range(3000)]
        assert len(set(known.values())) == len(known)


def test_one_hash_in_three_places():
    key = np.array([0, 1, 5, (1 << 52) + 3, 4094 << 52], np.uint64).view(np.int64)
    bits = mixed(torch.from_numpy(key))
    assert (bits.numpy() & 0xFFFF).tolist() == slice_of(key).tolist()
    with np.errstate(over="ignore"):
        own = [int(map_kernels.mixed.py_func(k)) for k in key.view(np.uint64)]
    assert own == bits.numpy().view(np.uint64).tolist()


def test_a_gpu_is_refused_while_its_vectors_are_unproven():
    with pytest.raises(SettingError, match="unproven=true"):
        Recis(embeddings={"item": {"dim": 4}}, device="cuda").build()


@pytest.fixture
def search(monkeypatch):
    """The module that names the first part in which a device differs."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks" / "sparse"))
    return importlib.import_module("gpu_find")


def test_the_search_finds_nothing_where_all_is_equal(search):
    for name, answers in islice(search.parts("cpu"), 10):
        assert search.compared(answers) == "", name


def test_the_search_names_what_differs_and_which_side(search, monkeypatch):
    write = search.DeviceRows.write
    monkeypatch.setattr(search.DeviceRows, "write", lambda self, name, row, value: write(self, name, row, 2 * value))
    name, seen = search.find("cpu")
    assert name == "rows in blocks"
    assert "apart: numpy" in seen
    answers = {"a": np.ones(3), "b": np.ones(3), "c": np.array([1.0, 1.0, 2.0])}
    seen = search.compared({side: {"vector": v} for side, v in answers.items()})
    assert "in 1 places, first [2]; apart: c" in seen


def test_loops_over_lanes_refuse_other_numbers():
    """They would read the bits of float64 as float32, which is how means by id went wrong on the CPU."""
    row, data = np.zeros(1, np.int32), np.zeros(8, np.float32)
    arrays = (data, data.view(np.uint16), False, 8, 8)
    with pytest.raises(TypingError, match="float64; it takes float32"):
        optimiser_kernels.sgd(row, np.zeros(8), np.float32(1), *arrays, (np.float32(1), np.float32(1)), 1)
