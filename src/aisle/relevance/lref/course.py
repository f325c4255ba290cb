"""One fit of LREF: the judge and its stages, each on the module that the one before left.

Legend: N pairs, C grades from worst to best.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from aisle.core.env import Env
from aisle.core.lists import Array
from aisle.core.shop import ShopView
from aisle.relevance._judge.llm import Llm
from aisle.relevance._judge.reasoned import LONGEST
from aisle.relevance._pairs import Pairs, training_pairs
from aisle.relevance._stages import Stages
from aisle.relevance._tiers import confusion, cumulative_grade, fit_threshold, macro_f1
from aisle.relevance._writers import Rationales
from aisle.relevance._writers.rules import RuleStore
from aisle.relevance._writers.tagger import Tagger
from aisle.relevance._writers.teacher import Teacher
from aisle.relevance.lref.debiasing import beams_of, bias, preferences
from aisle.relevance.lref.reading import plain_chances, reader_of
from aisle.relevance.lref.selection import Selected, select, traffic_of
from aisle.relevance.lref.tasks import EXPLAIN, MARKS, Lesson, Tasks
from aisle.training.distributed import Workers
from aisle.training.preference import PreferenceLoss, preference_batches
from aisle.training.settings import TrainSettings
from aisle.training.supervised import Examples, example_batches, supervised_loss

if TYPE_CHECKING:
    from aisle.relevance.lref import Lref

LOST = 0.01
"""Macro-F1 that a later stage may cost: the paper's own judge trades .003 of it for accuracy in de-biasing."""

Work = Callable[[Path | None], Mapping[str, Any]]
"""A stage: given its folder, it changes the judge and says what it did."""


class Course:
    """One fit: the judge, what it learns from, and its stages."""

    def __init__(self, method: Lref, shop: ShopView, stages: Stages, llm: Llm, pairs: Pairs, held: Pairs) -> None:
        self.method, self.shop, self.items, self.stages, self.llm = method, shop, shop.items, stages, llm
        self.pairs, self.held, self.env = pairs, held, stages.env
        self.tagger = Tagger(shop.items)
        writer = method.rationales.writer(shop.items, pairs.scale, stages.env)
        self.tasks = Tasks(llm, shop.items, writer, self.tagger, rules_of(method.rationales), stages.env.seed)
        self.report: dict[str, Any] = {}

    @classmethod
    def of(cls, method: Lref, shop: ShopView, env: Env, group: Workers) -> Course:
        pairs, held = training_pairs(shop)
        llm = reader_of(method.decide).made(
            method, pairs.scale, shop.items, pairs.queries, env, marks=MARKS, texts=rules_of(method.rationales).rules
        )
        return cls(method, shop, Stages.of(method, shop, env, group), llm, pairs, held)

    def taken(self) -> tuple[Llm, float, Mapping[str, Any]]:
        """The judge after its stages, the threshold of its grades, and what each stage said."""
        method, how = self.method, self.method.selection
        start = {name: tensor.detach().clone() for name, tensor in self.llm.backbone.learned().items()}
        chosen = self._stage("selected", lambda folder: self._select(start, folder))
        self.llm.backbone.load_state_dict(start, strict=False)
        selected, trusted = (self.pairs.take(np.array(chosen[name], np.int64)) for name in ("places", "trusted"))
        learned = {"all": self.pairs, "trusted": trusted, "nothing": selected}[how.start]
        has_started = len(learned) > len(selected)
        if has_started:
            self._stage("started", lambda folder: self._tune("started", learned, folder))
        self._stage("tuned", lambda folder: self._tune("tuned", selected, folder), may_undo=has_started)
        if method.explaining.tasks:
            self._stage("explained", lambda folder: self._explain(learned, folder), may_undo=True)
        if method.debiasing.on:
            self._stage("debiased", lambda folder: self.debias(learned, folder), may_undo=True)
        threshold = 0.5
        if len(self.held):
            threshold = fit_threshold(self.llm.chances_of_pairs(self.held, self.items), self.held.label)
        self.stages.close()
        return self.llm, threshold, self.report

    def _stage(self, name: str, work: Work, *, may_undo: bool = False) -> dict[str, Any]:
        tried = self._unless_worse(work) if may_undo and self.method.take_back and len(self.held) else work
        found = dict(self.stages.run(name, self.llm.backbone, tried))
        self.report[name] = {key: value for key, value in found.items() if key not in ("places", "trusted")}
        self.env.log(f"{name}: {self.report[name]}")
        return found

    def _unless_worse(self, work: Work) -> Work:
        """The stage, undone where it costs more than ``LOST``."""

        def tried(folder: Path | None) -> Mapping[str, Any]:
            level, backbone = self._figures()["macro_f1"], self.llm.backbone
            before = {name: tensor.detach().clone() for name, tensor in backbone.learned().items()}
            found = work(folder)
            if found["macro_f1"] >= level - LOST:
                return found
            backbone.load_state_dict(before, strict=False)
            return {**found, **self._figures(), "taken_back": True, "macro_f1_after": found["macro_f1"]}

        return tried

    # -- the stages ----------------------------------------------------------------------------------------------------

    def _select(self, start: Mapping[str, Tensor], folder: Path | None) -> Mapping[str, Any]:
        """``places`` of the pairs that are kept and of those that are ``trusted``, and what the helpers said."""

        def learn(task: str, lesson: Pairs, judged: Pairs) -> Array:
            def work(place: Path | None) -> Array:
                self.llm.backbone.load_state_dict(start, strict=False)
                self.train(f"helper {task}", [self.tasks.plain(lesson)], self.method.train, place)
                return plain_chances(self.llm, judged, self.items)

            return self.stages.array(task.replace(" ", "-"), folder, work)

        pairs, how = self.pairs, self.method.selection
        teacher = Teacher(self.tagger, pairs.scale)
        selected = select(pairs, how, learn, teacher, traffic_of(self.shop, pairs), self.env.seed)
        found = {
            "places": np.flatnonzero(selected.keep).tolist(),
            "trusted": np.flatnonzero(selected.trusted).tolist(),
            **_told(selected, pairs),
        }
        if selected.keep.sum() >= min(self.method.batch, len(pairs)):
            return found
        # Helpers that all say the same, as on very few pairs, leave nothing to choose from.
        self.env.log(
            f"selection keeps {selected.keep.sum()} of {len(pairs)} pairs, too few to learn from; all are used"
        )
        every = list(range(len(pairs)))
        return {**found, "places": every, "trusted": every, "all_used": True}

    def _tune(self, name: str, pairs: Pairs, folder: Path | None) -> Mapping[str, Any]:
        self.train(name, [self.tasks.plain(pairs)], self.method.train, folder)
        return {"pairs": len(pairs), **self._figures()}

    def _explain(self, pairs: Pairs, folder: Path | None) -> Mapping[str, Any]:
        how, rationales, plain = self.method.explaining, self.tasks.rationales(pairs), self.tasks.plain(pairs)
        lessons = {task: self.tasks.lesson(task, pairs, rationales) for task in how.tasks}
        lessons = {task: lesson for task, lesson in lessons.items() if len(lesson.places)}
        if how.together:
            self.train("explained", [plain, *lessons.values()], how.train, folder)
        else:
            for task, lesson in lessons.items():
                self.train(f"explained {task}", [plain, lesson], how.train, None if folder is None else folder / task)
        return {**{task: len(lesson.places) for task, lesson in lessons.items()}, **self._figures()}

    def debias(self, learned: Pairs, folder: Path | None) -> Mapping[str, Any]:
        """DPO on what the judge gets wrong of pairs that it learned from; returns the bias before and after."""
        how, llm, env, group = self.method.debiasing, self.llm, self.env, self.stages.workers
        order = np.random.default_rng((env.seed, 0xD1)).permutation(len(learned))[: how.most]
        part, before = learned.take(np.sort(order)), self._bias()
        prompts = self._decided(part)
        llm.backbone.eval()
        beams = beams_of(
            llm, prompts, how.beams, 2 if self._is_plain else LONGEST[self.method.form], only_labels=self._is_plain
        )
        own = bias(part.label, np.maximum(beams.label[:, 0], 0), len(part.scale), beams)
        optimist = how.against == "optimism" or before.get("index", own.index) >= 0
        pairs, counts = preferences(
            prompts, beams, part.label, other_share=how.other_share, held=how.held, seed=env.seed, optimist=optimist
        )
        if len(pairs) >= group.size:
            batches = preference_batches(
                pairs, max(min(how.batch, len(pairs)), group.size), reference=frozen(llm.backbone), seed=env.seed,
                device=env.device, rank=group.rank, of=group.size,
            )  # fmt: skip
            loss = PreferenceLoss(beta=how.beta, nll=how.nll)
            self.stages.train("debiased", llm.backbone, batches, loss, how.train, folder)
        return {**counts, "training": own.as_dict(), "before": before, "after": self._bias(), **self._figures()}

    # -- what the stages share -----------------------------------------------------------------------------------------

    @property
    def _is_plain(self) -> bool:
        return self.method.decide == "label"

    def _decided(self, pairs: Pairs) -> list[Array]:
        """Prompts of the task that serves."""
        return self.llm.prompts_of(pairs, self.items, cue="" if self._is_plain else f" {EXPLAIN}")

    def train(self, name: str, lessons: Sequence[Lesson], settings: TrainSettings, folder: Path | None) -> None:
        group = self.stages.workers
        examples = joined([lesson.examples for lesson in lessons])
        size = max(min(self.method.batch, len(examples)), group.size)
        # Rows of about two examples: in longer ones attention mostly looks at what it may not see.
        row_tokens = 2 * max(len(p) + len(a) for p, a in zip(examples.prompts, examples.answers, strict=True))
        batches = example_batches(
            examples,
            size,
            row_tokens=row_tokens,
            seed=self.env.seed,
            device=self.env.device,
            rank=group.rank,
            of=group.size,
        )
        self.stages.train(name, self.llm.backbone, batches, supervised_loss, settings, folder)

    def _figures(self) -> dict[str, Any]:
        """Of the validation pairs, at the likeliest grade and at the threshold that suits them; nothing where there are none."""
        if not len(self.held):
            return {}
        self.llm.backbone.eval()
        chance_NC, gold_N = self.llm.chances_of_pairs(self.held, self.items), self.held.label
        num, threshold = len(self.held.scale), fit_threshold(chance_NC, gold_N)
        graded = cumulative_grade(chance_NC, threshold)
        accuracy = float(np.trace(confusion(gold_N, graded, num)) / len(gold_N))
        return {
            "threshold": threshold,
            "macro_f1": macro_f1(gold_N, graded, num),
            "accuracy": accuracy,
            "argmax_macro_f1": macro_f1(gold_N, chance_NC.argmax(1), num),
        }

    def _bias(self) -> dict[str, Any]:
        """Of the validation pairs' likeliest grades; nothing where there are none."""
        if not len(self.held):
            return {}
        self.llm.backbone.eval()
        chance_NC = self.llm.chances_of_pairs(self.held, self.items)
        said = bias(self.held.label, chance_NC.argmax(1), len(self.held.scale)).as_dict()
        second_N = np.argsort(-chance_NC, axis=1, kind="stable")[:, 1]
        wrong = chance_NC.argmax(1) != self.held.label
        return {**said, "second": float((second_N == self.held.label)[wrong].mean()) if wrong.any() else None}


def joined(examples: Sequence[Examples]) -> Examples:
    """One set after the other."""
    return Examples([p for e in examples for p in e.prompts], [a for e in examples for a in e.answers])


def frozen(module: Any) -> Any:
    """The module as it is now, to measure from."""
    return deepcopy(module).eval().requires_grad_(False)


def rules_of(how: Rationales) -> RuleStore:
    return RuleStore.read(Path(how.rules)) if how.rules else RuleStore()


def _told(selected: Selected, pairs: Pairs) -> dict[str, Any]:
    """Figures of a selection."""
    agree = {f"{name}_agrees": float((said == pairs.label).mean()) for name, said in selected.said.items()}
    kept = pairs.take(np.flatnonzero(selected.keep))
    believed = pairs.take(np.flatnonzero(selected.trusted)).counts().tolist()
    return {"pairs": len(pairs), "kept": len(kept), "by_grade": kept.counts().tolist(), "believed": believed, **agree}
