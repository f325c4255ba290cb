"""Sequential recommendation on Amazon reviews, every item a candidate: HHFT beside the other rankers, item_cf and popular items.

Leave-one-out: the last item of a sequence is the test, the one before it the validation, all earlier ones training.  A training
example is one of the last ``--recent`` training places of a sequence, the items before it (the last 20) and ``--negatives`` random
items; the loss is their softmax.  This is no click data: nobody was shown anything, so what is learned is what comes next.

    python benchmarks/ranking/sequences.py quick --data amazon_5core:amazon-beauty       # the record, one thread
    python benchmarks/ranking/sequences.py prepare --data amazon_5core:amazon-beauty --out build/beauty.npz
    python benchmarks/ranking/sequences.py sweep --data build/beauty.npz --device cuda --jobs 6 --out build/beauty-sequences.json
    python benchmarks/ranking/sequences.py report build/beauty-sequences.json

Legend: U users, L places, I items, G negatives, C candidates.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.multiprocessing import get_context

from aisle.evaluate.significance import paired_difference
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

DIM, WORDS = 16, 8
FIELDS = (
    *(Field(f"clicks_{what}", "clicks", what, PAST, True) for what in ("item", "category", "brand")),
    Field("item", "item", "item"),
    Field("title_words", "item", "word", WORDS),
    Field("category", "attributes", "category"),
    Field("brand", "attributes", "brand"),
)
BASE = {"width": 16, "heads": 4, "layers": 1, "hiformer": 1}


def deep(scale: float) -> tuple[int, ...]:
    return tuple(max(4, round(width * scale)) for width in (256, 128, 64))


ARMS = {
    "hhft": lambda scale: Hhft(**BASE),
    "hhft-hstu": lambda scale: Hhft(**BASE, past="hstu"),
    "transformer": lambda scale: Hhft(
        **{**BASE, "width": 4 * round(4 * scale), "share": True, "hiformer": 0, "layers": 2}
    ),
    "no-hiformer": lambda scale: Hhft(**{**BASE, "hiformer": 0, "layers": 2}),
    "din": lambda scale: Din(hidden=deep(scale)),
    "dnn": lambda scale: Dnn(hidden=deep(scale)),
    "fm": lambda scale: Fm(),
}
MATCHED = frozenset({"transformer", "din", "dnn"})
QUICK = ("hhft", "din", "dnn", "fm", "transformer")


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

    def places(self, from_end: int, recent: int = 0) -> Tensor:
        """Targets: the last item of each sequence is 1 from its end; for ``from_end`` 3 every earlier one with a past, or the
        latest ``recent`` of them."""
        end = torch.repeat_interleave(self.splits[1:], self.splits.diff())
        begin = torch.repeat_interleave(self.splits[:-1], self.splits.diff())
        at = torch.arange(len(self.item), device=self.device)
        own = (
            (end - at == from_end)
            if from_end < 3
            else ((end - at >= 3) & ((end - at < 3 + recent) if recent else True))
        )
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


@dataclass(frozen=True)
class Protocol:
    """negatives: random items beside each target. recent: training places of a sequence, 0 for all. users: that are ranked."""

    epochs: int
    negatives: int
    recent: int
    users: int


def run(arm: str, data: Sequences, lr: float, seed: int, protocol: Protocol) -> dict[str, Any]:
    """One training; figures of validation and test, each over the same sampled users."""
    start = perf_counter()
    torch.manual_seed(seed)
    model = network(arm, data, matched(arm, data)).to(data.device)
    places, width = data.places(3, protocol.recent), protocol.negatives + 1

    def batch(rows: np.ndarray) -> Batch:
        place = places[torch.from_numpy(rows).to(data.device)]
        drawn = torch.randint(0, data.sizes["item"], (len(place), width - 1), device=data.device)
        return data.batch(place, torch.cat([data.item[place][:, None], drawn], 1))

    def loss(module: nn.Module, given: Batch) -> dict[str, Tensor]:
        logit = module(given)[:, 0].view(-1, width)
        first = torch.zeros(len(logit), dtype=torch.int64, device=data.device)
        return {"next": nn.functional.cross_entropy(logit, first)}

    settings = TrainSettings(
        epochs=protocol.epochs, lr=lr, watch="ndcg@10", better="higher", patience=2, weight_decay=1e-4
    )
    trained = train(
        model, RowBatches(len(places), 256, batch, seed=seed), loss, settings,
        validate=lambda module: figures(ranks(scorer(module, data), data, 2, protocol.users // 3), data), seed=seed,
        device=data.device,
    )  # fmt: skip
    rank = ranks(scorer(model.eval(), data), data, 1, protocol.users)
    found = {"arm": arm, "lr": lr, "seed": seed, "parameters": num_parameters(model.trunk)}
    return {**found, "seconds": perf_counter() - start, "validation": trained.best, "rank": rank.tolist()}


Scorer = Callable[[Tensor], Tensor]
"""Places [B] -> scores [B, I] of every item."""


def scorer(module: nn.Module, data: Sequences) -> Scorer:
    every = torch.arange(data.sizes["item"], device=data.device)
    return lambda place: module(data.batch(place, every.expand(len(place), -1)))[:, 0].view(len(place), -1)


def popular(data: Sequences) -> Scorer:
    """How often an item was met in training."""
    return lambda place: data.popular[:, 0].expand(len(place), -1)


def item_cf(data: Sequences) -> Scorer:
    """sum over the past of cosine(users of both items), by what was met in training."""
    from scipy.sparse import csr_matrix

    splits, item = data.splits.cpu().numpy(), data.item.cpu().numpy()
    user = np.repeat(np.arange(len(splits) - 1), np.diff(splits))
    kept = splits[1:][user] - np.arange(len(item)) >= 3
    met = csr_matrix((np.ones(kept.sum(), np.float32), (user[kept], item[kept])), (len(splits) - 1, data.sizes["item"]))
    met.data[:] = 1
    length = np.sqrt(np.maximum(np.asarray(met.sum(0))[0], 1))
    alike = (met.T @ met).tocsr().multiply(1 / length[:, None]).multiply(1 / length[None]).tocsr()
    alike.setdiag(0)

    def scores(place: Tensor) -> Tensor:
        own = torch.searchsorted(data.splits, place, right=True) - 1
        pasts = [
            item[max(int(data.splits[u]), at - PAST) : at] for u, at in zip(own.tolist(), place.tolist(), strict=True)
        ]
        return torch.from_numpy(np.stack([np.asarray(alike[past].sum(0))[0] for past in pasts])).to(data.device)

    return scores


BASELINES = {"popular": popular, "item_cf": item_cf}


@torch.inference_mode()
def ranks(score: Scorer, data: Sequences, from_end: int, users: int) -> np.ndarray:
    """float64[U]: how many items stand above the target (equal ones by half), all items ranked but those of the user's past.

    One user at a time on a processor: the activations of 12,000 candidates stay in its cache, which takes less than half the time
    of 16 users together.
    """
    places = data.places(from_end)
    chosen = torch.from_numpy(np.random.default_rng(0).permutation(len(places))[:users].copy()).to(data.device)
    out = []
    for place in places[chosen].split(1 if data.device == "cpu" else 16):
        score_BI = score(place)
        own_B1 = score_BI.gather(1, data.item[place][:, None])
        above_BI = (score_BI > own_B1).double() + 0.5 * (score_BI == own_B1).double()
        above_BI.scatter_(1, data.item[place][:, None], 0.0)
        user = torch.searchsorted(data.splits, place, right=True) - 1
        for row, (at, u) in enumerate(zip(place.tolist(), user.tolist(), strict=True)):
            above_BI[row, data.item[int(data.splits[u]) : at]] = 0.0
        out.append(above_BI.sum(1))
    return torch.cat(out).cpu().numpy()


def per_user(rank_U: np.ndarray, num_items: int) -> dict[str, np.ndarray]:
    """float64[U] each: hit rate and nDCG of the first 10, hit rate of 50, and AUC over all items."""
    return {
        "hr@10": (rank_U < 10).astype(float),
        "ndcg@10": np.where(rank_U < 10, 1 / np.log2(rank_U + 2.0), 0.0),
        "hr@50": (rank_U < 50).astype(float),
        "gauc": 1 - rank_U / (num_items - 1),
    }


def figures(rank_U: np.ndarray, data: Sequences) -> dict[str, float]:
    return {name: float(value_U.mean()) for name, value_U in per_user(rank_U, data.sizes["item"]).items()}


def report(found: Sequence[Mapping[str, Any]], num_items: int) -> list[dict[str, Any]]:
    """Rows of JSON: every arm's figures over its seeds, and HHFT's paired difference from each."""
    values = {}
    for run_ in found:
        values.setdefault(run_["arm"], []).append(per_user(np.array(run_["rank"], float), num_items))
    rows = []
    for metric in ("ndcg@10", "hr@10", "hr@50", "gauc"):
        value_SU = {arm: np.stack([run_[metric] for run_ in runs]) for arm, runs in values.items()}
        for arm, value in value_SU.items():
            runs = [run_ for run_ in found if run_["arm"] == arm]
            row = {"metric": metric, "plan": arm, "value": float(value.mean()), "users": value.shape[1]}
            row |= {"seeds": len(runs), "parameters": runs[0].get("parameters"), "seconds": runs[0].get("seconds")}
            if "hhft" in value_SU and arm != "hhft":
                own = value_SU["hhft"][: len(value)] if len(value) > 1 else value_SU["hhft"].mean(0, keepdims=True)
                d = paired_difference(own, value)
                row |= {"hhft_minus": d.value, "minus_low": d.low, "minus_high": d.high, "verdict": d.verdict}
            rows.append(row)
    return rows


_HERE: dict[str, Any] = {}


def _open(path: str, device: str, protocol: Protocol, threads: int, kept: Path | None) -> None:
    torch.set_num_threads(threads)
    _HERE.update(data=Sequences.read(Path(path), device), protocol=protocol, kept=kept)


def _work(job: tuple[str, float, int]) -> dict[str, Any]:
    """One training, or what an earlier call that was stopped kept of it."""
    arm, lr, seed = job
    protocol: Protocol = _HERE["protocol"]
    name = "-".join(f"{part}" for part in (arm, lr, seed, *vars(protocol).values()))
    kept = _HERE["kept"] and _HERE["kept"] / f"{name}.json"
    if kept and kept.exists():
        return json.loads(kept.read_text())
    found = run(arm, _HERE["data"], lr, seed, protocol)
    print({k: v for k, v in found.items() if k != "rank"}, file=sys.stderr, flush=True)
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(found))
    return found


def sweep(
    path: Path, arms: Sequence[str], rates: Sequence[float], protocol: Protocol, args: argparse.Namespace
) -> dict:
    """Each arm at the learning rate that was best on validation (seed 0), then with every seed; and the baselines."""
    device, jobs, seeds = args.device, args.jobs, args.seeds
    data = Sequences.read(path, device)
    simple = [
        {"arm": name, "seed": 0, "rank": ranks(make(data), data, 1, protocol.users).tolist()}
        for name, make in BASELINES.items()
    ]
    opened = (str(path), device, protocol, 1 if jobs > 1 else torch.get_num_threads(), args.keep)
    with ProcessPoolExecutor(jobs, get_context("spawn"), _open, opened) as pool:
        tried = list(pool.map(_work, [(arm, lr, 0) for arm in arms for lr in rates]))
        best = {
            arm: max((t for t in tried if t["arm"] == arm), key=lambda t: t["validation"]["ndcg@10"]) for arm in arms
        }
        more = list(pool.map(_work, [(arm, best[arm]["lr"], s) for arm in arms for s in range(1, seeds)]))
    return {"items": data.sizes["item"], "runs": [*simple, *best.values(), *more]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    make = verbs.add_parser("prepare")
    make.add_argument("--data", default="amazon_5core:amazon-beauty")
    make.add_argument("--out", type=Path, required=True)
    many, small = verbs.add_parser("sweep"), verbs.add_parser("quick")
    many.add_argument("--data", type=Path, required=True)
    many.add_argument("--out", type=Path, required=True)
    small.add_argument("--data", default="amazon_5core:amazon-beauty")
    numbers = {
        "seeds": (5, 1), "epochs": (4, 2), "users": (4000, 300), "negatives": (100, 20), "recent": (0, 2), "jobs": (1, 1)
    }  # fmt: skip
    for verb, at in ((many, 0), (small, 1)):
        verb.add_argument("--device", default="cpu")
        verb.add_argument("--arms", default="")
        verb.add_argument("--rates", default="0.001,0.003" if verb is many else "0.003")
        verb.add_argument(
            "--keep", type=Path, help="a folder for every finished training, so that a stopped sweep goes on"
        )
        for name, default in numbers.items():
            verb.add_argument(f"--{name}", type=int, default=default[at])
    read = verbs.add_parser("report")
    read.add_argument("sweep", type=Path)
    args = parser.parse_args()
    if args.verb == "prepare":
        print(json.dumps(prepare(args.data, args.out)))
        return
    if args.verb == "report":
        found = json.loads(args.sweep.read_text())
    else:
        found = swept(args)
    if args.verb == "sweep":
        args.out.write_text(json.dumps(found))
    else:
        print(json.dumps(report(found["runs"], found["items"]), indent=1))


def swept(args: argparse.Namespace) -> dict[str, Any]:
    arms = args.arms.split(",") if args.arms else [*(ARMS if args.verb == "sweep" else QUICK)]
    protocol = Protocol(args.epochs, args.negatives, args.recent, args.users)
    rates = [float(rate) for rate in args.rates.split(",")]
    if args.verb == "sweep":
        return sweep(args.data, arms, rates, protocol, args)
    torch.set_num_threads(1)
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / "data.npz"
        prepare(args.data, path)
        return sweep(path, arms, rates, protocol, args)


if __name__ == "__main__":
    main()
