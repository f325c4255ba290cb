"""Latency of one page at a time on ESCI's catalogue: p50 and p99 of whole pages with facets, p50 of every stage.

In this process, every query of the set in each of 5 rounds, plans taking turns.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from time import perf_counter

import numpy as np

from aisle import recipes
from aisle.cli._measure import of_set
from aisle.core.env import silent
from aisle.core.requests import Requests
from aisle.funnel import Funnel, fit

ROUNDS = 5
PLANS = ("lexical", "hybrid")


def latencies(funnels: dict[str, Funnel], queries: list[str]) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Milliseconds of every page, by plan; and of every stage, by ``plan stage``."""
    pages: dict[str, list[float]] = defaultdict(list)
    stages: dict[str, list[float]] = defaultdict(list)
    for n in range(ROUNDS + 1):
        for query in queries:
            request = Requests.make([query], limit=24)
            for name, funnel in funnels.items():
                start = perf_counter()
                page = funnel.serve(request, facets=None, strict=True)
                taken_ms = (perf_counter() - start) * 1e3
                if n:  # the first round warms up
                    pages[name].append(taken_ms)
                    for stage in page.trace:
                        stages[f"{name} {stage.stage}"].append(stage.latency_ms)
    return pages, stages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="esci:esci-us-150")
    args = parser.parse_args()
    plans = {name: recipes.plan(name) for name in PLANS}
    encoders = sorted({encoder for plan in plans.values() for encoder in plan.encoders()})
    place = of_set(args.data, encoders, 0, silent, cache=True)
    view = place.view(None, 0)
    funnels = {name: fit(plan, view, place.env) for name, plan in plans.items()}
    pages, stages = latencies(funnels, list(place.judged.query))
    rows = []
    for name, taken_ms in pages.items():
        for share in (50, 99):
            rows.append({"metric": f"p{share}_ms", "plan": name, "value": float(np.percentile(taken_ms, share))})
    for name, taken_ms in stages.items():
        plan, stage = name.split(" ")
        rows.append({"metric": f"p50_ms:{stage}", "plan": plan, "value": float(np.percentile(taken_ms, 50))})
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
