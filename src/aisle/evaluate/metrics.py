"""Metrics of rankings against graded judgments, computed for all queries at once.

A metric is a text: ``ndcg@10``, ``recall@100``, ``mrr``; without a cut-off the whole list counts.  Most have one value a
query; ``auc``, ``coverage`` and ``exposure`` have one value a run.

A query without a positive gain has no value (NaN) and is left out of every mean.  Recall, precision, MRR, MAP and the
AUCs ask for relevant items, see ``Scale``; a query without a relevant one has no value of theirs.  What is not judged
counts as gain 0.

Legend: Q queries, N ranked rows, J judged pairs, K cut-off.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from aisle.core.errors import ContractError, SettingError, nearest
from aisle.core.lists import Array, ItemLists, same_generation
from aisle.core.shop import Judgments
from aisle.evaluate import beyond
from aisle.evaluate.auc import auc, group_auc
from aisle.evaluate.beyond import ItemFacts

PER_QUERY = {
    "ndcg": "discounted gain over the best possible order of all judged items",
    "recall": "share of the relevant items found",
    "precision": "share of relevant items among the first k places",
    "mrr": "one over the place of the first relevant item",
    "map": "mean precision at the places of the relevant items",
    "err": "expected reciprocal rank of the item that satisfies",
    "judged": "share of the shown items that somebody judged",
    "gauc": "chance that a relevant item stands above another judged one of its query",
    "diversity": "1 minus the mean likeness of the items of a list",
}
WHOLE_RUN = {
    "auc": "chance that a relevant item scores above another judged one, over all queries",
    "coverage": "share of the catalogue that is shown at all",
    "exposure": "Gini coefficient of the groups' shares of attention, 0 when equal",
}
ALIASES = {"rr": "mrr", "ap": "map", "p": "precision", "r": "recall"}
WITHOUT_CUTOFF = frozenset({"auc", "gauc"})


@dataclass(frozen=True, slots=True)
class Metric:
    """kind: a name of PER_QUERY or WHOLE_RUN. k: the cut-off, None for the whole list."""

    kind: str
    k: int | None = None

    def __str__(self) -> str:
        return self.kind if self.k is None else f"{self.kind}@{self.k}"

    @property
    def whole_run(self) -> bool:
        return self.kind in WHOLE_RUN


def parse_metric(text: str | Metric) -> Metric:
    """The metric that a text such as ``ndcg@10`` names.  Raises SettingError for an unknown name or a cut-off below 1."""
    if isinstance(text, Metric):
        return text
    name, at, cutoff = text.strip().lower().partition("@")
    kind = ALIASES.get(name, name)
    if kind not in PER_QUERY | WHOLE_RUN:
        raise SettingError(f"no metric {text!r}{nearest(kind, PER_QUERY | WHOLE_RUN)}; write it like ndcg@10")
    if not at:
        return Metric(kind)
    if kind in WITHOUT_CUTOFF:
        raise SettingError(f"{text!r} has a cut-off, {kind} takes none; write {kind!r}")
    if not re.fullmatch("[1-9][0-9]*", cutoff):
        raise SettingError(f"{cutoff!r} in {text!r} is no cut-off; give a whole number from 1, as in {kind}@10")
    return Metric(kind, int(cutoff))


@dataclass(frozen=True, slots=True)
class Scale:
    """How grades are read.

    relevant_from  the lowest relevant grade; None: the grades whose gain is 1 or more (or, where none is, the highest
                   gain).  So Recall on ESCI is of Exact (gains 1, .1, .01, 0) and that on whole-number gains is of all
                   positive grades.
    max_grade      of ERR: a grade g satisfies with probability (2^g - 1) / 2^max_grade
    """

    relevant_from: int | None = None
    max_grade: int = 4


class Evaluator:
    """Judgments prepared once, to measure many rankings.

    Raises ContractError when a pair is judged twice or a grade exceeds the scale.
    """

    def __init__(self, judgments: Judgments, scale: Scale | None = None, facts: ItemFacts | None = None) -> None:
        self.judgments, self.scale, self.facts = judgments, scale or Scale(), facts
        lists = judgments.lists
        self._key_J = _keys(lists)
        self._order_J = np.argsort(self._key_J, kind="stable")
        if (np.diff(self._key_J[self._order_J]) == 0).any():
            raise ContractError("a (query, item) pair is judged twice; keep one grade of each pair")
        self.grade_J = lists["grade"]
        self.gain_J = np.maximum(judgments.gain(), 0.0)
        self.relevant_J = self._relevant()
        self.num_relevant_Q = np.bincount(lists.owner[self.relevant_J], minlength=len(lists))
        self.positive_Q = np.bincount(lists.owner[self.gain_J > 0], minlength=len(lists)) > 0

    def measure(self, lists: ItemLists, metrics: Sequence[str | Metric]) -> dict[str, Array]:
        """Name -> float64[Q], or float64[1] for a metric of the whole run.  ``lists`` has one list a query, best first.

        Raises ContractError when a list holds an item twice or the number of lists differs, GenerationError for rows of
        another generation, SettingError for a metric whose facts or columns are missing.
        """
        graded = _Graded(self, lists)
        found = {}
        for metric in map(parse_metric, metrics):
            value = _MEASURES[metric.kind](graded, metric.k)
            found[str(metric)] = value if metric.whole_run else np.where(self.positive_Q, value, np.nan)
        return found

    def need_facts(self, kind: str) -> ItemFacts:
        if self.facts is None:
            raise SettingError(f"{kind} needs facts of the items; pass facts=ItemFacts.of(items)")
        return self.facts

    @cached_property
    def ideal_gain_J(self) -> Array:
        """float64[J]: gains of each query, highest first."""
        return self.gain_J[np.lexsort((-self.gain_J, self.judgments.lists.owner))]

    def _relevant(self) -> Array:
        if self.scale.relevant_from is not None:
            return np.asarray(self.grade_J >= self.scale.relevant_from)
        highest = float(max(self.judgments.gains.values(), default=0.0) or self.gain_J.max(initial=0.0))
        return (self.gain_J >= min(1.0, highest)) & (self.gain_J > 0)


def measure(
    lists: ItemLists,
    judgments: Judgments,
    metrics: Sequence[str | Metric],
    scale: Scale | None = None,
    facts: ItemFacts | None = None,
) -> dict[str, Array]:
    """``Evaluator.measure`` for one ranking."""
    return Evaluator(judgments, scale, facts).measure(lists, metrics)


def mean(values_Q: Array) -> tuple[float, int]:
    """The mean over the queries that have a value, and how many they are; (NaN, 0) when none has."""
    known = values_Q[~np.isnan(values_Q)]
    return (float(known.mean()) if len(known) else float("nan")), len(known)


class _Graded:
    """A ranking with the grade of each of its rows."""

    def __init__(self, evaluator: Evaluator, lists: ItemLists) -> None:
        judged = evaluator.judgments.lists
        if len(lists) != len(judged):
            raise ContractError(f"{len(lists)} ranked lists for {len(judged)} judged queries; give one list a query")
        same_generation([lists, judged])
        self.evaluator, self.lists = evaluator, lists
        self.owner, self.position = lists.owner, lists.position
        key_N = _keys(lists)
        if (np.diff(np.sort(key_N)) == 0).any():
            raise ContractError("a ranked list holds an item twice; a ranking shows each item once")
        order, key_J = evaluator._order_J, evaluator._key_J
        place = np.minimum(np.searchsorted(key_J, key_N, sorter=order), len(order) - 1)
        self.pair_N = order[place] if len(order) else np.zeros(len(key_N), np.int64)
        self.judged_N = key_J[self.pair_N] == key_N if len(order) else np.zeros(len(key_N), bool)

    def of_judged(self, values_J: Array) -> Array:
        """float64[N]: a column of the judgments for each ranked row, 0 where it is not judged."""
        out = np.zeros(len(self.pair_N))
        out[self.judged_N] = values_J[self.pair_N[self.judged_N]]
        return out

    @cached_property
    def gain_N(self) -> Array:
        return self.of_judged(self.evaluator.gain_J)

    @cached_property
    def relevant_N(self) -> Array:
        return self.of_judged(self.evaluator.relevant_J) > 0

    def within(self, k: int | None) -> Array:
        """bool[N]: the first k places."""
        return np.ones(len(self.owner), bool) if k is None else self.position < k

    def total(self, values_N: Array) -> Array:
        """float64[Q]: the sum of each list."""
        return np.bincount(self.owner, values_N, len(self.lists))

    def shown(self, k: int | None) -> Array:
        """int64[Q]: rows among the first k places."""
        return self.lists.counts if k is None else np.minimum(self.lists.counts, k)

    def per_relevant(self, values_Q: Array) -> Array:
        """float64[Q]: divided by the number of relevant items, NaN where there is none."""
        return _ratio(values_Q, self.evaluator.num_relevant_Q)

    @cached_property
    def score_J(self) -> Array:
        """float64[J]: minus the place of each judged item in its list; those not found share the last place."""
        score = np.full(len(self.evaluator.gain_J), -np.inf)
        score[self.pair_N[self.judged_N]] = -self.position[self.judged_N]
        return score


def _ndcg(graded: _Graded, k: int | None) -> Array:
    """sum of gain / log2(place + 1), over that of the ideal order (Jarvelin and Kekalainen, 2002)."""
    judged = graded.evaluator.judgments.lists
    dcg = graded.total(_discounted(graded.gain_N, graded.position, k))
    ideal = np.bincount(judged.owner, _discounted(graded.evaluator.ideal_gain_J, judged.position, k), len(judged))
    return _ratio(dcg, ideal)


def _recall(graded: _Graded, k: int | None) -> Array:
    return graded.per_relevant(graded.total(graded.relevant_N & graded.within(k)))


def _precision(graded: _Graded, k: int | None) -> Array:
    """Over k places, also where fewer were filled; without a cut-off over the length of the list."""
    hits = graded.total(graded.relevant_N & graded.within(k))
    precision = hits / (np.maximum(graded.lists.counts, 1) if k is None else k)
    return np.where(graded.evaluator.num_relevant_Q > 0, precision, np.nan)


def _mrr(graded: _Graded, k: int | None) -> Array:
    hits = np.flatnonzero(graded.relevant_N & graded.within(k))
    owner, first = np.unique(graded.owner[hits], return_index=True)
    out = np.where(graded.evaluator.num_relevant_Q > 0, 0.0, np.nan)
    out[owner] = 1.0 / (graded.position[hits[first]] + 1)
    return out


def _map(graded: _Graded, k: int | None) -> Array:
    """Over all relevant items, also those that were not found."""
    seen = np.cumsum(graded.relevant_N)
    before = np.concatenate([[0], seen])[graded.lists.splits[:-1]]
    precision = (seen - before[graded.owner]) / (graded.position + 1)
    return graded.per_relevant(graded.total(precision * (graded.relevant_N & graded.within(k))))


def _err(graded: _Graded, k: int | None) -> Array:
    """sum over places of 1/place * R * product of the (1 - R) above (Chapelle et al., 2009)."""
    evaluator = graded.evaluator
    highest, limit = int(evaluator.grade_J.max(initial=0)), evaluator.scale.max_grade
    if highest > limit:
        raise ContractError(f"grade {highest} exceeds the scale of ERR, 0 to {limit}; pass Scale(max_grade={highest})")
    grade = np.maximum(graded.of_judged(evaluator.grade_J), 0.0)
    satisfied = (2.0**grade - 1.0) / 2.0**limit
    # In logarithms the product above a row is a running sum less that of the lists before; R stays below 1.
    passed = np.concatenate([[0.0], np.cumsum(np.log1p(-satisfied))])
    above = np.exp(passed[:-1] - passed[graded.lists.splits[:-1]][graded.owner])
    return graded.total(satisfied * above / (graded.position + 1) * graded.within(k))


def _judged(graded: _Graded, k: int | None) -> Array:
    """NaN for an empty list."""
    return _ratio(graded.total(graded.judged_N & graded.within(k)), graded.shown(k))


def _gauc(graded: _Graded, k: int | None) -> Array:
    lists = graded.evaluator.judgments.lists
    return group_auc(graded.evaluator.relevant_J, graded.score_J, lists.owner, len(lists))


def _auc(graded: _Graded, k: int | None) -> Array:
    if "score" not in graded.lists.columns:
        raise SettingError(
            "auc compares scores over all queries and the lists have no column 'score'; measure gauc instead"
        )
    score_J = np.full(len(graded.evaluator.gain_J), -np.inf)
    score_J[graded.pair_N[graded.judged_N]] = graded.lists["score"][graded.judged_N]
    return np.array([auc(graded.evaluator.relevant_J, score_J)])


def _diversity(graded: _Graded, k: int | None) -> Array:
    likeness = graded.evaluator.need_facts("diversity").likeness
    if likeness is None:
        raise SettingError("diversity needs codes or vectors of the items; pass ItemFacts(likeness=...)")
    return beyond.diversity(graded.lists, likeness, k)


def _coverage(graded: _Graded, k: int | None) -> Array:
    return np.array([beyond.coverage(graded.lists, graded.evaluator.need_facts("coverage").num_items, k)])


def _exposure(graded: _Graded, k: int | None) -> Array:
    group = graded.evaluator.need_facts("exposure").group
    if group is None:
        raise SettingError("exposure needs the group of each item; pass ItemFacts(group=...)")
    return np.array([beyond.gini(beyond.exposure(graded.lists, group, k))])


_MEASURES: dict[str, Callable[[_Graded, int | None], Array]] = {
    "ndcg": _ndcg,
    "recall": _recall,
    "precision": _precision,
    "mrr": _mrr,
    "map": _map,
    "err": _err,
    "judged": _judged,
    "gauc": _gauc,
    "auc": _auc,
    "diversity": _diversity,
    "coverage": _coverage,
    "exposure": _exposure,
}


def _keys(lists: ItemLists) -> Array:
    """int64[N]: one number for each (list, item)."""
    return lists.owner.astype(np.int64) << 32 | lists.item.astype(np.int64)


def _discounted(gain: Array, position: Array, k: int | None) -> Array:
    value: Array = gain / np.log2(position + 2.0)
    return value if k is None else np.where(position < k, value, 0.0)


def _ratio(above: Array, below: Array) -> Array:
    ratio: Array = np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)
    return ratio
