"""One fit of TaoSR1: the judge and its stages, each on the module that the one before left.

Legend: N pairs, C grades.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aisle.core.env import Env
from aisle.core.lists import Array
from aisle.core.shop import Items, ShopView
from aisle.nn.backbones.backbone import Sampling
from aisle.relevance._judge.course import Course, Work
from aisle.relevance._judge.llm import Llm
from aisle.relevance._judge.measured import measured, said_of_pairs
from aisle.relevance._judge.reasoned import LONGEST, judge_of
from aisle.relevance._judge.serving import JudgeStage
from aisle.relevance._pairs import Pairs, balanced, class_weights, first_queries, split_by_query, training_pairs
from aisle.relevance._stages import Stages, Validate
from aisle.relevance._tiers import fit_threshold
from aisle.relevance._verdicts import Parsed, Rationale, RuleTable
from aisle.relevance._writers import Writer
from aisle.relevance.taosr1.reinforced import LabelGradient, grpo_steps
from aisle.relevance.taosr1.samples import Samples, correction_pairs, pass_at, sampled
from aisle.relevance.taosr1.tuned import examples_of, rationales_of, written_answers
from aisle.training.distributed import Workers
from aisle.training.lessons import RolloutBatches, lesson_loss
from aisle.training.loop import Trained
from aisle.training.policy import GroupLoss
from aisle.training.preference import PreferenceLoss, preference_batches
from aisle.training.supervised import Examples

if TYPE_CHECKING:
    from aisle.relevance.taosr1 import TaoSr1

ROW_TOKENS = {"tiny": 0, "pretrained": 256}
"""Of packed rows: a small model is quickest with a row a document, a large one when no row is filled up."""

LEAST_SHARE = 4
"""A balanced pool asks of each grade at least an even share's fourth part, though a rare one may have fewer."""

WATCHED = 1500
"""Validation pairs, in whole queries, that are judged while a stage trains; its figures at the end are of all of them."""


class TaoCourse(Course["TaoSr1"]):
    """
    tuning, pool, held  pairs of fine-tuning, of the two later stages, and of validation, apart by query
    """

    def __init__(
        self,
        method: TaoSr1,
        items: Items,
        stages: Stages,
        llm: Llm,
        pairs: tuple[Pairs, Pairs, Pairs],
        writer: Writer | None = None,
    ) -> None:
        self.tuning, self.pool, held = pairs
        super().__init__(method, items, stages, llm, held)
        self.watched = first_queries(self.held, WATCHED)
        self.writer = writer or method.rationales.writer(items, self.tuning.scale, stages.env)

    @classmethod
    def of(cls, method: TaoSr1, shop: ShopView, env: Env, group: Workers) -> TaoCourse:
        pairs, held = training_pairs(shop)
        tuning, pool = split_by_query(pairs, method.pool_share, env.seed)
        writer = method.rationales.writer(shop.items, pairs.scale, env)
        texts = _words_of_steps(writer, tuning) if method.is_tiny and method.form == "steps" else []
        llm = judge_of(method.order).made(method, pairs.scale, shop.items, pairs.queries, env, texts=texts)
        return cls(method, shop.items, Stages.of(method, shop, env, group), llm, (tuning, pool, held), writer)

    def taken(self) -> JudgeStage:
        method, pool = self.method, self.pool
        self.run("tuned", self._if_better(self.tune))
        if method.order != "label_only" and len(pool) and method.correction.samples:
            self.run("corrected", self._if_better(self.correct))
        if len(pool) and method.reinforcement.steps:
            self.run("reinforced", self._if_better(self.reinforce))
        threshold = self.threshold()
        self.stages.close()
        return JudgeStage(method, self.env, self.llm, threshold, report=self.report)

    def _if_better(self, work: Work) -> Work:
        """The stage, taken back where it leaves the validation pairs worse judged than the stages before it did."""
        return lambda folder: self.attempt(work, folder, self._is_worse)

    def _is_worse(self, found: Mapping[str, Any]) -> bool:
        kept = [stage for stage in self.report.values() if not stage.get("taken_back")]
        reached = [stage["macro_f1"] for stage in kept if "macro_f1" in stage]
        return bool(reached) and "macro_f1" in found and found["macro_f1"] < max(reached)

    # -- the stages ----------------------------------------------------------------------------------------------------

    def tune(self, folder: Path | None) -> Mapping[str, Any]:
        """Fine-tuning; returns figures of the validation pairs."""
        method, pairs = self.method, self.tuning
        rationales = [None] * len(pairs) if method.order == "label_only" else self._written(pairs, "rationales")
        weight_C = class_weights(pairs) if method.class_weighted else None
        examples = examples_of(
            self.llm, pairs, self.items, rationales, label_weight=method.label_weight, weight_C=weight_C
        )
        trained = self.learn("tuned", examples, method.train, folder)
        told = sum(r is not None for r in rationales)
        return {"pairs": len(pairs), "with_rationale": told, "curve": curve(trained), **self.figures()}

    def correct(self, folder: Path | None) -> Mapping[str, Any]:
        """DPO on own mistakes; returns pass@N of the model before, the pairs by kind, and figures.

        Of several processes each answers its own share of the pool and learns from its own pairs, as many as the others.
        """
        how, llm, env, group = self.method.correction, self.llm, self.env, self.stages.workers
        pool = self.pool.take(np.arange(group.rank, len(self.pool), group.size))
        samples = self.answers(pool, how.samples, how.temperature)
        num_right = samples.right.sum(1)
        passed = {f"pass@{n}": float(pass_at(num_right, how.samples, n).mean()) for n in range(1, how.samples + 1)}
        missed = np.flatnonzero(num_right == 0) if how.oracle else np.zeros(0, np.int64)
        pairs = correction_pairs(samples, self._oracle(pool, missed), how.most)
        kinds = {"self_correction": int((~pairs.is_oracle).sum()), "oracle": int(pairs.is_oracle.sum())}
        report = {**group.mean(passed), **{name: sum(group.gather(count)) for name, count in kinds.items()}}
        common = min(group.gather(len(pairs)))
        if not common:
            return {**report, **self.figures()}
        batches = preference_batches(
            pairs.preferences.take(np.arange(common)), min(max(how.batch // group.size, 1), common),
            reference=llm.backbone.frozen(), seed=env.seed, device=env.device,
        )  # fmt: skip
        loss = PreferenceLoss(beta=how.beta, nll=how.nll)
        trained = self.stages.train("corrected", llm.backbone, batches, loss, how.train, folder, self.watch())
        return {**report, "curve": curve(trained), **self.figures()}

    def reinforce(self, folder: Path | None) -> Mapping[str, Any]:
        """GRPO on the pool; returns its size by grade and figures."""
        how, llm, env = self.method.reinforcement, self.llm, self.env
        prompts = llm.prompts_of(self.pool, self.items)
        order = np.random.default_rng((env.seed, 0x6790)).permutation(len(self.pool))
        if how.balanced:
            counts = self.pool.counts()
            # A grade that hardly occurs must not shrink the pool to a handful of prompts.
            per_grade = max(int(counts[counts > 0].min()), len(self.pool) // (LEAST_SHARE * len(counts)))
            order = balanced(self.pool, per_grade, env.seed)
        watch = LabelGradient(how.watch_every) if llm.grammar.order == "label_first" and how.watch_every else None
        loss = GroupLoss(
            low=how.low, high=how.high, kl=how.kl, temperature=how.temperature, watch=watch,
            reference=llm.backbone.frozen() if how.kl else None,
        )  # fmt: skip
        sampling = Sampling(max_new=LONGEST[llm.grammar.form], temperature=how.temperature, top_k=how.top_k)
        functions = grpo_steps(
            prompts, self.pool.label, self._read, RuleTable(len(llm.scale)), loss, group=how.group, sampling=sampling,
            most_right=how.most_right, kind=how.reward, clamp=how.clamp,
        )  # fmt: skip
        batches = RolloutBatches(
            llm.backbone, order, functions, prompts=how.prompts, steps=how.steps, tries=how.tries, seed=env.seed,
            workers=self.stages.workers,
        )  # fmt: skip
        trained = self.stages.train(
            "reinforced", llm.backbone, batches, lesson_loss(functions), how.train, folder, self.watch()
        )
        mix = self.pool.take(order).counts().tolist()
        return {"pool": mix, "curve": curve(trained), **self.figures()}

    # -- what the stages share -----------------------------------------------------------------------------------------

    def answers(self, pairs: Pairs, n: int, temperature: float, seed: int | None = None) -> Samples:
        """n answers to each pair, as the judge is now."""
        env, llm = self.env, self.llm

        def is_right(places: Array, answers: Sequence[Sequence[Array]]) -> Array:
            said = self._read([answer for of in answers for answer in of])
            label = np.array([-1 if p.label is None else p.label for p in said]).reshape(len(places), -1)
            right: Array = label == pairs.label[places][:, None]
            return right

        return sampled(
            llm.backbone, llm.prompts_of(pairs, self.items), n,
            Sampling(max_new=LONGEST[llm.grammar.form], temperature=temperature), is_right,
            seed=env.seed if seed is None else seed, progress=env.progress, task=f"{self.stages.name}: pass@{n}",
        )  # fmt: skip

    def _oracle(self, pairs: Pairs, places: Array) -> list[Array | None]:
        """What the writer answers for the pairs at these places; None for all others."""
        oracle: list[Array | None] = [None] * len(pairs)
        missed = pairs.take(places)
        answers = written_answers(self.llm, missed, self._written(missed, "right answers"))
        for place, answer in zip(places, answers, strict=True):
            oracle[place] = answer
        return oracle

    def _written(self, pairs: Pairs, task: str) -> list[Rationale | None]:
        """The writer's rationales; a chat endpoint may take hours, so a person sees how far it is."""
        return rationales_of(self.writer, pairs, self.env.progress, f"{self.stages.name}: {task}")

    def _read(self, answers: Sequence[Array]) -> list[Parsed]:
        return [self.llm.grammar.read(text) for text in self.llm.words.decode(answers)]

    def figures(self) -> dict[str, Any]:
        """Of the validation pairs, at the threshold that suits them best; nothing where there are none."""
        return self._figures_of(self.held) if len(self.held) else {}

    def row_tokens(self, examples: Examples) -> int:
        return ROW_TOKENS["tiny" if self.method.is_tiny else "pretrained"]

    def watch(self) -> Validate | None:
        """Figures of the ``watched`` pairs; None without validation pairs."""
        if not len(self.held):
            return None
        return lambda module: _watched(self._figures_of(self.watched))

    def _figures_of(self, pairs: Pairs) -> dict[str, Any]:
        self.llm.backbone.eval()
        chance_NC = self.llm.chances_of_pairs(pairs, self.items)
        said = [] if self.llm.grammar.order == "label_only" else said_of_pairs(self.llm, pairs, self.items)
        threshold = fit_threshold(chance_NC, pairs.label)
        return {"threshold": threshold, **measured(chance_NC, pairs.label, threshold, said).as_dict()}


def _watched(figures: Mapping[str, Any]) -> dict[str, float]:
    """Those that a learning curve shows, where there are any: hallucination only of a judge that reasons."""
    named = {name: figures[name] for name in ("macro_f1", "argmax_macro_f1", "hallucination")}
    return {name: value for name, value in named.items() if value is not None}


def _words_of_steps(writer: Writer, pairs: Pairs) -> list[str]:
    """What rationales are made of: words that a small vocabulary must hold beside those of queries and items."""
    written = rationales_of(writer, first_queries(pairs, WATCHED))
    return [" ".join(rationale.words) for rationale in written if rationale is not None]


def curve(trained: Trained) -> list[list[float]]:
    """[step, macro-F1 of the watched pairs] of every validation."""
    return [[step, figures["macro_f1"]] for step, figures in trained.validations]
