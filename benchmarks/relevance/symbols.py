"""A world of some eighty words with truth, head and tail, and annotation noise that is known: for what must be seen in minutes.

An item is a kind of product in one of four families, with a brand, a colour, a material and a use, each shown nine times in ten.  A
query names a kind and one to three constraints, some of them negated.  Grades follow from two verdicts by the rule table.  Head
queries are short, plain and annotated often; tail queries are long or negated and annotated seldom.  The annotator errs by one
grade, upwards three times in four.

Legend: N pairs, E queries, I items.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parent))

from as_judgments import as_judgments

from aisle.core.lists import Array
from aisle.data.items import ItemTable
from aisle.data.schema import CATALOGUE
from aisle.data.view import View
from aisle.relevance._pairs import Pairs
from aisle.relevance._scale import scale_of
from aisle.relevance._verdicts import RuleTable

FAMILIES = {
    "shoes": ("boot", "sandal", "sneaker"),
    "bags": ("backpack", "tote", "suitcase"),
    "lights": ("lantern", "spotlight", "torch"),
    "seats": ("stool", "bench", "armchair"),
}
VALUES = {
    "brand": ("alpo", "basso", "corda", "dento", "emble", "fargo"),
    "colour": ("red", "green", "blue", "black", "white", "brown"),
    "material": ("leather", "cotton", "steel", "cork", "oak"),
    "use": ("hiking", "office", "party", "travel", "kitchen"),
}
NUM_ITEMS, SHOWN = 1500, 0.9
TEST_QUERIES, VALIDATION_QUERIES, TEST_PAIRS = 250, 150, 12
UPWARDS = 0.75

Asked = tuple[str, int, list[tuple[int, int, bool]]]
"""Text, kind, and constraints: field, value, negated."""


@dataclass(frozen=True, eq=False)
class Symbols:
    """
    train, validation  pairs as annotated; test: with true grades
    true, tail         of the training pairs: true label, and whether the query is of the tail
    """

    items: ItemTable
    train: Pairs
    validation: Pairs
    test: Pairs
    true: Array
    tail: Array
    traffic: Array

    def view(self) -> View:
        return View(
            self.items, judgments={"train": as_judgments(self.train), "validation": as_judgments(self.validation)}
        )


def symbols(seed: int = 0, num_pairs: int = 12_000, queries: int = 1600, noise: float = 0.1) -> Symbols:
    random = np.random.default_rng((seed, 0x5B))
    value_IV, shown_IV, kind_I = _items(random)
    items = ItemTable.from_table(_table(value_IV, shown_IV, kind_I))
    asked = [_query(random, is_tail=n >= queries // 2) for n in range(queries)]
    texts = list(dict.fromkeys(text for text, _, _ in asked))
    asked = [next(q for q in asked if q[0] == text) for text in texts]
    is_tail_E = np.array([len(q[2]) > 1 or q[2][0][2] for q in asked])
    part_E = np.zeros(len(asked), np.int64)
    order = random.permutation(len(asked))
    part_E[order[:TEST_QUERIES]], part_E[order[TEST_QUERIES : TEST_QUERIES + VALIDATION_QUERIES]] = 2, 1
    traffic_E = np.where(is_tail_E, 1.0, 8.0) * random.lognormal(0, 0.5, len(asked))
    share_E = traffic_E * (part_E == 0)
    counts_E = np.where(part_E == 0, np.maximum(2, num_pairs * share_E / share_E.sum()).astype(np.int64), TEST_PAIRS)
    row = [_pool(random, asked[e], int(n), value_IV, shown_IV, kind_I) for e, n in enumerate(counts_E)]
    query_N, row_N = np.repeat(np.arange(len(asked)), [len(r) for r in row]), np.concatenate(row)
    true_N = np.concatenate([_grades(asked[e], rows, value_IV, shown_IV, kind_I) for e, rows in enumerate(row)])
    written_N = _annotated(true_N, noise, random)
    scale = scale_of([1, 2, 3, 4])

    def part(number: int, label_N: Array) -> Pairs:
        pick = np.flatnonzero(part_E[query_N] == number)
        return Pairs(scale, texts, query_N[pick], row_N[pick].astype(np.int32), label_N[pick])

    training = np.flatnonzero(part_E[query_N] == 0)
    return Symbols(
        items, part(0, written_N), part(1, written_N), part(2, true_N), true_N[training],
        is_tail_E[query_N[training]], traffic_E,
    )  # fmt: skip


def _items(random: np.random.Generator) -> tuple[Array, Array, Array]:
    kinds = sum(map(len, FAMILIES.values()))
    value_IV = np.stack([random.integers(0, len(of), NUM_ITEMS) for of in VALUES.values()], 1)
    return value_IV, random.random(value_IV.shape) < SHOWN, random.integers(0, kinds, NUM_ITEMS)


def _table(value_IV: Array, shown_IV: Array, kind_I: Array) -> pa.Table:
    kinds = [(family, kind) for family, of in FAMILIES.items() for kind in of]
    names = list(VALUES)
    rows = []
    for i, (value_V, shown_V, kind) in enumerate(zip(value_IV, shown_IV, kind_I, strict=True)):
        said = {name: VALUES[name][v] if s else None for name, v, s in zip(names, value_V, shown_V, strict=True)}
        attributes = [
            {"name": name, "text": said[name], "number": None, "unit": None} for name in names[1:] if said[name]
        ]
        family, noun = kinds[kind]
        rows.append(
            {
                "item_id": f"p{i}", "title": noun, "brand": said["brand"], "category": [f"{family} > {noun}"],
                "attributes": attributes,
            }
        )  # fmt: skip
    return pa.Table.from_pylist(rows, schema=CATALOGUE)


def _query(random: np.random.Generator, *, is_tail: bool) -> Asked:
    """Text, kind, and constraints (field, value, negated)."""
    kinds = [kind for of in FAMILIES.values() for kind in of]
    kind = int(random.integers(len(kinds)))
    number = int(random.integers(2, 4)) if is_tail and random.random() < 0.6 else 1
    fields = random.permutation(len(VALUES))[:number]
    wants = []
    for place, field in enumerate(fields.tolist()):
        negated = is_tail and place == number - 1 and random.random() < 0.6
        wants.append((field, int(random.integers(len(list(VALUES.values())[field]))), negated))
    words = [("not " if negated else "") + list(VALUES.values())[field][value] for field, value, negated in wants]
    return " ".join([kinds[kind], *words]), kind, wants


def _pool(
    random: np.random.Generator, asked: Asked, number: int, value_IV: Array, shown_IV: Array, kind_I: Array
) -> Array:
    """Rows: up to a third that fit in everything, a third of the kind asked for, a sixth of its family, the rest of any."""
    kind = asked[1]
    own, family = np.flatnonzero(kind_I == kind), np.flatnonzero((kind_I // 3 == kind // 3) & (kind_I != kind))
    fitting = own[_grades(asked, own, value_IV, shown_IV, kind_I) == 3]
    parts = [(fitting, number // 3), (own, number // 3), (family, number // 6), (np.arange(len(kind_I)), number)]
    rows = np.concatenate([random.permutation(of)[:n] for of, n in parts])
    return rows[np.sort(np.unique(rows, return_index=True)[1])][:number]


def _grades(asked: Asked, rows: Array, value_IV: Array, shown_IV: Array, kind_I: Array) -> Array:
    """int64[N] labels: silence is missed, a contradiction is a conflict."""
    _, kind, wants = asked
    table, out = RuleTable(4), np.zeros(len(rows), np.int64)
    for n, row in enumerate(rows.tolist()):
        category = 2 if kind_I[row] == kind else 1 if kind_I[row] // 3 == kind // 3 else 0
        verdicts = [
            1 if not shown_IV[row, field] else 2 if (value_IV[row, field] == value) != negated else 0
            for field, value, negated in wants
        ]
        out[n] = table.label(category, 0 if 0 in verdicts else 1 if 1 in verdicts else 2)
    return out


def _annotated(true_N: Array, noise: float, random: np.random.Generator) -> Array:
    """One grade up or down for a share of the pairs; at an end of the scale the only way there is."""
    up = random.random(len(true_N)) < UPWARDS
    moved = np.where((up & (true_N < 3)) | (true_N == 0), true_N + 1, true_N - 1)
    return np.where(random.random(len(true_N)) < noise, moved, true_N)
