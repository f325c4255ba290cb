"""The best that any reader of displayed text can do: posterior grades of pairs, and the macro-F1 that they allow.

The reader knows how the world is made (shares of values on a shelf, how often sellers leave out or err, the rule table,
the annotator's confusion matrix) and understands every query; of an item it knows its shelf, brand, price, attribute
list, title and description, and no other item's.  What a seller did not write stays uncertain, what he wrote may be
wrong, and the annotator errs: nothing else keeps the reader from a macro-F1 of 1.

Legend: P pairs, N rows of one query, X outcomes of a want.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pyarrow as pa

from aisle.core.lists import Array
from aisle.simulate.catalogue.items import NUM_STYLES
from aisle.simulate.catalogue.taxonomy import CHOICES
from aisle.simulate.grades.intent import Want
from aisle.simulate.grades.rules import RULES, category_of, combined, holds, value_holds
from aisle.simulate.grades.utility import CUTS, cut, distance, far, uses_utility, value_distance, weights
from aisle.simulate.judgments.annotator import confusion
from aisle.simulate.judgments.reading import coded, place_of, values
from aisle.simulate.language.queries import Query
from aisle.simulate.world import World

FILLED_TITLE = 3
"""Sellers of this style name the use in the title."""

MET, NEAR_OR_FAR = (2, 0), (0.0, 1.0)
"""What a use that is right, and one that is not, mean to the rule table and to utility."""


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
    leaf_N = world.truth.leaf[rows]
    by_utility = uses_utility(query.text, world.knobs.utility)
    # A shelf from which nothing can be more than irrelevant needs no reading.
    hopeful = far(query.intent)[leaf_N] < -CUTS[0] if by_utility else category_of(world.truth, query.intent, rows) > 0
    out = np.zeros((len(rows), 4))
    out[~hopeful, 0] = 1.0
    for leaf in np.unique(leaf_N[hopeful]):
        here = np.flatnonzero(leaf_N == leaf)
        grade_of = _felt if by_utility else _ruled
        out[here] = grade_of(world, query, int(leaf), rows[here])
    return out


def _ruled(world: World, query: Query, leaf: int, rows: Array) -> Array:
    """float64[N, 4] of one shelf, by the rule table."""
    intent = query.intent
    each = [
        _outcomes(world, want, leaf, rows, holds(world.truth, want, rows), value_holds, MET) for want in intent.wants
    ]
    category = int(category_of(world.truth, intent, rows[:1])[0])
    out = np.zeros((len(rows), 4))
    for verdicts in product(range(3), repeat=len(each)):
        chance = np.ones(len(rows))
        for verdict, (chances, outcome) in zip(verdicts, each, strict=True):
            chance = chance * (chances * (outcome == verdict)).sum(axis=1)
        attribute = combined(np.array(verdicts, np.int8).reshape(1, -1), intent)[0]
        out[:, RULES[3 * category + attribute].grade - 1] += chance
    return out


def _felt(world: World, query: Query, leaf: int, rows: Array) -> Array:
    """float64[N, 4] of one shelf, by latent utility."""
    intent = query.intent
    chance_NX, missed_NX = np.ones((len(rows), 1)), np.zeros((len(rows), 1))
    for want, heavy in zip(intent.wants, weights(intent, query.text), strict=True):
        sure = distance(world.truth, want, rows)
        chance, away = _outcomes(world, want, leaf, rows, sure, value_distance, NEAR_OR_FAR)
        chance_NX = (chance_NX[:, :, None] * chance[:, None, :]).reshape(len(rows), -1)
        away = np.broadcast_to(away, chance.shape)
        missed_NX = (missed_NX[:, :, None] + heavy * away[:, None, :]).reshape(len(rows), -1)
    grade_NX = cut(far(intent)[leaf], missed_NX)
    return np.stack([(chance_NX * (grade_NX == grade)).sum(axis=1) for grade in (1, 2, 3, 4)], axis=1)


def _outcomes(
    world: World,
    want: Want,
    leaf: int,
    rows: Array,
    sure_N: Array,
    of_values: Callable[..., Array],
    of_use: tuple[float, float],
) -> tuple[Array, Array]:
    """What may come of a want for items of one shelf: chances [N, X], and what each outcome means [N or 1, X].

    sure_N: what comes of it when the item is what it truly is.  of_values: the same for values of an attribute.
    of_use: the same for an item that has the use that is wanted, and for one that has not.
    """
    truth = world.truth
    certain = np.ones((len(rows), 1)), sure_N[:, None]
    if want.field in ("brand", "price_cents"):
        return certain
    on_shelf = np.flatnonzero(truth.leaf == leaf)
    if want.field == "use":
        is_so = truth.use == truth.uses.index(want.text)
        said = (truth.told.use[rows] > 0) | (truth.merchant[rows] % NUM_STYLES == FILLED_TITLE)
        chance = np.where(said, is_so[rows], is_so[on_shelf].mean())
        return np.stack([chance, 1 - chance], axis=1), np.array([of_use])
    place = place_of(leaf, want.field)
    if place is None:
        return certain
    return values(world, leaf, place, rows), of_values(want, *coded(CHOICES[leaf][place]))[None, :]
