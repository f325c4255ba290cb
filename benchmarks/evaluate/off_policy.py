"""Off-policy estimates on the logged rounds of a town, 200 times: bias, coverage of 95% intervals, effective sample size.

A population of visits, each with what it would click of every item, is drawn once; the truth is its mean under the policy to be
judged.  Every run logs another sample of it.  Slates: three of five items, under a reader whose items do nothing to each other
(position), one who stops when satisfied (cascade), and pages whose substitutes compete (competing).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator

import numpy as np

from aisle.evaluate.counterfactual import (
    BanditLog,
    CascadeDr,
    Dm,
    Dr,
    GivenPolicy,
    GivenSlates,
    Ips,
    LinearReward,
    Mrdr,
    Pi,
    SlateIps,
    SlateLog,
    Snips,
    SwitchDr,
    TabularReward,
    fitted_reward,
    second_moment,
)  # fmt: skip
from aisle.recipes.logged_rounds import all_slates, mixed_slates
from aisle.simulate.loop.town import Town
from aisle.simulate.shoppers.visits import Party
from aisle.simulate.world import World

RUNS, ROUNDS, VISITS = 200, 2000, 40_000
ITEMS, PLACES, EPSILON = 6, 3, 0.3
LEVEL = 0.95


def population(seed: int, clicks: str = "position", **knobs: float) -> tuple[Town, Party]:
    """A town on its second day, so that its shoppers have a history, and everybody who comes."""
    world = World.make(500, seed, turnover=0.0, **knobs)
    town = Town(world, seed=seed, users=VISITS, clicks=clicks, queries=200)
    return town, Party.joined(list(town.arrivals(0, VISITS)))


def pool_of(world: World, seed: int) -> np.ndarray:
    """Popular items of different shelves."""
    order = np.argsort(-world.popularity, kind="stable")
    _, first = np.unique(world.truth.leaf[order], return_index=True)
    return order[np.sort(first)][:ITEMS].astype(np.int32)


def rows_of(name: str, found: list[tuple[float, float, float, float]], true: float) -> Iterator[dict[str, object]]:
    value, low, high, size = np.array(found).T
    bias = (value.mean() - true) / true
    yield {"metric": "coverage", "plan": name, "value": float(((low <= true) & (true <= high)).mean())}
    yield {"metric": "bias", "plan": name, "value": float(bias)}
    yield {"metric": "deviation", "plan": name, "value": float(value.std() / true)}
    yield {"metric": "effective", "plan": name, "value": float(size.mean() / ROUNDS)}


def bandits(seed: int) -> Iterator[dict[str, object]]:
    town, party = population(seed)
    pool = pool_of(town.world, seed)
    num = len(party)
    clicked = np.stack(
        [town.behaviour.acts(party.minds, np.full((num, 1), item, np.int32)).click[:, 0] for item in pool], 1
    ).astype(np.float64)
    # Displayed facts: where the shopper searches or browses, and how the item's shelf fares in that scene.
    scene = party.visits.scene.astype(np.int64)
    score = np.log(town.world.popularity[pool] + 0.1)[None, :] + 0.8 * (
        (party.visits.user[:, None] + np.arange(ITEMS)) % 3 == 0
    )
    logging = np.exp(2 * score)
    logging = 0.7 * logging / logging.sum(1, keepdims=True) + 0.3 / ITEMS
    wish = np.exp(6 * np.roll(score, 1, axis=1))
    target = 0.9 * wish / wish.sum(1, keepdims=True) + 0.1 / ITEMS
    true = float((clicked * target).sum(1).mean())
    cell = scene[:, None] * ITEMS + np.arange(ITEMS)
    rng = np.random.default_rng((seed, 1))
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    for run in range(RUNS):
        rows = rng.choice(num, ROUNDS, replace=False)
        action = (rng.random(ROUNDS)[:, None] >= np.cumsum(logging[rows], 1)).sum(1).clip(0, ITEMS - 1)
        log = BanditLog(action, clicked[rows, action], logging[rows, action], logging[rows], party.visits.user[rows])
        policy = GivenPolicy(target[rows])
        table = TabularReward(cell[rows])
        reward = fitted_reward(log, table, seed=run)
        wrong = fitted_reward(log, TabularReward(np.zeros(ITEMS, np.int64)), seed=run)
        feature = np.stack(
            [np.ones((ROUNDS, ITEMS)), score[rows], np.broadcast_to(scene[rows][:, None], (ROUNDS, ITEMS))], 2
        )
        estimators = {
            "ips": Ips(), "ips_clipped": Ips(clip=5.0), "snips": Snips(), "dm": Dm(reward), "dm_wrong": Dm(wrong),
            "dr": Dr(reward), "dr_wrong": Dr(wrong), "switch": SwitchDr(reward, threshold=5.0), "mrdr": Mrdr(table, seed=run),
            "dr_linear": Dr(fitted_reward(log, LinearReward(feature), seed=run)),
        }  # fmt: skip
        for name, estimator in estimators.items():
            e = estimator.estimate(log, policy, LEVEL)
            found.setdefault(name, []).append((e.value, e.low, e.high, e.effective_sample_size))
    for name, values in found.items():
        yield from rows_of(name, values, true)


def slates(seed: int, name: str, clicks: str, **knobs: float) -> Iterator[dict[str, object]]:
    town, party = population(seed, clicks, **knobs)
    pool = pool_of(town.world, seed)
    arrangements = all_slates(ITEMS, PLACES)
    rng = np.random.default_rng((seed, 2))
    order = np.array([4, 1, 2])
    keep = rng.choice(len(party), 4000, replace=False)
    party = party.select(keep)
    clicked = np.stack(
        [
            town.behaviour.acts(party.minds, np.tile(pool[a], (len(party), 1)).astype(np.int32)).click
            for a in arrangements
        ]
    )
    own = int(np.flatnonzero((arrangements == order).all(1))[0])
    total = clicked.sum(2)
    true = float((1 - EPSILON) * total[own].mean() + EPSILON * total.mean())
    moment = second_moment(arrangements, ITEMS)
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    for run in range(RUNS):
        rows = rng.choice(len(party), ROUNDS, replace=False)
        drawn = rng.integers(0, len(arrangements), ROUNDS)
        item, reward = arrangements[drawn], clicked[drawn, rows].astype(np.float64)
        user = party.visits.user[rows]
        marginal, conditional = mixed_slates(np.tile(order, (ROUNDS, 1)), ITEMS, EPSILON, item)
        above = SlateLog(item, reward, np.broadcast_to(1.0 / (ITEMS - np.arange(PLACES)), item.shape), None, user)
        at_place = SlateLog(item, reward, np.full(item.shape, 1 / ITEMS), None, user)
        estimates = {
            "slate_ips": SlateIps().estimate(above, GivenSlates(conditional=conditional), LEVEL),
            "pi": Pi(moment).estimate(at_place, GivenSlates(marginal=marginal), LEVEL),
            "cascade_dr": CascadeDr(seed=run).estimate(above, GivenSlates(conditional=conditional), LEVEL),
            "rips": CascadeDr(folds=0).estimate(above, GivenSlates(conditional=conditional), LEVEL),
        }
        for key, e in estimates.items():
            found.setdefault(key, []).append((e.value, e.low, e.high, e.effective_sample_size))
    for key, values in found.items():
        yield from rows_of(f"{key}:{name}", values, true)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slates", action="store_true", help="whole pages instead of pages of one")
    args = parser.parse_args()
    if not args.slates:
        rows = list(bandits(args.seed))
    else:
        alone = {"substitution": 0.0, "variety": 0.0, "picture": 0.0}
        rows = [
            *slates(args.seed, "position", "position", **alone),
            *slates(args.seed, "cascade", "cascade", **alone),
            *slates(args.seed, "competing", "position", substitution=1.0, variety=1.0),
        ]
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
