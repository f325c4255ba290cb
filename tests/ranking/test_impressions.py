"""Pages of the log with their labels, and the rows added to them."""

from __future__ import annotations

import numpy as np
import pytest

from aisle.core.errors import DataError, SettingError
from aisle.core.lists import ItemLists
from aisle.core.method import NOTHING, Given
from aisle.core.requests import Action, hashed
from aisle.core.shop import Events
from aisle.data.items import ItemTable
from aisle.data.view import View
from aisle.ranking._impressions import impressions
from aisle.ranking._negatives import with_negatives
from aisle.recipes.environment import memory_env
from aisle.simulate.known import two_kinds, two_tastes, user_of

ITEMS = ItemTable.from_table(two_kinds(10))


def log(*rows: tuple) -> View:
    """Events of (time, user, session, request, query, item, position, action)."""
    names = ("time_s", "user", "session", "request", "query", "item", "position", "action")
    kinds = (np.float64, np.int64, np.int64, np.int64, np.int32, np.int32, np.int32, np.int8)
    columns = {
        n: np.array([row[k] for row in rows], kind) for k, (n, kind) in enumerate(zip(names, kinds, strict=True))
    }
    size = len(rows)
    columns |= {"scene": (columns["query"] < 0).astype(np.int8), "quantity": np.full(size, -1, np.int32)}
    columns |= {"price_cents": np.full(size, 700, np.int64), "propensity": np.ones(size)}
    return View(ITEMS, Events(columns, ("lamp", "ball")))


SEEN, CLICK, ORDER, RETURN = Action.IMPRESSION, Action.CLICK, Action.ORDER, Action.RETURN
U, V = hashed("u"), hashed("v")


def test_pages_their_order_and_their_labels():
    view = log(
        (10.0, U, 1, 100, 0, 3, 1, SEEN),
        (10.0, U, 1, 100, 0, 2, 0, SEEN),
        (10.0, U, 1, 100, 0, 2, 5, SEEN),  # the same item again: its first place counts
        (11.0, U, 1, 100, 0, 3, 1, CLICK),
        (12.0, V, 2, 50, -1, 3, 0, SEEN),
        (13.0, V, 2, 50, -1, 4, 1, SEEN),
        (14.0, V, 2, 50, -1, 3, 0, ORDER),
        (15.0, U, 1, 200, 1, 3, 0, CLICK),  # a click on a page that was never noted
    )
    pages = impressions(view, ("click", "order"))
    assert pages.requests.query == ("lamp", "")
    assert pages.requests.user.tolist() == [U, V]
    assert pages.requests.scene.tolist() == [0, 1]
    assert [pages.lists.list_of(q).item.tolist() for q in (0, 1)] == [[2, 3], [3, 4]]
    assert pages.lists["position"].tolist() == [0, 1, 0, 1]
    assert pages.lists["label"].tolist() == [[0, 0], [1, 0], [0, 1], [0, 0]]


def test_the_past_of_a_page_ends_before_it():
    view = log(
        (10.0, U, 1, 100, 0, 2, 0, SEEN),
        (11.0, U, 1, 100, 0, 2, 0, CLICK),
        (11.0, U, 1, 101, 0, 4, 0, SEEN),
        (12.0, U, 1, 101, 0, 4, 0, CLICK),
    )
    history = impressions(view, ("click",)).requests.history
    assert history.counts.tolist() == [0, 0], "a click at the very moment of the page is no past of it"


def test_without_request_ids_a_session_is_a_page():
    view = log(
        (10.0, U, 7, -1, 0, 2, 0, SEEN), (10.0, U, 7, -1, 0, 4, 1, SEEN), (11.0, U, 7, -1, 0, 4, 1, CLICK),
        (12.0, U, -1, -1, 0, 5, 0, SEEN),
    )  # fmt: skip
    pages = impressions(view, ("click",))
    assert pages.lists.item.tolist() == [2, 4]
    assert pages.lists["label"].ravel().tolist() == [0, 1]


def test_a_return_belongs_to_the_page_of_its_order():
    view = log(
        (10.0, U, 1, 100, 0, 2, 0, SEEN), (11.0, U, 1, 100, 0, 2, 0, ORDER), (12.0, U, 1, 101, 0, 2, 0, SEEN),
        (20.0, U, 3, 300, 0, 2, 0, SEEN), (21.0, U, 3, 300, 0, 2, 0, ORDER),
        (22.0, V, 4, 400, 0, 2, 0, SEEN), (23.0, V, 4, 400, 0, 2, 0, ORDER),
        (30.0, U, 1, -1, -1, 2, -1, RETURN),   # its session names the page
        (31.0, V, -1, -1, -1, 2, -1, RETURN),  # the user's last order of the item does
        (32.0, U, -1, -1, -1, 4, -1, RETURN),  # of an order that was never noted
        (33.0, -1, -1, -1, -1, 2, -1, RETURN),
    )  # fmt: skip
    pages = impressions(view, ("order", "return"))
    assert pages.lists["label"].tolist() == [[1, 1], [0, 0], [1, 0], [1, 1]]
    without_orders = log((10.0, U, 1, 100, 0, 2, 0, SEEN), (11.0, U, 1, -1, -1, 2, -1, RETURN))
    assert impressions(without_orders, ("return",)).lists["label"].sum() == 0


def test_what_comes_later_changes_nothing():
    whole = two_tastes()
    cut_s = float(np.median(whole.events["time_s"]))
    events = whole.events
    later = np.flatnonzero(events["time_s"] >= cut_s)
    shuffled = dict(events.columns)
    shuffled["item"] = events["item"].copy()
    shuffled["item"][later] = np.random.default_rng(0).permutation(events["item"][later])
    two = [
        impressions(View(whole.items, log, until_s=cut_s), ("click",))
        for log in (events, Events(shuffled, events.queries))
    ]
    assert len(two[0].lists.item) > 100
    for name in ("position", "price_cents", "label"):
        assert two[0].lists[name].tobytes() == two[1].lists[name].tobytes()
    assert two[0].requests.history.item.tobytes() == two[1].requests.history.item.tobytes()


def test_a_log_that_shows_nothing_and_unknown_tasks_are_refused():
    with pytest.raises(DataError, match="log impressions with their request_id"):
        impressions(log((10.0, U, 1, 100, 0, 2, 0, CLICK)), ("click",))
    with pytest.raises(SettingError, match="did you mean 'click'"):
        impressions(two_tastes(), ("clik",))
    with pytest.raises(SettingError, match="no action to learn"):
        impressions(two_tastes(), ("impression",))


def test_negatives_are_what_the_plan_finds_and_anything_else():
    view = two_tastes()
    env = memory_env(view.items)
    pages = impressions(view, ("click",))

    def candidates(requests, folds):
        """Only even rows are ever found."""
        rows = np.arange(0, 40, 2, dtype=np.int32)
        return ItemLists(np.tile(rows, len(requests)), np.arange(len(requests) + 1) * len(rows))

    pages = pages.select(np.arange(20))
    pages = type(pages)(pages.requests, pages.lists.take(pages.lists.position < 5), pages.tasks)
    more = with_negatives(pages, 6, env, Given(candidates=candidates))
    assert (more.lists.counts > pages.lists.counts).all()
    assert (more.lists.counts <= 11).all()
    found = more.lists.find(pages.lists)
    assert (found >= 0).all()
    for name in ("position", "price_cents", "label"):
        np.testing.assert_array_equal(more.lists[name][found], pages.lists[name])
    added = np.setdiff1d(np.arange(len(more.lists.item)), found)
    assert more.lists["label"][added].sum() == 0
    assert (more.lists["position"][added] < 5).all()
    assert len(np.unique(more.lists.keys)) == len(more.lists.item)
    searched = np.array([bool(q) for q in pages.requests.query])[more.lists.owner[added]]
    even = more.lists.item[added] % 2 == 0
    assert even[searched].mean() > even[~searched].mean() + 0.1
    again = with_negatives(pages, 6, env, Given(candidates=candidates))
    assert again.lists.item.tobytes() == more.lists.item.tobytes()
    assert with_negatives(pages, 0, env, NOTHING) is pages


def test_a_user_of_the_planted_shop_is_found():
    pages = impressions(two_tastes(), ("click",))
    mine = np.flatnonzero(pages.requests.user == user_of(3))
    assert len(mine) == 2
    own = pages.lists.select(mine)
    np.testing.assert_array_equal(own["label"][:, 0] > 0, own.item % 2 == 1)
