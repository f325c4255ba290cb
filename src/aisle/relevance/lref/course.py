"""One fit of LREF: the judge and its stages, each on the module that the one before left.

Legend: N pairs, C grades from worst to best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from aisle.core.env import Env
from aisle.core.lists import Array
from aisle.core.shop import ShopView
from aisle.relevance._judge.course import Course, Work, weights_of
from aisle.relevance._judge.llm import Llm
from aisle.relevance._judge.measured import measured
from aisle.relevance._judge.reasoned import LONGEST
from aisle.relevance._pairs import Pairs, training_pairs
from aisle.relevance._stages import Stages
from aisle.relevance._tiers import fit_threshold
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
from aisle.training.supervised import Examples

if TYPE_CHECKING:
    from aisle.relevance.lref import Lref

LOST = 0.01
"""Macro-F1 that a later stage may cost: the paper's own judge trades .003 of it for accuracy in de-biasing."""


class LrefCourse(Course["Lref"]):
    """
    pairs, held  of training and validation, apart by query
    tasks        writes what is learned of them
    """

    def __init__(self, method: Lref, shop: ShopView, stages: Stages, llm: Llm, pairs: Pairs, held: Pairs) -> None:
        super().__init__(method, shop.items, stages, llm, held)
        self.shop, self.pairs = shop, pairs
        self.tagger = Tagger(shop.items)
        writer = method.rationales.writer(shop.items, pairs.scale, stages.env)
        self.tasks = Tasks(llm, shop.items, writer, self.tagger, rules_of(method.rationales), stages.env.seed)

    @classmethod
    def of(cls, method: Lref, shop: ShopView, env: Env, group: Workers) -> LrefCourse:
        pairs, held = training_pairs(shop)
        llm = reader_of(method.decide).made(
            method, pairs.scale, shop.items, pairs.queries, env, marks=MARKS, texts=rules_of(method.rationales).rules
        )
        return cls(method, shop, Stages.of(method, shop, env, group), llm, pairs, held)

    def taken(self) -> tuple[Llm, float, Mapping[str, Any]]:
        """The judge after its stages, the threshold of its grades, and what each stage said."""
        method, how = self.method, self.method.selection
        start = weights_of(self.llm.backbone)
        chosen = self.run("selected", partial(self._select, start), untold=("places", "trusted"))
        self.llm.backbone.load_state_dict(start, strict=False)
        selected, trusted = (self.pairs.take(np.array(chosen[name], np.int64)) for name in ("places", "trusted"))
        learned = {"all": self.pairs, "trusted": trusted, "nothing": selected}[how.start]
        has_started = len(learned) > len(selected)
        if has_started:
            self.run("started", partial(self._tune, "started", learned))
        tune = partial(self._tune, "tuned", selected)
        self.run("tuned", self._unless_worse(tune) if has_started else tune)
        if method.explaining.tasks:
            self.run("explained", self._unless_worse(partial(self._explain, learned)))
        if method.debiasing.on:
            self.run("debiased", self._unless_worse(partial(self.debias, learned)))
        threshold = self.threshold()
        self.stages.close()
        return self.llm, threshold, self.report

    def _unless_worse(self, work: Work) -> Work:
        """The stage, taken back where it costs more than ``LOST`` and ``take_back`` is set."""
        if not (self.method.take_back and len(self.held)):
            return work

        def tried(folder: Path | None) -> Mapping[str, Any]:
            level = self._figures()["macro_f1"] - LOST
            found = self.attempt(work, folder, lambda found: found["macro_f1"] < level)
            if "taken_back" not in found:
                return found
            return {**found, **self._figures(), "macro_f1_after": found["macro_f1"]}

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
        self.stages.say(
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
                pairs, max(min(how.batch, len(pairs)), group.size), reference=llm.backbone.frozen(), seed=env.seed,
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
        """The lessons' examples, mixed."""
        self.learn(name, joined([lesson.examples for lesson in lessons]), settings, folder)

    def row_tokens(self, examples: Examples) -> int:
        """Rows of about two examples: in longer ones attention mostly looks at what it may not see."""
        return 2 * max(len(p) + len(a) for p, a in zip(examples.prompts, examples.answers, strict=True))

    def _figures(self) -> dict[str, Any]:
        """Of the validation pairs, at the likeliest grade and at the threshold that suits them; nothing where there are none."""
        if not len(self.held):
            return {}
        self.llm.backbone.eval()
        chance_NC, gold_N = self.llm.chances_of_pairs(self.held, self.items), self.held.label
        threshold = fit_threshold(chance_NC, gold_N)
        found = measured(chance_NC, gold_N, threshold).as_dict()
        return {"threshold": threshold, **{name: found[name] for name in ("macro_f1", "accuracy", "argmax_macro_f1")}}

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


def rules_of(how: Rationales) -> RuleStore:
    return RuleStore.read(Path(how.rules)) if how.rules else RuleStore()


def _told(selected: Selected, pairs: Pairs) -> dict[str, Any]:
    """Figures of a selection."""
    agree = {f"{name}_agrees": float((said == pairs.label).mean()) for name, said in selected.said.items()}
    kept = pairs.take(np.flatnonzero(selected.keep))
    believed = pairs.take(np.flatnonzero(selected.trusted)).counts().tolist()
    return {"pairs": len(pairs), "kept": len(kept), "by_grade": kept.counts().tolist(), "believed": believed, **agree}
