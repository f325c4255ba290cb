"""Amazon reviews 2014, 5-core, Beauty and Sports, in the form in which S3-Rec and TIGER use them.

Source      jmcauley.ucsd.edu/data/amazon (2014), sequences as published with S3-Rec
Licence     research use with citation
Citation    McAuley et al., Image-based Recommendations on Styles and Substitutes, SIGIR 2015;
            Zhou et al., S3-Rec, arXiv:2008.07873
Rows        Beauty 22,363 users, 12,101 items, 198,502 interactions; Sports 35,598, 18,357, 296,337

``sequences.txt`` (user, then item numbers from 1 in time order), ``items.csv`` (item, asin, keyphrase, title; titles
for Beauty only) and ``attributes.json`` (item -> anonymous attribute ids).  Protocol: leave-one-out
(``aisle.data.splits.leave_one_out``), histories cut to 50 (SASRec) or 20 (TIGER), ranked over all items.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from aisle.core.errors import DataError
from aisle.core.lists import ItemLists, splits_of
from aisle.data.schema import CATALOGUE
from aisle.data.sets._dataset import Dataset, check_counts, check_hashes, find, open_text

ROWS = {
    "beauty": {"products": 12_101, "users": 22_363, "interactions": 198_502},
    "sports": {"products": 18_357, "users": 35_598, "interactions": 296_337},
}
HASHES = {
    "beauty": {
        "sequences.txt.gz": "118ae5bd20b4cb8cbd8548b61ec15702704b980c4b8bcbb8078ec6911fd52a9f",
        "items.csv": "04c26670d0495023bad5e8c65994f0caa34ad0705cd51d978d4ca2f22e164645",
        "attributes.json.gz": "a49c3106278d4b9c45dc3d1bcb349b74ebb38f8b079f9388cf04f2c9737db6fe",
    },
    "sports": {
        "sequences.txt.gz": "4f662cb81b8cdf96a020decec05642f1735a3fe751ce5955c1d9d72875070431",
        "items.csv": "1be928ed67995c0d7ec2fe0cb7e2d1cb14ddbb845525bc7ffbb0fa8a0659c6c6",
        "attributes.json.gz": "a7bed9005728911e455002c7ee75b8cbea5c9ba852e02cb266e9e76fbd07bb35",
    },
}


def load(folder: Path) -> Dataset:
    """Item number n of the files is catalogue row n - 1; its item_id is the ASIN."""
    products = _products(folder)
    with open_text(find(folder, "sequences.txt")) as file:
        lines = [line.split() for line in file if line.strip()]
    splits = splits_of(np.array([len(line) - 1 for line in lines], np.int64))
    number = np.array([n for line in lines for n in line[1:]], np.int32)
    if len(number) and (number.min() < 1 or number.max() > len(products)):
        raise DataError(
            f"{folder} has item {number.max()} in a sequence and {len(products)} items in items.csv; fetch both again"
        )
    users = tuple(line[0] for line in lines)
    return Dataset("amazon_5core", products, sequences=ItemLists(number - 1, splits), users=users)


def check(folder: Path) -> dict[str, int]:
    """Row counts.  Raises DataError when they are those of neither Beauty nor Sports, or the hashes differ."""
    found = load(folder).counts()
    name = next((n for n, rows in ROWS.items() if rows["products"] == found["products"]), "beauty")
    check_counts(folder, found, ROWS[name])
    check_hashes(folder, HASHES[name])
    return found


def _products(folder: Path) -> pa.Table:
    rows = pl.read_csv(find(folder, "items.csv"), infer_schema=False)
    if rows["item"].to_list() != [str(n) for n in range(1, len(rows) + 1)]:
        raise DataError(f"{folder}: items.csv does not number its items 1, 2, 3, ...; fetch it again")
    with open_text(find(folder, "attributes.json")) as file:
        marks: dict[str, list[int]] = json.load(file)
    records = [
        {
            "item_id": asin,
            "title": title or keyphrase,
            "description": keyphrase,
            "category": [],
            "attributes": [{"name": "attribute", "text": str(m)} for m in marks.get(item, ())],
            "images": [],
            "locale": "en-US",
            "active": True,
        }
        for item, asin, keyphrase, title in rows.select("item", "asin", "keyphrase", "title").iter_rows()
    ]
    return pa.Table.from_pylist(records, schema=CATALOGUE)
