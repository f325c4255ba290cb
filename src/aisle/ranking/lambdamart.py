"""LambdaMART: gradient-boosted trees on lists (Burges, 2010), by LightGBM.

Trained on the shop's graded queries and the lists that the plan's own retrievers make for them; the features are computed by
the same function when training and when serving.  Boosting starts at the fused score, so the trees learn where the fusion is
wrong, and far down the list, where nothing was judged, its order stands.

Every candidate is learned from, an unjudged one as grade 0: trees that saw only the top of the lists put the unseen rest first.

score(q, i) = fused(q, i) + sum over trees t of rate * t(features(q, i))

Legend: N candidate rows, F features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aisle.core.env import Env
from aisle.core.errors import DataError
from aisle.core.lists import Array, ItemLists
from aisle.core.method import NOTHING, Given, Method, State
from aisle.core.requests import Requests
from aisle.core.roles import Reason
from aisle.core.shop import Judgments, ShopView
from aisle.ranking._scores import share_of_best
from aisle.ranking.fusion import Fusion, FusionStage

FEATURE_FIELDS = ("title", "brand", "category", "attributes", "description")
ITEM_COLUMNS = ("price_cents", "rating", "rating_count")
WORDS = {
    "fused": "what its retrievers say together",
    "price_cents": "its price",
    "rating": "its rating",
    "rating_count": "its number of reviews",
    "query_words": "the length of the query",
    "covered": "how much of the query its title covers",
}


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """What the trees learn from: features float32[N, F], the fused score float32[N], grades int32[N], rows of each query."""

    features: Array
    fused: Array
    grade: Array
    counts: Array

    def dataset(self, names: Sequence[str], reference: Any = None) -> Any:
        """The same as LightGBM keeps it."""
        import lightgbm as lgb

        return lgb.Dataset(
            self.features,
            self.grade,
            group=self.counts,
            init_score=self.fused,
            feature_name=list(names),
            reference=reference,
        )


class LambdaMart(Method):
    """start: the fusion that boosting starts from; the scores of its retrievers are features.

    trees, leaves, rate, min_rows: of the boosted trees. folds: > 1 where an earlier stage learned from the same judgments.
    """

    start: Fusion = Fusion(kind="share")
    trees: int = 200
    leaves: int = 8
    rate: float = 0.05
    min_rows: int = 50
    folds: int = 1

    @property
    def retrievers(self) -> tuple[str, ...]:
        """Whose scores and ranks are features."""
        return tuple(self.start.retrievers)

    @property
    def reads(self) -> frozenset[str]:
        own = frozenset(f"{prefix}_{name}" for name in self.retrievers for prefix in ("score", "rank"))
        return own | self.start.reads

    @property
    def writes(self) -> frozenset[str]:
        return frozenset({"score"})

    @property
    def needs(self) -> Mapping[str, str]:
        return {"lists": "candidates"}

    def fit(self, shop: ShopView, env: Env, given: Given = NOTHING) -> LambdaMartStage:
        judged = shop.judgments("train")
        if not len(judged.lists.item):
            raise DataError(
                "lambdamart learns from graded queries and this shop has none; add some with 'aisle ingest FILE --into SHOP'"
            )
        train = self._table(judged, env, given)
        if not len(train.grade):
            raise DataError(
                f"none of the {len(judged)} graded queries finds a candidate, so there is nothing to learn from; "
                "check that the judgments speak of this catalogue"
            )
        validation = shop.judgments("validation")
        held_out = self._table(validation, env, given) if len(validation.lists.item) else None
        return LambdaMartStage(self, env, self._boosted(train, held_out, judged.gains, env.seed))

    def restore(self, state: State, env: Env, given: Given = NOTHING) -> LambdaMartStage:
        return LambdaMartStage(self, env, str(state.values["model"]))

    @classmethod
    def tiny(cls) -> LambdaMart:
        return cls(start=Fusion(retrievers={"bm25": 1.0}), trees=5, leaves=4, min_rows=1)

    def _table(self, judged: Judgments, env: Env, given: Given) -> Table:
        """The lists to learn from."""
        requests = Requests.make(judged.query)
        if given.candidates is None:
            raise DataError(
                "lambdamart ranks the lists of a plan; fit it as the ranking of one, such as 'aisle fit SHOP learned'"
            )
        lists = given.candidates(requests, self.folds)
        fused = self.fused(requests, lists, env)
        grade = np.maximum(graded(lists, judged), 0)
        return Table(self.features(requests, lists, fused, env), fused, grade, lists.counts)

    def _boosted(self, train: Table, held_out: Table | None, gains: Mapping[int, float], seed: int) -> str:
        """The trained model as text."""
        import lightgbm as lgb

        highest = int(max(train.grade.max(), *gains.keys(), 0))
        settings = {
            "objective": "lambdarank",
            "learning_rate": self.rate,
            "num_leaves": self.leaves,
            "min_data_in_leaf": self.min_rows,
            "label_gain": [float(gains.get(g, 0.0) if gains else 2**g - 1) for g in range(highest + 1)],
            "lambdarank_truncation_level": 30,
            "ndcg_eval_at": [10],
            "metric": "ndcg",
            "feature_fraction": 0.8,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": 2,
            "verbosity": -1,
        }
        data = train.dataset(self.feature_names())
        watched = (
            [held_out.dataset(self.feature_names(), data)] if held_out is not None and held_out.grade.any() else []
        )
        stop = [lgb.early_stopping(50, verbose=False)] if watched else []
        model = lgb.train(settings, data, self.trees, valid_sets=watched, callbacks=stop)
        return model.model_to_string()  # type: ignore[no-any-return]

    def feature_names(self) -> tuple[str, ...]:
        """Names of the F features, in order."""
        of_retrievers = [f"{kind}_{name}" for name in self.retrievers for kind in ("score", "share", "rank")]
        of_text = [f"bm25_{field}" for field in FEATURE_FIELDS]
        return ("fused", *of_retrievers, *of_text, "covered", "query_words", *ITEM_COLUMNS)

    def fused(self, requests: Requests, lists: ItemLists, env: Env) -> Array:
        """float32[N]: the score that boosting starts from."""
        return FusionStage(self.start, env).score(requests, lists)["score"]

    def features(self, requests: Requests, lists: ItemLists, fused: Array, env: Env) -> Array:
        """float32[N, F] of every candidate, NaN where unknown: the one code path of training and serving."""
        columns = [fused]
        for name in self.retrievers:
            rank = lists[f"rank_{name}"].astype(np.float32)
            columns += [
                lists[f"score_{name}"],
                share_of_best(lists[f"score_{name}"], lists),
                np.where(rank < 0, np.nan, rank),
            ]
        engine, owner = env.engine, lists.owner
        by_field = {field: engine.text.score(requests.query, lists, {field: 1.0}) for field in FEATURE_FIELDS}
        words = np.array([len(engine.text.terms(q)) for q in requests.query], np.float32)
        best = np.zeros(len(requests), np.float32)
        np.maximum.at(best, owner, by_field["title"])
        covered = by_field["title"] / np.where(best > 0, best, 1)[owner]
        columns += [*by_field.values(), covered, words[owner]]
        columns += [engine.items.number(name, lists.item) for name in ITEM_COLUMNS]
        return np.stack([np.asarray(c, np.float32) for c in columns], 1)


def graded(lists: ItemLists, judged: Judgments) -> Array:
    """int32[N]: the grade of each candidate of each judged query, -1 where it was not judged."""
    row = judged.lists.find(lists)
    return np.where(row >= 0, judged.lists["grade"][row] if len(judged.lists.item) else -1, -1).astype(np.int32)


class LambdaMartStage:
    """Fitted: score(requests, candidates) -> {"score": float32[N]}, higher is better, comparable within a request."""

    def __init__(self, settings: LambdaMart, env: Env, model: str) -> None:
        import lightgbm as lgb

        self.settings, self.env, self.model = settings, env, model
        self._booster = lgb.Booster(model_str=model)

    def score(self, requests: Requests, candidates: ItemLists) -> Mapping[str, Array]:
        if not len(candidates.item):
            return {"score": np.zeros(0, np.float32)}
        fused = self.settings.fused(requests, candidates, self.env)
        features = self.settings.features(requests, candidates, fused, self.env)
        moved = self._booster.predict(features, raw_score=True, num_threads=1)
        return {"score": fused + np.asarray(moved, np.float32)}

    def explain(self, requests: Requests, page: ItemLists) -> list[list[Reason]]:
        """The three features that moved each shown row most."""
        if not len(page.item) or not self.settings.reads <= page.columns.keys():
            return [[] for _ in page.item]
        fused = self.settings.fused(requests, page, self.env)
        features = self.settings.features(requests, page, fused, self.env)
        moved = np.asarray(self._booster.predict(features, pred_contrib=True, num_threads=1))[:, :-1]
        names = self.settings.feature_names()
        most = np.argsort(-np.abs(moved), axis=1)[:, :3]
        return [
            [_in_words(names[f], float(moved[row, f])) for f in most[row] if moved[row, f]]
            for row in range(len(page.item))
        ]

    def state(self) -> State:
        return State(values={"model": self.model})


def _in_words(feature: str, moved: float) -> Reason:
    kind, _, name = feature.partition("_")
    if kind in ("score", "share", "rank") and feature not in WORDS:
        words = f"how {name} sees it"
    elif kind == "bm25":
        words = f"the query's words in its {name}"
    else:
        words = WORDS[feature]
    return Reason("ranking.lambdamart", f"{words} {'raised' if moved > 0 else 'lowered'} it", moved)


METHOD = LambdaMart
