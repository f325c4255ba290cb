"""LREF stage by stage, beside what must stand there: all data, a random tenth, confident learning, a cross-encoder.

    python benchmarks/relevance/lref.py --out FOLDER --seeds 0 1 2      # run what is missing; each arm adds a line to runs.jsonl
    python benchmarks/relevance/lref.py --out FOLDER --rows             # the record: rows of JSON
    python benchmarks/relevance/lref.py --out FOLDER --table            # the same for a person

Worlds: ``symbols`` (some eighty words, minutes on one thread) and ``shop`` (the generated shop with annotation by exposure; wants
hours on a processor or ``--device cuda``).  All arms of a seed share pairs, test queries and what the helpers said; test pairs
carry the true grades, which nothing learns from.  Every arm of a group takes the same number of steps.

    select/<by>        labels of the pairs that are kept, from nothing:   all random confident im im+ci ci+ms im+ci+ms agrees
    started/<by>       the same after the labels of all pairs
    explain/<tasks>    after the labels of all pairs, labels and reasoning:  none  ee  ra  dr  ee+ra+dr  in-order  label-first, and
                       blind, by a writer that does not see the labels (wrong ones mostly go unexplained), with blind-labels, the
                       labels alone of the pairs that it explains
    debias/<how>       after the labels of all pairs: nothing (off), more labels (continued), or DPO with the mistakes alone at
                       beta .1 (mistakes), with pairs that hold beside them (held), at beta 5 (sharp), with both (on, what a fit
                       does), and with both on labels that CI and MS believe (trusted)
    cross_encoder      from scratch, on all pairs

``--noise`` is the share of wrong labels in the world of symbols.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))

from exposed import exposed
from lref_rows import plotted, print_table, read_runs, rows_of
from symbols import symbols

from aisle.core.env import Env
from aisle.core.lists import Array
from aisle.nn.backbones.tiny import TinyShape
from aisle.recipes.environment import memory_env
from aisle.relevance._pairs import Pairs
from aisle.relevance._serving import Reader
from aisle.relevance._stages import Stages
from aisle.relevance._tiers import GRID, confusion, cumulative_grade, f1_by_grade, fit_threshold, macro_f1
from aisle.relevance._writers import Rationales
from aisle.relevance._writers.teacher import Teacher
from aisle.relevance.cross_encoder import CrossEncoder, Scratch
from aisle.relevance.lref import Debiasing, Explaining, Lref, Selection
from aisle.relevance.lref.course import LrefCourse
from aisle.relevance.lref.debiasing import bias
from aisle.relevance.lref.reading import Explained, plain_chances
from aisle.relevance.lref.selection import kept, select, trusted
from aisle.training.distributed import ALONE
from aisle.training.settings import TrainSettings

FILTERS = {
    "im": ("im",), "im+ci": ("im", "ci"), "ci+ms": ("ci", "ms"), "im+ci+ms": ("im", "ci", "ms"),
    "agrees": ("im", "ci", "ms"),
}  # fmt: skip
SELECTIONS = ("all", "random", "confident", *FILTERS)
EVERY = ("ee", "ra", "dr")
EXPLAINED = {
    "none": (), "ee": ("ee",), "ra": ("ra",), "dr": ("dr",), "ee+ra+dr": EVERY,
    "in-order": EVERY, "label-first": EVERY, "blind": EVERY, "blind-labels": EVERY,
}  # fmt: skip
AS_PUBLISHED = {"beta": 0.1, "against": "optimism"}
DEBIASED = {
    "mistakes": {**AS_PUBLISHED, "held": 0.0}, "held": AS_PUBLISHED, "sharp": {"held": 0.0, "against": "optimism"}, "on": {},
    "trusted": {"against": "optimism"},
}  # fmt: skip
"""What differs from the settings of a fit."""

RECORD = (
    "debias/off", "debias/continued", "debias/mistakes", "debias/on", "explain/none", "explain/ee", "explain/ee+ra+dr",
    *(f"{group}/{by}" for group in ("select", "started") for by in ("random", "im+ci+ms", "ci+ms")), "cross_encoder",
)  # fmt: skip

WORLDS: dict[str, Callable[..., Any]] = {"symbols": symbols, "shop": exposed}
SHAPES = {
    "symbols": TinyShape(width=64, layers=2, heads=4, key_heads=2, head_dim=16, hidden=128, repeats=True),
    "shop": TinyShape(width=96, layers=3, heads=4, key_heads=2, head_dim=24, hidden=256, repeats=True),
}
STEPS = {"symbols": (1000, 400, 60), "shop": (2000, 1000, 500)}
"""Of learning from nothing (helpers and the start as well), of what follows, and of DPO."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--world", choices=WORLDS, default="symbols")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--groups", nargs="*", default=["select", "started", "explain", "debias", "cross_encoder"])
    parser.add_argument("--arms", nargs="*", default=[], help="only these")
    parser.add_argument("--noise", type=float, default=0.1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--record", action="store_true", help="the arms of the record alone")
    parser.add_argument("--rows", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--plot", type=Path, help="folder of the pictures")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if not (args.rows or args.table or args.plot):
        for seed in args.seeds:
            Sweep(args.world, seed, args.out, args.device, args.noise).run(
                args.groups, RECORD if args.record else args.arms
            )
    runs = read_runs(args.out)
    if args.rows:
        print(json.dumps(list(rows_of(runs)), indent=1))
    if args.table:
        print_table(runs)
    if args.plot:
        plotted(runs, args.plot)


class Sweep:
    """All arms of one seed; what is in the folder stays."""

    def __init__(self, world: str, seed: int, out: Path, device: str, noise: float = 0.1) -> None:
        torch.set_num_threads(1)
        self.world, self.seed, self.out = world, seed, out
        self.data = WORLDS[world](seed, **({"noise": noise} if world == "symbols" else {}))
        self.name = world if noise == 0.1 else f"{world}-{noise}"
        self.env: Env = replace(memory_env(self.data.items, seed=seed), device=device)
        self.view = self.data.view()
        self.done = {run["arm"] for run in read_runs(out) if run["seed"] == seed and run["world"] == self.name}
        self.first, self.later, self.dpo = STEPS[world]
        self.curve: list[list[float]] = []

    def run(self, groups: Sequence[str], only: Sequence[str]) -> None:
        for group in groups:
            for arm in self.arms(group):
                if arm not in self.done and (not only or arm in only):
                    start = process_time()
                    found = self.arm(arm)
                    self.note({"arm": arm, **found, "cpu_s": round(process_time() - start, 1)})

    def note(self, run: dict[str, Any]) -> None:
        line = json.dumps({"world": self.name, "seed": self.seed, **run})
        with (self.out / "runs.jsonl").open("a") as file:
            file.write(line + "\n")
        print(line, flush=True)

    @staticmethod
    def arms(group: str) -> list[str]:
        return {
            "select": [f"select/{by}" for by in SELECTIONS],
            "started": [f"started/{by}" for by in SELECTIONS],
            "explain": [f"explain/{name}" for name in EXPLAINED],
            "debias": ["debias/off", "debias/continued", *(f"debias/{how}" for how in DEBIASED)],
            "cross_encoder": ["cross_encoder"],
        }[group]

    def arm(self, arm: str) -> dict[str, Any]:
        group, _, name = arm.partition("/")
        if group == "cross_encoder":
            return self.cross_encoder()
        if group in ("select", "started"):
            return self.selected(group, name)
        if group == "explain":
            return self.explained(name)
        return self.debiased(name)

    def selected(self, group: str, name: str) -> dict[str, Any]:
        """The labels of a selection, from nothing or after those of all pairs, with a curve over the steps."""
        keep, course, curve = self.keep(name), self.course(self.method()), []
        if (group, name) == ("select", "all"):
            course.llm.backbone.load_state_dict(self.started)
            return {**self.figures(course.llm), **self.told(keep), "curve": self.curve}
        if group == "started":
            course.llm.backbone.load_state_dict(self.started)
        course.stages = self.watched(course, curve)
        lesson = course.tasks.plain(self.train.take(np.flatnonzero(keep)))
        course.train("tuned", [lesson], self.settings(self.later if group == "started" else self.first), None)
        return {**self.figures(course.llm), **self.told(keep), "curve": curve}

    def debiased(self, name: str) -> dict[str, Any]:
        """With a curve over the steps of DPO; of the judge as it is, what its threshold alone can do."""
        method = self.method()
        changed = method.debiasing.model_copy(update=DEBIASED.get(name, {}))
        course = self.course(method.model_copy(update={"debiasing": changed}))
        course.llm.backbone.load_state_dict(self.started)
        if name == "off":
            return {**self.figures(course.llm), "trade": self.trade(course.llm)}
        if name == "continued":
            course.train("continued", [course.tasks.plain(self.train)], changed.train, None)
            return self.figures(course.llm)
        believed = trusted(self.said[0], self.train.label) if name == "trusted" else np.ones(len(self.train), bool)
        curve: list[list[float]] = []
        course.stages = self.watched(course, curve)
        report = course.debias(self.train.take(np.flatnonzero(believed)), None)
        counts = {key: report[key] for key in ("over", "under", "held", "training")}
        noise = float((self.train.label != self.data.true)[believed].mean())
        return {**self.figures(course.llm), **counts, "trusted": float(believed.mean()), "noise": noise, "curve": curve}

    def watched(self, course: LrefCourse, curve: list[list[float]]) -> Stages:
        """The course's stages, noting a curve."""
        return Watched(course.stages.name, course.stages.env, watch=partial(self.noted, course, curve))

    def noted(self, course: LrefCourse, curve: list[list[float]], _: Any) -> dict[str, float]:
        """Adds (macro-F1, too high, too low) of the test pairs' likeliest grades; falls, so that the last step is kept."""
        test = self.data.test
        said_N = course.llm.chances_of_pairs(test, self.data.items).argmax(1)
        found = bias(test.label, said_N, len(test.scale))
        curve.append(
            [round(v, 5) for v in (macro_f1(test.label, said_N, len(test.scale)), found.too_high, found.too_low)]
        )
        return {"loss": -float(len(curve))}

    def trade(self, reader: Reader) -> list[list[float]]:
        """(threshold, macro-F1, too high, too low) on the test pairs: what CumPT alone can do against over-rating."""
        test = self.data.test
        chance_NC, rows = reader.chances_of_pairs(test, self.data.items), []
        for threshold in GRID.tolist():
            said_N = cumulative_grade(chance_NC, threshold)
            found = bias(test.label, said_N, len(test.scale))
            rows.append([threshold, macro_f1(test.label, said_N, len(test.scale)), found.too_high, found.too_low])
        return rows

    # -- what arms share -----------------------------------------------------------------------------------------------

    def method(self, **changes: Any) -> Lref:
        quick = self.settings(self.dpo, lr=1e-4)
        debiasing = Debiasing(most=4000, train=quick)
        return Lref(threads=1, vocabulary=3000, shape=SHAPES[self.world], debiasing=debiasing, **changes)

    @staticmethod
    def settings(steps: int, lr: float = 3e-3) -> TrainSettings:
        return TrainSettings(
            epochs=10_000, max_steps=steps, lr=lr, warmup=0.05, weight_decay=0.01, evaluate_every=max(1, steps // 10)
        )

    def course(self, method: Lref) -> LrefCourse:
        return LrefCourse.of(method, self.view, self.env, ALONE)

    @property
    def train(self) -> Pairs:
        """The training pairs in the order in which a course has them."""
        return self.data.train

    @cached_property
    def started(self) -> dict[str, Any]:
        """The judge after the labels of all pairs; ``curve`` is of its steps."""
        course = self.course(self.method())
        course.stages = self.watched(course, self.curve)
        course.train("started", [course.tasks.plain(self.train)], self.settings(self.first), None)
        return {name: tensor.clone() for name, tensor in course.llm.backbone.state_dict().items()}

    @cached_property
    def said(self) -> tuple[dict[str, Array], Array]:
        """What the helpers say of each training pair, and which pairs confident learning believes; kept in the folder."""
        path = self.out / f"said-{self.name}-{self.seed}.npz"
        if not path.exists():
            np.savez(path, **self._asked())
        found = np.load(path)
        return {name: found[name] for name in ("im", "ci", "ms")}, found["confident"]

    def _asked(self) -> dict[str, Array]:
        course = self.course(self.method())
        start = {name: tensor.clone() for name, tensor in course.llm.backbone.state_dict().items()}

        def learn(task: str, lesson: Pairs, judged: Pairs) -> Array:
            course.llm.backbone.load_state_dict(start)
            course.train(f"helper {task}", [course.tasks.plain(lesson)], self.settings(self.first), None)
            return plain_chances(course.llm, judged, self.data.items)

        teacher = Teacher(course.tagger, self.train.scale)
        helpers = select(self.train, Selection(), learn, teacher, self.data.traffic, self.seed)
        confident = select(self.train, Selection(by="confident"), learn, teacher, self.data.traffic, self.seed)
        return {**helpers.said, "confident": confident.keep}

    def keep(self, name: str) -> Array:
        """bool[N]: the pairs of a selection."""
        if name == "all":
            return np.ones(len(self.train), bool)
        said, believed = self.said
        if name == "confident":
            return believed
        if name == "random":
            num = int(self.keep("im+ci+ms").sum())
            order = np.random.default_rng((self.seed, 0x10)).permutation(len(self.train))
            return np.isin(np.arange(len(self.train)), order[:num])
        used = {helper: said[helper] for helper in FILTERS[name]}
        return kept(used, self.train.label, "agrees" if name == "agrees" else "differs")

    def told(self, keep: Array) -> dict[str, float]:
        wrong, tail = self.train.label != self.data.true, self.data.tail
        return {
            "kept": float(keep.mean()),
            "mislabelled": float(wrong[keep].mean()) if keep.any() else float("nan"),
            "tail": float(tail[keep].mean()) if keep.any() else float("nan"),
        }

    def explained(self, name: str) -> dict[str, Any]:
        """Every arm takes as many steps in all, on labels and on reasoning.  ``behind``: macro-F1 of the likeliest grades where
        the judge writes its reasoning first."""
        how = Explaining(tasks=EXPLAINED[name], together=name != "in-order")
        order = "label_first" if name == "label-first" else "reason_first"
        written = Rationales(sees_label=not name.startswith("blind"))
        course = self.course(self.method(order=order, explaining=how, rationales=written))
        course.llm.backbone.load_state_dict(self.started)
        rationales = course.tasks.rationales(self.train) if how.tasks else []
        reasoned = [course.tasks.lesson(task, self.train, rationales) for task in how.tasks]
        places = reasoned[0].places if name == "blind-labels" else np.arange(len(self.train))
        plain = course.tasks.plain(self.train.take(places))
        parts = {"blind-labels": [[plain]], "in-order": [[plain, lesson] for lesson in reasoned]}
        curve: list[list[float]] = []
        for lessons in (rounds := parts.get(name, [[plain, *reasoned]])):
            course.stages = self.watched(course, curve)
            course.train("explained", lessons, self.settings(2 * self.later // len(rounds)), None)
        found = {**self.figures(course.llm), "curve": curve}
        if how.tasks:
            about = reasoned[0].places
            found |= {
                "explained": len(about) / len(self.train),
                "noise": float((self.train.label != self.data.true)[about].mean()),
            }
        if "ee" in how.tasks and name != "blind-labels":
            llm, test = course.llm, self.data.test
            reader = Explained(llm.backbone.eval(), llm.words, llm.prompts, llm.grammar)
            found["behind"] = macro_f1(
                test.label, reader.chances_of_pairs(test, self.data.items).argmax(1), len(test.scale)
            )
        return found

    def cross_encoder(self) -> dict[str, Any]:
        steps = TrainSettings(epochs=10_000, max_steps=2 * self.first, warmup=0.1, weight_decay=0.01)
        size = Scratch(width=64, layers=2, heads=4, hidden=128, lr=2e-3)
        stage = CrossEncoder(encoder="scratch", scratch=size, batch=64, threads=1, train=steps).fit(self.view, self.env)
        return self.figures(stage.reader)

    def figures(self, reader: Reader) -> dict[str, Any]:
        """Of the test pairs: at the threshold that suits the validation pairs, and of the likeliest grades."""
        held, test, items = self.data.validation, self.data.test, self.data.items
        if hasattr(reader, "backbone"):
            reader.backbone.eval()
        threshold = fit_threshold(reader.chances_of_pairs(held, items), held.label)
        chance_NC = reader.chances_of_pairs(test, items)
        graded, likeliest = cumulative_grade(chance_NC, threshold), chance_NC.argmax(1)
        counts, plain = (confusion(test.label, said, 4) for said in (graded, likeliest))
        share_C = test.counts() / len(test)
        second_N = np.argsort(-chance_NC, axis=1)[:, 1]
        wrong = likeliest != test.label
        return {
            "macro_f1": float(np.nanmean(f1_by_grade(counts))),
            "weighted_f1": float(np.nansum(share_C * f1_by_grade(counts))),
            "accuracy": float(np.trace(counts) / counts.sum()),
            "argmax_macro_f1": float(np.nanmean(f1_by_grade(plain))),
            "second": float((second_N[wrong] == test.label[wrong]).mean()),
            **{name: value for name, value in bias(test.label, likeliest, 4).as_dict().items() if name != "second"},
        }


@dataclass(frozen=True, eq=False, kw_only=True)
class Watched(Stages):
    """Stages of which each training is looked at on the way."""

    watch: Callable[[Any], dict[str, float]]

    def train(self, *args: Any, **how: Any) -> Any:
        return super().train(*args, **{**how, "validate": self.watch})


if __name__ == "__main__":
    main()
