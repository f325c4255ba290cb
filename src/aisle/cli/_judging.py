"""The work of ``aisle judge``: which model, which pairs, what it says, and how far people say the same.

Legend: N pairs, C grades from worst to best.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aisle.core.errors import DataError, SettingError
from aisle.core.lists import Array, ItemLists

if TYPE_CHECKING:
    from aisle.core.env import Env, Progress
    from aisle.core.shop import Judgments
    from aisle.data.shop import Shop


@dataclass(frozen=True, eq=False)
class Agreement:
    """
    confusion  int64[C, C]  pairs by human grade (row) and the model's (column)
    names      of the grades, worst first
    kappa      agreement beyond chance; quadratic_kappa weighs an error by the square of its distance
    optimism   P(model above) - P(model below)
    """

    confusion: Array
    names: Sequence[str]
    num_queries: int
    kappa: float
    quadratic_kappa: float
    macro_f1: float
    optimism: float

    @property
    def num_pairs(self) -> int:
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        return float(np.trace(self.confusion) / max(self.num_pairs, 1))


@dataclass(frozen=True, eq=False)
class Verdicts:
    """
    model   its registered name
    names, grades  of the scale, worst first
    lists   one list a query, column ``place`` int64: the grade's place on the scale
    """

    model: str
    names: Sequence[str]
    grades: Sequence[int]
    queries: Sequence[str]
    item_ids: Sequence[str]
    lists: ItemLists
    gains: dict[int, float]
    agreement: Agreement | None = None

    def __len__(self) -> int:
        return len(self.lists.item)

    def counts(self) -> list[int]:
        """Pairs of each grade."""
        return np.bincount(self.lists["place"], minlength=len(self.names)).tolist()  # type: ignore[no-any-return]

    def rows(self) -> list[tuple[str, str, int]]:
        """(query, item_id, grade) of each pair."""
        asked = [self.queries[q] for q in self.lists.owner]
        grade = [self.grades[place] for place in self.lists["place"]]
        return list(zip(asked, self.item_ids, grade, strict=True))


def read_queries(path: Path) -> list[str]:
    """The distinct lines that hold something.  Raises DataError where there is none."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error}); save it as such, one query a line") from None
    asked = list(dict.fromkeys(line for line in lines if line))
    if not asked:
        raise DataError(f"{path} holds no query; write one a line")
    return asked


def judged(
    shop: Shop, asked: Sequence[str], model: str, settings: Sequence[str], plan: str, depth: int, seed: int,
    report: Progress,
) -> Verdicts:  # fmt: skip
    """What the model says of the ``depth`` best items of each query, and of the pairs that people graded."""
    from aisle import funnel as funnels
    from aisle.cli._console import plan_named
    from aisle.core.requests import Requests
    from aisle.recipes.environment import encode_items, open_env

    env = open_env(shop, seed=seed, progress=report)
    name, stage = _stage(shop, env, model, settings)
    chosen = plan_named(plan)
    for encoder in sorted(chosen.encoders()):
        encode_items(env, shop, encoder, progress=report)
    found = funnels.fit(chosen, shop.view(), env).ranked(Requests.make(asked), k=depth)
    human = _human(shop)
    pairs = found.only() if human is None else ItemLists.union([found.only(), _of_queries(human, asked, found)])
    report("judge", 0, len(pairs.item))
    place = stage.grades(stage.chances(asked, pairs))
    report("judge", len(pairs.item), len(pairs.item))
    scale = stage.reader.scale
    lists = pairs.with_columns(place=place)
    gains = dict(human.gains) if human is not None else {}
    ids = env.engine.items.ids(lists.item)
    agreement = None if human is None else _agreement(scale, asked, lists, human, _learned_from(shop))
    return Verdicts(name, scale.names, scale.grades, asked, ids, lists, gains, agreement)


def refuse_name(name: str) -> None:
    """Raises SettingError for the name of what people graded."""
    if name == "default":
        raise SettingError("the judgments 'default' are people's; give the model's another --name, such as judge")


def keep(shop: Shop, found: Verdicts, name: str, out: Path | None) -> None:
    """The pairs as judgments of this name, and as CSV."""
    import pyarrow as pa

    rows = found.rows()
    table = pa.table(
        {
            "query": [query for query, _, _ in rows],
            "item_id": [item for _, item, _ in rows],
            "grade": pa.array([grade for _, _, grade in rows], pa.int32()),
        }
    )
    shop.write_judgments(table, found.gains, name)
    if out is not None:
        with out.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("query", "item_id", "grade"))
            writer.writerows(rows)


def _stage(shop: Shop, env: Env, model: str, settings: Sequence[str]) -> tuple[str, Any]:
    """A fitted stage that gives grades: of the served funnel where it has it as it is asked for, else fitted now."""
    from aisle import funnel as funnels
    from aisle.core import registry
    from aisle.funnel.plan import Plan
    from aisle.retrieval.bm25 import Bm25

    served = shop.pointer().get("funnel")
    if served and not settings:
        funnel = funnels.load(shop, served, env)
        for slot, fitted in funnel.fitted.items():
            name = registry.name_of(fitted.method)
            if (name == model) if model else slot == "relevance":
                return name, _grading(fitted.stage, name)
    if not model:
        raise SettingError(
            f"the funnel served by {shop.folder} judges nothing; name a model, such as --model relevance.cross_encoder"
        )
    if registry.folder_of(model) != "relevance":
        raise SettingError(f"{model} does not judge pairs; name a method of relevance, such as relevance.lref")
    method = registry.build(model)
    for assignment in settings:
        method = method.with_setting(assignment)
    fitted_now = funnels.fit(Plan(retrieval={"bm25": Bm25()}, relevance=method), shop.view(), env)
    return model, _grading(fitted_now.fitted["relevance"].stage, model)


def _grading(stage: Any, name: str) -> Any:
    if not (hasattr(stage, "chances") and hasattr(stage, "grades")):
        raise SettingError(f"{name} gives no grades; name a judge, such as relevance.cross_encoder or relevance.lref")
    return stage


def _human(shop: Shop) -> Judgments | None:
    return shop.judgments() if "default" in shop.judgment_names() else None


def _learned_from(shop: Shop) -> set[str]:
    """The queries whose grades a fit may have seen."""
    return set(shop.view().judgments("train").query)


def _of_queries(human: Judgments, asked: Sequence[str], like: ItemLists) -> ItemLists:
    """The pairs that people graded, one list for each of these queries."""
    place = {query: q for q, query in enumerate(human.query)}
    known = np.array([place.get(query, -1) for query in asked], np.int64)
    lists = human.lists.only().select(np.maximum(known, 0))
    kept = lists.take(known[lists.owner] >= 0)
    return ItemLists(kept.item, kept.splits, {}, like.generation)


def _agreement(
    scale: Any, asked: Sequence[str], lists: ItemLists, human: Judgments, learned: set[str]
) -> Agreement | None:
    from aisle.relevance._tiers import confusion, kappa, macro_f1, optimism

    place = {query: q for q, query in enumerate(human.query)}
    fresh = [q for q, query in enumerate(asked) if query in place and query not in learned]
    if not fresh:
        return None
    given = lists.select(np.array(fresh))
    theirs = human.lists.select(np.array([place[asked[q]] for q in fresh]))
    row = given.find(theirs)
    gold, said = scale.places(theirs["grade"]), given["place"][row]
    counts = confusion(gold, said, len(scale))
    return Agreement(
        counts, scale.names, len(fresh), kappa(counts), kappa(counts, quadratic=True),
        macro_f1(gold, said, len(scale)), optimism(counts),
    )  # fmt: skip
