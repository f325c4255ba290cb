"""Files as careless people leave them: each is read, or refused in words; a bad record never takes its neighbours along."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from aisle.core.errors import DataError
from aisle.data.reading.batches import MAX_FIELD, lines_of
from aisle.data.reading.event_files import records_of
from aisle.data.reading.readers import read_batches, sniff


def read(path: Path, **options: Any) -> tuple[list[dict[str, Any]], list[tuple[int, str, str]]]:
    """(records with their line as ``@``, [(line, column, reason)])."""
    bad: list[tuple[int, str, str]] = []
    form = sniff(path, **options)
    rows = []
    for batch in read_batches(path, form, lambda p, c, v, r: bad.append((p, c, r)), batch_rows=3):
        rows += [{"@": p, **r} for p, r in zip(batch.positions, records_of(batch), strict=True)]
    return rows, bad


def csv_file(folder: Path, text: str | bytes, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_plain_csv(tmp_path: Path) -> None:
    rows, bad = read(csv_file(tmp_path, "id,title\n1,One\n2,Two\n"))
    assert rows == [{"@": 2, "id": "1", "title": "One"}, {"@": 3, "id": "2", "title": "Two"}]
    assert bad == []


@pytest.mark.parametrize(("mark", "name"), [(";", "a.csv"), ("\t", "a.csv"), ("|", "a.txt"), ("\t", "a.tsv")])
def test_delimiter_is_found(tmp_path: Path, mark: str, name: str) -> None:
    rows, _ = read(csv_file(tmp_path, f"id{mark}title\n1{mark}One, two\n", name))
    assert rows[0]["title"] == "One, two"


def test_mark_line_ends_and_quoted_newlines(tmp_path: Path) -> None:
    text = b'\xef\xbb\xbfid,title\r\n1,"Two\r\nlines, ""quoted"""\r\n2,Next\r\n'
    rows, bad = read(csv_file(tmp_path, text))
    assert [r["title"] for r in rows] == ['Two\nlines, "quoted"', "Next"]
    assert [r["@"] for r in rows] == [2, 4]
    assert bad == []


def test_windows_1252_is_seen(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "id,title\n1,Café\n2,Größe 5 €\n".encode("cp1252"))
    assert sniff(path).encoding == "cp1252"
    assert [r["title"] for r in read(path)[0]] == ["Café", "Größe 5 €"]


def test_utf_16(tmp_path: Path) -> None:
    rows, bad = read(csv_file(tmp_path, "id\ttitle\r\n1\tCafé\r\n".encode("utf-16"), "a.txt"))
    assert rows == [{"@": 2, "id": "1", "title": "Café"}]
    assert bad == []


def test_one_line_of_another_encoding(tmp_path: Path) -> None:
    text = "id,title\n1,Café\n2,Größe\n".encode() + "3,Café\n".encode("cp1252") + b"4,Tea\n"
    rows, bad = read(csv_file(tmp_path, text))
    assert [r["id"] for r in rows] == ["1", "2", "4"]
    assert bad == [(4, "", "wrong encoding, expected utf-8")]


@pytest.mark.parametrize("after", ['3,"Good, quoted",y', "3,Good,y", '3,"",y', '3,Good,"y"'])
def test_an_open_quote_costs_its_own_line_only(tmp_path: Path, after: str) -> None:
    rows, bad = read(csv_file(tmp_path, f'id,title,c\n1,One,x\n2,"Open,x\n{after}\n4,Four,z\n'))
    assert [r["id"] for r in rows] == ["1", "3", "4"]
    assert [b[0] for b in bad] == [3]
    assert "quote" in bad[0][2]


def test_wrong_number_of_fields(tmp_path: Path) -> None:
    rows, bad = read(csv_file(tmp_path, "id,title,c\n1,One\n2,Two,x\n3,Three,x,y\n4,Four,x,,\n\n5,Five,x"))
    assert [r["id"] for r in rows] == ["2", "4", "5"]
    assert bad == [(2, "", "expected 3 fields, found 2"), (4, "", "expected 3 fields, found 4")]


def test_tabs_need_no_quotes(tmp_path: Path) -> None:
    rows, bad = read(csv_file(tmp_path, 'id\ttitle\n1\t"12 inch" pan\n2\t"open\n3\t7" tablet\n', "a.tsv"))
    assert [r["title"] for r in rows] == ['"12 inch" pan', '"open', '7" tablet']
    assert bad == []


def test_nul_bytes_and_huge_fields(tmp_path: Path) -> None:
    text = "id,title\n1,a\0b\n2," + "x" * (10 << 20) + "\n3,Good\n4," + "y" * (17 << 20) + "\n5,Good\n"
    rows, bad = read(csv_file(tmp_path, text))
    assert [r["id"] for r in rows] == ["3", "5"]
    assert [b[0] for b in bad] == [2, 3, 5]
    assert [b[2].split()[0] for b in bad] == ["NUL", "field", "line"]


def test_json_lines(tmp_path: Path) -> None:
    lines = [
        '{"id": 1, "a": {"b": {"c": 2}}}',
        "{broken",
        "",
        "[1, 2]",
        '{"id": 2, "x": "' + "z" * (MAX_FIELD + 1) + '"}',
        '{"id": 3}',
    ]
    rows, bad = read(csv_file(tmp_path, "\n".join(lines), "a.jsonl"))
    assert rows == [{"@": 1, "id": 1, "a": {"b": {"c": 2}}}, {"@": 6, "id": 3}]
    assert [(b[0], b[1]) for b in bad] == [(2, ""), (4, ""), (5, "x")]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("shape", ["{}", '{{"products": {}}}'])
def test_json_arrays(tmp_path: Path, indent: int | None, shape: str) -> None:
    records = [{"id": str(i), "title": f'"{i}" ]}}', "tags": ["a", {"b": 1}]} for i in range(10)]
    rows, bad = read(csv_file(tmp_path, shape.format(json.dumps(records, indent=indent)), "a.json"))
    assert [{k: v for k, v in r.items() if k != "@"} for r in rows] == records
    assert [r["@"] for r in rows] == list(range(1, 11))
    assert bad == []


def test_a_broken_element_of_an_array(tmp_path: Path) -> None:
    text = '[{"id": 1},\n {"id": 2, "title": },\n {"id": 3, "t": [1, 2},\n {"id": 4}, 5,\n {"id": 6, "a": "open},\n {"id": 7}]'
    rows, bad = read(csv_file(tmp_path, text, "a.json"))
    assert [r["id"] for r in rows] == [1, 4, 7]
    assert [b[0] for b in bad] == [2, 3, 5, 6]


def test_an_array_larger_than_the_window(tmp_path: Path) -> None:
    records = [{"id": i, "text": "é" * 1000} for i in range(3000)]
    rows, bad = read(csv_file(tmp_path, json.dumps(records, ensure_ascii=False), "a.json"))
    assert [r["id"] for r in rows] == list(range(3000))
    assert bad == []


def test_an_array_that_is_cut_off(tmp_path: Path) -> None:
    rows, bad = read(csv_file(tmp_path, '[{"id": 1}, {"id": 2}, {"id": 3, "tit', "a.json"))
    assert [r["id"] for r in rows] == [1, 2]
    assert len(bad) == 1


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress])
def test_compressed(tmp_path: Path, pack: Any) -> None:
    body = b"id,title\n" + b"".join(b"%d,Title %d\n" % (i, i * 7919) for i in range(5000))
    rows, bad = read(csv_file(tmp_path, pack(body), "a.csv.any"))
    assert len(rows) == 5000
    assert bad == []


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.98])
def test_a_compressed_file_that_is_cut_off_is_refused(tmp_path: Path, pack: Any, share: float) -> None:
    packed = pack(b"id,title\n" + b"".join(b"%d,Title %d\n" % (i, i * 7919) for i in range(5000)))
    with pytest.raises(DataError, match=r"cut off|unpacked"):
        read(csv_file(tmp_path, packed[: int(len(packed) * share)]))


def test_half_a_character(tmp_path: Path) -> None:
    rows, bad = read(csv_file(tmp_path, '{"id": "\\ud83d\\ude00"}\n{"id": "\\ud83d"}\n{"id": 3}\n', "a.jsonl"))
    assert [r["id"] for r in rows] == ["😀", 3]
    assert [b[0] for b in bad] == [2]


def test_parquet(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": [1, 2, 3, 4],
            "tags": [["a", "b"], None, [], ["c"]],
            "title": ["One", None, "Three", "x" * (MAX_FIELD + 1)],
            "brand": pa.array(["A", "B", "A", "A"]).dictionary_encode(),
            "created": pa.array([0, 1_500_000, None, 3], pa.timestamp("us")),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    rows, bad = read(tmp_path / "a.parquet")
    assert rows[0] == {"@": 1, "id": 1, "tags": ["a", "b"], "title": "One", "brand": "A", "created": 0.0}
    assert rows[1] == {"@": 2, "id": 2, "brand": "B", "created": 1.5}
    assert len(rows) == 3
    assert bad == [(4, "title", f"field longer than {MAX_FIELD:,} characters")]


def test_parquet_with_structs_and_maps(tmp_path: Path) -> None:
    specs = pa.array([[("color", "red")], []], pa.map_(pa.string(), pa.string()))
    table = pa.table({"id": ["a", "b"], "specs": specs, "price": [{"amount": 1.5, "currency": "EUR"}, None]})
    pq.write_table(table, tmp_path / "a.parquet")
    rows, _ = read(tmp_path / "a.parquet")
    assert rows[0] == {"@": 1, "id": "a", "specs": {"color": "red"}, "price": {"amount": 1.5, "currency": "EUR"}}
    assert rows[1] == {"@": 2, "id": "b"}


def test_what_is_no_file_of_ours(tmp_path: Path) -> None:
    (tmp_path / "near.csv").write_text("id\n1\n")
    with pytest.raises(DataError, match=r"does not exist; in that folder are near\.csv"):
        sniff(tmp_path / "nearr.csv")
    with pytest.raises(DataError, match="is a folder"):
        sniff(tmp_path)
    with pytest.raises(DataError, match="is empty"):
        sniff(csv_file(tmp_path, ""))
    with pytest.raises(DataError, match="holds no text"):
        sniff(csv_file(tmp_path, "\n \n"))
    with pytest.raises(DataError, match="Excel"):
        sniff(csv_file(tmp_path, b"PK\x03\x04rest", "a.xlsx"))
    with pytest.raises(DataError, match="Parquet"):
        read(csv_file(tmp_path, b"PAR1 and no more", "a.parquet"))


def test_repeated_and_missing_column_names(tmp_path: Path) -> None:
    rows, _ = read(csv_file(tmp_path, "id,,a,a\n1,2,3,4\n"))
    assert rows == [{"@": 2, "id": "1", "column_2": "2", "a": "3", "a_2": "4"}]


@given(
    st.binary(max_size=200).map(lambda b: b.replace(b"\xef\xbb\xbf", b"")), st.lists(st.integers(1, 20), max_size=20)
)
def test_lines_do_not_depend_on_the_pieces(data: bytes, cuts: list[int]) -> None:
    pieces, rest = [], data
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    got = [line.data for line in lines_of([*pieces, rest])]
    want = data.split(b"\n")
    assert got == (want if want[-1] else want[:-1])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1),
            st.text(st.characters(codec="utf-8", exclude_characters="\0\r")),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_what_a_csv_writer_wrote_is_read(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str]]
) -> None:
    import csv

    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(["id", "title"])
        writer.writerows(cells)
    bad: list[Any] = []
    form = sniff(path, encoding="utf-8", delimiter=",")
    rows = [
        (a, b)
        for batch in read_batches(path, form, lambda *args: bad.append(args))
        for a, b in zip(batch.columns["id"].values, batch.columns["title"].values, strict=True)
    ]
    blank = [c for c in cells if not (c[0] + c[1]).strip()]
    assert bad == [] or blank
    assert rows == cells or blank
