"""What every method must do, one function a rule.  A check raises AssertionError with a sentence that says what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from aisle.core import state
from aisle.core.lists import Array, ItemLists
from aisle.core.requests import Requests
from aisle.core.roles import ROLE_OF
from aisle.testing.case import Case, cheap_filter, fitted_case

TOLERANCE = 1e-5


def plays_its_role(case: Case) -> None:
    """The fitted stage has the methods of its folder's role, and ``state()``."""
    assert isinstance(case.stage, ROLE_OF[case.role]), f"{case.name} does not play the role of {case.role}"
    assert hasattr(case.stage, "state"), f"{case.name} has no state(); it could not be saved"


def settings_round_trip(case: Case) -> None:
    """The settings are JSON and come back equal."""
    again = type(case.method)(**case.method.model_dump(mode="json"))
    assert again == case.method, f"{case.name} loses settings on the way through JSON"


def batch_equals_alone(case: Case) -> None:
    """A request is answered the same alone and in a batch."""
    requests = case.requests()
    candidates = None if case.role in ("retrieval", "understanding") else case.candidates(requests)
    together = case.answer(requests, candidates)
    for q in range(len(requests)):
        alone_candidates = None if candidates is None else candidates.list_of(q)
        alone = case.answer(requests.select(np.array([q])), alone_candidates)
        _assert_same(alone, together.list_of(q), f"{case.name} answers request {q} otherwise alone than in a batch")


def order_of_requests_does_not_matter(case: Case) -> None:
    """Reversed requests give reversed answers."""
    requests = case.requests()
    back = np.arange(len(requests))[::-1]
    candidates = None if case.role in ("retrieval", "understanding") else case.candidates(requests)
    forward = case.answer(requests, candidates)
    reverse = case.answer(requests.select(back), None if candidates is None else candidates.select(back))
    _assert_same(reverse.select(back), forward, f"{case.name} depends on the order of the requests")


def inputs_untouched(case: Case) -> None:
    """No input array is written to (they are made read-only) and none changes."""
    requests = case.requests()
    candidates = (
        ItemLists.empty(len(requests)) if case.role in ("retrieval", "understanding") else case.candidates(requests)
    )
    arrays = [requests.user, requests.seed, requests.history.item, requests.masks().bits, *requests.columns.values()]
    arrays += [candidates.item, candidates.splits, *candidates.columns.values()]
    frozen = [np.array(a) for a in arrays]
    for array in arrays:
        array.setflags(write=False)
    case.answer(requests, None if case.role in ("retrieval", "understanding") else candidates)
    for before, after in zip(frozen, arrays, strict=True):
        assert np.array_equal(before, after, equal_nan=before.dtype.kind == "f"), f"{case.name} changed an input"


def same_seed_same_answer(case: Case) -> None:
    """Asked twice, the same answer twice; fitted twice with one seed, the same stage."""
    requests = case.requests()
    first = case.answer(requests)
    _assert_same(case.answer(requests), first, f"{case.name} answers the same request otherwise the second time")
    again = replace(case, funnel=case.funnel.plan.fit(case.view, case.env))
    _assert_same(again.answer(requests), first, f"{case.name} fitted twice with one seed answers differently")


def saved_stage_answers_the_same(case: Case) -> None:
    """Saved and loaded, byte for byte the same answer; no pickle on disk."""
    requests = case.requests()
    with TemporaryDirectory() as folder:
        home = Path(folder) / "stage"
        state.save(case.method, case.stage, home, generation=case.env.engine.generation)
        method, stage = state.load(home, case.env, case.given(case.method))
        assert method == case.method, f"{case.name} comes back with other settings"
        for path in home.iterdir():
            assert not path.read_bytes().startswith(b"\x80\x04"), f"{case.name} pickled {path.name}"
        _assert_same(
            case.answer(requests, stage=stage),
            case.answer(requests),
            f"{case.name} answers otherwise once saved and loaded",
        )


def filters_respected(case: Case) -> None:
    """No excluded row, no tombstone, comes out."""
    grown = case.grown()
    requests = grown.requests(filters=cheap_filter())
    lists = grown.answer(requests)
    if case.role != "understanding":
        assert requests.masks().allows(lists.owner, lists.item).all(), (
            f"{case.name} returned a row that the filter excludes"
        )


def answers_for_new_items(case: Case) -> None:
    """A shop that grew by a tenth after the fit, with a tombstone: finite answers for old and new rows alike."""
    grown = case.grown()
    requests = grown.requests()
    num_rows = grown.env.engine.items.num_rows
    if case.role in ("retrieval", "understanding"):
        lists = grown.answer(requests)
    else:
        lists = grown.answer(requests, _with_new_rows(grown.candidates(requests), case.view.items.num_rows, num_rows))
    _assert_well_formed(case, lists, num_rows)


def unknown_users_and_empty_requests(case: Case) -> None:
    """A stranger without history who typed nothing gets a well-formed answer."""
    requests = case.understood(case.env.engine.compile(Requests.make(["", "no such thing anywhere"], seed=3)))
    _assert_well_formed(case, case.answer(requests), case.env.engine.items.num_rows)


def no_candidates_no_answer(case: Case) -> None:
    """Empty lists in, empty lists out."""
    if case.role in ("retrieval", "understanding"):
        return
    requests = case.requests()
    some = case.candidates(requests)
    empty = some.take(np.zeros(0, np.int64))
    assert len(case.answer(requests, empty).item) == 0, f"{case.name} made rows out of nothing"
    none = requests.select(np.zeros(0, np.int64))
    lists = case.answer(none, some.select(np.zeros(0, np.int64)))
    assert len(lists) == 0, f"{case.name} answered {len(lists)} requests of none"


def well_formed(case: Case) -> None:
    """Rows distinct and within the catalogue, columns declared, of stable dtype, finite; at most k rows, best first."""
    requests = case.requests()
    lists = case.answer(requests)
    _assert_well_formed(case, lists, case.env.engine.items.num_rows)
    if case.role == "retrieval":
        assert lists.counts.max(initial=0) <= 10, f"{case.name} returned more than k rows"
        assert lists["score"].dtype == np.float32, (
            f"{case.name} scores in {lists['score'].dtype}; float32 is the contract"
        )
        rising = (np.diff(lists["score"]) > TOLERANCE) & (np.diff(lists.owner) == 0)
        assert not rising.any(), f"{case.name} does not return its best row first"
    if case.role in ("relevance", "ranking"):
        assert case.method.writes, f"{case.name} declares no column in writes"
        assert case.method.writes <= set(lists.columns), (
            f"{case.name} did not write {case.method.writes - set(lists.columns)}"
        )


def scorers_permute_with_their_candidates(case: Case) -> None:
    """A scorer gives a row the same value wherever it stands in its list."""
    if case.role not in ("relevance", "ranking"):
        return
    requests = case.requests()
    lists = case.candidates(requests)
    shuffled = np.lexsort((np.random.default_rng(0).random(len(lists.item)), lists.owner))
    plain, moved = case.answer(requests, lists), case.answer(requests, lists.take(shuffled))
    for name, column in case.written(plain).items():
        _assert_close(moved[name], column[shuffled], f"{case.name} gives {name!r} by place, not by item")


def scores_given_candidates_alike(case: Case) -> None:
    """A retriever that can score given candidates gives what its own search gave."""
    if case.role != "retrieval" or not hasattr(case.stage, "score"):
        return
    requests = case.requests()
    lists = case.answer(requests)
    again = case.stage.score(requests, lists.only())["score"]
    np.testing.assert_allclose(
        again, lists["score"], rtol=1e-4, atol=1e-4, err_msg=f"{case.name}: score() differs from retrieve()"
    )


def explains_every_row(case: Case) -> None:
    """A stage that explains gives one list of reasons a shown row, in words."""
    if not hasattr(case.stage, "explain"):
        return
    requests = case.requests()
    page = case.answer(requests)
    reasons = case.stage.explain(requests, page)
    assert len(reasons) == len(page.item), f"{case.name} explained {len(reasons)} of {len(page.item)} rows"
    assert all(r.words for row in reasons for r in row), f"{case.name} gave a reason without words"


CHECKS: tuple[Callable[[Case], None], ...] = (
    plays_its_role,
    settings_round_trip,
    well_formed,
    batch_equals_alone,
    order_of_requests_does_not_matter,
    inputs_untouched,
    same_seed_same_answer,
    saved_stage_answers_the_same,
    filters_respected,
    answers_for_new_items,
    unknown_users_and_empty_requests,
    no_candidates_no_answer,
    scorers_permute_with_their_candidates,
    scores_given_candidates_alike,
    explains_every_row,
)


def run_all(name: str) -> None:
    """Every check on the method called ``name``."""
    case = fitted_case(name)
    for check in CHECKS:
        check(case)


def _assert_same(actual: ItemLists, expected: ItemLists, what: str) -> None:
    assert np.array_equal(actual.splits, expected.splits), f"{what}: lists of other lengths"
    assert np.array_equal(actual.item, expected.item), f"{what}: other items"
    for name, column in expected.columns.items():
        _assert_close(actual[name], column, f"{what}: other values of {name!r}")


def _assert_close(actual: Array, expected: Array, what: str) -> None:
    if expected.dtype.kind == "f":
        np.testing.assert_allclose(actual, expected, rtol=TOLERANCE, atol=TOLERANCE, err_msg=what)
    else:
        assert np.array_equal(actual, expected), what


def _assert_well_formed(case: Case, lists: ItemLists, num_rows: int) -> None:
    if case.role != "understanding":
        assert ((lists.item >= 0) & (lists.item < num_rows)).all(), (
            f"{case.name} returned a row that is not in the catalogue"
        )
        assert len(np.unique(lists.keys)) == len(lists.item), f"{case.name} returned a row twice"
    for name, column in case.written(lists).items():
        assert column.dtype.kind in "fiub", f"{case.name} wrote {name!r} in {column.dtype}; columns are numeric"
        if column.dtype.kind == "f":
            assert np.isfinite(column).all(), f"{case.name} wrote a {name!r} that is not finite"


def _with_new_rows(lists: ItemLists, first: int, stop: int) -> ItemLists:
    """Every list with the rows first..stop added, their columns missing."""
    new = np.tile(np.arange(first, stop, dtype=np.int32), len(lists))
    splits = np.arange(len(lists) + 1) * (stop - first)
    columns: dict[str, Any] = {
        n: np.full((len(new), *c.shape[1:]), _neutral(c.dtype), c.dtype) for n, c in lists.columns.items()
    }
    both = ItemLists.concat([lists, ItemLists(new, splits, columns, lists.generation)])
    order = np.lexsort((np.arange(len(both.item)), both.owner % len(lists)))
    counts = np.bincount(both.owner % len(lists), minlength=len(lists))
    merged = ItemLists(
        both.item[order], np.concatenate([[0], np.cumsum(counts)]), {n: c[order] for n, c in both.columns.items()}
    )
    _, once = np.unique(merged.keys, return_index=True)
    return merged.take(np.sort(once))


def _neutral(dtype: np.dtype[Any]) -> Any:
    return -1 if dtype.kind == "i" else 0
