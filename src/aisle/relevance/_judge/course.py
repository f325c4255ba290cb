"""One fit of a judge: its stages, each on the module that the one before left, and what they said.

A method adds its own stages to ``Course`` and takes them in turn with ``run``; ``attempt`` takes one back that did harm.

Legend: N pairs, C grades.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from torch import Tensor

from aisle.core.env import Env, in_words
from aisle.core.shop import Items
from aisle.nn.backbones.backbone import Backbone
from aisle.relevance._judge.llm import Llm, LlmMethod
from aisle.relevance._pairs import Pairs
from aisle.relevance._stages import Stages, Validate
from aisle.relevance._tiers import fit_threshold
from aisle.training.loop import Trained
from aisle.training.settings import TrainSettings
from aisle.training.supervised import Examples, example_batches, supervised_loss

M = TypeVar("M", bound=LlmMethod)

Work = Callable[[Path | None], Mapping[str, Any]]
"""A stage: given the folder of its checkpoints, it changes the judge and says what it did, as JSON values."""


class Course(Generic[M]):
    """
    llm     the judge in the making
    held    validation pairs: they choose moments and thresholds, and say whether a stage helped
    report  what each stage said, by its name
    """

    def __init__(self, method: M, items: Items, stages: Stages, llm: Llm, held: Pairs) -> None:
        self.method, self.items, self.stages, self.llm, self.held = method, items, stages, llm, held
        self.report: dict[str, Any] = {}

    @property
    def env(self) -> Env:
        return self.stages.env

    def run(self, name: str, work: Work, *, untold: tuple[str, ...] = ()) -> Mapping[str, Any]:
        """A stage, or what it left in a run that was killed later.  Returns what it said; ``untold`` is left out of the report."""
        found = self.stages.run(name, self.llm.backbone, work)
        self.report[name] = {key: value for key, value in found.items() if key not in untold}
        self.stages.say(f"{name} is over: {in_words(self.report[name])}")
        return found

    def attempt(
        self, work: Work, folder: Path | None, is_worse: Callable[[Mapping[str, Any]], bool]
    ) -> Mapping[str, Any]:
        """What the work says; where that ``is_worse``, the judge is as it was before and ``taken_back`` says so."""
        before = weights_of(self.llm.backbone)
        found = work(folder)
        if not is_worse(found):
            return found
        self.llm.backbone.load_state_dict(before, strict=False)
        return {**found, "taken_back": True}

    def row_tokens(self, examples: Examples) -> int:
        """Of a packed row of supervised training; 0 gives each example a row of its own."""
        return 0

    def watch(self) -> Validate | None:
        """What supervised training validates by; None keeps its last step."""
        return None

    def learn(self, stage: str, examples: Examples, settings: TrainSettings, folder: Path | None) -> Trained:
        """Supervised training on these examples, ``method.batch`` a step."""
        env, group = self.env, self.stages.workers
        batches = example_batches(
            examples, max(min(self.method.batch, len(examples)), group.size), row_tokens=self.row_tokens(examples),
            seed=env.seed, device=env.device, rank=group.rank, of=group.size,
        )  # fmt: skip
        return self.stages.train(
            stage, self.llm.backbone, batches, supervised_loss, settings, folder, validate=self.watch()
        )

    def threshold(self) -> float:
        """CumPT's threshold from the validation pairs; the median where there are none."""
        if not len(self.held):
            return 0.5
        return fit_threshold(self.llm.chances_of_pairs(self.held, self.items), self.held.label)


def weights_of(backbone: Backbone) -> dict[str, Tensor]:
    """A copy of what the backbone learns."""
    return {name: tensor.detach().clone() for name, tensor in backbone.learned().items()}
