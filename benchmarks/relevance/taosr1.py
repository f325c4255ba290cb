"""TaoSR1 on the hard queries of a generated shop: what order, data, noise and each later stage do, and what they must beat.

    python benchmarks/relevance/taosr1.py --out FOLDER --arms 'sft/*' --seeds 0 1     # run arms; what is in FOLDER stays
    python benchmarks/relevance/taosr1.py --out FOLDER --list                         # the names of all arms
    python benchmarks/relevance/taosr1.py --out FOLDER --record                       # run the record's arms, print its rows
    python benchmarks/relevance/taosr1.py --out FOLDER --rows                         # the rows of whatever was run
    python benchmarks/relevance/taosr1.py --out FOLDER --plot docs/images             # learning curves of it

An arm is a name such as ``grpo/label_first/12000/0.15/balanced/outcome``; each run adds a line to FOLDER/runs.jsonl and keeps
its weights there, from which later arms start.  A run that was killed goes on from its last checkpoint; its seconds are then those
since.

    sft         fine-tuning: order, pairs, step noise of the teacher
    long        the same with three times the steps
    weighted    the same with class weights
    dpo         sft, then DPO on pairs from a third of the pool; beta0.5, beta0.1: another beta; at beta .1 also without the
                writer's answers (own) and without the anchor (nll0)
    grpo        sft, then GRPO: natural or balanced pool, outcome or gated reward
    dpo+grpo    both
    more-sft    sft, then fine-tuning on the labels of the prompts that GRPO may ask (natural or balanced)
    drawn       sft, read by the labels of eight answers that it draws; of interest where reasoning comes first
    cross       the baseline ``relevance.cross_encoder`` on the same pairs: its encoder, pairs, 0
    best-of-g   sft, then three rounds of: eight answers to a prompt, learn the right ones

All arms of a seed share test, validation and training queries; every arm's threshold is fitted on the validation pairs.  What is
kept of a stage is the moment with the best macro-F1 on 1,500 validation pairs, for all arms alike.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))

from hard_queries import HardQueries, hard_queries, of_size
from taosr1_rows import SIZES, differences, figures, of_seeds, plotted, plotted_grid, printed

from aisle.core.env import Env
from aisle.core.lists import Array
from aisle.core.shop import Items
from aisle.nn.backbones.tiny import TinyShape
from aisle.relevance._judge.course import weights_of
from aisle.relevance._judge.llm import Llm
from aisle.relevance._judge.measured import hallucination_rate, measured, said_of_pairs
from aisle.relevance._judge.reasoned import judge_of
from aisle.relevance._pairs import Pairs, balanced
from aisle.relevance._serving import Reader
from aisle.relevance._stages import Stages
from aisle.relevance._tiers import cumulative_grade, fit_threshold
from aisle.relevance._verdicts import RuleTable
from aisle.relevance._writers import Rationales
from aisle.relevance.cross_encoder import CrossEncoder
from aisle.relevance.taosr1 import TaoSr1
from aisle.relevance.taosr1.course import TaoCourse, curve
from aisle.relevance.taosr1.settings import BY_MACRO_F1, Correction, Reinforcement
from aisle.relevance.taosr1.tuned import examples_of
from aisle.training.settings import TrainSettings
from aisle.training.supervised import Examples

ORDERS = ("label_only", "reason_first", "label_first")
STEPS = {**dict(zip(SIZES, (300, 500, 900, 1800), strict=True)), 6000: 700}
"""Pairs of fine-tuning -> optimiser steps of 32."""
NOISE = ("0", "0.15", "0.3")
BASES = (
    *(f"{order}/{size}/0.15" for size in (12000, 3000) for order in ("label_first", "reason_first")),
    *(f"{order}/12000/{noise}" for noise in ("0", "0.3") for order in ("label_first", "reason_first")),
)
"""What the later stages start from: order, pairs, noise."""
SHAPE = TinyShape(width=48, layers=2, heads=4, key_heads=2, head_dim=16, hidden=120, repeats=True)
POOL = 12_000
"""Pairs whose labels the later stages may use."""
DPO_POOL = 4_000
GROUP, ROUNDS = 8, 3
LONGER = 3
AGAIN = {True: 1e-3, False: 3e-5}
"""Rate of fine-tuning that goes on from a fine-tuned model: of a small one, and of a pre-trained one."""
DPO_KINDS = {
    "beta0.5": {"beta": 0.5},
    "beta0.1": {"beta": 0.1},
    "beta0.1-own": {"beta": 0.1, "oracle": False},
    "beta0.1-nll0": {"beta": 0.1, "nll": 0.0},
}
"""Settings of correction that the arms ``dpo/BASE/KIND`` try beside the usual ones."""
NUM_FIRST = 8
"""Arms of the later stages that come before the long runs."""
RECORD = (
    *(f"sft/{order}/12000/{'0' if order == 'label_only' else '0.15'}" for order in ORDERS),
    *(
        f"{kind}/label_first/12000/0.15{rest}"
        for kind, rest in (
            ("dpo", ""),
            ("grpo", "/balanced/outcome"),
            ("grpo", "/natural/outcome"),
            ("grpo", "/balanced/gated"),
            ("more-sft", "/natural"),
            ("more-sft", "/balanced"),
            ("best-of-g", ""),
        )
    ),
)
RL_STEPS = 200


def arms() -> list[str]:
    """All of them, those that matter most first."""
    first = [f"sft/{order}/12000/{'0' if order == 'label_only' else '0.15'}" for order in ORDERS]
    later = []
    for base in BASES:
        rl = [f"grpo/{base}/{pool}/{reward}" for pool in ("balanced", "natural") for reward in ("outcome", "gated")]
        plain = [f"more-sft/{base}/{pool}" for pool in ("natural", "balanced")] if base.startswith("label") else []
        later += [f"sft/{base}", f"dpo/{base}", rl[0], *plain, f"best-of-g/{base}", *rl[1:3], f"weighted/{base}"]
        later += [f"dpo+grpo/{base}/balanced/outcome", rl[3]]
    long = [arm.replace("sft/", "long/", 1) for arm in first]
    kinds = [f"dpo/{BASES[0]}/{kind}" for kind in DPO_KINDS]
    cross = [f"cross/{encoder}/12000/0" for encoder in ("scratch", "minilm")]
    drawn = [f"drawn/{base}" for base in BASES[:2]]
    grid = [f"sft/label_only/{size}/0" for size in SIZES]
    grid += [f"sft/{order}/{size}/{noise}" for noise in NOISE for size in SIZES for order in ORDERS[1:]]
    return list(dict.fromkeys([*first, *later[:NUM_FIRST], *long, *cross, *drawn, *kinds, *later[NUM_FIRST:], *grid]))


@dataclass(frozen=True, eq=False)
class Bench:
    """One seed of one run: data, where things are kept, and how arms are made."""

    out: Path
    seed: int
    device: str

    @property
    def data(self) -> HardQueries:
        return _data(self.seed)

    def course(self, arm: str) -> TaoCourse:
        """The judge of an arm before its own stage, with its pairs of fine-tuning and the pool."""
        kind, order, size, noise, *rest = arm.split("/")
        data, env = self.data, Env(engine=None, seed=self.seed, device=self.device)  # type: ignore[arg-type]
        tuning, others = of_size(data.train, int(size), self.seed)
        pool = of_size(others, POOL, self.seed + 1)[0] if len(others) > POOL else others
        steps = STEPS[int(size)] * (LONGER if kind == "long" else 1)
        method = TaoSr1(
            order=order, shape=SHAPE, vocabulary=3000, batch=32, class_weighted=kind == "weighted",
            rationales=Rationales(step_noise=float(noise)),
            train=TrainSettings(
                epochs=100, max_steps=steps, evaluate_every=max(steps // 5, 1), lr=4e-3, warmup=0.05, weight_decay=0.01,
                **BY_MACRO_F1,
            ),
            correction=Correction(
                train=TrainSettings(epochs=1, lr=3e-4, evaluate_every=25, **BY_MACRO_F1),
                **(DPO_KINDS[rest[0]] if kind == "dpo" and rest else {}),
            ),
            reinforcement=Reinforcement(
                steps=RL_STEPS, group=GROUP, balanced="balanced" in rest, reward="gated" if "gated" in rest else "outcome",
                train=TrainSettings(lr=5e-4, weight_decay=0.0, schedule="constant", evaluate_every=40, **BY_MACRO_F1),
            ),
        )  # fmt: skip
        llm = judge_of(method.order).made(method, data.train.scale, data.items, data.train.queries, env)
        return TaoCourse(method, data.items, Stages("taosr1", env), llm, (tuning, pool, data.validation))

    def weights(self, arm: str) -> Path:
        return self.out / f"{arm.replace('/', '_')}-{self.seed}.safetensors"

    def run(self, arm: str) -> dict[str, Any]:
        """The row of an arm; the arms that it starts from are run before where they were not yet."""
        from safetensors.torch import load_file, save_file

        kind, order, size, noise, *_ = arm.split("/")
        if kind == "cross":
            return self._cross(arm, order, int(size))
        course = self.course(arm)
        first = dict.fromkeys(("sft", "long", "weighted", "tiny", "lora"))
        before = {**first, "dpo+grpo": f"dpo/{order}/{size}/{noise}"}
        start = before.get(kind, f"sft/{order}/{size}/{noise}")
        if start is not None:
            if not self.weights(start).exists():
                self.kept(start)
            course.llm.backbone.load_state_dict(load_file(self.weights(start), device=self.device), strict=False)
        if kind == "drawn":
            return self._only_read(arm, Drawn(course.llm), perf_counter(), process_time())
        began, began_cpu = perf_counter(), process_time()
        folder = self.out / "unfinished" / f"{arm.replace('/', '_')}-{self.seed}"
        report = dict(STAGE[kind](course, folder, arm))
        took = {"seconds": perf_counter() - began, "cpu_seconds": process_time() - began_cpu}
        save_file(weights_of(course.llm.backbone), self.weights(arm))
        return {
            "arm": arm,
            "seed": self.seed,
            "world": self.data.version,
            **took,
            **self._test(course.llm),
            "report": report,
        }

    def _cross(self, arm: str, encoder: str, size: int) -> dict[str, Any]:
        """The row of ``relevance.cross_encoder`` on the pairs of fine-tuning, with as many steps as a judge has (a pre-trained
        encoder: one pass over them); what it gives the test pairs is kept."""
        data, env = self.data, Env(engine=None, seed=self.seed, device=self.device)  # type: ignore[arg-type]
        tuning, _ = of_size(data.train, size, self.seed)
        once = CrossEncoder().train.model_copy(update={"epochs": 1, "evaluate_every": 75})
        steps = once.model_copy(update={"epochs": 100, "max_steps": STEPS[size], "evaluate_every": STEPS[size] // 5})
        method = CrossEncoder(encoder=encoder, batch=32, threads=1, train=steps if encoder == "scratch" else once)
        began, began_cpu = perf_counter(), process_time()
        stage = method.fit_pairs(tuning, data.validation, data.items, env)
        return self._only_read(arm, stage.reader, began, began_cpu)

    def _only_read(self, arm: str, reader: Reader | Drawn, began: float, began_cpu: float) -> dict[str, Any]:
        """The row of an arm that leaves no weights of a judge; what it gives the test pairs is kept instead."""
        data = self.data
        threshold = fit_threshold(reader.chances_of_pairs(data.validation, data.items), data.validation.label)
        chance_NC = reader.chances_of_pairs(data.test, data.items)
        took = {"seconds": perf_counter() - began, "cpu_seconds": process_time() - began_cpu}
        np.save(self.weights(arm).with_suffix(".npy"), cumulative_grade(chance_NC, threshold))
        return {"arm": arm, "seed": self.seed, "world": data.version, **took, **self._test(reader), "report": {}}

    def kept(self, arm: str) -> None:
        """Run an arm and add its line."""
        row = self.run(arm)
        with (self.out / "runs.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(arm, self.seed, f"{row['cpu_seconds']:.0f} s,", f"macro-F1 {row['true']['macro_f1']:.3f}",
              file=sys.stderr, flush=True)  # fmt: skip

    def judge(self, arm: str) -> Llm:
        """The judge that an arm ended with."""
        from safetensors.torch import load_file

        llm = self.course(arm).llm
        llm.backbone.load_state_dict(load_file(self.weights(arm), device=self.device), strict=False)
        llm.backbone.eval()
        return llm

    def decided(self, arm: str) -> tuple[Array, Array, Array]:
        """Grades that an arm gives the test pairs, true grades, and queries int64[N], from its kept weights."""
        data, path = self.data, self.weights(arm).with_suffix(".npy")
        if not path.exists():
            llm = self.judge(arm)
            threshold = fit_threshold(llm.chances_of_pairs(data.validation, data.items), data.validation.label)
            np.save(path, cumulative_grade(llm.chances_of_pairs(data.test, data.items), threshold))
        return np.load(path), data.true, data.test.query

    def contradictions(self, arm: str) -> float | None:
        """Share of answers drawn at temperature 1 whose label is not the one that their own verdicts lead to; kept beside the
        weights.  None for an arm that gives no reasons."""
        if arm.startswith(("cross/", "drawn/")) or "/label_only/" in arm:
            return None
        path = self.weights(arm).with_suffix(".drawn")
        if not path.exists():
            llm = self.judge(arm)
            said = said_of_pairs(llm, self.data.test, self.data.items, temperature=1.0)
            path.write_text(json.dumps(hallucination_rate(said, RuleTable(len(llm.scale)))))
        found: float | None = json.loads(path.read_text())
        return found

    def _test(self, reader: Reader | Drawn) -> dict[str, Any]:
        """Figures of the test pairs against true grades and against the annotator's, at the validation pairs' threshold."""
        data = self.data
        threshold = fit_threshold(reader.chances_of_pairs(data.validation, data.items), data.validation.label)
        chance_NC = reader.chances_of_pairs(data.test, data.items)
        reasons = isinstance(reader, Llm) and reader.grammar.order != "label_only"
        said = said_of_pairs(reader, data.test, data.items) if reasons else []
        against = {"true": data.true, "written": data.test.label}
        found = {name: measured(chance_NC, gold, threshold, said).as_dict() for name, gold in against.items()}
        by_kind = {
            kind: measured(chance_NC[data.kind == kind], data.true[data.kind == kind], threshold).macro_f1
            for kind in np.unique(data.kind).tolist()
        }
        return {"threshold": threshold, **found, "by_kind": by_kind}


@dataclass(frozen=True, eq=False)
class Drawn:
    """A judge read by the labels of GROUP answers that it draws at temperature 1: a reasoning that is only one of several then
    does not decide alone."""

    llm: Llm

    def chances_of_pairs(self, pairs: Pairs, items: Items) -> Array:
        """float64[N, C]: shares of the drawn labels, a trace of each grade added."""
        said = said_of_pairs(self.llm, pairs, items, temperature=1.0, group=GROUP)
        label_NG = np.array([-1 if p.label is None else p.label for p in said]).reshape(len(pairs), GROUP)
        count_NC = (label_NG[:, :, None] == np.arange(len(pairs.scale))).sum(1) + 1e-3
        chance_NC: Array = count_NC / count_NC.sum(1, keepdims=True)
        return chance_NC


@lru_cache(maxsize=4)
def _data(seed: int) -> HardQueries:
    return hard_queries(seed)


# -- stages of the arms ------------------------------------------------------------------------------------------------


def tuned(course: TaoCourse, folder: Path, arm: str) -> Mapping[str, Any]:
    return course.tune(folder)


def corrected(course: TaoCourse, folder: Path, arm: str) -> Mapping[str, Any]:
    course.pool = of_size(course.pool, DPO_POOL, course.env.seed)[0]
    return course.correct(folder)


def reinforced(course: TaoCourse, folder: Path, arm: str) -> Mapping[str, Any]:
    report = course.reinforce(folder)
    log = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    names = ("reward", "live", "kl", "entropy", "gradient/label", "gradient/reasoning")
    last = {name: [row[name] for row in log if name in row] for name in names}
    return {**report, **{f"rl/{name}": [v[0], float(np.mean(v[-20:]))] for name, v in last.items() if v}}


def labelled(course: TaoCourse, folder: Path, arm: str) -> Mapping[str, Any]:
    """Fine-tuning on the labels of the pool, once: what the same labels teach without sampling."""
    pool = course.pool
    if arm.endswith("balanced"):
        pool = pool.take(balanced(pool, int(pool.counts().min()), course.env.seed))
    examples = examples_of(course.llm, pool, course.items, [None] * len(pool))
    again = {"epochs": 1, "max_steps": 0, "lr": AGAIN[course.method.is_tiny], "evaluate_every": 75}
    trained = course.learn("more", examples, course.method.train.model_copy(update=again), folder)
    return {"pool": pool.counts().tolist(), "curve": curve(trained)}


def best_of_group(course: TaoCourse, folder: Path, arm: str) -> Mapping[str, Any]:
    """Three rounds of rejection fine-tuning: of eight answers to each prompt of a third of the pool, the right ones."""
    parts = np.array_split(np.random.default_rng(course.env.seed).permutation(len(course.pool)), ROUNDS)
    curves, learned = [], []
    for number, places in enumerate(parts):
        prompts, answers = right_answers(course, course.pool.take(places), number)
        again = {"epochs": 1, "max_steps": 0, "lr": AGAIN[course.method.is_tiny], "evaluate_every": 75}
        settings = course.method.train.model_copy(update=again)
        trained = course.learn(f"round {number}", Examples(prompts, answers), settings, folder / str(number))
        curves.append(curve(trained))
        learned.append(len(answers))
    return {"curve": curves[-1], "curves": curves, "learned": learned}


def right_answers(course: TaoCourse, pairs: Pairs, number: int) -> tuple[list[Array], list[Array]]:
    """Prompts and the likeliest distinct right answers, at most two a prompt."""
    samples = course.answers(pairs, GROUP, 1.0, seed=1000 * (course.env.seed + 1) + number)
    prompts, answers = [], []
    for q in range(len(samples)):
        order = np.argsort(-samples.logp[q], kind="stable")
        distinct = {samples.answers[q][k].tobytes(): samples.answers[q][k] for k in order if samples.right[q, k]}
        for answer in list(distinct.values())[:2]:
            prompts.append(samples.prompts[q])
            answers.append(answer)
    return prompts, answers


STAGE = {
    "sft": tuned,
    "tiny": tuned,
    "lora": tuned,
    "long": tuned,
    "weighted": tuned,
    "dpo": corrected,
    "grpo": reinforced,
    "dpo+grpo": reinforced,
    "more-sft": labelled,
    "best-of-g": best_of_group,
}


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """What every script of these arms is asked by."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arms", nargs="*", default=["*"])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--list", action="store_true", help="names of the arms")
    parser.add_argument("--rows", action="store_true", help="rows of what was run")
    return parser


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--record", action="store_true", help="the record")
    parser.add_argument("--plot", type=Path, help="folder for the learning curves")
    args = parser.parse_args()
    patterns = RECORD if args.record else args.arms
    chosen = [arm for arm in arms() if any(fnmatch(arm, pattern) for pattern in patterns)]
    if args.list:
        print("\n".join(chosen))
        return
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.plot is not None:
        for base in BASES[:2]:
            plotted(list(rows(args.out)), args.plot, base)
        plotted_grid(rows(args.out), args.plot)
        return
    if not args.rows:
        run_all([Bench(args.out, seed, args.device) for seed in args.seeds], chosen)
    if args.rows or args.record:
        printed_rows(args.out, lambda seed: Bench(args.out, seed, args.device))


def run_all(benches: list[Bench], chosen: list[str]) -> None:
    for bench in benches:
        for arm in chosen:
            if (arm, bench.seed) not in done(bench.out):
                bench.kept(arm)


def printed_rows(out: Path, bench_of: Callable[[int], Bench]) -> None:
    """Figures of whatever was run, and what each arm has beyond those that it must beat."""
    runs: dict[str, set[int]] = {}
    for arm, seed in done(out):
        runs.setdefault(arm, set()).add(seed)
    benches = {seed: bench_of(seed) for seeds in runs.values() for seed in seeds}
    bases = dict.fromkeys([*BASES, *(arm.removeprefix("sft/") for arm in runs if arm.startswith("sft/"))])
    compared = differences(lambda arm, seed: benches[seed].decided(arm), runs, list(bases))
    drawn = [
        of_seeds("hallucination:drawn", arm, [benches[seed].contradictions(arm) for seed in sorted(seeds)])
        for arm, seeds in runs.items()
    ]
    printed([*figures(rows(out)), *(row for row in drawn if row), *compared])


def done(out: Path) -> set[tuple[str, int]]:
    return {(row["arm"], row["seed"]) for row in rows(out)}


def rows(out: Path) -> Iterator[dict[str, Any]]:
    path = out / "runs.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        yield json.loads(line)


if __name__ == "__main__":
    main()
