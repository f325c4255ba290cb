"""Balancer: what turns several losses of one batch into gradients.  The parts of ``aisle.balance`` fulfil it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from aisle.core.method import State

Tensor = Any
"""A torch tensor; core imports no torch."""

MeanOverWorkers = Callable[[Mapping[str, float]], Mapping[str, float]]
"""Each value averaged over all processes that train together."""


def alone(values: Mapping[str, float]) -> Mapping[str, float]:
    """The mean over one worker."""
    return values


class Balancer(Protocol):
    """Does the backward of a step itself, so that gradient surgery and constrained training fit where a sum would.

    A trainer calls ``step`` once a (micro-)batch, reduces ``.grad`` over its workers, and lets its optimisers step.
    At the end of what ``advance`` calls a stage it goes on as long as ``advance`` says so: with the parameters that
    were best by validation, a fresh optimiser, and (``wants_reference``) a frozen copy of the model.
    """

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the losses, the highest priority first where there is one."""
        ...

    @property
    def active(self) -> tuple[str, ...]:
        """Tasks that the present stage learns or holds: their losses choose its end.  The heads of the others stand still, or
        learn beside."""
        ...

    @property
    def wants_reference(self) -> bool:
        """Whether ``step`` compares with the losses of the model as it stood when the last stage ended."""
        ...

    def step(
        self,
        losses: Mapping[str, Tensor],
        shared: Sequence[Tensor],
        reference: Mapping[str, float] | None = None,
        mean: MeanOverWorkers = alone,
    ) -> Mapping[str, float]:
        """Leave the gradients of this batch in ``.grad`` (added to what is there) and return figures for the log.

        losses     task -> scalar, the mean over the examples that carry the task's label
        shared     tensors that several tasks use, on which gradients may be made to agree: parameters, or rows looked
                   up in a table (whatever stands behind them receives the combined gradient)
        reference  task -> the frozen model's loss on the same batch, where ``wants_reference``
        """
        ...

    def advance(self, levels: Mapping[str, float]) -> bool:
        """A stage ended with these losses.  True: another begins."""
        ...

    def state(self) -> State:
        """Everything that the next step depends on."""
        ...

    def load(self, state: State) -> None:
        """Go on from ``state()``."""
        ...
