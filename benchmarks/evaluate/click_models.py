"""Click models fitted to the log of a town whose shoppers read in one of three ways, held against the truth.

The log comes from random pages of pools, so that places and items do not go together.  Reported: the error of the chance of
examination by place, the correlation of the attraction of pairs with the true one, the log-likelihood of new pages, and how far
the model that made the clicks leads the best other in it.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from aisle.core.lists import ItemLists
from aisle.evaluate.click_models import Cascade, ClickModel, Coec, Dbn, Pbm, Ubm, pair_ids
from aisle.simulate.loop.policies import UniformPolicy, listed
from aisle.simulate.loop.town import Town
from aisle.simulate.shoppers.visits import Pages, Party
from aisle.simulate.world import World

MODELS: dict[str, type[ClickModel]] = {"coec": Coec, "pbm": Pbm, "cascade": Cascade, "dbn": Dbn, "ubm": Ubm}
TRUE = {"position": "pbm", "cascade": "dbn", "dependent": "ubm"}
PLAIN = {
    "taste": 0.0, "difference": 0.0, "substitution": 0.0, "variety": 0.0, "fatigue": 0.0, "picture": 0.0, "together": 0.0,
    "turnover": 0.0,
}  # fmt: skip
"""All shoppers alike, and items that do nothing to each other: the premises of the click models."""


def pages_of_town(world: World, clicks: str, seed: int, visits: int) -> tuple[ItemLists, np.ndarray, np.ndarray]:
    """Searches with their clicks as a click log; the true attraction of each row, and the true chance that it is examined."""
    town = Town(world, seed=seed, users=visits // 5, clicks=clicks, queries=80)
    party = Party.joined(list(town.arrivals(0, visits)))
    party = party.select(np.flatnonzero(party.minds.query >= 0))
    pages = UniformPolicy(world)(party.visits, np.random.default_rng(seed))
    acts, chances = town.behaviour.acts(party.minds, pages.item), town.chances(party, pages)
    lists = listed(Pages(pages.item, pages.propensity))
    shown = pages.item >= 0
    lists = lists.with_columns(clicked=acts.click[shown], pair=pair_ids(lists, party.minds.query))
    return lists, chances.attraction[shown], chances.examined[shown]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for world_name, knobs in (("plain", PLAIN), ("default", {"turnover": 0.0})):
        world = World.make(600, args.seed, **knobs)
        for clicks in ("position", "cascade", "dependent"):
            log, attraction, examined = pages_of_town(world, clicks, args.seed, 60_000)
            new, _, _ = pages_of_town(world, clicks, args.seed + 1, 20_000)
            often = np.isin(log["pair"], *_shown_often(log["pair"], 50))
            true_K = np.bincount(log.position, examined) / np.bincount(log.position)
            for name, model in MODELS.items():
                fitted = model.fit(log)
                found_K = fitted.examination(log)
                plan = f"{name} on {clicks}, {world_name}"
                likeness = np.corrcoef(fitted.attractiveness(log["pair"][often]), attraction[often])[0, 1]
                error = np.abs(found_K / found_K[0] - true_K / true_K[0]).max()
                rows += [
                    {"metric": "examination error", "plan": plan, "value": float(error)},
                    {"metric": "attraction correlation", "plan": plan, "value": float(likeness)},
                    {"metric": "log-likelihood", "plan": plan, "value": fitted.log_likelihood(new)},
                ]  # fmt: skip
            explained = {
                name: float(r["value"]) for name, r in zip(MODELS, rows[-3 * len(MODELS) + 2 :: 3], strict=True)
            }
            lead = explained.pop(TRUE[clicks]) - max(explained.values())
            rows.append({"metric": "lead of the true model", "plan": f"{clicks}, {world_name}", "value": lead})
    print(json.dumps(rows, indent=1))


def _shown_often(pair: np.ndarray, least: int) -> tuple[np.ndarray]:
    pairs, count = np.unique(pair, return_counts=True)
    return (pairs[count >= least],)


if __name__ == "__main__":
    main()
