"""Speed of the closed loop: impressions a second under a cheap policy, and pages a second of fitted funnels; one process each.

Pages are those of one day's traffic, in the batches of a town.  "distinct": every page is ranked; "traffic": searches whose answer
does not depend on who asks are ranked once.
"""

from __future__ import annotations

import argparse
import json
from time import perf_counter, process_time

import numpy as np

from aisle import recipes
from aisle.data.items import ItemTable
from aisle.data.judged import judgments_of
from aisle.data.splits import split_judgments
from aisle.data.view import View
from aisle.nn.item_vectors import fill
from aisle.recipes.environment import memory_env
from aisle.simulate.judgments.annotator import annotate
from aisle.simulate.loop.log import day_log, town_of
from aisle.simulate.loop.policies import LexicalPolicy, RankedPolicy
from aisle.simulate.world import World

PAGES = {"lexical": 4096, "hybrid": 1024, "learned": 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=2500)
    parser.add_argument("--plan", action="append", choices=list(PAGES))
    args = parser.parse_args()
    world = World.make(args.items, 0)
    town = town_of(world, 2, 4000)
    start = process_time()
    events = day_log(town, LexicalPolicy(world), 0, 20_000)
    impressions = int((np.array(events["action"].to_pylist()) == "impression").sum())
    rows = [{"metric": "impressions_per_s", "plan": "cheap", "value": impressions / (process_time() - start)}]
    items = ItemTable.from_table(world.items)
    env = memory_env(items)
    judged = judgments_of(*annotate(world, world.queries(200), 10_000), items)
    view = View(items, events, split_judgments(judged))
    visits = next(iter(town.arrivals(1, 8192))).visits
    for name in args.plan or list(PAGES):
        plan = recipes.plan(name)
        for encoder in plan.encoders():
            fill(env, encoder)
            env.engine.save_vectors(encoder)
        funnel = plan.fit(view, env)
        some = visits.select(np.arange(min(PAGES[name], len(visits))))
        RankedPolicy(funnel)(some.select(np.arange(64)), np.random.default_rng(0))
        for kind in ("distinct", "traffic"):
            policy = RankedPolicy(funnel, searches_are_personal=kind == "distinct")
            began = perf_counter()
            policy(some, np.random.default_rng(0))
            rows.append({"metric": f"pages_per_s:{kind}", "plan": name, "value": len(some) / (perf_counter() - began)})
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
