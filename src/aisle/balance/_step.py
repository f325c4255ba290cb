"""What all balancers have in common: a batch's losses, their backward, and what the balancer learns from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from aisle.core.balance import MeanOverWorkers, alone
from aisle.core.errors import ContractError, nearest
from aisle.core.method import State

Figures = Mapping[str, float]


class Steps:
    """One stage of all tasks, their losses added up with ``weights``.  A balancer overrides what differs.

    kept  names of the attributes that the next step depends on: numbers, or mappings of tasks to numbers
    """

    kept: ClassVar[tuple[str, ...]] = ()
    tasks: tuple[str, ...]
    weights: Mapping[str, float]

    @property
    def active(self) -> tuple[str, ...]:
        return self.tasks

    @property
    def trained(self) -> tuple[str, ...]:
        """The tasks whose losses give gradients: the active ones, and what a balancer trains ahead of its stage."""
        return self.active

    @property
    def wants_reference(self) -> bool:
        return False

    def step(
        self,
        losses: Mapping[str, Tensor],
        shared: Sequence[Tensor],
        reference: Mapping[str, float] | None = None,
        mean: MeanOverWorkers = alone,
    ) -> Figures:
        """A task whose labels a batch lacks is left out of that batch.

        Raises ContractError for a loss that nobody declared, or when ``wants_reference`` and none is given.
        """
        if self.wants_reference and reference is None:
            raise ContractError("a paired constraint needs the frozen model's losses on this batch; pass reference")
        here = {task: losses[task] for task in self._known(losses) if task in self.trained}
        figures = self._backward(here, shared) if here else {}
        active = {task: loss for task, loss in here.items() if task in self.active}
        return {**figures, **self._learn(active, reference, mean)}

    def _known(self, losses: Mapping[str, Tensor]) -> list[str]:
        """The tasks that this batch carries, in their order."""
        for name in losses:
            if name not in self.tasks:
                known = ", ".join(self.tasks)
                raise ContractError(f"a loss {name!r} came, the balancer knows {known}{nearest(name, self.tasks)}")
        return [task for task in self.tasks if task in losses]

    def _backward(self, losses: Mapping[str, Tensor], shared: Sequence[Tensor]) -> Figures:
        """Gradients of at least one loss into ``.grad``; figures for the log."""
        weights = self.weights
        total([weights[task] * loss for task, loss in losses.items()]).backward()
        return {f"weight/{task}": weight for task, weight in weights.items()}

    def _learn(
        self, losses: Mapping[str, Tensor], reference: Mapping[str, float] | None, mean: MeanOverWorkers
    ) -> Figures:
        """What the balancer itself learns from a batch's active tasks; figures for the log."""
        return {}

    def advance(self, levels: Mapping[str, float]) -> bool:
        return False

    def state(self) -> State:
        return State(values={name: _plain(getattr(self, name)) for name in self.kept})

    def load(self, state: State) -> None:
        for name in self.kept:
            setattr(self, name, _plain(state.values[name]))


def total(losses: Sequence[Tensor]) -> Tensor:
    """Their sum, without a 0 to begin with."""
    return sum(losses[1:], losses[0])


def means(losses: Mapping[str, Tensor], mean: MeanOverWorkers) -> Mapping[str, float]:
    """task -> its loss on this batch, over all workers."""
    return mean({task: float(loss.detach()) for task, loss in losses.items()})


def _plain(value: Any) -> Any:
    """A copy that no later step changes."""
    return dict(value) if isinstance(value, Mapping) else value
