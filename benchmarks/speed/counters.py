"""How soon an accepted event counts and is remembered, and what a question costs: four counters and 100,000 users' histories
over a million events of 200,000 products.

``visible`` is from the call that appends one click to the log until the counter shows it, the store following in its thread.
The same wait puts it at the end of its user's history.  ``at`` asks one counter for 500 rows, as a ranker would, ``history``
for what one user did.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import pyarrow as pa
from generated import percentiles, resident_mb, row, timed

from aisle.core.requests import hashed
from aisle.core.shop import Counter
from aisle.data.items import ItemTable
from aisle.data.schema import CATALOGUE, EVENTS, complete
from aisle.engine.embedded.behaviour import OnlineBehaviour
from aisle.engine.embedded.log import Log

DAY_S = 86_400.0
COUNTERS = (
    Counter(name="clicks", action="click"),
    Counter(name="clicks_1d", action="click", window_s=DAY_S),
    Counter(name="warm_clicks", action="click", half_life_s=3 * DAY_S),
    Counter(name="orders_7d", action="order", window_s=7 * DAY_S, half_life_s=DAY_S),
)
ITEMS, USERS, CLICKS = 200_000, 100_000, 200


def events(num: int, rng: np.random.Generator) -> pa.Table:
    """Thirty days, items by popularity."""
    rows = np.minimum(rng.zipf(1.3, num) - 1, ITEMS - 1)
    table = pa.table(
        {
            "time_s": np.sort(rng.uniform(0, 30 * DAY_S, num)),
            "user_id": pa.array(np.char.add("u", rng.integers(0, USERS, num).astype(str))),
            "item_id": pa.array(np.char.add("p", rows.astype(str))),
            "action": pa.array(np.array(["impression", "click", "order"])[rng.choice(3, num, p=[0.5, 0.4, 0.1])]),
        }
    )
    return complete(table, EVENTS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    items = ItemTable.from_table(complete(pa.table({"item_id": [f"p{n}" for n in range(ITEMS)]}), CATALOGUE))
    past = events(args.events, rng)
    before, start = resident_mb(), perf_counter()
    store = OnlineBehaviour(COUNTERS, lambda: items, remember=True)
    store.add(past, sequence=0)
    rows = rng.integers(0, ITEMS, 500)
    for counter in COUNTERS:
        store.counts(counter, rows, 31 * DAY_S)
    out = [row("load_s", "counters", perf_counter() - start), row("resident_mb", "counters", resident_mb() - before)]
    taken: dict[str, list[float]] = defaultdict(list)
    with TemporaryDirectory() as scratch, Log.open(Path(scratch, "log.sqlite")) as log:
        store.start(log)
        for n in range(CLICKS):
            user = f"u{n}"
            click = {"time_s": 30 * DAY_S + n, "item_id": "p7", "action": "click", "user_id": user}
            timed(lambda click=click: store.wait(log.append("event", [click]).last, 10), taken["visible"])
            asked = np.array([hashed(user)])
            known = timed(lambda asked=asked: store.histories(asked, 31 * DAY_S), taken["history"])
            if known["time_s"][-1] != click["time_s"]:
                raise SystemExit(f"the history of {user} does not end with its last click")
            for counter in COUNTERS:
                timed(lambda counter=counter: store.counts(counter, rows, 31 * DAY_S), taken["at"])
        store.close()
    for name, times in taken.items():
        out += percentiles(name, times)
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
