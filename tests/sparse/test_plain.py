"""The baseline: torch's own embedding and SparseAdam behind the same contract."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from aisle.core import registry
from aisle.core.errors import SettingError
from aisle.core.tables import Ids
from aisle.sparse.plain import Plain


def test_trains_saves_and_serves(tmp_path):
    part = registry.build(
        "sparse.plain", {"embeddings": {"a": {"dim": 4}, "b": {"dim": 3, "combiner": "mean"}}, "rows": 50}
    )
    assert isinstance(part, Plain)
    tables, again = part.build(), part.build()
    columns = {"a": np.array([1, 51, 7]), "b": Ids(np.array([3, 4, 5]), np.array([0, 2, 2, 3]))}

    def step(tables):
        out = tables(columns)
        (out["a"].sum() + out["b"].square().sum()).backward()
        assert {g.table for g in tables.gradients()} == {"a", "b"}
        tables.step()
        return tables(columns)

    out = step(tables)
    assert torch.equal(out["a"][0], out["a"][1]), "ids beyond the rows share them"
    assert not out["b"][1].any()
    tables.save(tmp_path)
    again.load(tmp_path)
    assert torch.equal(step(tables)["b"], step(again)["b"])
    served = part.open(tables.export(tmp_path / "served"))
    assert torch.equal(served(columns)["a"], tables(columns)["a"])
    with pytest.raises(SettingError, match=r"use sparse\.recis"):
        Plain(embeddings={"f": {"min_count": 2}}).build()


def test_recis_equals_plain_with_sgd_like_first_step(made):
    """Adam's first step is lr in the gradient's direction on both sides."""
    plain = Plain(embeddings={"f": {"dim": 4}}, rows=10, lr=0.1).build()
    ours = made({"f": {"dim": 4}})
    ids, grad = np.array([1, 2, 2]), torch.randn(3, 4)
    for tables in (plain, ours):
        before = tables({"f": ids})["f"]
        before.backward(grad)
        tables.step()
        tables.zero_grad()
        moved = (tables({"f": ids})["f"] - before).detach()
        assert moved.abs().sub(0.1).abs().max() < 1e-3
