"""LREF: a judge that learns from selected pairs, from three kinds of reasoning, and not to be an optimist (arXiv:2503.09223).

    1. selection    three helpers choose what is hard, learnable and not mislabelled        selection.py
    2. tuning       labels of all pairs (a judge that starts from nothing needs them), then of the selected ones
    3. explaining   multi-CoT: expert explaining, rule adherence, decision reflection       tasks.py
    4. de-biasing   DPO on pairs from its own beams                                         debiasing.py
    5. CumPT        one threshold from chances to a grade                                   _tiers.py

It serves the grade alone, read by prefill; its reasoning is written on demand.  Card: docs/methods/lref.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from aisle.core.env import Env
from aisle.core.lists import Array
from aisle.core.method import NOTHING, Given, Settings, State
from aisle.core.shop import Items, ShopView
from aisle.nn.backbones.backbone import Sampling
from aisle.relevance._judging import JudgeStage
from aisle.relevance._llm import Llm, LlmMethod, threads
from aisle.relevance._pairs import Pairs, training_pairs
from aisle.relevance._rules import RuleStore
from aisle.relevance._serving import Reader
from aisle.relevance._stages import Stages
from aisle.relevance._tagger import Tagger
from aisle.relevance._teacher import Teacher
from aisle.relevance._tiers import confusion, cumulative_grade, fit_threshold, macro_f1
from aisle.relevance._writers import Rationales
from aisle.relevance.lref.debiasing import beams_of, bias, preferences
from aisle.relevance.lref.selection import Selected, Selection, select, traffic_of
from aisle.relevance.lref.tasks import EXPLAIN, MARKS, Lesson, Task, Tasks
from aisle.relevance.lref.written import aspects_in_words
from aisle.training.distributed import Workers, workers
from aisle.training.preference import PreferenceLoss, preference_batches
from aisle.training.settings import TrainSettings
from aisle.training.supervised import Examples, example_batches, supervised_loss

LONGEST = {"short": 8, "steps": 120}
"""Tokens of an answer at most."""

LOST = 0.01
"""Macro-F1 that a later stage may cost: the paper's own judge trades .003 of it for accuracy in de-biasing."""

Work = Callable[[Path | None], Mapping[str, Any]]
"""A stage: given its folder, it changes the judge and says what it did."""


class Explaining(Settings):
    """
    tasks     kinds of reasoning that are learned; empty for none
    together  as joint tasks, or one after the other in their order; the labels alone are learned beside them in any case, as they
              are what serves
    train     the loop's settings
    """

    tasks: tuple[Task, ...] = ("ee", "ra", "dr")
    together: bool = True
    train: TrainSettings = TrainSettings(epochs=1, lr=1e-3, warmup=0.05, weight_decay=0.01)


class Debiasing(Settings):
    """
    on           whether DPO follows
    beams        answers that a prompt's search keeps
    under_share  of under-rated prompts among the wrongly rated
    held         rightly rated prompts for each wrongly rated one: what the judge must not give up
    beta         of DPO: the log-ratio of a grade need only move by the distance of two grades' log-chances, which is about 1;
                 the usual .1, meant for long answers, pushes on until it has moved by tens
    nll          weight of - log pi a token of the preferred answers (the paper's alpha, as far as it can be told)
    most         prompts that are searched at most
    batch, train pairs a step, and the loop's settings
    """

    on: bool = True
    beams: int = Field(5, ge=2)
    under_share: float = Field(0.25, ge=0, lt=1)
    held: float = Field(3.0, ge=0)
    beta: float = Field(5.0, gt=0)
    nll: float = Field(0.65, ge=0)
    most: int = Field(8000, ge=1)
    batch: int = Field(32, ge=1)
    train: TrainSettings = TrainSettings(epochs=2, lr=1e-4, warmup=0.2, weight_decay=0.0)


class Lref(LlmMethod):
    """
    selection   which pairs are learned
    rationales  who writes the reasoning
    explaining  multi-CoT tuning
    debiasing   DPO
    decide      ``label``: the grade is read at once, by prefill; ``reason``: behind reasoning that is written first

    take_back   undo a later stage after which macro-F1 of the validation pairs is lower by more than .01: a few hard pairs are not
                what every judge needs, and one that is no optimist has nothing to gain from DPO

    ``order`` is that of reasoning and label in what is explained: the paper's judge reasons first.
    """

    order: Literal["reason_first", "label_first"] = "reason_first"
    selection: Selection = Selection()
    rationales: Rationales = Rationales()
    explaining: Explaining = Explaining()
    debiasing: Debiasing = Debiasing()
    take_back: bool = True
    decide: Literal["label", "reason"] = "label"

    def fit(self, shop: ShopView, env: Env, given: Given = NOTHING) -> LrefStage:
        with threads(self.threads), workers() as group:
            return Course.of(self, shop, env, group).taken()

    def restore(self, state: State, env: Env, given: Given = NOTHING) -> LrefStage:
        return LrefStage.restored(self, state, env, reader_of(self.decide))  # type: ignore[return-value]

    @classmethod
    def tiny(cls) -> Self:
        quick = TrainSettings(epochs=1, lr=2e-3, max_steps=8)
        return cls(
            **cls.tiny_settings(),
            explaining=Explaining(train=quick),
            debiasing=Debiasing(most=64, train=quick),
        )


class LrefStage(JudgeStage):
    """See ``JudgeStage``; its reasoning is that of an expert explaining."""

    def reasoning(self, queries: Sequence[str], item: Array) -> list[str]:
        method: Any = self.method
        if "ee" not in method.explaining.tasks:
            return [""] * len(item)
        prompts = explained_prompts(self.llm, queries, self.env.engine.items, item)
        sampling = Sampling(max_new=LONGEST[method.form], temperature=0.0)
        answers = self.llm.backbone.sample(prompts, 1, sampling)
        return [aspects_in_words(text) for text in self.llm.words.decode(answers.lists())]


@dataclass(frozen=True, eq=False)
class Reasoned(Llm):
    """Gives its grade behind the reasoning that it writes first: as many steps as that has tokens, for every item."""

    def tails(self, items: Items, rows: Array, *, judged: Sequence[str] = (), cue: str = f" {EXPLAIN}") -> list[Array]:
        return super().tails(items, rows, judged=judged, cue=cue)

    def chances_of(self, heads: Sequence[Array], tails: Sequence[Array]) -> Array:
        prompts = [np.concatenate(pair) for pair in zip(heads, tails, strict=True)]
        longest = LONGEST[self.grammar.form]
        written = self.backbone.sample(prompts, 1, Sampling(max_new=longest, temperature=0.0)).lists()
        before = [answer[: _place_of_label(answer, self.label_ids)] for answer in written]
        suffixes = [[np.concatenate([p[-1:], part])] for p, part in zip(prompts, before, strict=True)]
        with torch.inference_mode():
            chance_NC = self.backbone.label_probabilities([p[:-1] for p in prompts], suffixes, self.label_ids)
        found: Array = chance_NC.float().cpu().numpy()
        return found


def reader_of(decide: Literal["label", "reason"]) -> type[Llm]:
    """The class that reads the grade this way."""
    return Reasoned if decide == "reason" else Llm


def explained_prompts(llm: Llm, queries: Sequence[str], items: Items, rows: Array) -> list[Array]:
    """A prompt of expert explaining for each (query, row)."""
    tails = llm.tails(items, rows, cue=f" {EXPLAIN}")
    return [np.concatenate(pair) for pair in zip(llm.heads(queries), tails, strict=True)]


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

    def taken(self) -> LrefStage:
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
        return LrefStage(method, self.env, self.llm, threshold, report=self.report)

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
        pairs, counts = preferences(
            prompts, beams, part.label, under_share=how.under_share, held=how.held, seed=env.seed
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


def plain_chances(llm: Llm, pairs: Pairs, items: Items) -> Array:
    """float32[N, C] read at once, whatever the judge does when it serves."""
    plain = Llm(llm.backbone.eval(), llm.words, llm.prompts, llm.grammar)
    return Reader.chances_of_pairs(plain, pairs, items)


def joined(examples: Sequence[Examples]) -> Examples:
    """One set after the other."""
    return Examples([p for e in examples for p in e.prompts], [a for e in examples for a in e.answers])


def frozen(module: Any) -> Any:
    """The module as it is now, to measure from."""
    from copy import deepcopy

    return deepcopy(module).eval().requires_grad_(False)


def rules_of(how: Rationales) -> RuleStore:
    return RuleStore.read(Path(how.rules)) if how.rules else RuleStore()


def _told(selected: Selected, pairs: Pairs) -> dict[str, Any]:
    """Figures of a selection."""
    agree = {f"{name}_agrees": float((said == pairs.label).mean()) for name, said in selected.said.items()}
    kept = pairs.take(np.flatnonzero(selected.keep))
    believed = pairs.take(np.flatnonzero(selected.trusted)).counts().tolist()
    return {"pairs": len(pairs), "kept": len(kept), "by_grade": kept.counts().tolist(), "believed": believed, **agree}


def _place_of_label(answer: Array, label_ids: Array) -> int:
    """Where the answer says its grade: its last label token, or its end where it says none."""
    found = np.flatnonzero(np.isin(answer, label_ids))
    return int(found[-1]) if len(found) else max(len(answer) - 1, 0)


METHOD = Lref
