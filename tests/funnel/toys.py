"""Small methods that prove how stages are given to each other."""

from __future__ import annotations

import numpy as np

from aisle.core.lists import ItemLists
from aisle.core.method import NOTHING, Method, State
from aisle.core.requests import Requests


class Teacher(Method):
    """Relevance by price: cheap is good.  ``threshold_cents`` is its knowledge."""

    threshold_cents: float = 5000.0

    @property
    def writes(self):
        return frozenset({"relevance"})

    def fit(self, shop, env, given=NOTHING):
        return TeacherStage(env, self.threshold_cents)


class TeacherStage:
    def __init__(self, env, threshold_cents):
        self.env, self.threshold_cents = env, threshold_cents

    def score(self, requests, candidates):
        price = self.env.engine.items.number("price_cents", candidates.item)
        return {"relevance": (price < self.threshold_cents).astype(np.float32)}

    def state(self):
        return State()


class ReadsRelevance(Method):
    """A ranking that orders by what a judge wrote."""

    @property
    def reads(self):
        return frozenset({"relevance"})

    @property
    def writes(self):
        return frozenset({"score"})


class Student(Method):
    """Learns the price up to which its teacher says yes, from the teacher's grades of the whole catalogue."""

    teacher: str = "offline.teacher"

    @property
    def needs(self):
        return {"teacher": self.teacher}

    @property
    def writes(self):
        return frozenset({"score"})

    def fit(self, shop, env, given=NOTHING):
        rows = np.arange(shop.items.num_rows, dtype=np.int32)
        graded = given.stage("teacher").score(Requests.make([""]), ItemLists(rows, np.array([0, len(rows)])))
        price = shop.items.number("price_cents")
        return StudentStage(env, float(price[graded["relevance"] > 0.5].max()), dict(given.versions))


class StudentStage:
    def __init__(self, env, learned_cents, versions):
        self.env, self.learned_cents, self.versions = env, learned_cents, versions

    def score(self, requests, candidates):
        price = self.env.engine.items.number("price_cents", candidates.item)
        return {"score": (price <= self.learned_cents).astype(np.float32)}

    def state(self):
        return State()


class ListLearner(Method):
    """A re-ranker that trains on its ranker's lists: it remembers which item the ranker put first for each query."""

    folds: int = 1

    @property
    def needs(self):
        return {"lists": "candidates"}

    def fit(self, shop, env, given=NOTHING):
        judged = shop.judgments("train")
        lists = given.candidates(Requests.make(judged.query), self.folds)
        return ListLearnerStage(dict(zip(judged.query, lists.item[lists.splits[:-1]].tolist(), strict=True)), lists)


class ListLearnerStage:
    def __init__(self, first_of, lists):
        self.first_of, self.lists = first_of, lists

    def rerank(self, requests, candidates, k):
        """What the ranker put first while training goes last now, to be seen."""
        first = np.array([self.first_of.get(requests.query[q], -1) for q in candidates.owner])
        order = np.lexsort((candidates.position, candidates.item == first, candidates.owner))
        return candidates.take(order)

    def state(self):
        return State()


class Peeking(Method):
    """A scorer that remembers the judged items it was fitted on: out of fold it must not know the query."""

    @property
    def writes(self):
        return frozenset({"score"})

    def fit(self, shop, env, given=NOTHING):
        judged = shop.judgments("train")
        return PeekingStage({q: judged.lists.list_of(i) for i, q in enumerate(judged.query)}, shop.events)


class PeekingStage:
    def __init__(self, judged, events):
        self.judged, self.events = judged, events

    def score(self, requests, candidates):
        known = np.array([requests.query[q] in self.judged for q in candidates.owner], np.float32)
        return {"score": known}

    def state(self):
        return State()


class Breaking(Method):
    """A scorer that fails, or takes ``sleep_s``."""

    sleep_s: float = 0.0

    @property
    def writes(self):
        return frozenset({"relevance"})

    def fit(self, shop, env, given=NOTHING):
        return BreakingStage(self.sleep_s)


class BreakingStage:
    def __init__(self, sleep_s):
        self.sleep_s, self.calls, self.fail = sleep_s, 0, True

    def score(self, requests, candidates):
        import time

        self.calls += 1
        time.sleep(self.sleep_s)
        if self.fail and not self.sleep_s:
            raise RuntimeError("the toy is broken")
        return {"relevance": np.ones(len(candidates.item), np.float32)}

    def state(self):
        return State()
