"""Settings of the stages after tuning; those of the selection stand beside it, in ``selection.py``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from aisle.core.method import Settings
from aisle.relevance.lref.tasks import Task
from aisle.training.settings import TrainSettings


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
    against      ``bias``: the way in which the judge errs more often on the validation pairs (without any, on what it learned);
                 ``optimism``: over-rating, whichever way it errs, as in the paper
    other_share  of prompts that err the other way among the wrongly rated
    held         rightly rated prompts for each wrongly rated one: what the judge must not give up
    beta         of DPO: the log-ratio of a grade need only move by the distance of two grades' log-chances, which is about 1;
                 the usual .1, meant for long answers, pushes on until it has moved by tens
    nll          weight of - log pi a token of the preferred answers (the paper's alpha, as far as it can be told)
    most         prompts that are searched at most
    batch, train  pairs a step, and the loop's settings
    """

    on: bool = True
    beams: int = Field(5, ge=2)
    against: Literal["bias", "optimism"] = "bias"
    other_share: float = Field(0.25, ge=0, lt=1)
    held: float = Field(3.0, ge=0)
    beta: float = Field(5.0, gt=0)
    nll: float = Field(0.65, ge=0)
    most: int = Field(8000, ge=1)
    batch: int = Field(32, ge=1)
    train: TrainSettings = TrainSettings(epochs=2, lr=1e-4, warmup=0.2, weight_decay=0.0)
