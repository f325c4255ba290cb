"""Sequential recommendation on Amazon reviews, every item a candidate: HHFT beside the other rankers.

Leave-one-out: the last item of a sequence is the test, the one before it the validation, all earlier ones training.  A training
example is a place of a sequence, the items before it (the last 20) and ``NEGATIVES`` random items; the loss is their softmax.
This is no click data: nobody was shown anything, so what is learned is what comes next.

    python benchmarks/ranking/sequences.py prepare --data amazon_5core:amazon-beauty --out build/beauty.npz
    python benchmarks/ranking/sequences.py sweep --data build/beauty.npz --device cuda --jobs 6 --out build/beauty-sequences.json

Legend: U users, L places, I items, G negatives, C candidates.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.multiprocessing import get_context

from aisle.nn.fixed_lookup import FixedLookup, IdField
from aisle.nn.mlp import num_parameters
from aisle.ranking._features import PAST, Field
from aisle.ranking._inputs import Batch, InputLayer, Ranker, Shape
from aisle.ranking.din import Din
from aisle.ranking.dnn import Dnn
from aisle.ranking.fm import Fm
from aisle.ranking.hhft import Hhft
from aisle.training.batches import RowBatches
from aisle.training.loop import train
from aisle.training.settings import TrainSettings

NEGATIVES, DIM, WORDS, USERS = 100, 32, 8, 4000
FIELDS = (
    *(Field(f"clicks_{what}", "clicks", what, PAST, True) for what in ("item", "category", "brand")),
    Field("item", "item", "item"),
    Field("title_words", "item", "word", WORDS),
    Field("category", "attributes", "category"),
    Field("brand", "attributes", "brand"),
)
BASE = {"width": 32, "heads": 4, "layers": 1, "hiformer": 1}


def deep(scale: float) -> tuple[int, ...]:
    return tuple(max(4, round(width * scale)) for width in (256, 128, 64))


ARMS = {
    "hhft": lambda scale: Hhft(**BASE),
    "hhft-hstu": lambda scale: Hhft(**BASE, past="hstu"),
    "transformer": lambda scale: Hhft(
        **{**BASE, "width": 4 * round(8 * scale), "share": True, "hiformer": 0, "layers": 2}
    ),
    "no-hiformer": lambda scale: Hhft(**{**BASE, "hiformer": 0, "layers": 2}),
    "din": lambda scale: Din(hidden=deep(scale)),
    "dnn": lambda scale: Dnn(hidden=deep(scale)),
    "fm": lambda scale: Fm(),
}
MATCHED = frozenset({"transformer", "din", "dnn"})


def prepare(place: str, out: Path) -> dict[str, int]:
    """Sequences and what is known of the items, in one file."""
    from aisle.data.sets import open_set

    dataset = open_set(place)
    items, sequences = dataset.items(), dataset.sequences
    words = [re.findall(r"[^\W_]+", title.lower())[:WORDS] for title in items.text("title")]
    known, count = np.unique([w for row in words for w in row], return_counts=True)
    code_of = {word: code for code, word in enumerate(known[count >= 2])}
    word = np.full((items.num_rows, WORDS), -1, np.int32)
    for row, own in enumerate(words):
        codes = [code_of[w] for w in own if w in code_of]
        word[row, : len(codes)] = codes
    marks, labels = items.codes("attribute")
    arrays = {
        "item": sequences.item,
        "splits": sequences.splits.astype(np.int32),
        "word": word,
        "category": _nth(marks, 0),
        "brand": _nth(marks, 1),
    }
    sizes = {
        "word": len(code_of),
        "category": max(1, len(labels)),
        "brand": max(1, len(labels)),
        "item": items.num_rows,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out, **arrays, sizes=np.frombuffer(json.dumps(sizes).encode(), np.uint8))
    return {"users": len(sequences), "bytes": out.stat().st_size, **sizes}


def _nth(ragged: Any, n: int) -> np.ndarray:
    """int32[I]: the n-th value of each row, -1 where it has fewer."""
    counts = np.diff(ragged.splits)
    out = np.full(len(counts), -1, np.int32)
    out[counts > n] = ragged.values[ragged.splits[:-1][counts > n] + n]
    return out


@dataclass(frozen=True, eq=False)
class Sequences:
    """One file on a device.  ``popular`` float32[I, 1]: the standardised log count of an item in training."""

    sizes: Mapping[str, int]
    item: Tensor
    splits: Tensor
    facts: Mapping[str, Tensor]
    popular: Tensor
    device: str

    @classmethod
    def read(cls, path: Path, device: str) -> Sequences:
        with np.load(path) as file:
            a = {name: file[name] for name in file.files}
        sizes = json.loads(a.pop("sizes").tobytes())
        held = np.repeat(a["splits"][1:], np.diff(a["splits"])) - np.arange(len(a["item"])) <= 2
        count = np.log1p(np.bincount(a["item"][~held], minlength=sizes["item"]))
        popular = torch.from_numpy(((count - count.mean()) / count.std()).astype(np.float32))[:, None]
        to = {n: torch.from_numpy(v.astype(np.int64)).to(device) for n, v in a.items()}
        facts = {n: to[n] for n in ("word", "category", "brand")}
        return cls(sizes, to["item"], to["splits"], facts, popular.to(device), device)

    @property
    def shape(self) -> Shape:
        items = frozenset(field.name for field in FIELDS if not field.is_past)
        return Shape(FIELDS, {}, {"statistics": 1}, DIM, items)

    def places(self, from_end: int) -> Tensor:
        """Targets: the last item of each sequence is 1 from its end; every earlier one with a past for ``from_end`` 3."""
        end = torch.repeat_interleave(self.splits[1:], self.splits.diff())
        begin = torch.repeat_interleave(self.splits[:-1], self.splits.diff())
        at = torch.arange(len(self.item), device=self.device)
        own = (end - at == from_end) if from_end < 3 else (end - at >= 3)
        return torch.nonzero(own & (at > begin))[:, 0]

    def batch(self, place: Tensor, candidates: Tensor) -> Batch:
        """Requests at these places with the candidates [B, C] of each."""
        user = torch.searchsorted(self.splits, place, right=True) - 1
        back = place[:, None] - PAST + torch.arange(PAST, device=self.device)
        there = back >= self.splits[user][:, None]
        past = torch.where(there, self.item[back.clamp(min=0)], -1)
        item = candidates.reshape(-1)
        request = {f"clicks_{what}": self._fact(what, past) for what in ("item", "category", "brand")}
        own = {"item": item, "title_words": self.facts["word"][item]}
        own |= {what: self.facts[what][item] for what in ("category", "brand")}
        owner = torch.arange(len(place), device=self.device).repeat_interleave(candidates.shape[1])
        return Batch(request, own, {}, {"statistics": self.popular[item]}, owner)

    def _fact(self, what: str, item: Tensor) -> Tensor:
        return item if what == "item" else torch.where(item >= 0, self.facts[what][item.clamp(min=0)], -1)


def network(arm: str, data: Sequences, scale: float = 1.0, dropout: float = 0.2) -> Ranker:
    method = ARMS[arm](scale).model_copy(update={"tasks": ("click",), "dim": DIM, "dropout": dropout})
    fields = {f.name: IdField(f.table, f.length, f.is_past) for f in FIELDS}
    return Ranker(
        InputLayer(data.shape, FixedLookup(fields, data.sizes, DIM)), method.trunk(data.shape, ("click",)), ("click",)
    )


def matched(arm: str, data: Sequences) -> float:
    target, low, high = num_parameters(network("hhft", data).trunk), 0.1, 16.0
    for _ in range(20 if arm in MATCHED else 0):
        scale = (low * high) ** 0.5
        low, high = (scale, high) if num_parameters(network(arm, data, scale).trunk) < target else (low, scale)
    return high if arm in MATCHED else 1.0


def run(arm: str, data: Sequences, lr: float, seed: int, epochs: int, users: int) -> dict[str, Any]:
    """One training; figures of validation and test, each over the same sampled users."""
    start = perf_counter()
    scale = matched(arm, data)
    torch.manual_seed(seed)
    model = network(arm, data, scale).to(data.device)
    places = data.places(3)

    def batch(rows: np.ndarray) -> Batch:
        place = places[torch.from_numpy(rows).to(data.device)]
        drawn = torch.randint(0, data.sizes["item"], (len(place), NEGATIVES), device=data.device)
        return data.batch(place, torch.cat([data.item[place][:, None], drawn], 1))

    def loss(module: nn.Module, given: Batch) -> dict[str, Tensor]:
        logit = module(given)[:, 0].view(-1, NEGATIVES + 1)
        return {
            "next": nn.functional.cross_entropy(logit, torch.zeros(len(logit), dtype=torch.int64, device=data.device))
        }

    settings = TrainSettings(epochs=epochs, lr=lr, watch="ndcg@10", better="higher", patience=2, weight_decay=1e-4)
    trained = train(
        model, RowBatches(len(places), 256, batch, seed=seed), loss, settings,
        validate=lambda module: ranked(module, data, 2, users), seed=seed, device=data.device,
    )  # fmt: skip
    model.eval()
    size, seconds = num_parameters(model.trunk), perf_counter() - start
    found = {"arm": arm, "lr": lr, "seed": seed, "parameters": size, "seconds": seconds, "validation": trained.best}
    return {**found, "test": ranked(model, data, 1, users), "rank": ranks(model, data, 1, users).tolist()}


@torch.no_grad()
def ranks(module: nn.Module, data: Sequences, from_end: int, users: int) -> np.ndarray:
    """int64[U]: how many items stand above the target, all items ranked but those of the user's past."""
    places = data.places(from_end)
    chosen = torch.from_numpy(np.random.default_rng(0).permutation(len(places))[:users].copy()).to(data.device)
    all_items = torch.arange(data.sizes["item"], device=data.device)
    out = []
    for place in places[chosen].split(16):
        score = module(data.batch(place, all_items.expand(len(place), -1)))[:, 0].view(len(place), -1)
        own = score.gather(1, data.item[place][:, None])
        above = score > own
        user = torch.searchsorted(data.splits, place, right=True) - 1
        for row, (at, u) in enumerate(zip(place.tolist(), user.tolist(), strict=True)):
            above[row, data.item[int(data.splits[u]) : at]] = False
        out.append(above.sum(1))
    return torch.cat(out).cpu().numpy()


def ranked(module: nn.Module, data: Sequences, from_end: int, users: int) -> dict[str, float]:
    """hr@10, ndcg@10 and hr@50 over the users."""
    rank = ranks(module, data, from_end, users)
    gain = np.where(rank < 10, 1 / np.log2(rank + 2.0), 0.0)
    return {"hr@10": float((rank < 10).mean()), "ndcg@10": float(gain.mean()), "hr@50": float((rank < 50).mean())}


_HERE: dict[str, Any] = {}


def _open(path: str, device: str, epochs: int, users: int) -> None:
    _HERE.update(data=Sequences.read(Path(path), device), epochs=epochs, users=users)


def _work(job: tuple[str, float, int]) -> dict[str, Any]:
    arm, lr, seed = job
    found = run(arm, _HERE["data"], lr, seed, _HERE["epochs"], _HERE["users"])
    print({k: v for k, v in found.items() if k != "rank"}, file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    make = verbs.add_parser("prepare")
    make.add_argument("--data", default="amazon_5core:amazon-beauty")
    make.add_argument("--out", type=Path, required=True)
    many = verbs.add_parser("sweep")
    many.add_argument("--data", type=Path, required=True)
    many.add_argument("--out", type=Path, required=True)
    many.add_argument("--device", default="cpu")
    many.add_argument("--jobs", type=int, default=1)
    many.add_argument("--seeds", type=int, default=5)
    many.add_argument("--epochs", type=int, default=4)
    many.add_argument("--users", type=int, default=USERS)
    many.add_argument("--arms", default="")
    args = parser.parse_args()
    if args.verb == "prepare":
        print(json.dumps(prepare(args.data, args.out)))
        return
    arms = args.arms.split(",") if args.arms else list(ARMS)
    opened = (str(args.data), args.device, args.epochs, args.users)
    with ProcessPoolExecutor(args.jobs, get_context("spawn"), _open, opened) as pool:
        tried = list(pool.map(_work, [(arm, lr, 0) for arm in arms for lr in (1e-3, 3e-3)]))
        best = {
            arm: max((t for t in tried if t["arm"] == arm), key=lambda t: t["validation"]["ndcg@10"]) for arm in arms
        }
        more = list(pool.map(_work, [(arm, best[arm]["lr"], s) for arm in arms for s in range(1, args.seeds)]))
    args.out.write_text(json.dumps([*best.values(), *more]))


if __name__ == "__main__":
    main()
