"""From a question as it came over the wire to its answer: one code path for the API and the HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic, perf_counter, time
from typing import Any
from uuid import uuid4

import numpy as np

from aisle.core.errors import DataError
from aisle.core.filters import Sort, parse_filter
from aisle.core.lists import ItemLists
from aisle.core.requests import Requests, Scene, hashed
from aisle.funnel.page import Cursor, Page
from aisle.serve import words
from aisle.serve.active import Active
from aisle.serve.cards import cards, row_of
from aisle.serve.models import ExplainOut, ReasonOut, SearchIn, SearchOut, StageOut

SEED_MASK = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer, the page it was made from, and the requests that asked for it."""

    out: SearchOut
    page: Page
    requests: Requests


def requests_of(active: Active, asked: SearchIn, anchor: int | None = None) -> Requests:
    """A batch of one.  Raises SettingError for an unreadable filter, DataError for a foreign cursor."""
    scene = Scene.SIMILAR if anchor is not None else Scene[asked.scene.upper()] if asked.scene else None
    if scene is None:
        scene = Scene.SEARCH if asked.q.strip() else Scene.FEED
    cursor = Cursor.decode(asked.cursor) if asked.cursor else None
    user, now_s = hashed(asked.user), time()
    seed = cursor.seed if cursor else hashed(asked.session or asked.user) & SEED_MASK
    return Requests.make(
        [typed(asked) if anchor is None else ""],
        user=np.array([user]),
        session=np.array([hashed(asked.session)]),
        scene=scene,
        anchor=None if anchor is None else np.array([anchor], np.int32),
        time_s=now_s,
        seed=seed,
        filters=[parse_filter(asked.filter)],
        sort=[Sort.parse(asked.sort)],
        offset=cursor.offset if cursor else asked.offset,
        limit=asked.limit,
        locale=asked.locale,
        history=active.history(user, now_s),
        deadline_s=float("inf") if asked.deadline_ms is None else monotonic() + asked.deadline_ms / 1e3,
    )


def typed(asked: SearchIn) -> str:
    """The query; ``wireless ket*`` when its last word is still being typed."""
    q = asked.q.strip()
    return f"{q}*" if asked.prefix and q[-1:].isalnum() and not asked.q.endswith(" ") else q


def answer(active: Active, asked: SearchIn, *, similar_to: str | None = None, facets: bool = True) -> Answer:
    """Serve one question with the active funnel.

    Raises AisleError for what a caller can mend: filter, sort, cursor, item id.
    """
    start = perf_counter()
    items = active.funnel.env.engine.items
    anchor = None if similar_to is None else row_of(items, similar_to)
    requests = requests_of(active, asked, anchor)
    if len(asked.cursor) and requests.offset[0] > (1 << 31):
        raise DataError("the cursor points beyond any list; ask for the first page again")
    page = active.funnel.serve(
        requests, facets=None if facets and anchor is None else (), cursors=[asked.cursor] if asked.cursor else None
    )
    return Answer(_out(active, page, requests, (perf_counter() - start) * 1e3), page, requests)


def _out(active: Active, page: Page, requests: Requests, latency_ms: float) -> SearchOut:
    return SearchOut(
        items=cards(active.funnel.env.engine.items, page.lists.item),
        total=int(page.total[0]),
        total_is_exact=bool(page.total_is_exact[0]),
        facets=plain(page.facets[0]),
        suggestion=page.suggestion[0],
        suggestion_confidence=_confidence(active, page, requests),
        redirect=page.redirect[0],
        applied_rules=list(page.applied_rules[0]),
        coverage=page.coverage,
        cursor=page.cursor[0],
        trace=[StageOut(stage=t.stage, ms=round(t.latency_ms, 3), rows=t.rows, skipped=t.skipped) for t in page.trace],
        latency_ms=round(latency_ms, 3),
        plan=active.plan_name,
        generation=active.funnel.env.engine.generation,
        request_id=uuid4().hex,
    )


def _confidence(active: Active, page: Page, requests: Requests) -> float | None:
    found = active.funnel.env.engine.text.suggestion(requests.query[0]) if page.suggestion[0] else None
    return None if found is None else round(found[1], 3)


def explain(active: Active, asked: SearchIn, item_id: str, *, similar_to: str | None = None) -> ExplainOut:
    """Why an item stands where it does in the answer to a question.  Raises UnknownName for an item the shop lacks."""
    items = active.funnel.env.engine.items
    row = row_of(items, item_id)
    depth = max(active.funnel.plan.depth.rank, 1)
    first = answer(
        active,
        asked.model_copy(update={"offset": 0, "limit": depth, "cursor": ""}),
        similar_to=similar_to,
        facets=False,
    )
    at = np.flatnonzero(first.page.lists.item == row)
    position = int(at[0]) if len(at) else None
    one = first.page.lists.take(at[:1]) if len(at) else ItemLists(np.array([row], np.int32), np.array([0, 1]))
    reasons = words.plain(active.funnel.explain(first.requests, one)[0])
    plan, scene = active.funnel.plan, int(first.requests.scene[0])
    silent = [f"_{name}" for name in plan.retrieval if scene not in plan.answers_in(name)]
    columns = {
        name: _number(column[0])
        for name, column in one.columns.items()
        if np.ndim(column[0]) == 0 and not name.endswith(tuple(silent))
    }
    sorted_by = first.requests.sort[0]
    text = words.summary(position, columns, asked.q.strip())
    if sorted_by is not None:
        text = f"The list is sorted by {words.column_name(sorted_by.field)}. {text}"
    return ExplainOut(
        item=cards(items, np.array([row]))[0],
        query=asked.q.strip(),
        position=position,
        summary=text,
        reasons=[ReasonOut(stage=r.stage, words=r.words, weight=r.weight) for r in reasons],
        columns=columns,
        plan=active.plan_name,
        generation=active.funnel.env.engine.generation,
    )


def plain(value: Any) -> Any:
    """The same with numpy numbers as Python's, and what is not finite as None."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value


def _number(value: Any) -> float | None:
    number = float(value)
    return number if np.isfinite(number) else None
