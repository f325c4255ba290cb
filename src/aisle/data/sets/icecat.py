"""Icecat electronics as the Chorus demonstration ships it: products with thousands of sparse, typed attributes.

Source      github.com/querqy/chorus
Licence     Open Icecat Content Licence (attribution); ratings by the Chorus project
Rows        19,406 products, 5,354 attribute fields, 89 queries, 2,322 ratings from 0 to 3

``products.jsonl`` and ``ratings.csv``.  Gain: 2^rating - 1.  13 queries have no positive rating: means are over 76.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from aisle.data.reading.column_names import attribute_name
from aisle.data.schema import CATALOGUE
from aisle.data.sets._dataset import TAG, Dataset, check_counts, check_hashes, find, judgments_table, read_jsonl

GRADES = {str(grade): grade for grade in range(4)}
GAINS = {grade: float(2**grade - 1) for grade in range(4)}
ROWS = {"products": 19_406, "queries": 89, "judgments": 2_322}
HASHES = {
    "products.jsonl.gz": "fb9c6b04e6e7de572aa188bde99edea03ea9f72ccb557efe82688d81ce135e69",
    "ratings.csv": "b0cba3e40558f34befb94e204f6405740b4f2029f22ab687bbdc0eef3cf1c9f0",
}


def load(folder: Path) -> Dataset:
    """The whole set."""
    rows = [_product(record) for record in read_jsonl(find(folder, "products.jsonl"))]
    ratings = pl.read_csv(find(folder, "ratings.csv"), infer_schema=False)
    judged = judgments_table(
        ratings["query"].to_list(), ratings["product_id"].to_list(), ratings["rating"].to_list(), GRADES
    )
    return Dataset("icecat", pa.Table.from_pylist(rows, schema=CATALOGUE), judged, GAINS)


def check(folder: Path) -> dict[str, int]:
    """Row counts.  Raises DataError when counts or hashes are not the published ones."""
    found = load(folder).counts()
    check_counts(folder, found, ROWS)
    check_hashes(folder, HASHES)
    return found


def _product(record: dict[str, Any]) -> dict[str, Any]:
    image = record.get("img_500x500")
    return {
        "item_id": record["id"],
        "title": record["title"],
        "description": " ".join(re.sub(TAG, " ", record.get("short_description") or "").split()),
        "brand": record.get("supplier"),
        "category": [],
        "attributes": list(_attributes(record)),
        "price_cents": record.get("price"),
        "images": [image] if image else [],
        "locale": "en",
        "active": True,
    }


_name = cache(attribute_name)


def _attributes(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """``attr_t_`` text, ``attr_n_`` number, ``attr_b_`` yes or no; the model name and the EANs are attributes too."""
    yield {"name": "model", "text": record["name"]}
    for ean in record.get("ean") or ():
        yield {"name": "ean", "text": ean}
    for field, value in record.items():
        kind, name = field[:7], _name(field)
        if kind == "attr_t_":
            yield {"name": name, "text": value}
        elif kind == "attr_n_":
            yield {"name": name, "number": value}
        elif kind == "attr_b_":
            yield {"name": name, "text": "yes" if value else "no"}
