"""Texts as files hold what is displayed and nothing of the truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from aisle.simulate.texts import files
from aisle.simulate.texts.files import write_external, write_reviews
from aisle.simulate.texts.reviews import reviews
from aisle.simulate.world import World


def test_files_hold_what_is_displayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World.make(300, 1)
    monkeypatch.setattr(files, "CHUNK", 70)
    written = pq.read_table(write_reviews(world, tmp_path, most=2))
    assert written.equals(reviews(world.items, world.truth, np.arange(300), 2).table)
    assert written.column_names == ["item_id", "review_id", "time_s", "stars", "text", "helpful"]
    external = pq.read_table(write_external(world, tmp_path, each=2))
    assert external.column_names == ["item_id", "source", "text"]
    assert external["item_id"].to_pylist() == [f"p{n // 2}" for n in range(600)]
    first = (tmp_path / "reviews.parquet").read_bytes()
    write_reviews(world, tmp_path, most=2)
    assert (tmp_path / "reviews.parquet").read_bytes() == first
