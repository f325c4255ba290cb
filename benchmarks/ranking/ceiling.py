"""How far the clicks of a generated world can be told at all: the AUC of their own chances.

``chance`` knows all: the chance that this shopper clicks this item at its place.  ``attraction`` knows all but the place, as a
ranker does that is asked for an order; ``place`` knows the place alone.  A ranker that comes near ``attraction`` leaves nothing for
another to win.  The same days as those that ``hhft.py`` tests on: the last quarter of a log of BM25 pages.

    python benchmarks/ranking/ceiling.py --world default --seed 0

Legend: V pages, K places.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
from ctr_data import PARTS

from aisle.evaluate.auc import auc
from aisle.simulate.loop.log import town_of
from aisle.simulate.loop.policies import LexicalPolicy
from aisle.simulate.world import World


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", default="default", help="NAME or NAME:knob=value,...")
    parser.add_argument("--seed", type=int, default=0)
    for name, number in (("--items", 5000), ("--days", 14), ("--visits", 4000)):
        parser.add_argument(name, type=int, default=number)
    args = parser.parse_args()
    knobs = dict(pair.split("=") for pair in args.world.partition(":")[2].split(",") if pair)
    world = World.make(args.items, args.seed, **{name: float(value) for name, value in knobs.items()})
    town = town_of(world, args.days, args.visits, args.seed)
    first = round((1 - PARTS["test"]) * args.days)
    click, known = [], {"chance": [], "attraction": [], "place": []}
    policy = LexicalPolicy(world)
    for day in range(args.days):
        for party, pages, feedback in town.served(policy, day, args.visits):
            if day < first:
                continue
            shown = pages.item >= 0
            chances = town.chances(party, pages)
            click.append(feedback.click[shown])
            known["chance"].append(chances.click[shown])
            known["attraction"].append(chances.attraction[shown])
            known["place"].append(np.broadcast_to(-np.arange(shown.shape[1]), shown.shape)[shown])
    label = np.concatenate(click).astype(np.float64)
    rows = [
        {
            "metric": "auc",
            "plan": name,
            "world": args.world,
            "value": auc(label, np.concatenate(value)),
            "rows": len(label),
        }
        for name, value in known.items()
    ]
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
