"""LambdaMART: gradient-boosted trees on lists (Burges, 2010), by LightGBM.

Trained on the shop's graded queries and the lists that the plan's own retrievers make for them; the features are computed by
the same function when training and when serving.

Legend: N candidate rows, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aisle.core.env import Env
from aisle.core.errors import DataError
from aisle.core.lists import Array, ItemLists
from aisle.core.method import NOTHING, Given, Method, State
from aisle.core.requests import Requests
from aisle.core.roles import Reason
from aisle.core.shop import Judgments, ShopView
from aisle.ranking._scores import standardised

TEXT_FIELDS = ("title", "brand", "category", "attributes", "description")
ITEM_COLUMNS = ("price_cents", "rating", "rating_count")
WORDS = {
    "price_cents": "its price",
    "rating": "its rating",
    "rating_count": "its number of reviews",
    "query_words": "the length of the query",
    "covered": "how much of the query its title covers",
}


class LambdaMart(Method):
    """retrievers: whose scores are features. trees, leaves, rate, min_rows: of the boosted trees.

    depth: unjudged candidates kept per query and retriever when training, as grade 0. folds: > 1 where an earlier stage
    learned from the same judgments.
    """

    retrievers: tuple[str, ...] = ("bm25", "minilm")
    trees: int = 300
    leaves: int = 15
    rate: float = 0.05
    min_rows: int = 20
    depth: int = 50
    folds: int = 1

    @property
    def reads(self) -> frozenset[str]:
        return frozenset(f"{prefix}_{name}" for name in self.retrievers for prefix in ("score", "rank"))

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
        validation = shop.judgments("validation")
        held_out = self._table(validation, env, given) if len(validation.lists.item) else None
        return LambdaMartStage(self, env, self._boosted(train, held_out, judged.gains, env.seed))

    def restore(self, state: State, env: Env, given: Given = NOTHING) -> LambdaMartStage:
        return LambdaMartStage(self, env, str(state.values["model"]))

    @classmethod
    def tiny(cls) -> LambdaMart:
        return cls(retrievers=("bm25",), trees=5, leaves=4, min_rows=1)

    def _table(self, judged: Judgments, env: Env, given: Given) -> tuple[Array, Array, Array]:
        """Features float32[N, F], grades int32[N] and rows per query of the lists to learn from."""
        requests = Requests.make(judged.query)
        if given.candidates is None:
            raise DataError(
                "lambdamart ranks the lists of a plan; fit it as the ranking of one, such as 'aisle fit SHOP learned'"
            )
        lists = given.candidates(requests, self.folds)
        grade = graded(lists, judged)
        near = np.zeros(len(lists.item), bool)
        for name in self.retrievers:
            rank = lists[f"rank_{name}"]
            near |= (rank >= 0) & (rank < self.depth)
        lists = lists.with_columns(grade=grade).take(near | (grade >= 0))
        return self.features(requests, lists, env), np.maximum(lists["grade"], 0), lists.counts

    def _boosted(self, train: Any, held_out: Any, gains: Mapping[int, float], seed: int) -> str:
        """The trained model as text."""
        import lightgbm as lgb

        features, grade, counts = train
        highest = int(max(grade.max(), *gains.keys(), 0)) if gains else int(grade.max())
        gain = [float(gains.get(g, 2**g - 1 if not gains else 0)) for g in range(highest + 1)]
        settings = {
            "objective": "lambdarank", "learning_rate": self.rate, "num_leaves": self.leaves, "min_data_in_leaf": self.min_rows,
            "label_gain": gain, "lambdarank_truncation_level": 20, "ndcg_eval_at": [10], "metric": "ndcg", "seed": seed,
            "deterministic": True, "force_row_wise": True, "num_threads": 2, "verbosity": -1, "feature_fraction": 0.8,
        }  # fmt: skip
        data = lgb.Dataset(features, grade, group=counts, feature_name=list(self.feature_names()))
        watched = [lgb.Dataset(held_out[0], held_out[1], group=held_out[2], reference=data)] if held_out else []
        stop = [lgb.early_stopping(50, verbose=False)] if watched and held_out[1].max() > 0 else []
        model = lgb.train(settings, data, self.trees, valid_sets=watched, callbacks=stop)
        return model.model_to_string()  # type: ignore[no-any-return]

    def feature_names(self) -> tuple[str, ...]:
        """Names of the F features, in order."""
        of_retrievers = [f"{kind}_{name}" for name in self.retrievers for kind in ("score", "standard", "rank")]
        of_text = [f"bm25_{field}" for field in TEXT_FIELDS]
        return (*of_retrievers, *of_text, "covered", "query_words", *ITEM_COLUMNS)

    def features(self, requests: Requests, lists: ItemLists, env: Env) -> Array:
        """float32[N, F] of every candidate, NaN where unknown: the one code path of training and serving."""
        columns: list[Array] = []
        for name in self.retrievers:
            rank = lists[f"rank_{name}"].astype(np.float32)
            columns += [
                lists[f"score_{name}"],
                standardised(lists[f"score_{name}"], lists),
                np.where(rank < 0, np.nan, rank),
            ]
        engine, owner = env.engine, lists.owner
        by_field = {field: engine.text.score(requests.query, lists, {field: 1.0}) for field in TEXT_FIELDS}
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
        features = self.settings.features(requests, candidates, self.env)
        score = self._booster.predict(features, num_threads=1)
        return {"score": np.asarray(score, np.float32)}

    def explain(self, requests: Requests, page: ItemLists) -> list[list[Reason]]:
        """The three features that moved each shown row most."""
        if not len(page.item) or not self.settings.reads <= page.columns.keys():
            return [[] for _ in page.item]
        features = self.settings.features(requests, page, self.env)
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
    if kind in ("score", "standard", "rank") and feature not in WORDS:
        words = f"how {name} sees it"
    elif kind == "bm25":
        words = f"the query's words in its {name}"
    else:
        words = WORDS[feature]
    return Reason("ranking.lambdamart", f"{words} {'raised' if moved > 0 else 'lowered'} it", moved)


METHOD = LambdaMart
