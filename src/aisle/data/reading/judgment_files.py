"""Graded (query, item) pairs from files, in every layout in use, as one table and its gain map."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from aisle.core.errors import DataError
from aisle.data.reading.batches import Batch, Column
from aisle.data.reading.column_names import plain_name
from aisle.data.reading.prices import parse_numbers
from aisle.data.reading.quarantine import Quarantine
from aisle.data.reading.readers import Format, chunks, read_batches, sniff
from aisle.data.schema import JUDGMENTS

LETTERS = {"e": (3, 1.0), "s": (2, 0.1), "c": (1, 0.01), "i": (0, 0.0)}
LETTERS |= {"exact": LETTERS["e"], "substitute": LETTERS["s"], "complement": LETTERS["c"], "irrelevant": LETTERS["i"]}
"""ESCI label -> (grade, gain)."""
WANDS = {"exact": (2, 1.0), "partial": (1, 0.5), "irrelevant": (0, 0.0)}
"""WANDS label -> (grade, gain)."""

QUERY = ("query", "query_text", "user_query", "search_term", "q")
QUERY_ID = ("query_id", "qid", "topic")
ITEM = ("item_id", "product_id", "doc_id", "docid", "asin", "sku", "object_id")
GRADE = ("grade", "label", "esci_label", "rating", "relevance", "judgment", "gain", "score")


def read_judgments(
    path: Path | str,
    *,
    queries: Path | str | None = None,
    locale: str | None = None,
    split: str | None = None,
    quarantine: Quarantine | None = None,
) -> tuple[pa.Table, dict[int, float]]:
    """(table of the JUDGMENTS schema, grade -> gain) of a judgment file.

    Read are: ``query,product_id,label`` with E/S/C/I (gains 1, .1, .01, 0); ``query,product_id,rating`` and
    ``query,item_id,grade`` (gain 2^grade - 1); TREC qrels (4 columns without a header; ``queries`` gives the texts,
    else the id stands for the query); WANDS ``label.csv`` beside ``query.csv``; the ESCI examples in Parquet
    (``locale`` and ``split`` select rows).  Of a pair judged twice the first counts.

    Raises DataError when the file has no such columns, holds no pair, or most of its rows are bad.
    """
    path = Path(path)
    form = sniff(path)
    sink = quarantine or Quarantine(None, path, form.place)
    batches: Iterator[Batch]
    names: dict[str, str]
    qrels = _qrels(path, form)
    if qrels is not None:
        batches, names = iter([qrels]), {"query_id": "query_id", "item": "item", "grade": "grade"}
    else:
        batches, names = read_batches(path, form, sink), {}
    texts: dict[str, str] | None = None
    rows: dict[tuple[str, str], int] = {}
    grader = _Grader()
    for batch in batches:
        names = names or _names(path, list(batch.columns))
        texts = _query_texts(path, queries) if texts is None and "query" not in names else texts
        grader.look(batch.columns[names["grade"]].dense(len(batch)) if names["grade"] in batch.columns else [])
        _add(batch, names, texts, {"product_locale": locale, "split": split}, sink, rows, grader)
    if sink.count > len(rows) + sink.count / 2 or not rows:
        reasons = "; ".join(f"{r} ({n:,})" for r, n in sink.reasons.most_common(3)) or "no rows at all"
        raise DataError(
            f"{path} holds {len(rows)} usable judgments, {sink.count} rows are bad: {reasons}; "
            f"expected columns such as query,product_id,label"
        )
    table = pa.table([[q for q, _ in rows], [i for _, i in rows], list(rows.values())], schema=JUDGMENTS)
    return table, grader.gains or {g: float(2**g - 1) for g in sorted(set(rows.values()))}


def looks_like_judgments(columns: list[str]) -> bool:
    """The column names are those of graded pairs."""
    plain = {plain_name(c) for c in columns}
    return (
        bool(plain & {*QUERY, *QUERY_ID})
        and bool(plain & set(ITEM))
        and bool(plain & set(GRADE))
        and "action" not in plain
        and "title" not in plain
    )


def _names(path: Path, columns: list[str]) -> dict[str, str]:
    plain = {plain_name(c): c for c in columns}

    def first(names: tuple[str, ...]) -> str | None:
        return next((plain[n] for n in names if n in plain), None)

    found = {
        "query": first(QUERY),
        "query_id": first(QUERY_ID),
        "item": first(ITEM),
        "grade": first(GRADE),
        "product_locale": plain.get("product_locale"),
        "split": plain.get("split"),
    }
    missing = [what for what in ("item", "grade") if not found[what]] + (
        [] if found["query"] or found["query_id"] else ["query"]
    )
    if missing:
        raise DataError(
            f"{path} has no column for {', '.join(missing)} of a judgment; it has: {', '.join(columns[:20])}; "
            "expected columns such as query,product_id,label"
        )
    return {what: column for what, column in found.items() if column}


_QREL = re.compile(r"^(\S+)\s+(\S+)\s+(\S+)\s+(-?\d+)\s*$")


def is_qrels(path: Path, form: Format) -> bool:
    """The first line is one of TREC qrels: topic, iteration, document, whole grade."""
    head = next(chunks(path, form), b"").decode(form.encoding, "replace").lstrip("\ufeff")
    return _QREL.match(head.split("\n", 1)[0].rstrip("\r")) is not None


def _qrels(path: Path, form: Format) -> Batch | None:
    """TREC qrels (``qid 0 docid grade``, blanks or tabs between) as a batch; None when the file is something else."""
    if form.kind != "csv" or not is_qrels(path, form):
        return None
    text = b"".join(chunks(path, form)).decode(form.encoding, "replace").lstrip("\ufeff")
    found = [(n, m) for n, t in enumerate(text.split("\n"), 1) if t.strip() for m in [_QREL.match(t.rstrip("\r"))]]
    cells: list[tuple[Any, ...]] = [(m[1], m[3], m[4]) if m else (None, None, None) for _, m in found]
    return Batch(
        [n for n, _ in found],
        {name: Column(None, [c[place] for c in cells]) for place, name in enumerate(("query_id", "item", "grade"))},
    )


def _query_texts(path: Path, queries: Path | str | None) -> dict[str, str]:
    """query_id -> text from the file given, or from a ``query.csv`` or ``queries.tsv`` beside the judgments."""
    beside = [path.with_name(n) for n in ("query.csv", "queries.csv", "queries.tsv", "query.tsv")]
    source = Path(queries) if queries else next((p for p in beside if p.exists()), None)
    if source is None:
        return {}
    form = sniff(source)
    texts: dict[str, str] = {}
    if len(form.header) == 2 and plain_name(form.header[0]) not in QUERY_ID:
        for line in b"".join(chunks(source, form)).decode(form.encoding, "replace").splitlines():
            key, _, text = line.partition(form.delimiter)
            texts[key.strip()] = text.strip()
        return texts
    for batch in read_batches(source, form, Quarantine(None, source, form.place)):
        plain = {plain_name(c): c for c in batch.columns}
        key_column, text_column = (
            next((plain[n] for n in names if n in plain), None)
            for names in ((*QUERY_ID, "id"), (*QUERY, "text", "title"))
        )
        if key_column is None or text_column is None:
            raise DataError(f"{source} has no query_id and query columns; it has: {', '.join(batch.columns)}")
        keys, values = batch.columns[key_column].dense(len(batch)), batch.columns[text_column].dense(len(batch))
        texts.update({str(k): str(v) for k, v in zip(keys, values, strict=True) if k is not None and v is not None})
    return texts


def _add(
    batch: Batch,
    names: dict[str, str],
    texts: dict[str, str] | None,
    only: dict[str, str | None],
    sink: Quarantine,
    rows: dict[tuple[str, str], int],
    grade_of: _Grader,
) -> None:
    """The good pairs of a batch into ``rows``."""
    size = len(batch)

    def column(what: str) -> list[Any]:
        name = names.get(what)
        return batch.columns[name].dense(size) if name in batch.columns else [None] * size  # type: ignore[index]

    asked = column("query" if texts is None else "query_id")
    items, labels = column("item"), column("grade")
    kept = np.ones(size, bool)
    for what, wanted in only.items():
        if wanted is not None and what in names:
            kept &= np.array([v == wanted for v in column(what)], bool)
    for row in np.flatnonzero(kept):
        query, item = asked[row], items[row]
        grade = grade_of(labels[row])
        place = batch.positions[row]
        if query is None or not str(query).strip():
            sink(place, names.get("query", "query_id"), "", "missing query")
        elif item is None or not str(item).strip():
            sink(place, names["item"], "", "missing id")
        elif grade is None:
            sink(place, names["grade"], labels[row], "not a grade")
        else:
            text = str(query) if texts is None else texts.get(str(query), str(query))
            if rows.setdefault((text, str(item).strip()), grade) != grade:
                sink(place, names["item"], item, "judged before with another grade, the first one stays")


class _Grader:
    """Label -> grade of a file; the first batch decides between ESCI's and WANDS's words.  ``gains`` are those of words."""

    def __init__(self) -> None:
        self.table: dict[str, tuple[int, float]] = {}
        self.seen: dict[Any, int | None] = {}

    def look(self, labels: list[Any]) -> None:
        if not self.seen:
            words = {str(v).strip().lower() for v in labels if v is not None}
            self.table = WANDS if "partial" in words else LETTERS

    @property
    def gains(self) -> dict[int, float]:
        named = any(isinstance(label, str) and label.strip().lower() in self.table for label in self.seen)
        return dict(self.table.values()) if named else {}

    def __call__(self, label: Any) -> int | None:
        if label not in self.seen:
            self.seen[label] = self._grade(str(label).strip().lower())
        return self.seen[label]

    def _grade(self, word: str) -> int | None:
        if word in self.table:
            return self.table[word][0]
        numbers, _ = parse_numbers([word])
        number = float(numbers[0])
        # A negative qrel means "judged, not relevant".
        return int(max(number, 0)) if number.is_integer() and number < 63 else None
