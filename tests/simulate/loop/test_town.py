"""The closed loop: what shoppers do with pages, by truth; each premise shows, and is gone where it is null."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aisle.core.errors import SettingError
from aisle.simulate.loop.policies import PAGE, LexicalPolicy, UniformPolicy
from aisle.simulate.loop.town import Town
from aisle.simulate.shoppers.memory import KEPT, Memory
from aisle.simulate.shoppers.visits import Pages, Party
from aisle.simulate.world import World

NULL = {"substitution": 0.0, "variety": 0.0, "fatigue": 0.0, "picture": 0.0, "together": 0.0}


@pytest.fixture(scope="module")
def world() -> World:
    return World.make(800, 2)


@pytest.fixture(scope="module")
def town(world: World) -> Town:
    return Town(world, users=500)


def first(town: Town, visits: int = 600, day: int = 0) -> Party:
    return next(iter(town.fork().arrivals(day, visits)))


def lexical(world: World, party: Party) -> Pages:
    return LexicalPolicy(world)(party.visits, np.random.default_rng(0))


def with_knobs(town: Town, **knobs: float) -> Town:
    """The same world but for these knobs of behaviour; its catalogue stays."""
    other = Town(replace(town.world, knobs=replace(town.world.knobs, **knobs)), users=500)
    first(other)  # the day's queries
    return other


def click_of(town: Town, party: Party, pages: Pages) -> np.ndarray:
    return town.chances(party, pages).click


def test_acts_happen_as_often_as_their_chances_say(town: Town, world: World) -> None:
    for model in ("position", "cascade", "dependent"):
        town.behaviour.model = model
        party = first(town, 4000)
        pages = lexical(world, party)
        chances, acts = town.chances(party, pages), town.behaviour.acts(party.minds, pages.item)
        for chance, act in ((chances.click, acts.click), (chances.bought, acts.order)):
            error = np.sqrt((chance * (1 - chance)).sum())
            assert abs(act.sum() - chance.sum()) < 4 * error
    town.behaviour.model = "position"


def test_feedback_is_a_function_of_visit_and_page(town: Town, world: World) -> None:
    party = first(town)
    pages = lexical(world, party)
    one, _ = town.fork().step(party, pages)
    rows = np.arange(len(party))[::-3]
    some, _ = town.fork().step(party.select(rows), Pages(pages.item[rows], pages.propensity[rows]))
    assert np.array_equal(one.click[rows], some.click)
    assert np.array_equal(one.leaves[rows], some.leaves)
    assert (one.order <= one.cart).all()
    assert (one.cart <= one.click).all()


def test_a_session_goes_on_with_what_was_shown_and_clicked_before(town: Town, world: World) -> None:
    town = town.fork()
    party = first(town, 3000)
    pages = lexical(world, party)
    feedback, following = town.step(party, pages)
    assert len(following) == (~feedback.leaves).sum() > 300
    staying = np.flatnonzero(~feedback.leaves)
    assert np.array_equal(following.visits.session, party.visits.session[staying])
    assert (following.visits.step == 1).all()
    assert (following.visits.time_s > party.visits.time_s[staying] + 75).all()
    more = following.visits.offset == PAGE
    assert 0.3 < more.mean() < 0.8
    assert np.array_equal(following.visits.text[more], party.visits.text[staying][more])
    assert np.array_equal(following.minds.seen[:, :PAGE], pages.item[staying])
    clicked = feedback.click[staying].any(1)
    mine = pages.item[staying] == following.visits.last_item[:, None]
    assert (mine & feedback.click[staying]).any(1)[clicked].all()


def test_a_fork_goes_its_own_way(town: Town, world: World) -> None:
    here, there = town.fork(), town.fork()
    party = first(here)
    there.step(party, lexical(world, party))
    assert (here.memory.last_item == -1).all()
    assert (there.memory.last_item >= 0).any()


def test_substitutes_take_from_each_other(town: Town) -> None:
    party = first(town)
    rows = np.flatnonzero(town.appeal.leaf == town.appeal.leaf[0])[:PAGE]
    alone = Pages(
        np.tile(np.where(np.arange(PAGE) == 0, rows[0], -1), (len(party), 1)).astype(np.int32),
        np.ones((len(party), PAGE)),
    )
    among = Pages(np.tile(rows, (len(party), 1)).astype(np.int32), np.ones((len(party), PAGE)))
    for knob, falls in ((1.0, True), (0.0, False)):
        other = with_knobs(town, **{**NULL, "substitution": knob})
        ratio = click_of(other, party, among)[:, 0].sum() / click_of(other, party, alone)[:, 0].sum()
        assert (ratio < 0.9) == falls
        assert falls or ratio == pytest.approx(1)


def test_a_mixture_draws_some_and_puts_off_others(town: Town) -> None:
    party = first(town)
    mixed = np.unique(town.appeal.leaf, return_index=True)[1][:PAGE].astype(np.int32)
    pages = Pages(np.tile(mixed, (len(party), 1)), np.ones((len(party), PAGE)))
    ratio = click_of(with_knobs(town, **{**NULL, "variety": 1.0}), party, pages).sum(1)
    ratio = ratio / click_of(with_knobs(town, **NULL), party, pages).sum(1)
    likes = town.shoppers.variety[party.minds.user]
    assert ratio[likes > 1].mean() > 1.1 > 1 > ratio[likes < -1].mean()
    assert ratio[~party.minds.buying].mean() > ratio[party.minds.buying].mean() + 0.1


def test_what_was_shown_before_loses_and_what_goes_with_the_last_click_gains(town: Town, world: World) -> None:
    party = first(town)
    pages = lexical(world, party)
    seen = replace(party.minds, seen=pages.item)
    clicked = replace(party.minds, clicked=np.full(len(party), 7, np.int32))
    goes_with = town.appeal.together(np.full(pages.item.size, 7), pages.item.ravel()).reshape(pages.item.shape) > 0.2
    assert goes_with.any()
    for knob in (0.0, 1.0):
        other = with_knobs(town, **{**NULL, "fatigue": knob, "together": knob})
        plain = click_of(other, party, pages)
        tired = click_of(other, Party(party.visits, seen), pages)
        keen = click_of(other, Party(party.visits, clicked), pages)
        assert tired.sum() == pytest.approx(plain.sum()) if knob == 0 else tired.sum() < 0.5 * plain.sum()
        gain = keen[goes_with].sum() / plain[goes_with].sum()
        assert gain == pytest.approx(1) if knob == 0 else gain > 1.2


def test_pictures_and_tastes_count(town: Town, world: World) -> None:
    party = first(town, 2000)
    pages = UniformPolicy(world)(party.visits, np.random.default_rng(0))
    nice = town.appeal.picture[pages.item] > 0.3
    plain, with_picture = (click_of(with_knobs(town, **{**NULL, "picture": p}), party, pages) for p in (0.0, 1.0))
    assert with_picture[nice].sum() > 1.15 * plain[nice].sum()
    suits = town.behaviour.taste(party.minds, pages.item) > 0.5
    feed = party.minds.query[:, None] < 0
    dull = click_of(with_knobs(town, **NULL, taste=0.0), party, pages)
    assert plain[suits & feed].sum() > 1.5 * dull[suits & feed].sum()


def test_whoever_is_pleased_comes_again(world: World) -> None:
    num = {}
    for knob in (0.0, 1.0):
        town = Town(replace(world, knobs=replace(world.knobs, loyalty=knob)), users=300)
        for mood in (-1, 1):
            town.memory.mood[:] = mood
            num[knob, mood] = len(first(town))
    assert num[0.0, -1] == num[0.0, 1] == 600
    assert num[1.0, 1] > 1.5 * num[1.0, -1]


def test_memory_keeps_the_last_acts_in_order() -> None:
    memory = Memory(3)
    for start in range(0, 60, 6):
        number = np.arange(start, start + 6)
        memory.keep(number % 2, number, np.ones(6, np.int8), number.astype(float))
    lists = memory.histories(np.array([1, 2, 0]))
    assert lists.counts.tolist() == [30, 0, 30] == [KEPT, 0, KEPT]
    assert lists.list_of(0).item.tolist() == list(range(1, 60, 2))
    assert (np.diff(lists.list_of(2)["time_s"]) > 0).all()
    assert memory.last_item.tolist() == [58, 59, -1]
    for more in range(60, 70):
        memory.keep(np.array([0]), np.array([more]), np.ones(1, np.int8), np.array([float(more)]))
    assert memory.histories(np.array([0])).item.tolist()[-11:] == [58, *range(60, 70)]


def test_a_town_needs_shoppers(world: World) -> None:
    with pytest.raises(SettingError, match="1 or more"):
        Town(world, users=0)
