"""Amazon Shopping Queries (ESCI): products with graded queries, Exact, Substitute, Complement, Irrelevant.

Source      github.com/amazon-science/esci-data
Licence     Apache-2.0
Citation    Reddy et al., Shopping Queries Dataset: A Large-Scale ESCI Benchmark for Improving Product Search,
            arXiv:2206.06588
Rows        official: 1,814,924 products and 2,621,738 judgments in three locales; us-150: 6,764 products, 96 queries,
            4,233 judgments

Two layouts: the official Parquet files (read: locale us, small version, test split), and ``products.jsonl`` with
``judgments.csv``.  Gains: E 1.0, S 0.1, C 0.01, I 0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from aisle.data.schema import CATALOGUE, CATEGORY_SEPARATOR, complete
from aisle.data.sets._dataset import TAG, Dataset, check_counts, check_hashes, find, judgments_table, read_jsonl

GRADES = {"E": 3, "S": 2, "C": 1, "I": 0}
SPELLED = {"exact": "E", "substitute": "S", "complement": "C", "irrelevant": "I"}
GAINS = {3: 1.0, 2: 0.1, 1: 0.01, 0: 0.0}
LOCALES = {"us": "en-US", "es": "es-ES", "jp": "ja-JP"}

PRODUCTS = "shopping_queries_dataset_products.parquet"
EXAMPLES = "shopping_queries_dataset_examples.parquet"
OFFICIAL_ROWS = {PRODUCTS: 1_814_924, EXAMPLES: 2_621_738}
US_150 = {"products": 6_764, "queries": 96, "judgments": 4_233}
US_150_HASHES = {
    "products.jsonl.gz": "cfd3b04e069033fa1561e2985260c83a3cb8344ee549754edfd0574a4aa14a49",
    "judgments.csv": "344890110a3b160ff2817694b5b8c8fa8f9ce93d944e41391b926e6e866ac7c7",
}


def load(folder: Path, *, locale: str = "us", split: str = "test", small: bool = True) -> Dataset:
    """The set in either layout; ``locale``, ``split`` and ``small`` choose within the official one."""
    if (folder / PRODUCTS).is_file():
        return _load_official(folder, locale, split, small)
    rows = [_product(record) for record in read_jsonl(find(folder, "products.jsonl"))]
    products = pa.Table.from_pylist(rows, schema=CATALOGUE)
    judged = pl.read_csv(find(folder, "judgments.csv"), infer_schema=False)
    return Dataset("esci", products, _judged(judged, "label"), GAINS)


def check(folder: Path) -> dict[str, int]:
    """Row counts.  Raises DataError when they (or the hashes of us-150) are not the published ones."""
    if (folder / PRODUCTS).is_file():
        found = {n: pl.scan_parquet(find(folder, n)).select(pl.len()).collect().item() for n in OFFICIAL_ROWS}
        check_counts(folder, found, OFFICIAL_ROWS)
        return found
    found = load(folder).counts()
    check_counts(folder, found, US_150)
    check_hashes(folder, US_150_HASHES)
    return found


def _product(record: dict[str, Any]) -> dict[str, Any]:
    path = CATEGORY_SEPARATOR.join(record.get("category") or [])
    price, color, image = record.get("price"), record.get("color"), record.get("image")
    texts = (record.get("description"), record.get("bullet_points"))
    return {
        "item_id": record.get("asin") or record.get("_id"),
        "title": record.get("title"),
        "description": "\n".join(t for t in texts if t),
        "brand": record.get("brand"),
        "category": [path] if path else [],
        "attributes": [{"name": "color", "text": color}] if color else [],
        "price_cents": None if price is None else round(float(str(price).replace("$", "").replace(",", "")) * 100),
        "rating": record.get("rating"),
        "rating_count": record.get("rating_count"),
        "images": [image] if image else [],
        "locale": "en-US",
        "active": True,
    }


def _judged(rows: pl.DataFrame, label: str) -> pa.Table:
    labels = [SPELLED.get(text.lower(), text) for text in rows[label].to_list()]
    return judgments_table(rows["query"].to_list(), rows["product_id"].to_list(), labels, GRADES)


def _load_official(folder: Path, locale: str, split: str, small: bool) -> Dataset:
    found = pl.scan_parquet(folder / PRODUCTS).filter(pl.col("product_locale") == locale)
    texts = [pl.col("product_description"), pl.col("product_bullet_point")]
    color = pl.when(pl.col("product_color").fill_null("") != "").then(
        pl.concat_list(
            pl.struct(
                name=pl.lit("color"),
                text=pl.col("product_color"),
                number=pl.lit(None, pl.Float64),
                unit=pl.lit(None, pl.String),
            )
        )
    )
    frame = found.select(
        item_id=pl.col("product_id"),
        title=pl.col("product_title"),
        description=pl.concat_str(texts, separator="\n", ignore_nulls=True).str.replace_all(TAG, " ").str.strip_chars(),
        brand=pl.col("product_brand"),
        attributes=color,
        locale=pl.lit(LOCALES.get(locale, locale)),
    ).collect()
    chosen = pl.scan_parquet(find(folder, EXAMPLES)).filter(
        pl.col("product_locale") == locale, pl.col("split") == split
    )
    if small:
        chosen = chosen.filter(pl.col("small_version") == 1)
    return Dataset("esci", complete(frame.to_arrow(), CATALOGUE), _judged(chosen.collect(), "esci_label"), GAINS)
