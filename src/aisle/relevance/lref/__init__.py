"""LREF: a judge that learns from selected pairs, from three kinds of reasoning, and not to be an optimist (arXiv:2503.09223).

    1. selection    three helpers choose what is hard, learnable and not mislabelled        selection.py
    2. tuning       labels of all pairs (a judge that starts from nothing needs them), then of the selected ones
    3. explaining   multi-CoT: expert explaining, rule adherence, decision reflection       tasks.py
    4. de-biasing   DPO on pairs from its own beams                                         debiasing.py
    5. CumPT        one threshold from chances to a grade                                   _tiers.py

``course.py`` takes them in turn.  It serves the grade alone, read by prefill; its reasoning is written on demand (``reading.py``).
Card: docs/methods/lref.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

from aisle.core.env import Env
from aisle.core.lists import Array
from aisle.core.method import NOTHING, Given, State
from aisle.core.shop import ShopView
from aisle.relevance._judge.llm import LlmMethod
from aisle.relevance._judge.reasoned import LONGEST
from aisle.relevance._judge.serving import JudgeStage
from aisle.relevance._writers import Rationales
from aisle.relevance.lref.course import LrefCourse
from aisle.relevance.lref.reading import explained_prompts, reader_of
from aisle.relevance.lref.selection import Selection
from aisle.relevance.lref.settings import Debiasing, Explaining
from aisle.relevance.lref.written import aspects_in_words
from aisle.training.distributed import workers
from aisle.training.settings import TrainSettings
from aisle.training.threads import threads


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

    settings_version: ClassVar[int] = 2

    order: Literal["reason_first", "label_first"] = "reason_first"
    selection: Selection = Selection()
    rationales: Rationales = Rationales()
    explaining: Explaining = Explaining()
    debiasing: Debiasing = Debiasing()
    take_back: bool = True
    decide: Literal["label", "reason"] = "label"

    def fit(self, shop: ShopView, env: Env, given: Given = NOTHING) -> LrefStage:
        with threads(self.threads), workers() as group:
            llm, threshold, report = LrefCourse.of(self, shop, env, group).taken()
        return LrefStage(self, env, llm, threshold, report=report)

    def restore(self, state: State, env: Env, given: Given = NOTHING) -> LrefStage:
        return LrefStage.restored(self, state, env, reader_of(self.decide))

    @classmethod
    def migrate(cls, settings: dict[str, Any], version: int) -> dict[str, Any]:
        """Version 1 knew over-rating alone, and the share of pairs against it as ``under_share``."""
        debiasing = dict(settings.get("debiasing", {}))
        if "under_share" in debiasing:
            debiasing |= {"other_share": debiasing.pop("under_share"), "against": "optimism"}
        return {**settings, "debiasing": debiasing}

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
        return [aspects_in_words(text) for text in self.llm.written(prompts, LONGEST[method.form])]


METHOD = Lref
