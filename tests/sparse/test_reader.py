"""Columnar reading: everything once, split over workers, and on from a position."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import orc

from aisle.core.errors import DataError, StateError
from aisle.sparse.recis.reader import Reader


@pytest.fixture
def files(tmp_path):
    """Two Parquet files and one ORC file with the numbers 0 to 99, Parquet in row groups of 7."""
    table = pa.table({"n": np.arange(100), "words": [[str(n)] * (n % 3) for n in range(100)]})
    pq.write_table(table.slice(0, 40), tmp_path / "a.parquet", row_group_size=7)
    pq.write_table(table.slice(40, 30), tmp_path / "b.parquet", row_group_size=7)
    orc.write_table(table.slice(70), tmp_path / "c.orc")
    return [tmp_path / name for name in ("a.parquet", "b.parquet", "c.orc")]


def numbers(batches):
    return [n for batch in batches for n in batch["n"].to_pylist()]


@pytest.mark.parametrize("prefetch", [0, 3])
def test_reads_everything_in_order(files, prefetch):
    batches = list(Reader(files, batch_rows=16, prefetch=prefetch))
    assert [len(b["n"]) for b in batches] == [16] * 6 + [4]
    assert numbers(batches) == list(range(100))
    assert batches[0]["words"].to_pylist()[2] == ["2", "2"]
    assert len(list(Reader(files, batch_rows=16, drop_last=True))) == 6
    assert set(next(iter(Reader(files, ["n"])))) == {"n"}


def test_workers_share(files):
    parts = [numbers(Reader(files, worker=w, workers=3)) for w in range(3)]
    assert sorted(n for part in parts for n in part) == list(range(100))
    assert all(parts)


@pytest.mark.parametrize("prefetch", [0, 4])
@pytest.mark.parametrize("after", [1, 2])
def test_resumes_under_another_number_of_workers(files, tmp_path, prefetch, after):
    seen, folder = [], tmp_path / "position"
    folder.mkdir()
    for w in range(2):
        reader = Reader(files, batch_rows=5, worker=w, workers=2, prefetch=prefetch)
        batches = iter(reader)
        seen += numbers(next(batches) for _ in range(after))
        reader.save(folder)
        batches.close()
    for w in range(3):
        reader = Reader(files, batch_rows=5, worker=w, workers=3, prefetch=prefetch)
        reader.load(folder)
        seen += numbers(reader)
    assert sorted(seen) == list(range(100)), "each row once"


def test_resuming_continues_with_the_same_batches(files):
    reader = Reader(files, batch_rows=9)
    batches = iter(reader)
    first = [next(batches) for _ in range(3)]
    state = reader.state()
    batches.close()
    again = Reader(files, batch_rows=9)
    again.resume([state])
    rest = list(again)
    assert numbers(first + rest) == list(range(100))
    assert [len(b["n"]) for b in rest] == [9] * 8 + [1]


def test_errors(files, tmp_path):
    (tmp_path / "bad.parquet").write_text("no")
    with pytest.raises(DataError, match="no readable Parquet"):
        Reader([tmp_path / "bad.parquet"])
    with pytest.raises(DataError, match="name other columns"):
        list(Reader(files[2:], ["absent"]))
    with pytest.raises(StateError, match="not of these files"):
        Reader(files[:1]).resume([Reader(files).state()])
    with pytest.raises(StateError, match="0 reader positions"):
        Reader(files).load(tmp_path)
