"""What an evaluation measures on: a shop or a public set, opened, indexed and encoded; and who may be fitted on what.

A plan is never measured on a query whose judgments it saw.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from aisle.core.caches import cache_folder
from aisle.core.env import Env, Progress
from aisle.core.errors import DataError
from aisle.core.shop import Judgments, ShopView
from aisle.data.items import ItemTable
from aisle.data.shop import Shop
from aisle.data.splits import split_judgments
from aisle.data.view import View
from aisle.evaluate import experiment as experiments
from aisle.evaluate.beyond import ItemFacts
from aisle.evaluate.metrics import parse_metric
from aisle.evaluate.results import Experiment
from aisle.funnel import Funnel, Plan, StageStore, StoredStages, fit
from aisle.recipes.environment import encode_items, memory_env, open_env

ABOUT_ITEMS = frozenset({"diversity", "coverage", "exposure"})
FIT_SEED = 1
"""Moves the split of training queries (fitting and early stopping) away from the split that holds queries back."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Place:
    """
    name     of the shop's folder or the set's kind
    judged   what is measured
    own      judgments that a fit may use; queries of ``judged`` are taken out where they are measured
    is_own   ``judged`` are these judgments themselves
    """

    name: str
    items: ItemTable
    env: Env
    judged: Judgments
    own: Judgments | None = None
    is_own: bool = False
    shop: Shop | None = None

    def view(self, judgments: Judgments | None, seed: int) -> ShopView:
        """The shop with these judgments alone, the part for early stopping split off them."""
        parts = {} if judgments is None or not len(judgments) else split_judgments(judgments, seed + FIT_SEED)
        if self.shop is None:
            return View(self.items, judgments=parts)
        prices = self.shop.prices()
        return View(self.items, self.shop.events(), parts, prices=prices if len(prices) else None)

    @property
    def stages(self) -> StageStore | None:
        return None if self.shop is None else StoredStages(self.shop)


def of_shop(folder: Path, file: Path | None, encoders: Sequence[str], seed: int, report: Progress) -> Place:
    """A shop, measured on its own judgments or on those of a file.  Raises DataError when there are none."""
    from aisle.data.judged import judgments_of
    from aisle.data.reading.judgment_files import read_judgments

    shop = Shop.open(folder)
    items = shop.items()
    own = shop.judgments() if "default" in shop.judgment_names() else None
    judged = own if file is None else judgments_of(*read_judgments(file), items)
    if judged is None or not len(judged.lists.item):
        raise DataError(
            f"{file or folder} has no judgments of items of this shop; name a file: aisle evaluate {folder} --judgments FILE"
        )
    env = open_env(shop, seed=seed, progress=report)
    for encoder in encoders:
        encode_items(env, shop, encoder, progress=report)
    return Place(
        name=folder.resolve().name, items=items, env=env, judged=judged, own=own, is_own=file is None, shop=shop
    )


def of_set(place: str, encoders: Sequence[str], seed: int, report: Progress, *, cache: bool) -> Place:
    """A public set in memory; encodings are kept in the user's cache folder."""
    from aisle.data.sets import open_set
    from aisle.nn.item_vectors import EncodingCache, cache_name, fill

    dataset = open_set(place)
    items = dataset.items()
    judged = dataset.judged(items)
    env = memory_env(items, seed=seed, progress=report)
    for encoder in encoders:
        coder = env.encoder(encoder)
        store = EncodingCache(cache_folder() / "encodings", cache_name(coder), coder.dim) if cache else None
        fill(env, encoder, cache=store, progress=report)
        env.engine.save_vectors(encoder)
    return Place(name=dataset.name, items=items, env=env, judged=judged, own=judged, is_own=True)


def distinct(places: Sequence[Place]) -> list[Place]:
    """The same places, two of one name told apart by a number."""
    seen: Counter[str] = Counter()
    named = []
    for place in places:
        seen[place.name] += 1
        named.append(replace(place, name=f"{place.name}-{seen[place.name]}") if seen[place.name] > 1 else place)
    return named


def run(
    plans: Mapping[str, Plan], place: Place, metrics: Sequence[str], *, folds: int, seed: int, report: Progress
) -> tuple[Experiment, str]:
    """The experiment, and a sentence on what was fitted on what ("" when nothing learned from judgments)."""
    if folds:
        return _out_of_fold(plans, place, metrics, folds, seed, report)
    learned, funnels = _without_judgments(plans, place, seed)
    judged, note = place.judged, ""
    facts = ItemFacts.of(place.items) if any(parse_metric(m).kind in ABOUT_ITEMS for m in metrics) else None
    if learned:
        train, judged = _held_out(place, learned, seed)
        view = place.view(train, seed)
        funnels |= {name: fit(plans[name], view, place.env, stages=place.stages) for name in learned}
        note = (
            f"{' and '.join(learned)} learned from {len(train)} other queries; every plan is measured on the "
            f"{len(judged)} {'validation queries' if place.is_own else 'queries of the file'}"
        )
    ordered = {name: funnels[name] for name in plans}
    return experiments.run(ordered, None, judged, metrics, facts=facts, progress=report), note


def _without_judgments(
    plans: Mapping[str, Plan], place: Place, seed: int
) -> tuple[dict[str, DataError], dict[str, Funnel]]:
    """The plans that cannot be fitted without judgments, with what they said, and the funnels of the others."""
    view, learned, funnels = place.view(None, seed), dict[str, DataError](), dict[str, Funnel]()
    for name, plan in plans.items():
        try:
            funnels[name] = fit(plan, view, place.env, stages=place.stages)
        except DataError as error:
            learned[name] = error
    return learned, funnels


def _held_out(place: Place, learned: Mapping[str, DataError], seed: int) -> tuple[Judgments, Judgments]:
    """(what may be fitted on, what is measured): no query is in both.  Raises DataError when one of them is empty."""
    who = " and ".join(learned)
    if place.shop is None or place.own is None:
        why = next(iter(learned.values()))
        raise DataError(
            f"{who} cannot be fitted without judgments, and those of {place.name} are what is measured; "
            f"measure out of fold: --folds 5 ({why})"
        )
    if place.is_own:
        parts = split_judgments(place.own, seed)
        train, judged = parts["train"], parts["validation"]
    else:
        asked = {_plain(query) for query in place.judged.query}
        train = place.own.select(
            np.array([q for q, text in enumerate(place.own.query) if _plain(text) not in asked], np.int64)
        )
        judged = place.judged
    if not len(train.lists.item) or not len(judged.lists.item):
        raise DataError(f"{len(place.own)} judged queries are too few to fit {who} on some and measure it on others")
    return train, judged


def _out_of_fold(
    plans: Mapping[str, Plan], place: Place, metrics: Sequence[str], folds: int, seed: int, report: Progress
) -> tuple[Experiment, str]:
    def fitted(others: Judgments) -> dict[str, Funnel]:
        view = place.view(others, seed)
        return {name: fit(plan, view, place.env, stages=place.stages) for name, plan in plans.items()}

    found = experiments.run_folds(fitted, None, place.judged, metrics, folds=folds, seed=seed, progress=report)
    return found, f"every query is measured by plans fitted on the other folds ({folds} folds of queries)"


def _plain(query: str) -> str:
    return " ".join(query.lower().split())
