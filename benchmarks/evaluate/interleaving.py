"""How many visits interleaving and an A/B test need to name the better of two rankers on the same shoppers.

For a growing number of visits, 60 tests each with other shoppers: the share that decide (p below .05), and of these the share
that name the ranker whose true value is higher.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

import numpy as np

from aisle.recipes.live_tests import ab_test, interleaved
from aisle.simulate.loop.oracle import value
from aisle.simulate.loop.policies import LexicalPolicy
from aisle.simulate.loop.town import Town
from aisle.simulate.shoppers.visits import Pages, Policy, Visits
from aisle.simulate.world import World

TESTS = 60
VISITS = (250, 500, 1000, 2000, 4000, 8000)
ENOUGH = 0.8
"""A test needs as many visits as let it decide in this share of cases."""


def lagging(better: Policy, places: int) -> Policy:
    """The same lists without their first ``places`` items."""

    def policy(visits: Visits, rng: np.random.Generator) -> Pages:
        return better(replace(visits, offset=visits.offset + places), rng)

    return policy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    world = World.make(1000, args.seed)
    better = LexicalPolicy(world, 0.0)
    policies = {"lagging": lagging(better, 2), "lexical": better}
    town = Town(world, seed=args.seed, users=4000)
    worth = {name: value(town, policy, 1, 8000).clicks for name, policy in policies.items()}
    rows: list[dict[str, object]] = [
        {"metric": "value", "plan": name, "value": clicks} for name, clicks in worth.items()
    ]
    needed = {}
    for kind in ("interleaving", "ab"):
        for visits in VISITS:
            signs = []
            for test in range(TESTS):
                town = Town(world, seed=1000 * (args.seed + 1) + test, users=visits // 2, queries=300)
                if kind == "interleaving":
                    (found,) = interleaved(town, policies, 1, visits)
                    signs.append({"second": 1, "first": -1, "undecided": 0}[found.verdict])
                else:
                    effect = ab_test(town, policies, 1, visits, days_before=0, salt=str(test)).effects["clicks"]
                    signs.append({"better": 1, "worse": -1, "undecided": 0}[effect.verdict])
            decided = np.array(signs) != 0
            rows.append({"metric": f"decided at {visits}", "plan": kind, "value": float(decided.mean())})
            if decided.mean() >= ENOUGH:
                needed[kind] = visits
                rows.append({"metric": "right", "plan": kind, "value": float((np.array(signs)[decided] == 1).mean())})
                break
    rows += [
        {"metric": "visits needed", "plan": kind, "value": float(needed.get(kind, 2 * VISITS[-1]))}
        for kind in ("interleaving", "ab")
    ]
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
