"""TaoSR1: a judge that answers with one of four grades first and reasons afterwards (arXiv:2508.12365).

    1. fine-tuning on labels with a teacher's rationales          tuned.py
    2. DPO on its own mistakes, found by pass@N sampling          samples.py
    3. GRPO on prompts that it neither always nor never answers   reinforced.py
    4. CumPT: one threshold from chances to a grade               _tiers.py

The label is the first token, so serving reads it by prefill and writes nothing.  Card: docs/methods/taosr1.md.
"""

from __future__ import annotations

from typing import Self

from pydantic import Field

from aisle.core.env import Env
from aisle.core.method import NOTHING, Given, State
from aisle.core.shop import ShopView
from aisle.relevance._judge.llm import LlmMethod
from aisle.relevance._judge.reasoned import judge_of
from aisle.relevance._judge.serving import JudgeStage
from aisle.relevance._writers import Rationales
from aisle.relevance.taosr1.course import TaoCourse
from aisle.relevance.taosr1.settings import BY_MACRO_F1, Correction, Reinforcement
from aisle.training.distributed import workers
from aisle.training.settings import TrainSettings
from aisle.training.threads import threads


class TaoSr1(LlmMethod):
    """
    rationales      who writes the reasoning that is learned, and how carefully
    class_weighted  weigh the answers of rare grades more in fine-tuning
    label_weight    of the label's token in fine-tuning, beside 1 for each token of reasoning
    pool_share      share of the training queries that fine-tuning does not see: prompts of the next two stages, of which only
                    the labels are known
    correction      DPO
    reinforcement   GRPO

    ``order`` says what an answer is: ``label_first`` (post-CoT), ``reason_first``, or ``label_only``.
    """

    train: TrainSettings = TrainSettings(
        epochs=3, lr=1e-3, warmup=0.05, weight_decay=0.01, evaluate_every=0, **BY_MACRO_F1
    )
    rationales: Rationales = Rationales()
    class_weighted: bool = False
    label_weight: float = Field(1.0, gt=0)
    pool_share: float = Field(0.3, ge=0, lt=1)
    correction: Correction = Correction()
    reinforcement: Reinforcement = Reinforcement()

    @classmethod
    def tiny(cls) -> Self:
        quick = TrainSettings(lr=1e-3, **BY_MACRO_F1)
        common = cls.tiny_settings()
        common["train"] = common["train"].model_copy(update=BY_MACRO_F1)
        return cls(
            **common,
            correction=Correction(samples=2, train=quick),
            reinforcement=Reinforcement(steps=3, prompts=4, group=4, tries=1, train=quick),
        )

    def fit(self, shop: ShopView, env: Env, given: Given = NOTHING) -> JudgeStage:
        with threads(self.threads), workers() as group:
            return TaoCourse.of(self, shop, env, group).taken()

    def restore(self, state: State, env: Env, given: Given = NOTHING) -> JudgeStage:
        return JudgeStage.restored(self, state, env, judge_of(self.order))


METHOD = TaoSr1
