"""The best that any reader of displayed text can do: posterior grades of pairs, and the macro-F1 that they allow.

The reader knows how the world is made (shares of values on a shelf, how often sellers leave out or err, the rule table,
the annotator's confusion matrix) and understands every query; of an item it knows its shelf, brand, price, attribute
list, title and description, and no other item's.  What a seller did not write stays uncertain, what he wrote may be
wrong, and the annotator errs: nothing else keeps the reader from a macro-F1 of 1.

Legend: P pairs, N rows of one query, W wants, M values of an attribute on a shelf.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa

from aisle.core.lists import Array
from aisle.simulate.annotator import confusion
from aisle.simulate.catalogue import NUM_STYLES
from aisle.simulate.grades import CATEGORY, RULES, category_of, combined, holds, verdict_of_value
from aisle.simulate.intent import Intent, Want
from aisle.simulate.queries import Query
from aisle.simulate.sellers import SILENT
from aisle.simulate.taxonomy import CHOICES, ENTRIES
from aisle.simulate.world import World

FILLED_TITLE = 3
"""Sellers of this style name the use in the title."""


@dataclass(frozen=True, eq=False)
class Ceiling:
    """
    f1        float64[4]  of the grades 1 to 4
    macro_f1  their mean
    decided   int8[P]     the grade that the best reader gives each pair
    """

    f1: Array
    macro_f1: float
    decided: Array


def ceiling(posterior_P4: Array, steps: int = 100) -> Ceiling:
    """The decisions with the highest expected macro-F1 under these posteriors.

    F1 of grade k is 2 TP / (positives + decided), so a pair adds most as the grade with the greatest a_k p_k - b_k, where
    a_k = 2 / (positives_k + decided_k) and b_k = TP_k a_k / (positives_k + decided_k).  Frank-Wolfe steps on the counts
    (arXiv:1501.00287) keep these weights from swinging; the best decisions on the way are returned.
    """
    positives = posterior_P4.sum(axis=0)
    best, hits, decided = _counted(posterior_P4, posterior_P4.argmax(axis=1), positives)
    for step in range(1, steps):
        total = positives + decided
        found, new_hits, new_decided = _counted(
            posterior_P4, (2 * posterior_P4 / total - 2 * hits / total**2).argmax(axis=1), positives
        )
        best = max(best, found, key=lambda ceiling: ceiling.macro_f1)
        share = 2.0 / (step + 2)
        hits, decided = hits + share * (new_hits - hits), decided + share * (new_decided - decided)
    return best


def _counted(posterior_P4: Array, decided_P: Array, positives: Array) -> tuple[Ceiling, Array, Array]:
    """The expected F1 of decisions, and their true positives and sizes [4]."""
    hits = np.bincount(decided_P, posterior_P4[np.arange(len(decided_P)), decided_P], minlength=4)
    size = np.bincount(decided_P, minlength=4).astype(float)
    f1 = 2 * hits / np.maximum(positives + size, 1e-12)
    return Ceiling(f1, float(f1.mean()), (decided_P + 1).astype(np.int8)), hits, size


def written(world: World, posterior_P4: Array) -> Array:
    """float64[P, 4]: the same posteriors of what the annotator writes down."""
    found: Array = posterior_P4 @ confusion(world.knobs.noise)
    return found


def judged_pairs(judgments: pa.Table, asked: Sequence[Query]) -> list[Array]:
    """int64 rows of the items that were judged for each query, in the order of the table."""
    rows: dict[str, list[int]] = {query.text: [] for query in asked}
    for text, item_id in zip(judgments["query"].to_pylist(), judgments["item_id"].to_pylist(), strict=True):
        rows[text].append(int(item_id[1:]))
    return [np.array(found, np.int64) for found in rows.values()]


def posterior(world: World, query: Query, rows: Array) -> Array:
    """float64[N, 4]: probability of the true grades 1 to 4 of these rows, given what is displayed."""
    intent = query.intent
    truth = world.truth
    category = category_of(truth, intent, rows)
    out = np.zeros((len(rows), 4))
    out[category == CATEGORY.index("mismatch"), 0] = 1.0
    for leaf in np.unique(truth.leaf[rows[category > 0]]):
        here = np.flatnonzero(truth.leaf[rows] == leaf)
        each = [_verdicts(world, want, int(leaf), rows[here]) for want in intent.wants]
        attribute_N3 = _attribute(intent, each, len(here))
        fired = 3 * category[here[0]] + np.arange(3)
        for rule, chance in zip(fired, attribute_N3.T, strict=True):
            out[here, RULES[rule].grade - 1] += chance
    return out


def _attribute(intent: Intent, each: Sequence[Array], count: int) -> Array:
    """float64[N, 3]: chances of the attribute verdict, from those of the single wants, which are independent."""
    out = np.zeros((count, 3))
    for verdicts in product(range(3), repeat=len(each)):
        chance = np.ones(count)
        for verdict, chances in zip(verdicts, each, strict=True):
            chance = chance * chances[:, verdict]
        out[:, combined(np.array([verdicts], np.int8).reshape(1, -1), intent)[0]] += chance
    return out


def _verdicts(world: World, want: Want, leaf: int, rows: Array) -> Array:
    """float64[N, 3]: chances that a want is contradicted, nearly holds, holds, for items of one shelf."""
    truth = world.truth
    sure: Array = np.eye(3)[holds(truth, want, rows)]
    if want.field in ("brand", "price_cents"):
        return sure
    on_shelf = np.flatnonzero(truth.leaf == leaf)
    if want.field == "use":
        said = (truth.told.use[rows] > 0) | (truth.merchant[rows] % NUM_STYLES == FILLED_TITLE)
        usual = np.eye(3)[holds(truth, want, on_shelf)].mean(axis=0)
        return np.where(said[:, None], sure, usual)
    place = next((n for n, slot in enumerate(CHOICES[leaf]) if ENTRIES[slot[0]].name == want.field), None)
    if place is None:
        return sure
    choices = CHOICES[leaf][place]
    value_NM = _values(world, leaf, place, rows, on_shelf)
    verdict_M = np.array(
        [verdict_of_value(want, ENTRIES[c].text, ENTRIES[c].family, ENTRIES[c].number) for c in choices]
    )
    return value_NM @ np.eye(3)[verdict_M]


def _values(world: World, leaf: int, place: int, rows: Array, on_shelf: Array) -> Array:
    """float64[N, M]: posterior of an attribute's true value, given the list and the running text of each item.

    A seller errs with probability ``wrong``, to any other value alike, in the list alone or (half) in the text as well;
    values that nobody writes out are silent in the text.
    """
    truth, wrong = world.truth, world.knobs.wrong
    choices = CHOICES[leaf][place]
    place_of = {int(c): n for n, c in enumerate(choices)}
    count = len(choices)
    prior_M = np.bincount([place_of[int(e)] for e in truth.entry[on_shelf, place]], minlength=count) + 0.5
    prior_M = prior_M / prior_M.sum()
    true_N = np.array([place_of[int(e)] for e in truth.entry[rows, place]])
    listed_N = _listed(world, rows, choices)
    told = truth.told
    in_text = ((told.titled[rows] | told.described[rows]) >> place) & 1
    mistitled = (told.mistitled[rows] >> place) & 1
    # Where the text errs and the list is silent the wrong value is not recorded: another one stands for it.
    errs_to = np.where(listed_N >= 0, listed_N, (true_N + 1) % count)
    text_N = np.where(in_text == 1, np.where(mistitled == 1, errs_to, true_N), -1)

    value = np.arange(count)[None, :]
    listed, text = listed_N[:, None], text_N[:, None]
    err = wrong / max(count - 1, 1)
    as_listed = (listed < 0) | (listed == value)
    as_text = (text < 0) | (text == value)
    right = (1 - wrong) * (as_listed & as_text)
    in_list = np.where(listed < 0, wrong, np.where(listed != value, err, 0.0)) * as_text * 0.5
    agree = (listed < 0) | (text < 0) | (listed == text)
    shown_value = np.where(listed >= 0, listed, text)
    both = np.where(shown_value < 0, wrong, np.where(shown_value != value, err, 0.0)) * agree * 0.5
    unspoken_M = np.array([ENTRIES[c].text in SILENT for c in choices])
    silence = np.where(unspoken_M, 1.0, np.where(text < 0, _silence(world, place, on_shelf), 1.0))
    silence = np.where(unspoken_M & (text >= 0) & (text == value), 0.0, silence)
    weight = prior_M * (right + in_list + both) * silence
    total = weight.sum(axis=1, keepdims=True)
    return np.where(total > 0, weight / np.maximum(total, 1e-300), prior_M)


def _silence(world: World, place: int, on_shelf: Array) -> float:
    """How often the running text of a shelf is silent on an attribute whose value could be written out."""
    truth = world.truth
    spoken = np.array([entry.text not in SILENT for entry in ENTRIES])[truth.entry[on_shelf, place]]
    told = ((truth.told.titled[on_shelf] | truth.told.described[on_shelf]) >> place) & 1
    return float(1 - told[spoken].mean()) if spoken.any() else 1.0


def _listed(world: World, rows: Array, choices: Array) -> Array:
    """int64[N]: index into ``choices`` of the value in each item's attribute list, -1 where it is left out."""
    place_of = {_key(ENTRIES[c].name, ENTRIES[c].text, ENTRIES[c].number): n for n, c in enumerate(choices)}
    lists = world.items["attributes"].take(rows).to_pylist()
    found = [[place_of.get(_key(a["name"], a["text"], a["number"]), -1) for a in shown] for shown in lists]
    return np.array([max(places, default=-1) for places in found], np.int64)


def _key(name: str, text: str | None, number: float | None) -> tuple[Any, ...]:
    return name, text, number
