"""A small generated catalogue, the same for every engine test."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from aisle.data.items import ItemTable
from aisle.data.schema import CATALOGUE

COLOURS = ("Red", "Blue", "Green", "Black")
NOUNS = ("lamp", "chair", "kettle", "shirt", "phone", "cable", "boots", "knife")
TRAITS = ("wireless", "steel", "running", "waterproof", "classic", "portable", "cotton", "smart")


def table(records: list[dict[str, Any]]) -> ItemTable:
    """A catalogue of hand-written records."""
    names = {name for record in records for name in record}
    schema = pa.schema([f for f in CATALOGUE if f.name in names])
    return ItemTable.from_table(pa.Table.from_pylist(records, schema=schema))


def generated(num_items: int, seed: int = 0) -> list[dict[str, Any]]:
    """Records with variants, gaps, inactive items, text and numeric attributes."""
    rng = np.random.default_rng(seed)
    records = []
    for n in range(num_items):
        trait, other = rng.choice(TRAITS, 2, replace=False)
        noun, colour = rng.choice(NOUNS), rng.choice(COLOURS)
        attributes = [{"name": "colour", "text": str(colour)}]
        if rng.random() < 0.6:
            attributes.append({"name": "weight", "number": float(rng.integers(1, 900)) / 10, "unit": "kg"})
        records.append(
            {
                "item_id": f"SKU-{n}",
                "group_id": f"g{n // 3}" if n % 2 else None,
                "title": f"{trait} {noun} {colour}",
                "brand": f"Brand {rng.integers(0, 70)}" if rng.random() < 0.9 else None,
                "description": f"A {other} {noun} for the house, {rng.choice(TRAITS)}",
                "category": [f"Home > {noun}s > {trait}", "Sale"] if rng.random() < 0.3 else [f"Home > {noun}s"],
                "attributes": attributes,
                "price_cents": int(rng.integers(100, 20000)) if rng.random() < 0.9 else None,
                "rating": float(rng.integers(10, 51)) / 10,
                "rating_count": int(rng.integers(0, 500)) if rng.random() < 0.8 else None,
                "stock": int(rng.integers(0, 3)),
                "active": bool(rng.random() < 0.95),
            }
        )
    return records


@pytest.fixture(scope="session")
def items() -> ItemTable:
    """1,500 generated items."""
    return table(generated(1500))
