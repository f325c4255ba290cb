"""Arrow schemas of the three tables a shop keeps.  Names, units and meanings stand in ``aisle.core.columns``."""

from __future__ import annotations

import pyarrow as pa

ATTRIBUTE = pa.struct([("name", pa.string()), ("text", pa.string()), ("number", pa.float64()), ("unit", pa.string())])
"""A typed attribute: ``text`` or ``number`` is set, the other null; ``unit`` is null for a bare number."""

CATALOGUE = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        ("group_id", pa.string()),
        ("title", pa.string()),
        ("description", pa.string()),
        ("brand", pa.string()),
        ("category", pa.list_(pa.string())),
        ("attributes", pa.list_(ATTRIBUTE)),
        ("price_cents", pa.int64()),
        ("list_price_cents", pa.int64()),
        ("currency", pa.string()),
        ("rating", pa.float32()),
        ("rating_count", pa.int64()),
        ("images", pa.list_(pa.string())),
        ("locale", pa.string()),
        ("merchant", pa.string()),
        ("created_s", pa.float64()),
        ("stock", pa.int64()),
        ("active", pa.bool_()),
    ]
)

EVENTS = pa.schema(
    [
        pa.field("time_s", pa.float64(), nullable=False),
        ("user_id", pa.string()),
        ("session_id", pa.string()),
        ("request_id", pa.string()),
        ("scene", pa.string()),
        ("query", pa.string()),
        ("item_id", pa.string()),
        ("position", pa.int32()),
        pa.field("action", pa.string(), nullable=False),
        ("quantity", pa.int32()),
        ("price_cents", pa.int64()),
        ("propensity", pa.float64()),
        ("extra", pa.string()),
    ]
)

JUDGMENTS = pa.schema(
    [
        pa.field("query", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("grade", pa.int32(), nullable=False),
    ]
)

PRICES = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("time_s", pa.float64(), nullable=False),
        ("price_cents", pa.int64()),
        ("stock", pa.int64()),
    ]
)
"""The price history: what held from ``time_s`` on."""

CATEGORY_SEPARATOR = " > "


def complete(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with every column of the schema, in its order and types; absent columns are null (``active``: true)."""
    columns = []
    for field in schema:
        if field.name in table.column_names:
            columns.append(table[field.name].cast(field.type))
        elif field.name == "active":
            columns.append(pa.array([True] * len(table), pa.bool_()))
        else:
            columns.append(pa.nulls(len(table), field.type))
    return pa.table(dict(zip(schema.names, columns, strict=True)), schema=schema)
