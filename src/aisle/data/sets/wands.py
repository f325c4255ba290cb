"""WANDS, the Wayfair annotation data set: furniture products with queries graded Exact, Partial, Irrelevant.

Source      github.com/wayfair/WANDS
Licence     MIT
Citation    Chen et al., WANDS: Dataset for Product Search Relevance Assessment, ECIR 2022
Rows        42,994 products, 480 queries, 233,448 judgments

Tab-separated ``product.csv``, ``query.csv`` and ``label.csv``.  Gains: Exact 1, Partial 0.5, Irrelevant 0.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa

from aisle.core.errors import DataError
from aisle.data.schema import CATALOGUE, CATEGORY_SEPARATOR, complete
from aisle.data.sets._dataset import Dataset, check_counts, find, judgments_table

GRADES = {"Exact": 2, "Partial": 1, "Irrelevant": 0}
GAINS = {2: 1.0, 1: 0.5, 0: 0.0}
ROWS = {"products": 42_994, "queries": 480, "judgments": 233_448}


def load(folder: Path) -> Dataset:
    """The whole set.  Raises DataError when a label names a query that does not exist."""
    queries = _read(folder, "query.csv")
    labels = _read(folder, "label.csv").join(queries, on="query_id", how="left")
    lost = labels.filter(pl.col("query").is_null())
    if len(lost):
        raise DataError(
            f"label {lost['id'][0]!r} is of query {lost['query_id'][0]!r}, which query.csv lacks; fetch both again"
        )
    judged = judgments_table(
        labels["query"].to_list(), labels["product_id"].to_list(), labels["label"].to_list(), GRADES
    )
    return Dataset("wands", _products(folder), judged, GAINS)


def check(folder: Path) -> dict[str, int]:
    """Row counts.  Raises DataError when they are not the published ones."""
    found = load(folder).counts()
    check_counts(folder, found, ROWS)
    return found


def _read(folder: Path, name: str) -> pl.DataFrame:
    return pl.read_csv(find(folder, name), separator="\t", quote_char=None, infer_schema=False)


def _products(folder: Path) -> pa.Table:
    """A path is written ``a / b / c``; a product without one has its class.  Features are ``name : value|...``."""
    path = pl.col("category hierarchy").fill_null("").str.split("/").list.eval(pl.element().str.strip_chars())
    path = path.list.eval(pl.element().filter(pl.element() != "")).list.join(CATEGORY_SEPARATOR)
    path = pl.when(path != "").then(path).otherwise(pl.col("product_class"))
    pair = pl.element().str.splitn(":", 2)
    feature = pl.struct(
        name=pair.struct.field("field_0").str.strip_chars(),
        text=pair.struct.field("field_1").str.strip_chars(),
        number=pl.lit(None, pl.Float64),
        unit=pl.lit(None, pl.String),
    )
    whole = pl.element().str.contains(r"^\s*[^:\s][^:]*:\s*\S")
    frame = _read(folder, "product.csv").select(
        item_id=pl.col("product_id"),
        title=pl.col("product_name"),
        description=pl.col("product_description"),
        category=pl.when(path.is_not_null()).then(pl.concat_list(path)),
        attributes=pl.col("product_features").str.split("|").list.eval(pl.element().filter(whole)).list.eval(feature),
        rating=pl.col("average_rating").cast(pl.Float32, strict=False),
        rating_count=pl.col("rating_count").cast(pl.Float64, strict=False).cast(pl.Int64),
        locale=pl.lit("en-US"),
    )
    return complete(frame.to_arrow(), CATALOGUE)
