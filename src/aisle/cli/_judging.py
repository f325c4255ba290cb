"""The work of ``aisle judge``: which model, which pairs, and what it says of them.

Legend: N pairs.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aisle.cli._agreement import Agreement, agreement
from aisle.cli._judged_parts import JudgedParts
from aisle.core.errors import DataError, SettingError
from aisle.core.lists import ItemLists
from aisle.core.workplaces import Workplace

if TYPE_CHECKING:
    from aisle.cli._console import Shown
    from aisle.core.env import Env, Progress
    from aisle.core.shop import Judgments
    from aisle.data.shop import Shop

PEOPLES = "default"
"""The name of the judgments that people made."""

TOGETHER = 16
"""Queries that are judged between two looks at the progress; their grades are kept together."""


@dataclass(frozen=True)
class Order:
    """What is asked of ``aisle judge``; see its help."""

    queries: Sequence[str]
    model: str = ""
    settings: Sequence[str] = ()
    plan: str = "lexical"
    depth: int = 20
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Judge:
    """A fitted stage that gives grades, its registered name, and where it comes from in words."""

    stage: Any
    name: str
    origin: str

    @property
    def scale(self) -> Any:
        """Of its grades, worst first."""
        return self.stage.reader.scale


@dataclass(frozen=True, eq=False)
class Verdicts:
    """
    lists      one list a query, column ``place`` int64[N]: the grade's place on the scale
    item_ids   of the pairs
    parts      what is kept of them until they are written
    agreement  with people; None where ``why_not`` says why
    """

    judge: Judge
    parts: JudgedParts
    queries: Sequence[str]
    item_ids: Sequence[str]
    lists: ItemLists
    gains: dict[int, float]
    agreement: Agreement | None = None
    why_not: str = ""

    def __len__(self) -> int:
        return len(self.lists.item)

    @property
    def scale(self) -> Any:
        return self.judge.scale

    @property
    def num_empty(self) -> int:
        """Queries without a pair."""
        return int((self.lists.counts == 0).sum())

    def counts(self) -> dict[str, int]:
        """Grade -> pairs, the best first."""
        counts = np.bincount(self.lists["place"], minlength=len(self.scale)).tolist()
        return dict(zip(reversed(self.scale.names), reversed(counts), strict=True))

    def rows(self) -> list[tuple[str, str, int]]:
        """(query, item_id, grade) of each pair."""
        asked = [self.queries[q] for q in self.lists.owner]
        grade = [self.scale.grades[place] for place in self.lists["place"]]
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


def refuse_places(name: str, out: Path | None) -> None:
    """Before hours of judging: raises SettingError where its verdicts could not be kept under this name or in this file."""
    from aisle.data.shop import is_judgments_name

    if name == PEOPLES or not is_judgments_name(name):
        raise SettingError(
            f"the model's judgments cannot be named {name!r} ({PEOPLES!r} are people's); give another --name of letters, digits, "
            "dots, dashes and underscores, such as judge"
        )
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        why = "it is a folder" if out.is_dir() else f"there is no folder {out.absolute().parent}"
        raise SettingError(f"--out {out} cannot be written: {why}; name a file in a folder that is there")


def judged(shop: Shop, order: Order, report: Shown) -> Verdicts:
    """What the model says of the best items of each query, and of the pairs that people graded; what a run that was stopped had
    done of the same order is not done again.

    Raises DataError where there is no pair to judge.
    """
    from aisle.recipes.environment import open_env

    env, asked = open_env(shop, seed=order.seed, progress=report, log=report.say), order.queries
    human = shop.judgments() if PEOPLES in shop.judgment_names() else None
    parts = JudgedParts(Workplace.of(shop.work_folder, "judge", _depends(shop, order)))
    judge = _judge(shop, env, order, parts)
    pairs = _pairs(shop, env, order, human, report)
    lists = _graded(judge.stage, asked, pairs, parts, report)
    told, why_not = _compared(shop, env, judge, asked, lists, human)
    gains = dict(human.gains) if human is not None else {}
    return Verdicts(judge, parts, asked, env.engine.items.ids(lists.item), lists, gains, told, why_not)


def keep(shop: Shop, found: Verdicts, name: str, out: Path | None) -> None:
    """The pairs as judgments of this name, and as CSV.  Once they are there, what was kept on the way is gone."""
    import pyarrow as pa

    from aisle.core.atomic import write_file

    rows = found.rows()
    query, item_id, grade = (list(column) for column in zip(*rows, strict=True))
    table = pa.table({"query": query, "item_id": item_id, "grade": pa.array(grade, pa.int32())})
    shop.write_judgments(table, found.gains, name)
    if out is not None:
        write_file(out, lambda work: _write_csv(work, rows))
    found.parts.close()


def _write_csv(path: Path, rows: Sequence[tuple[str, str, int]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("query", "item_id", "grade"))
        writer.writerows(rows)


# -- who judges --------------------------------------------------------------------------------------------------------


def _depends(shop: Shop, order: Order) -> list[Any]:
    """What makes it the same work as one that was stopped: the order, and what a model would be fitted on."""
    view = shop.view()
    judged = [view.judgments(part).digest() for part in ("train", "validation")]
    order_values = {**asdict(order), "queries": list(order.queries), "settings": list(order.settings)}
    return [order_values, shop.generation, shop.pointer().get("funnel"), judged]


def _judge(shop: Shop, env: Env, order: Order, parts: JudgedParts) -> Judge:
    """Of the served funnel where it has the model as it is asked for, else fitted now."""
    from aisle import funnel as funnels
    from aisle.core import registry
    from aisle.funnel.plan import Plan
    from aisle.retrieval.bm25 import Bm25

    if order.model:
        _refuse_no_judge(order.model)
    served = shop.pointer().get("funnel")
    if served and not order.settings:
        for slot, fitted in funnels.load(shop, served, env).fitted.items():
            name = registry.name_of(fitted.method)
            if (name == order.model) if order.model else slot == "relevance":
                return Judge(_grading(fitted.stage, name), name, f"as served ({fitted.version})")
    if not order.model:
        raise SettingError(
            f"the funnel served by {shop.folder} judges nothing, or not with these settings; name a model, such as --model "
            "relevance.cross_encoder"
        )
    method = registry.build(order.model)
    for assignment in order.settings:
        method = method.with_setting(assignment)
    view = shop.view()
    plan = Plan(retrieval={"bm25": Bm25()}, relevance=method)
    stage = parts.model(method, env, lambda: funnels.fit(plan, view, env).fitted["relevance"].stage)
    learned = view.judgments("train")
    origin = f"fitted on {len(learned.lists.item)} graded pairs of {len(learned.query)} queries"
    return Judge(_grading(stage, order.model), order.model, origin)


def _refuse_no_judge(model: str) -> None:
    """Raises SettingError for what stands in another folder, with what might be meant."""
    from aisle.core import registry

    if registry.folder_of(model) == "relevance":
        return
    known = [name for name in registry.names() if registry.folder_of(name) == "relevance"]
    meant = f"relevance.{model}"
    hint = f"did you mean {meant!r}?" if meant in known else f"there are {', '.join(known)}"
    raise SettingError(f"{model!r} judges no pairs; {hint}")


def _grading(stage: Any, name: str) -> Any:
    if not (hasattr(stage, "chances") and hasattr(stage, "grades")):
        raise SettingError(f"{name} gives no grades; name a judge, such as relevance.cross_encoder or relevance.lref")
    return stage


# -- what is judged ----------------------------------------------------------------------------------------------------


def _pairs(shop: Shop, env: Env, order: Order, human: Judgments | None, report: Progress) -> ItemLists:
    """A list a query: what the plan finds, and what people graded."""
    from aisle import funnel as funnels
    from aisle.cli._console import plan_named
    from aisle.core.requests import Requests
    from aisle.recipes.environment import encode_items

    plan = plan_named(order.plan)
    for encoder in sorted(plan.encoders()):
        encode_items(env, shop, encoder, progress=report)
    found = funnels.fit(plan, shop.view(), env).ranked(Requests.make(order.queries), k=order.depth)
    pairs = found.only() if human is None else ItemLists.union([found.only(), _of_queries(human, order.queries, found)])
    if not len(pairs.item):
        raise DataError(
            f"the plan {order.plan!r} finds nothing for any of {len(order.queries)} queries, such as {order.queries[0][:60]!r}; "
            "see that the file holds a query a line, or name another --plan"
        )
    return pairs


def _of_queries(human: Judgments, asked: Sequence[str], like: ItemLists) -> ItemLists:
    """The pairs that people graded, one list for each of these queries."""
    place = {query: q for q, query in enumerate(human.query)}
    known = np.array([place.get(query, -1) for query in asked], np.int64)
    lists = human.lists.only().select(np.maximum(known, 0)) if len(human.query) else ItemLists.empty(len(asked), {})
    kept = lists.take(np.flatnonzero(known[lists.owner] >= 0))
    return ItemLists(kept.item, kept.splits, {}, like.generation)


def _graded(stage: Any, asked: Sequence[str], pairs: ItemLists, parts: JudgedParts, report: Progress) -> ItemLists:
    """The pairs with the place of each one's grade, some queries at a time."""
    places = []
    for start in range(0, len(asked), TOGETHER):
        report("judge", int(pairs.splits[start]), len(pairs.item))
        some = asked[start : start + TOGETHER]
        lists = pairs.select(np.arange(start, start + len(some)))
        places.append(parts.grades(stage, some, lists))
    report("judge", len(pairs.item), len(pairs.item))
    return pairs.with_columns(place=np.concatenate(places))


def _compared(
    shop: Shop, env: Env, judge: Judge, asked: Sequence[str], lists: ItemLists, human: Judgments | None
) -> tuple[Agreement | None, str]:
    """(how far the model agrees with people, or why that cannot be said and what would help)."""
    if human is None or not len(human.lists.item):
        return None, "people graded no pair of this shop; ingest some with 'aisle ingest judgments.csv --into SHOP'"
    view = shop.view()
    told = agreement(judge.scale, env.engine.items, asked, lists, human, set(view.judgments("train").query))
    if told is not None:
        return told, ""
    fresh = list(view.judgments("validation").query[:3])
    example = f"; ask such as {', '.join(map(repr, fresh))}" if fresh else "; let people grade more queries"
    return None, f"people graded none of these queries, or the model learned from what they graded{example}"
