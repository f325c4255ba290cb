"""What a judge gains from a pre-trained language model: SmolLM2-135M beside judges that begin from nothing or from an encoder.

    python benchmarks/relevance/pretrained.py --out FOLDER --sets shop esci icecat --arms smollm2:0 smollm2:2000
    python benchmarks/relevance/pretrained.py --out FOLDER --rows

An arm is KIND:PAIRS or KIND:PAIRS:PASSES: the graded pairs that it learns from (all there are, where there are fewer), and how
often SmolLM2 sees them.

    bm25, minilm   orders the same lists without having learned from a grade
    tiny           the decoder from scratch
    cross_encoder  MiniLM, fine-tuned
    likelihood     orders by how likely SmolLM2 as published finds the query after the product, without any grade
    mixed          BM25 and that likelihood, each standardised, as one sum
    smollm2        label first, with adapters; 0 pairs: as published, told what the grades mean
    whole          the same, with all weights learned in place of adapters
    random         the same network with drawn weights, all of them learned

``shop`` is the hard queries of a generated shop, measured against true grades; its training pairs are spread over 2,900 queries.
``esci`` and ``icecat`` are the first of three folds of ``real.py``: all pairs of some dozens of queries.  Rates and passes are the
first ones tried: nothing was searched.  A finished arm is a line in FOLDER/runs.jsonl and stays.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))

from as_judgments import as_judgments
from hard_queries import hard_queries, of_size
from pretrained_rows import read_runs, rows_of
from real import Folds

from aisle.core.env import Env
from aisle.core.lists import Array, ItemLists
from aisle.core.shop import Items, Judgments
from aisle.data.splits import split_judgments
from aisle.nn.backbones.hf import Lora, Pretrained
from aisle.nn.backbones.packed import pack
from aisle.nn.backbones.tiny import TinyShape
from aisle.relevance._judge.llm import Llm, LlmMethod
from aisle.relevance._pairs import Pairs, first_queries, pairs_of
from aisle.relevance._scale import scale_of_judgments
from aisle.relevance._serving import Reader, expected
from aisle.relevance._tiers import cumulative_grade, fit_threshold
from aisle.relevance.cross_encoder import CrossEncoder
from aisle.relevance.taosr1 import TaoSr1
from aisle.relevance.taosr1.tuned import examples_of, rationales_of
from aisle.training.loop import train
from aisle.training.settings import TrainSettings
from aisle.training.supervised import example_batches, supervised_loss

SETS = ("shop", "esci", "icecat")
ARMS = ("bm25:0", "minilm:0", "tiny:2000", "cross_encoder:2000", "likelihood:0", "mixed:0", "smollm2:0", "smollm2:2000")
SHOP_TEST, HELD = 800, 300
"""Pairs, in whole queries: that are measured on the generated shop, and that choose thresholds on any set."""

BATCH, ROW_TOKENS, CHUNK = 16, 256, 64
LAST = 10
"""Blocks of thirty that get adapters."""
PASSES = {"shop": 2, "esci": 1, "icecat": 1}
"""Of a pre-trained model, where an arm does not say."""
RATE = 1e-3
WHOLE_RATES = {"random": 3e-4, "whole": 1e-4}
"""Of arms whose weights are all learned; ``RATE`` is that of adapters."""
LABEL_WEIGHT = 3.0
"""Of the label beside its four tokens of reasoning: with few pairs the grade is what must be learned."""
SHAPE = TinyShape(width=48, layers=2, heads=4, key_heads=2, head_dim=16, hidden=120, repeats=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="*", choices=SETS, default=list(SETS))
    parser.add_argument("--arms", nargs="*", default=list(ARMS))
    parser.add_argument("--rate", type=float, default=RATE, help="of the adapters")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", action="store_true")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.rows:
        print(json.dumps(list(rows_of(read_runs(args.out))), indent=1))
        return
    torch.set_num_threads(args.threads)
    done = {(run["set"], run["arm"]) for run in read_runs(args.out)}
    for name in args.sets:
        missing = [arm for arm in args.arms if (name, arm) not in done and can(name, arm)]
        bench = Bench(name, args.out, args.rate) if missing else None
        for arm in missing:
            bench.run(arm)


def can(name: str, arm: str) -> bool:
    """The generated shop has no engine here."""
    return not (name == "shop" and arm in ("bm25:0", "minilm:0", "mixed:0"))


@dataclass(frozen=True, eq=False)
class Part:
    """
    train, held  pairs to learn from, and of the threshold
    test         what is measured, as judgments with true grades
    spread       whether a smaller training set has pairs of all queries, or all pairs of some
    """

    items: Items
    env: Env
    train: Pairs
    held: Pairs
    test: Judgments
    spread: bool = False

    def few(self, size: int) -> Pairs:
        """About so many of the training pairs; a larger set contains every smaller one."""
        if not self.spread:
            return of_size(self.train, size, 0)[0]
        order = np.random.default_rng(0x5BEA).permutation(len(self.train))
        return self.train.take(np.sort(order[:size]))


def part_of(name: str, seed: int = 0) -> Part:
    if name == "shop":
        data = hard_queries(seed)
        few = first_queries(data.test, SHOP_TEST)
        true_N = data.true[np.isin(data.test.query, few.query)]
        env = Env(engine=None, seed=seed)  # type: ignore[arg-type]
        held, test = first_queries(data.validation, HELD), as_judgments(replace(few, label=true_N))
        return Part(data.items, env, data.train, held, test, spread=True)
    folds = Folds(name, argparse.Namespace(seed=seed, folds=3))
    others = folds.judged.select(np.flatnonzero(folds.fold != 0))
    scale, parts = scale_of_judgments(others), split_judgments(others, seed + 1)
    learned, held = (pairs_of(parts[part], scale) for part in ("train", "validation"))
    return Part(
        folds.items, folds.env, learned, first_queries(held, HELD), folds.judged.select(np.flatnonzero(folds.fold == 0))
    )


def redraw(model: Any) -> None:
    """Weights as they were before anything was learned."""
    torch.manual_seed(0)
    model.load_state_dict(type(model)(model.config).state_dict())


def standard(score_N: Array, lists: ItemLists) -> Array:
    """With mean 0 and deviation 1 in every list."""
    count_Q = np.maximum(lists.counts, 1)
    mean_Q = np.bincount(lists.owner, score_N, len(lists)) / count_Q
    away_N = score_N - mean_Q[lists.owner]
    deviation_Q = np.sqrt(np.bincount(lists.owner, away_N**2, len(lists)) / count_Q)
    return away_N / np.maximum(deviation_Q, 1e-9)[lists.owner]


class Bench:
    """The arms of one set."""

    def __init__(self, name: str, out: Path, rate: float) -> None:
        self.name, self.out, self.rate, self.part = name, out, rate, part_of(name)

    def run(self, arm: str) -> None:
        start_s = process_time()
        found = self.measured(*arm.split(":"))
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        run = {"set": self.name, "arm": arm, **found, "cpu_s": process_time() - start_s, "peak_mb": peak_mb}
        with (self.out / "runs.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(run) + "\n")
        shown = {name: value for name, value in run.items() if not isinstance(value, list)}
        print(json.dumps({**shown, "ndcg": float(np.mean(run["ndcg"]))}), flush=True)

    def measured(self, kind: str, size: str, passes: str = "") -> dict[str, Any]:
        part = self.part
        if kind == "bm25":
            return {"ndcg": self.ndcg(self.words)}
        if kind == "minilm":
            return {"ndcg": self.ndcg(self.cosine())}
        if kind == "likelihood":
            return {"ndcg": self.ndcg(self.likelihood)}
        if kind == "mixed":
            lists = part.test.lists
            return {"ndcg": self.ndcg(standard(self.words, lists) + standard(self.likelihood, lists))}
        start_s = process_time()
        reader, told = self.reader(kind, int(size), int(passes or PASSES[self.name]))
        learned_s = process_time() - start_s
        test = pairs_of(part.test, part.train.scale)
        threshold = fit_threshold(reader.chances_of_pairs(part.held, part.items), part.held.label)
        start_s = process_time()
        chance_NC = reader.chances_of_pairs(test, part.items)
        judged_s = process_time() - start_s
        return {
            "ndcg": self.ndcg(expected(chance_NC)),
            "query": test.query.tolist(),
            "gold": test.label.tolist(),
            "said": cumulative_grade(chance_NC, threshold).tolist(),
            "likeliest": chance_NC.argmax(1).tolist(),
            "threshold": threshold,
            "learning_s": learned_s,
            "judged_a_s": len(test) / judged_s,
            **told,
        }

    def reader(self, kind: str, size: int, passes: int) -> tuple[Reader, dict[str, Any]]:
        """A judge that learned from so many pairs."""
        part = self.part
        pairs = part.few(size) if 0 < size < len(part.train) else part.train
        if kind == "cross_encoder":
            method = CrossEncoder(encoder="minilm", threads=torch.get_num_threads(), max_tokens=64)
            return method.fit_pairs(pairs, part.held, part.items, part.env).reader, {"pairs": len(pairs)}
        if kind == "tiny":
            method = TaoSr1(shape=SHAPE, vocabulary=6000, words="pieces")
            settings = TrainSettings(epochs=100, max_steps=400, lr=4e-3, warmup=0.05, weight_decay=0.01)
        else:
            adapted = Pretrained(lora=Lora(last=LAST))
            loaded = adapted if kind == "smollm2" else Pretrained(lora=None, dtype="float32")
            method = TaoSr1(backbone="smollm2", prompt="terse" if size else "instructed", pretrained=loaded)
            settings = TrainSettings(epochs=passes, lr=self.rate, warmup=0.1, weight_decay=0.0)
        if kind in WHOLE_RATES:
            settings = settings.model_copy(update={"lr": WHOLE_RATES[kind], "precision": "auto"})
        llm = Llm.made(method, part.train.scale, part.items, pairs.queries, part.env)
        if not size:
            return llm, {"pairs": 0}
        if kind == "random":
            redraw(llm.backbone.model)
        losses = self.learned(llm, method, pairs, settings)
        return llm, {"pairs": len(pairs), "losses": losses}

    def learned(self, llm: Llm, method: LlmMethod, pairs: Pairs, settings: TrainSettings) -> list[float]:
        """Fine-tuning with the rule teacher's reasoning; the loss of every tenth step."""
        part, losses = self.part, []
        written = rationales_of(method.rationales.writer(part.items, pairs.scale, part.env), pairs)
        examples = examples_of(llm, pairs, part.items, written, label_weight=LABEL_WEIGHT)
        batches = example_batches(examples, BATCH if not method.is_tiny else 32, row_tokens=ROW_TOKENS)

        def progress(task: str, step: int, of: int) -> None:
            if step % 10 == 0:
                print(f"{self.name} {step}/{of} {process_time():.0f} s", file=sys.stderr, flush=True)

        def loss(module: Any, batch: Any) -> Any:
            found = supervised_loss(module, batch)
            losses.append(float(found["supervised"].detach()))
            return found

        train(llm.backbone, batches, loss, settings, progress=progress)
        llm.backbone.eval()
        return [round(float(np.mean(losses[at : at + 10])), 4) for at in range(0, len(losses), 10)]

    def cosine(self) -> Array:
        part, lists = self.part, self.part.test.lists
        encoder = part.env.encoder("minilm")
        rows, place = np.unique(lists.item, return_inverse=True)
        texts = zip(part.items.text("title", rows), part.items.text("brand", rows), strict=True)
        item_RD = encoder.encode([f"{title} {brand}" for title, brand in texts])
        return (encoder.encode(list(part.test.query))[lists.owner] * item_RD[place]).sum(1)

    @cached_property
    def words(self) -> Array:
        """BM25 of each judged pair."""
        return self.part.env.engine.text.score(self.part.test.query, self.part.test.lists, {})

    @cached_property
    def likelihood(self) -> Array:
        """Mean log-probability of the query's tokens after the product (D. Sachan et al., arXiv 2204.07496)."""
        part, lists = self.part, self.part.test.lists
        method = TaoSr1(backbone="smollm2", prompt="terse", pretrained=Pretrained(lora=None))
        llm = Llm.made(method, part.train.scale, part.items, [], part.env)
        told = llm.words.encode([f"Product: {text}\nSearch:" for text in llm.prompts.items(part.items, lists.item)])
        asked = llm.words.encode([f" {query}" for query in part.test.query])
        score_N = np.zeros(len(told), np.float32)
        order = np.argsort([len(tokens) for tokens in told], kind="stable")
        for start in range(0, len(order), CHUNK):
            rows = order[start : start + CHUNK]
            packed = pack([told[row] for row in rows], [[asked[q]] for q in lists.owner[rows]])
            with torch.inference_mode():
                score_N[rows] = (llm.backbone.logp(packed).sum(1) / packed.counts).numpy()
        return score_N

    def ndcg(self, score_N: Array) -> list[float]:
        return Folds.ndcg(self.part.test, self.part.test.lists, score_N)


if __name__ == "__main__":
    main()
