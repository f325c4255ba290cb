"""Click data of a generated world in one file: prepared where aisle is installed, read where only numpy and torch are.

Ids become codes of the ids met in training (others have none), what belongs to an item is kept once an item, numbers are float16.
Pages are in time order; the first days train, the next validate, the last ones test.

Legend: P pages, N shown rows, I items, K tasks, D numbers.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aisle.ranking._features import DAY_S, TARGET, Features, Field
from aisle.ranking._impressions import Impressions
from aisle.ranking._inputs import Batch, Shape

TASKS = ("click", "cart", "order", "return")
PARTS = {"train": 0.6, "validation": 0.15, "test": 0.25}


RETURN_DAYS = 10
"""An order that comes back does so within these days."""


def prepare(
    world: str, seed: int, items: int, days: int, visits: int, out: Path, wait_days: int = 0, thin: float = 1.0
) -> dict[str, Any]:
    """Simulate a world, make the features that a ranker is trained on, and write them.  Returns what was written.

    wait_days  so much longer the log goes on than its pages are taken; RETURN_DAYS makes the labels of returns whole
    thin       the share that is taken of the pages without an order
    """
    from aisle.data.shop import Shop
    from aisle.ranking._facts import attributes_of
    from aisle.ranking._features import FeatureMaker, scale_of, standardised
    from aisle.ranking._impressions import impressions
    from aisle.recipes.environment import memory_env

    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "shop"
        made = simulated(world, folder, seed=seed, items=items, days=days + wait_days, visits=visits)
        view = Shop.open(folder).view()
        env = replace(memory_env(view.items), counters=view)
        pages = impressions(view, TASKS)
        pages = pages.select(_taken(pages, days, thin, seed))
        maker = FeatureMaker(attributes_of(view.items, 4))
        features = maker.make(pages.requests, pages.lists, env)
        cuts = np.cumsum([0, *(round(share * len(pages.requests)) for share in PARTS.values())])
        cuts[-1] = len(pages.requests)
        train = features.select(np.arange(cuts[1]))
        features = standardised(features, scale_of(train))
        header = {
            "world": world,
            "version": made["version"],
            "seed": seed,
            "fields": [list(f) for f in maker.fields()],
            "cuts": cuts.tolist(),
        }
        arrays = _packed(features, maker.fields(), int(train.splits[-1]), int(cuts[1]))
        arrays["label"] = np.packbits(pages.lists["label"].astype(bool), axis=1)[:, :1]
        arrays["position"] = pages.lists["position"].astype(np.uint8)
        arrays["user"] = np.unique(pages.requests.user, return_inverse=True)[1].astype(np.int32)
        arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
        out.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(out, **arrays)
    return {**header, "pages": int(cuts[-1]), "rows": len(pages.lists.item), "bytes": out.stat().st_size}


def _taken(pages: Impressions, days: int, thin: float, seed: int) -> np.ndarray:
    """Pages of the first ``days``: those with an order, and a share of the others."""
    first = np.searchsorted(pages.requests.time_s, pages.requests.time_s[0] + days * DAY_S)
    label_N = pages.lists["label"][:, TASKS.index("order")]
    chosen = (np.add.reduceat(label_N, pages.lists.splits[:-1]) > 0) | (
        np.random.default_rng((seed, 3)).random(len(pages.requests)) < thin
    )
    return np.flatnonzero(chosen[:first])


def simulated(world: str, folder: Path, *, seed: int, items: int, days: int, visits: int) -> dict[str, Any]:
    """A shop of a named world, or of ``NAME:knob=value,knob=value`` with knobs set otherwise; a name may hold a colon itself."""
    from aisle.simulate.world import simulate

    name, _, rest = world.rpartition(":") if "=" in world else (world, "", "")
    knobs = {knob: float(value) for knob, value in (pair.split("=") for pair in rest.split(",") if pair)}
    return simulate(folder, items, days, seed, world=name, visits_per_day=visits, num_queries=300, **knobs)


def _packed(features: Features, fields: tuple[Field, ...], train_rows: int, train_pages: int) -> dict[str, Any]:
    arrays: dict[str, Any] = {"splits": features.splits.astype(np.int32)}
    known = _known_ids(features, fields, train_rows, train_pages)
    of_past = {f"{kind}_{what}" for kind in ("clicks", "orders") for what in TARGET[1:]}
    for name, ids in features.request_ids.items():
        if name not in of_past:  # looked up through the item when read
            arrays[f"request/{name}"] = _codes(ids, known[_table(fields, name)])
    item, first = np.unique(features.item_ids["item"], return_index=True)
    item_row = np.searchsorted(item, features.item_ids["item"])
    arrays["item_row"] = item_row.astype(np.int32)
    for name, ids in features.item_ids.items():
        arrays[f"catalogue/{name}"] = _codes(ids[first], known[_table(fields, name)])
    for side, numbers in (("request", features.request_numbers), ("item", features.item_numbers)):
        for block, value in numbers.items():
            arrays[f"{side}_numbers/{block}"] = value.astype(np.float16)
    arrays |= {f"size/{table}": np.array(len(ids)) for table, ids in known.items()}
    # A past item that was never shown has no row here: its category and brand are unknown then.
    codes = arrays["catalogue/item"]
    arrays["item_of_code"] = np.full(len(known["item"]), -1, np.int32)
    arrays["item_of_code"][codes[codes >= 0]] = np.flatnonzero(codes >= 0)
    return arrays


def _table(fields: tuple[Field, ...], name: str) -> str:
    return next(f.table for f in fields if f.name == name)


def _known_ids(features: Features, fields: tuple[Field, ...], rows: int, pages: int) -> dict[str, np.ndarray]:
    """table -> the sorted ids met in training."""
    met: dict[str, list[np.ndarray]] = {}
    for field in fields:
        of_request = field.name in features.request_ids
        ids = features.request_ids[field.name][:pages] if of_request else features.item_ids[field.name][:rows]
        met.setdefault(field.table, []).append(np.unique(ids))
    joined = {table: np.unique(np.concatenate(parts)) for table, parts in met.items()}
    return {table: ids[ids >= 0] for table, ids in joined.items()}


def _codes(ids: np.ndarray, known: np.ndarray) -> np.ndarray:
    """int32: the place of each id among the known ones, -1 for none or an unknown one; lists closed up to the left."""
    place = np.minimum(np.searchsorted(known, ids), max(len(known) - 1, 0))
    codes = np.where((ids >= 0) & (known[place] == ids), place, -1).astype(np.int32)
    if codes.ndim == 2:
        order = np.argsort(codes < 0, axis=1, kind="stable")
        codes = np.take_along_axis(codes, order, 1)
    return codes


@dataclass(frozen=True, eq=False)
class ClickData:
    """One file on a device: batches of pages, and the labels and users of a part."""

    header: Mapping[str, Any]
    shape: Shape
    sizes: Mapping[str, int]
    arrays: Mapping[str, Tensor]
    device: str

    @classmethod
    def read(cls, path: Path, device: str, dim: int) -> ClickData:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(arrays.pop("header").tobytes())
        sizes = {n.removeprefix("size/"): int(arrays.pop(n)) for n in list(arrays) if n.startswith("size/")}
        bits = np.unpackbits(arrays.pop("label"), axis=1)[:, : len(TASKS)]
        tensors = {n: torch.from_numpy(a).to(device) for n, a in arrays.items()}
        tensors["label"] = torch.from_numpy(bits).to(device).float()
        widths = {
            side: {n.partition("/")[2]: t.shape[1] for n, t in tensors.items() if n.startswith(f"{side}_numbers/")}
            for side in ("request", "item")
        }
        fields = [Field(*field) for field in header["fields"]]
        item_fields = frozenset(n.partition("/")[2] for n in tensors if n.startswith("catalogue/"))
        return cls(header, Shape(fields, widths["request"], widths["item"], dim, item_fields), sizes, tensors, device)

    def pages(self, part: str) -> np.ndarray:
        cuts, at = self.header["cuts"], list(PARTS).index(part)
        return np.arange(cuts[at], cuts[at + 1])

    def rows(self, part: str) -> slice:
        pages = self.pages(part)
        return slice(int(self.arrays["splits"][pages[0]]), int(self.arrays["splits"][pages[-1] + 1]))

    def users(self, part: str) -> np.ndarray:
        """int64[N]: the user of each row."""
        pages = self.pages(part)
        counts = np.diff(self.arrays["splits"].cpu().numpy())[pages]
        return np.repeat(self.arrays["user"].cpu().numpy()[pages], counts)

    def batch(self, pages: np.ndarray, *, training: bool = True) -> Batch:
        """These pages as tensors; places only when training, so that a test is scored as a page is served."""
        a = self.arrays
        page = torch.from_numpy(pages).to(self.device)
        start, counts = a["splits"][page].long(), (a["splits"][page + 1] - a["splits"][page]).long()
        owner = torch.repeat_interleave(torch.arange(len(page), device=self.device), counts)
        before = torch.cumsum(counts, 0) - counts
        rows = torch.arange(len(owner), device=self.device) - before[owner] + start[owner]
        item = a["item_row"][rows].long()
        request_ids = {n.partition("/")[2]: t[page].long() for n, t in a.items() if n.startswith("request/")}
        request_ids |= self._past(request_ids)
        return Batch(
            request_ids,
            {n.partition("/")[2]: t[item].long() for n, t in a.items() if n.startswith("catalogue/")},
            {n.partition("/")[2]: t[page].float() for n, t in a.items() if n.startswith("request_numbers/")},
            {n.partition("/")[2]: t[rows].float() for n, t in a.items() if n.startswith("item_numbers/")},
            owner,
            a["position"][rows].long() if training else None,
            a["label"][rows],
        )

    def _past(self, request_ids: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Category and brand of each past item."""
        out = {}
        for kind in self.shape.pasts:
            code = request_ids[f"{kind}_item"]
            row = self.arrays["item_of_code"][code.clamp(min=0)].long()
            known = (code >= 0) & (row >= 0)
            for what in TARGET[1:]:
                out[f"{kind}_{what}"] = torch.where(
                    known, self.arrays[f"catalogue/{what}"][row.clamp(min=0)].long(), -1
                )
        return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--world", default="default", help="NAME or NAME:knob=value,...")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--items", type=int, default=5000)
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--visits", type=int, default=2000, help="a day")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    print(json.dumps(prepare(args.world, args.seed, args.items, args.days, args.visits, args.out)))


if __name__ == "__main__":
    main()
