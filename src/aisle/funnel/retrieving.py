"""From understood requests to candidates: every retriever's list, what a search lists, and one union with all scores.

Legend: Q requests, Qa those that a retriever answers, N rows, I items of the catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from aisle.core.errors import ContractError
from aisle.core.lists import Array, ItemLists, splits_of
from aisle.core.requests import Requests, RowMasks, Scene
from aisle.funnel.beside import HELPER, Errand
from aisle.funnel.paging import Listing
from aisle.funnel.stages import Stages, Way, num_rows

MANY_ROWS = 20_000
"""In a smaller catalogue everything is found sooner than handing it to another thread would take."""


def listed_and_candidates(way: Way, compiled: Requests, understood: Requests) -> tuple[Listing, ItemLists]:
    """What each request lists, before its filter, and every candidate for its first places."""
    asked = _with_free_ones(way.stages, understood)
    listing, found = _listed_and_found(way, compiled, asked)
    listing = listing.plus(_near(way.stages, understood, asked, found))
    mine = {name: lists.first(len(compiled)) for name, lists in found.items()}
    return listing, candidates(way, understood, mine)


def found_by_all(way: Way, requests: Requests, retrievers: Sequence[str]) -> dict[str, ItemLists]:
    """Retriever -> what it finds."""
    return {name: _found_by(way, name, requests) for name in retrievers}


def candidates(way: Way, requests: Requests, found: Mapping[str, ItemLists]) -> ItemLists:
    """Everything that was found, once, with what each retriever says of it."""
    union = ItemLists.union([_marked(name, lists) for name, lists in found.items()])
    if (requests.anchor >= 0).any():
        union = union.take(union.item != requests.anchor[union.owner])
    return _completed(way, requests, union)


def _with_free_ones(stages: Stages, requests: Requests) -> Requests:
    """The requests, and behind them every filtered search once more without its filter, in one batch.

    What a search lists does not depend on its filter, so that a filter takes a part of the list and never adds to it:
    then the count beside a facet's value is the number of products that choosing it shows.
    """
    filtered = _filtered_searches(requests)
    if not len(filtered):
        return requests
    both = requests.select(np.concatenate([np.arange(len(requests)), filtered]))
    unfiltered = replace(requests.select(filtered), filters=(None,) * len(filtered), allowed=None)
    mine, free = requests.masks(), stages.env.engine.compile(unfiltered).masks()
    # Rows that came since the requests were compiled are for the next ones.
    bits = np.concatenate([mine.bits, free.bits[:, : mine.bits.shape[1]]])
    masks = RowMasks(bits, np.concatenate([mine.which, len(mine.bits) + free.which]))
    return replace(both, filters=(*requests.filters, *unfiltered.filters), allowed=masks)


def _near(stages: Stages, requests: Requests, asked: Requests, found: Mapping[str, ItemLists]) -> list[Array]:
    """Q arrays int32: rows that each search lists beside those that its words match, the best ``depth.rank`` of each
    retriever without the request's filter."""
    free = np.arange(len(requests))
    free[_filtered_searches(requests)] = np.arange(len(requests), len(asked))
    out = []
    for q, anchor in zip(free.tolist(), requests.anchor.tolist(), strict=True):
        parts = [(lists.item, int(lists.splits[q]), int(lists.splits[q + 1])) for lists in found.values()]
        rows = np.concatenate([item[a : min(b, a + stages.plan.depth.rank)] for item, a, b in parts])
        out.append(rows[rows != anchor])
    return out


def _listed_and_found(way: Way, compiled: Requests, asked: Requests) -> tuple[Listing, dict[str, ItemLists]]:
    """What the words of the requests match, and what is found: by the first retriever here, by the others beside."""
    engine = way.stages.env.engine
    first, *others = way.stages.plan.retrieval
    later = way.beside()
    work = lambda: found_by_all(later, asked, others)  # noqa: E731
    is_much = bool(others) and engine.items.num_rows >= MANY_ROWS
    errand = HELPER.send(work) if is_much else Errand(work)
    listing = Listing.of_words(engine, compiled)
    found = found_by_all(way, asked, [first])
    found |= errand.result()
    way.trace.extend(later.trace)
    return listing, found


def _found_by(way: Way, name: str, requests: Requests) -> ItemLists:
    """What a retriever finds for the requests of its scenes; nothing for the others, or when it failed."""
    slot = f"retrieval.{name}"
    rows = way.stages.answered_by(name, requests)
    lists = None
    if len(rows) and way.stages.can_read(slot, requests):
        some = requests if len(rows) == len(requests) else requests.select(rows)
        lists = way.run(slot, requests, lambda: _checked(way.stages, slot, some), num_rows)
    return _no_rows(len(requests)) if lists is None else _spread(lists, rows, len(requests))


def _checked(stages: Stages, slot: str, requests: Requests) -> ItemLists:
    lists: ItemLists = stages[slot].retrieve(requests, stages.plan.depth.retrieve)
    stages.check_generation(slot, lists)
    if len(lists) != len(requests):
        raise ContractError(
            f"{slot} answered {len(lists)} lists to {len(requests)} requests; one list a request is due"
        )
    if not requests.masks().allows(lists.owner, lists.item).all():
        raise ContractError(
            f"{slot} returned a row that the request's filter or a tombstone excludes; use requests.masks()"
        )
    return lists


def _marked(name: str, lists: ItemLists) -> ItemLists:
    """A retriever's list with the columns that a union keeps apart."""
    columns = {
        f"score_{name}": lists["score"],
        f"found_{name}": np.ones(len(lists.item), bool),
        f"rank_{name}": lists.position.astype(np.int32),
    }
    return ItemLists(lists.item, lists.splits, columns, lists.generation)


def _completed(way: Way, requests: Requests, union: ItemLists) -> ItemLists:
    """Every retriever's score for every candidate, where the retriever can score given ones."""
    stages = way.stages
    if len(stages.plan.retrieval) == 1 or not len(union.item):
        return union
    for name in stages.plan.retrieval:
        slot, column = f"retrieval.{name}", f"score_{name}"
        rows = stages.answered_by(name, requests)
        if not len(rows) or not hasattr(stages[slot], "score") or not stages.can_read(slot, requests):
            continue
        gaps = np.isnan(union[column])
        if len(rows) < len(requests):
            gaps &= np.isin(union.owner, rows)
        if not gaps.any():
            continue
        part = union.only().take(gaps)
        work = lambda s=stages[slot], p=part: s.score(requests, p)["score"]  # noqa: E731
        scores = way.run(f"{slot}.score", requests, work)
        if scores is not None:
            filled = union[column].copy()
            filled[gaps] = scores
            union = union.with_columns(**{column: filled})
    return union


def _filtered_searches(requests: Requests) -> Array:
    """int64: the searches that have a filter."""
    return np.flatnonzero([f is not None for f in requests.filters] & (requests.scene == Scene.SEARCH))


def _no_rows(q: int) -> ItemLists:
    return ItemLists.empty(q, {"score": np.zeros(0, np.float32)})


def _spread(lists: ItemLists, rows: Array, q: int) -> ItemLists:
    """The lists of some requests as lists of all Q, empty for the others."""
    if len(rows) == q:
        return lists
    counts = np.zeros(q, np.int64)
    counts[rows] = lists.counts
    return ItemLists(lists.item, splits_of(counts), lists.columns, lists.generation)
