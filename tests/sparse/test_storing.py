"""Checkpoints and served files: the same numbers again, and the same next step."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from aisle.core.errors import ContractError, StateError
from aisle.core.tables import Ids
from aisle.sparse.recis import Recis

EMBEDDINGS = {
    "item": {"dim": 8, "keep_steps": 50},
    "seen": {"dim": 8, "table": "item", "combiner": "mean", "keep_steps": 50},
    "brand": {"dim": 5},
    "rare": {"dim": 5, "min_count": 4, "dtype": "bfloat16"},
}


def trained(part, steps, seed=0, tables=None):
    rng = np.random.default_rng(seed)
    tables = tables or part.build()
    for _ in range(steps):
        splits = np.concatenate([[0], rng.integers(0, 4, 16).cumsum()])
        columns = {
            "item": rng.integers(0, 100, 16),
            "seen": Ids(rng.integers(0, 100, splits[-1]), splits),
            "brand": rng.integers(0, 20, 16),
            "rare": rng.integers(0, 30, 16),
        }
        out = tables(columns)
        target = torch.from_numpy(rng.standard_normal((16, 8)).astype(np.float32))
        (
            (out["item"] + out["seen"] - target).square().mean() + (out["brand"] * out["rare"] + out["brand"]).sum()
        ).backward()
        tables.step()
    return tables


def same(one, other):
    a = {n: (ids, values) for n, ids, values in one.content()}
    b = {n: (ids, values) for n, ids, values in other.content()}
    assert a.keys() == b.keys()
    for name in a:
        assert np.array_equal(a[name][0], b[name][0]), name
        for slot, value in a[name][1].items():
            assert np.array_equal(value, b[name][1][slot]), (name, slot)
    return True


@pytest.mark.parametrize("optimiser", [{"kind": "adam", "step": "row"}, {"kind": "adagrad"}])
def test_a_checkpoint_goes_on_exactly(tmp_path, optimiser):
    part = Recis(embeddings=EMBEDDINGS, optimiser=optimiser, evict_every=7)
    tables = trained(part, 10)
    tables.save(tmp_path)
    again = part.model_copy(update={"threads": 2}).build()
    again.load(tmp_path)
    assert again.steps == 10
    assert same(tables, again)
    assert (next(v["waiting"] for n, _, v in again.content() if n == "rare") > 0).any(), (
        "counts of ids that wait are kept"
    )
    trained(part, 5, seed=1, tables=tables)
    trained(part, 5, seed=1, tables=again)
    assert same(tables, again)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    part = Recis(embeddings={"brand": {"dim": 4}})
    tables = part.build()
    tables({"brand": np.arange(4)})
    tables.save(tmp_path)
    tables({"brand": np.arange(9)})
    tables.load(tmp_path)
    assert len(tables) == 4, "loading forgets what the tables held"
    with pytest.raises(StateError, match="same optimiser"):
        Recis(embeddings={"brand": {"dim": 4}}, optimiser={"kind": "sgd"}).build().load(tmp_path)
    path = next(tmp_path.glob("*.safetensors"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(StateError, match="recorded hash"):
        part.build().load(tmp_path)
    (tmp_path / "tables.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(StateError, match="update aisle"):
        part.build().load(tmp_path)


def test_served_tables_answer_the_same(tmp_path):
    part = Recis(embeddings=EMBEDDINGS, threads=2)
    tables = trained(part, 10).eval()
    files = tables.export(tmp_path)
    served = part.open(files)
    columns = {
        "item": np.array([1, 2, 555]),
        "seen": Ids(np.array([1, 1, 7, 900]), np.array([0, 0, 3, 4])),
        "brand": np.arange(3),
        "rare": np.arange(3),
    }
    for name, vector in tables(columns).items():
        assert torch.equal(served(columns)[name], vector), name
    assert isinstance(served.tables[0].vector.base, np.memmap)
    assert not served.tables[0].vector.flags.writeable
    assert not served.training
    with pytest.raises(ContractError, match="read-only"):
        served.step()
    with pytest.raises(StateError, match="is missing"):
        part.open({})


def test_changes_reach_the_served_tables(tmp_path):
    part = Recis(embeddings=EMBEDDINGS, threads=2, evict_every=1, optimiser={"kind": "adagrad"})
    tables = trained(part, 3)
    with pytest.raises(ContractError, match="nothing was exported"):
        tables.export_changes(tmp_path / "early")
    served = part.open(tables.export(tmp_path))
    total = len(tables)
    for number, seed in enumerate((1, 2)):
        trained(part, 1 if number else 60, seed=seed, tables=tables)
        num = tables.export_changes(tmp_path / f"changes_{number}")
        assert served.apply(tmp_path / f"changes_{number}") == num
        columns = {n: np.arange(110) for n in EMBEDDINGS}
        tables.eval()
        for name, vector in tables(columns).items():
            assert torch.equal(served(columns)[name], vector), (number, name)
        tables.train()
    assert num < total, "one step changes few rows"
