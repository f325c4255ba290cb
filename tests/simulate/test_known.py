"""The planted-answer shop: its log and judgments say what its docstring says."""

from __future__ import annotations

import numpy as np

from aisle.core.requests import Action, hashed
from aisle.data.items import ItemTable
from aisle.simulate.known import grown, two_kinds, two_tastes, user_of


def test_users_click_their_own_kind_and_never_see_their_own_row() -> None:
    view = two_tastes(users=12, items=20, seed=3)
    user = {user_of(u): u for u in range(12)}
    who = np.array([user[int(h)] for h in view.events["user"]])
    item, clicked = view.events["item"], view.events["action"] == Action.CLICK
    assert (who[clicked] % 2 == item[clicked] % 2).all()
    assert (who != item).all()
    assert clicked.sum() == sum(i % 2 == u % 2 and i != u for u in range(12) for i in range(20))


def test_every_click_follows_an_impression_of_its_page() -> None:
    events = two_tastes(users=6, items=12).events
    key = list(zip(events["request"].tolist(), events["item"].tolist(), strict=True))
    shown: set[tuple[int, int]] = set()
    for pair, action in zip(key, events["action"], strict=True):
        assert action == Action.IMPRESSION or pair in shown
        shown.add(pair)
    assert (np.diff(events["time_s"]) >= 0).all()


def test_neighbours_by_clicks_find_the_held_out_pair() -> None:
    view = two_tastes()
    clicked = view.events["action"] == Action.CLICK
    known = {hashed(f"u{u}"): u for u in range(40)}
    clicks_UI = np.zeros((40, 40))
    clicks_UI[[known[int(h)] for h in view.events["user"][clicked]], view.events["item"][clicked]] = 1
    score_UI = clicks_UI @ (clicks_UI.T @ clicks_UI)
    for u in range(40):
        assert score_UI[u, u] > score_UI[u, (u + 1) % 2 :: 2].max()


def test_judgments_name_kinds_that_the_titles_show() -> None:
    view = two_tastes()
    titles = view.items.text("title")
    for part in ("train", "validation"):
        judged = view.judgments(part)
        assert len(judged) >= 2
        for q, query in enumerate(judged.query):
            one = judged.lists.list_of(q)
            best = one.item[one["grade"] == 3]
            assert len(best)
            assert all(all(word in titles[row] for word in query.split()) for row in best)


def test_the_same_seed_gives_the_same_shop() -> None:
    assert two_kinds(30, 5).equals(two_kinds(30, 5))
    assert not two_kinds(30, 5).equals(two_kinds(30, 6))


def test_grown_items_have_new_ids_also_the_second_time() -> None:
    table = two_kinds(40)
    more = grown(table, 0.1)
    assert more.num_rows == 4
    assert more.schema.equals(table.schema)
    once = ItemTable.from_table(table).upserted(more)
    again = once.upserted(grown(once.table, 0.1))
    assert again.num_rows == 40 + 4 + 4
    assert grown(two_kinds(3), 0.1).num_rows == 1
