"""What the tests of the tables share."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from aisle.core.tables import Ids
from aisle.sparse.recis import Recis

torch.set_num_threads(1)


@pytest.fixture
def made():
    """``made({"f": {"dim": 4}}, lr=0.1)``: tables trained by Adam, or by ``optimiser``."""

    def build(embeddings, *, lr=0.1, **settings):
        settings.setdefault("optimiser", {"kind": "adam", "lr": lr})
        return Recis(embeddings=embeddings, **settings).build()

    return build


@pytest.fixture
def vectors():
    """``vectors(tables, "f", ids)``: float32[N, D] as serving would see them, without inserting."""

    def read(tables, feature, ids):
        mode = tables.training
        tables.eval()
        empty = Ids(np.zeros(0, np.int64), np.zeros(len(ids) + 1, np.int64))
        columns = {f: np.asarray(ids) if f == feature else empty for f in tables.embeddings}
        out = tables(columns)[feature].numpy().copy()
        tables.train(mode)
        return out[:, 0] if out.ndim == 3 else out

    return read
