"""Settings of the stages after fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from aisle.core.method import Settings
from aisle.relevance.taosr1.reinforced import Reward
from aisle.training.settings import TrainSettings

BY_MACRO_F1: Mapping[str, Any] = {"watch": "macro_f1", "better": "higher"}
"""Of the validation pairs: which moment of a stage is kept."""


class Correction(Settings):
    """
    samples      answers to each prompt of the pool; 0 leaves this stage out
    temperature  they are drawn with
    most         pairs of one prompt at most
    oracle       whether a prompt without a right answer is learned from too, by the writer's answer
    beta         of DPO: with .1, meant for long answers, the grade's token goes on moving when the pair is long in order
    nll          weight of - log pi a token of the preferred answers: pairs of an oracle are off-policy, and without it the
                 preferred answers may become unlikely too
    batch        prompts a step
    train        the loop's settings
    """

    samples: int = Field(5, ge=0)
    temperature: float = Field(1.0, gt=0)
    most: int = Field(1, ge=1)
    oracle: bool = True
    beta: float = Field(2.0, gt=0)
    nll: float = Field(0.1, ge=0)
    batch: int = Field(32, ge=1)
    train: TrainSettings = TrainSettings(epochs=1, lr=2e-4, weight_decay=0.0, **BY_MACRO_F1)


class Reinforcement(Settings):
    """
    steps           lessons; 0 leaves this stage out
    prompts, group  prompts a lesson, and answers to each
    temperature, top_k  they are drawn with; top_k 0 takes all tokens
    balanced        a pool with as many pairs of each grade, as far as there are; False: the pool as it is
    most_right      gamma as a share of the group: groups with as many right answers or more are not learned from (1: only
                    groups that are all right or all wrong are left out)
    reward          ``outcome``: the label is right, as published; ``gated``: and the answer is whole, its own verdicts leading to
                    that label.  With outcome alone nothing holds the reasoning but KL
    tries           how often a lesson's missing groups are drawn anew
    low, high, kl, clamp  of the clipped loss; KL is measured from the model before this stage
    watch_every     steps between two looks at the gradient of the label's token; 0 never
    train           the loop's settings
    """

    steps: int = Field(300, ge=0)
    prompts: int = Field(32, ge=1)
    group: int = Field(8, ge=2)
    temperature: float = Field(0.99, gt=0)
    top_k: int = Field(100, ge=0)
    balanced: bool = True
    most_right: float = Field(1.0, gt=0, le=1)
    reward: Reward = "gated"
    tries: int = Field(3, ge=0)
    low: float = Field(0.2, ge=0)
    high: float = Field(0.2, ge=0)
    kl: float = Field(0.02, ge=0)
    clamp: float = Field(2.0, gt=0)
    watch_every: int = Field(25, ge=0)
    train: TrainSettings = TrainSettings(
        lr=3e-4, weight_decay=0.0, schedule="constant", evaluate_every=50, **BY_MACRO_F1
    )
