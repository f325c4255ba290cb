"""Fusion of the retrievers' scores into one order.

share:         s(i) = sum_r w_r max(x_r(i), 0) / max_r         both ends are known: 0 is "no word in common" for BM25 and
               "unrelated" for a cosine, so only the best score of the request is looked up (Bruch et al., 2022)
standardised:  s(i) = sum_r w_r (x_r(i) - mean_r) / std_r      over a request's candidates; a missing x_r(i) counts as the lowest
rrf:           s(i) = sum_r w_r / (k + rank_r(i) + 1)          (Cormack et al., 2009); 0 where r did not find i

With ``feedback`` the fused order speaks once more (Rocchio, 1971): every candidate is compared with the mean vector c of the
best items, s'(i) = standardised s(i) + feedback_weight * standardised <c, e(i)>.

Legend: N candidate rows, R retrievers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from aisle.core.env import Env
from aisle.core.lists import Array, ItemLists
from aisle.core.method import NOTHING, Given, Method, State
from aisle.core.requests import Requests
from aisle.core.roles import Reason
from aisle.core.shop import ShopView
from aisle.ranking._scores import nearness_to_best, reciprocal_rank, share_of_best, standardised


class Fusion(Method):
    """retrievers: name -> weight of those that count. kind: how scores are joined. k: flattens rank differences in rrf.

    late: retrievers that know every item but the newest, whose vector is still made: a score of theirs that is missing
    counts as the best of the item's other shares (with ``share``), so that nothing new ranks low for being new.

    feedback: how many of the best items speak once more, 0 for none; feeds are left alone. feedback_weight: how loud, beside
    the fused score. feedback_encoder: whose item vectors are compared.
    """

    retrievers: dict[str, float] = {"bm25": 1.0, "minilm": 1.0}
    kind: Literal["share", "standardised", "rrf"] = "standardised"
    k: float = 60.0
    late: tuple[str, ...] = ()
    feedback: int = 0
    feedback_weight: float = 0.4
    feedback_encoder: str = "minilm"

    @property
    def reads(self) -> frozenset[str]:
        prefix = "rank" if self.kind == "rrf" else "score"
        return frozenset(f"{prefix}_{name}" for name in self.retrievers)

    @property
    def writes(self) -> frozenset[str]:
        return frozenset({"score"})

    def fit(self, shop: ShopView, env: Env, given: Given = NOTHING) -> FusionStage:
        return FusionStage(self, env)

    def restore(self, state: State, env: Env, given: Given = NOTHING) -> FusionStage:
        return FusionStage(self, env)


class FusionStage:
    """Fitted: nothing but the settings."""

    def __init__(self, settings: Fusion, env: Env) -> None:
        self.settings, self.env = settings, env

    def score(self, requests: Requests, candidates: ItemLists) -> Mapping[str, Array]:
        score = np.zeros(len(candidates.item), np.float32)
        for part in self._parts(candidates):
            score += part
        about_Q = _about_something(requests)
        if self.settings.feedback and about_Q.all():
            score = self._fed_back(candidates, score)
        elif self.settings.feedback and about_Q.any():
            about = about_Q[candidates.owner]
            score[about] = self._fed_back(candidates.take(about), score[about])
        return {"score": score}

    def _fed_back(self, candidates: ItemLists, score: Array) -> Array:
        """float32[N]: an item like the best ones moves up."""
        index = self.env.engine.vectors(self.settings.feedback_encoder)
        lists = ItemLists(candidates.item, candidates.splits, {"score": score}, candidates.generation)
        nearness = nearness_to_best(lists, index, self.settings.feedback)
        loudness = np.float32(self.settings.feedback_weight)
        moved: Array = standardised(score, candidates) + loudness * standardised(nearness, candidates)
        return moved

    def explain(self, requests: Requests, page: ItemLists) -> list[list[Reason]]:
        """How far each retriever's score lies above or below this page's mean, in words; nothing where it says nothing."""
        reasons: list[list[Reason]] = [[] for _ in page.item]
        if self.settings.kind == "rrf":
            return reasons
        for name, weight in self.settings.retrievers.items():
            score = page.columns.get(f"score_{name}")
            if score is None or not np.isfinite(score).any() or not weight:
                continue
            for row in np.flatnonzero(np.isfinite(score)):
                reasons[row].append(Reason("ranking", f"{name} gave it {score[row]:.3g}", float(weight)))
        return reasons

    def state(self) -> State:
        return State()

    def _parts(self, candidates: ItemLists) -> list[Array]:
        weights = self.settings.retrievers
        if self.settings.kind == "rrf":
            return [w * reciprocal_rank(candidates[f"rank_{name}"], self.settings.k) for name, w in weights.items()]
        comparable = share_of_best if self.settings.kind == "share" else standardised
        parts = {name: comparable(candidates[f"score_{name}"], candidates) for name in weights}
        if self.settings.kind == "share":
            for name in set(self.settings.late) & set(weights):
                missing = _not_known_yet(candidates[f"score_{name}"], candidates)
                others = [part[missing] for other, part in parts.items() if other not in self.settings.late]
                if missing.any() and others:
                    parts[name][missing] = np.max(others, axis=0)
        return [weight * parts[name] for name, weight in weights.items()]


def _not_known_yet(score_N: Array, lists: ItemLists) -> Array:
    """bool[N]: rows without a score in a list in which others have one."""
    missing: Array = np.isnan(score_N)
    answered_Q = np.bincount(lists.owner[~missing], minlength=len(lists)) > 0
    return missing & answered_Q[lists.owner]


def _about_something(requests: Requests) -> Array:
    """bool[Q]: a search or a request for similar items; the best of a feed say nothing of what the rest should be like."""
    typed = np.array([bool(query) for query in requests.query], bool)
    about: Array = typed | (requests.anchor >= 0)
    return about


METHOD = Fusion
