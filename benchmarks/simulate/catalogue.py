"""How long the world's catalogue takes, how much memory, how uneven its demand is, and how fast texts and pictures come.

Reviews, external text and pictures are made on request, so their speed is stated beside that of the catalogue.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from aisle.simulate.catalogue.items import make_items
from aisle.simulate.knobs import Knobs
from aisle.simulate.pictures.raster import batch
from aisle.simulate.texts.context import about_items
from aisle.simulate.texts.reviews import reviews

PICTURES = 3000


def tail_exponent(values: np.ndarray, share: float) -> float:
    """The exponent of the density of the largest ``share`` of the values, by Hill's estimator."""
    top = np.sort(values)[::-1][: max(int(share * len(values)), 2)].astype(np.float64)
    return float(1 + 1 / np.log(top[:-1] / top[-1]).mean())


def timed(work: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work(*arguments)
    return time.perf_counter() - start, result


def figures(items: int, seed: int) -> dict[str, float]:
    """Of the catalogue, and of what is made of it on request."""
    knobs, rows = Knobs(), np.arange(items)
    catalogue_s, (table, truth) = timed(make_items, items, seed, knobs)
    products = truth.demand[np.unique(truth.group, return_index=True)[1]]
    reviews_s, written = timed(reviews, table, truth, rows)
    texts_s, texts = timed(about_items, truth, rows, knobs.useful, knobs.falsehood)
    pictures_s, _ = timed(batch, table.slice(0, PICTURES).to_pylist(), 64)
    return {
        "catalogue_s": catalogue_s,
        "tail_exponent": tail_exponent(products, 0.01),
        "reviews_per_s": len(written.table) / reviews_s,
        "texts_per_s": len(texts.table) / texts_s,
        "pictures_per_s": PICTURES / pictures_s,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--large", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    found = figures(chosen.items, chosen.seed)
    found["large_s"], _ = timed(make_items, chosen.large, chosen.seed, Knobs())
    found["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        json.dumps([{"metric": name, "plan": "", "value": round(value, 3)} for name, value in found.items()], indent=1)
    )


if __name__ == "__main__":
    main()
