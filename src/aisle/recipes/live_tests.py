"""Live tests on a town of shoppers: two policies against each other, by an A/B test or by interleaving.

Legend: N users, R policies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from aisle.core.env import Progress, silent
from aisle.core.errors import SettingError
from aisle.core.lists import Array
from aisle.core.requests import hashed
from aisle.evaluate.interleaving import Preference, credit, multileave, preferences
from aisle.evaluate.online_tests import (
    AlwaysValid,
    Effect,
    Moments,
    SampleRatio,
    always_valid,
    assign,
    cuped,
    difference,
    sample_ratio,
)
from aisle.simulate.loop.oracle import value
from aisle.simulate.loop.policies import DraftedPolicy, SplitPolicy, listed
from aisle.simulate.loop.town import Town
from aisle.simulate.shoppers.visits import Policy

METRICS = ("clicks", "orders", "revenue_cents")
"""Each a page shown: sums over the days of the test / pages."""

LOOKS = 10


@dataclass(frozen=True, eq=False)
class AbTest:
    """
    control, treatment   names
    means         metric -> (control, treatment), a page
    effects       metric -> treatment minus control, over users, CUPED-adjusted where there were days before
    raw           the same without the adjustment
    sequential    of the first metric, looked at LOOKS times as users came
    ratio         whether users came in the planned shares
    truth         metric -> the true difference, were everybody served by one or by the other; none where not asked for
    num_users     of both arms
    """

    control: str
    treatment: str
    means: Mapping[str, tuple[float, float]]
    effects: Mapping[str, Effect]
    raw: Mapping[str, Effect]
    sequential: AlwaysValid
    ratio: SampleRatio
    truth: Mapping[str, float]
    num_users: tuple[int, int]


def ab_test(
    town: Town,
    policies: Mapping[str, Policy],
    days: int = 7,
    visits_per_day: int = 2000,
    *,
    days_before: int = 3,
    first_day: int = 0,
    salt: str = "ab",
    level: float = 0.95,
    truth_days: int = 0,
    progress: Progress = silent,
) -> AbTest:
    """The first policy against the second on the shoppers of a town, which is left as it is.

    For ``days_before`` the first serves everybody; what users did then is the covariate of CUPED.  Then each user is served
    by the policy of its arm.  A user counts from its first visit of the test on, with all visits.
    truth_days: for so many days each policy is also run for everybody, which says what is true.
    Raises SettingError unless there are two policies.
    """
    (control, first), (treatment, second) = _two(policies)
    here = town.fork()
    before = np.zeros((len(here.shoppers), len(METRICS) + 1))
    start_day = first_day + days_before
    for day in range(first_day, start_day):
        _add(here, first, day, visits_per_day, before)
    start = here.fork()
    names = here.first_user + np.arange(len(here.shoppers))
    arm = assign(np.array([hashed(f"u{name}") for name in names], np.int64), salt)
    after = np.zeros_like(before)
    came: list[Array] = []
    split = SplitPolicy((first, second), lambda visits: arm[visits.user - here.first_user])
    for day in range(start_day, start_day + days):
        came.append(_add(here, split, day, visits_per_day, after))
        progress("a/b test", day - start_day + 1, days)
    users = _in_order(np.concatenate(came) if came else np.zeros(0, np.int64))
    sides = [users[arm[users] == n] for n in (0, 1)]
    means = [after[side, :-1].sum(0) / max(after[side, -1].sum(), 1) for side in sides]
    value_UM, before_UM = _linear(after, means[0], users), _linear(before, means[0], users)
    raw, effects = {}, {}
    for k, metric in enumerate(METRICS):
        raw[metric] = difference(value_UM[sides[1], k], value_UM[sides[0], k], level)
        adjusted = cuped(value_UM[sides[1], k], value_UM[sides[0], k], before_UM[sides[1]], before_UM[sides[0]])
        effects[metric] = difference(*adjusted, level) if days_before else raw[metric]
    return AbTest(
        control=control,
        treatment=treatment,
        means={m: (float(means[0][k]), float(means[1][k])) for k, m in enumerate(METRICS)},
        effects=effects,
        raw=raw,
        sequential=_sequential(value_UM[sides[1], 0], value_UM[sides[0], 0], 0.1 * means[0][0], level),
        ratio=sample_ratio([len(side) for side in sides]),
        truth=_truth(start, (first, second), start_day, truth_days, visits_per_day) if truth_days else {},
        num_users=(len(sides[0]), len(sides[1])),
    )


def _linear(sums_NM: Array, control_M: Array, users: Array) -> Array:
    """float64[N, metrics]: a number a user whose mean moves as the ratio a page does.

    (x - ratio of the control * pages) / mean pages.  Source: Budylin et al., Consistent transformation of ratio metrics for
    efficient online controlled experiments (WSDM 2018).
    """
    pages = sums_NM[:, -1:]
    linear: Array = (sums_NM[:, :-1] - control_M * pages) / max(float(pages[users].mean()), 1e-9)
    return linear


def interleaved(
    town: Town,
    policies: Mapping[str, Policy],
    days: int = 1,
    visits_per_day: int = 2000,
    *,
    first_day: int = 0,
    level: float = 0.95,
) -> list[Preference]:
    """What the shoppers of a town click on pages drafted from all policies: one Preference a pair; votes are users'.

    Only first pages are drafted and counted.  The town is left as it is.  Raises SettingError for fewer than two policies.
    """
    if len(policies) < 2:
        raise SettingError(f"{len(policies)} policies to interleave; give two or more")
    here = town.fork()
    drafted = DraftedPolicy(list(policies.values()), multileave)
    credits, users = [], []
    for day in range(first_day, first_day + days):
        for party, pages, feedback in here.served(drafted, day, visits_per_day):
            first = np.flatnonzero(party.visits.offset == 0)
            lists = listed(pages).with_columns(team=drafted.teams[drafted.teams >= 0])
            earned = credit(lists, feedback.click[pages.item >= 0], len(policies))
            credits.append(earned[first])
            users.append(party.visits.user[first])
    return preferences(np.concatenate(credits), list(policies), np.concatenate(users), level)


def _two(policies: Mapping[str, Policy]) -> list[tuple[str, Policy]]:
    if len(policies) != 2:
        raise SettingError(
            f"an A/B test of {len(policies)} policies ({', '.join(policies)}); give the control and one more"
        )
    return list(policies.items())


def _add(town: Town, policy: Policy, day: int, visits: int, sums: Array) -> Array:
    """Adds what each user did on a day to ``sums`` float64[N, metrics + 1], pages last.  Returns who came, in order."""
    price_cents = town.world.items["price_cents"].to_numpy()
    came = [np.zeros(0, np.int64)]
    for party, pages, feedback in town.served(policy, day, visits):
        user = party.minds.user
        spent = (feedback.order * price_cents[pages.item]).sum(1)
        earned = (feedback.click.sum(1), feedback.order.sum(1), spent, np.ones(len(user)))
        np.add.at(sums, user, np.stack(earned, 1))
        came.append(user)
    return np.concatenate(came)


def _in_order(user: Array) -> Array:
    """Distinct users by their first appearance."""
    users, first = np.unique(user, return_index=True)
    ordered: Array = users[np.argsort(first)]
    return ordered


def _sequential(treatment: Array, control: Array, scale: float, level: float) -> AlwaysValid:
    """Looks after every tenth of the users; effects about ``scale`` are looked for."""
    shares = np.linspace(1 / LOOKS, 1, LOOKS)
    one, two = (Moments.at(s, np.maximum((shares * len(s)).astype(np.int64), 2)) for s in (treatment, control))
    return always_valid(one, two, max(scale, 1e-6), level)


def _truth(
    town: Town, policies: tuple[Policy, Policy], first_day: int, days: int, visits_per_day: int
) -> dict[str, float]:
    found = [value(town, policy, days, visits_per_day, first_day=first_day) for policy in policies]
    return {metric: getattr(found[1], metric) - getattr(found[0], metric) for metric in METRICS}
