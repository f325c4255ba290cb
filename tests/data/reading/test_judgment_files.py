"""Judgments in every layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aisle.core.errors import DataError
from aisle.data.reading.judgment_files import read_judgments
from aisle.data.reading.quarantine import Quarantine


def file(folder: Path, text: str, name: str = "j.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def rows(table: pa.Table) -> list[tuple[str, str, int]]:
    return [(r["query"], r["item_id"], r["grade"]) for r in table.to_pylist()]


def test_letters(tmp_path: Path) -> None:
    table, gains = read_judgments(file(tmp_path, "query,product_id,label\na,1,E\na,2,S\na,3,C\na,4,I\n"))
    assert rows(table) == [("a", "1", 3), ("a", "2", 2), ("a", "3", 1), ("a", "4", 0)]
    assert gains == {3: 1.0, 2: 0.1, 1: 0.01, 0: 0.0}


def test_numbers(tmp_path: Path) -> None:
    table, gains = read_judgments(file(tmp_path, "query,product_id,rating\na,1,0\na,2,3\nb,1,2.0\n"))
    assert rows(table) == [("a", "1", 0), ("a", "2", 3), ("b", "1", 2)]
    assert gains == {0: 0.0, 2: 3.0, 3: 7.0}
    assert rows(read_judgments(file(tmp_path, '{"query": "a", "item_id": 5, "grade": 1}\n', "j.jsonl"))[0]) == [
        ("a", "5", 1)
    ]


def test_qrels(tmp_path: Path) -> None:
    path = file(tmp_path, "301 0 D1 2\n301\t0\tD2\t-1\n302 Q0 D1 1\n", "qrels.txt")
    assert rows(read_judgments(path)[0]) == [("301", "D1", 2), ("301", "D2", 0), ("302", "D1", 1)]
    texts = file(tmp_path, "301\tred pan\n302\tblue pan\n", "topics.tsv")
    assert [r[0] for r in rows(read_judgments(path, queries=texts)[0])] == ["red pan", "red pan", "blue pan"]


def test_wands(tmp_path: Path) -> None:
    file(tmp_path, "query_id\tquery\tquery_class\n0\tsalon chair\tChairs\n1\tsmart coffee table\tTables\n", "query.csv")
    path = file(
        tmp_path,
        "id\tquery_id\tproduct_id\tlabel\n0\t0\t25434\tExact\n1\t0\t12088\tIrrelevant\n2\t1\t42931\tPartial\n",
        "label.csv",
    )
    table, gains = read_judgments(path)
    assert rows(table) == [("salon chair", "25434", 2), ("salon chair", "12088", 0), ("smart coffee table", "42931", 1)]
    assert gains == {2: 1.0, 1: 0.5, 0: 0.0}


def test_official_esci(tmp_path: Path) -> None:
    table = pa.table(
        {
            "example_id": [0, 1, 2],
            "query": ["a", "a", "b"],
            "query_id": [0, 0, 1],
            "product_id": ["1", "2", "3"],
            "product_locale": ["us", "us", "es"],
            "esci_label": ["E", "I", "S"],
            "small_version": [0, 1, 1],
            "large_version": [1, 1, 1],
            "split": ["train", "test", "test"],
        }
    )
    pq.write_table(table, tmp_path / "shopping_queries_dataset_examples.parquet")
    path = tmp_path / "shopping_queries_dataset_examples.parquet"
    assert len(read_judgments(path)[0]) == 3
    assert rows(read_judgments(path, locale="us", split="test")[0]) == [("a", "2", 0)]


def test_bad_rows_are_told(tmp_path: Path) -> None:
    path = file(tmp_path, "query,product_id,label\na,1,E\n,2,S\na,,C\na,4,Q\na,1,I\na,1,E\nb,1,E\nb,2,E\nb,3,E\n")
    sink = Quarantine(None, path)
    table, _ = read_judgments(path, quarantine=sink)
    assert len(table) == 4
    assert dict(sink.reasons) == {
        "query: missing query": 1,
        "product_id: missing id": 1,
        "label: not a grade": 1,
        "product_id: judged before with another grade, the first one stays": 1,
    }


def test_what_is_no_judgment_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column for grade"):
        read_judgments(file(tmp_path, "query,product_id\na,1\n"))
    with pytest.raises(DataError, match="0 usable judgments"):
        read_judgments(file(tmp_path, "query,product_id,label\na,1,Z\n"))


def test_real_files(real_data: Callable[[str], Path]) -> None:
    table, gains = read_judgments(real_data("esci-us-150") / "judgments.csv")
    assert len(set(table["query"].to_pylist())) == 96
    assert gains[3] == 1.0
    table, gains = read_judgments(real_data("icecat-electronics") / "ratings.csv")
    assert len(set(table["query"].to_pylist())) == 89
    assert gains == {0: 0.0, 1: 1.0, 2: 3.0, 3: 7.0}
