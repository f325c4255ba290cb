"""Gradients of several losses on what they share.

Legend: K tasks, P numbers in all shared tensors together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from aisle.core.errors import ContractError, nearest


def per_task(losses: Sequence[Tensor], shared: Sequence[Tensor]) -> Tensor:
    """[K, P]: each loss's gradient on the shared tensors, laid out one after the other; 0 where a loss does not reach."""
    rows = []
    for loss in losses:
        grads = torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True)
        flat = [(torch.zeros_like(x) if g is None else g).reshape(-1) for x, g in zip(shared, grads, strict=True)]
        rows.append(torch.cat(flat))
    return torch.stack(rows)


def push(shared: Sequence[Tensor], grad_P: Tensor) -> None:
    """Send a gradient into the shared tensors and whatever they were computed from (rows of a table, say)."""
    parts = grad_P.split([x.numel() for x in shared])
    torch.autograd.backward(list(shared), [g.view_as(x) for x, g in zip(shared, parts, strict=True)])


def known(losses: Mapping[str, Tensor], tasks: Sequence[str]) -> list[str]:
    """The tasks that this batch carries, in their order.  Raises ContractError for a loss that nobody declared."""
    for name in losses:
        if name not in tasks:
            raise ContractError(f"a loss {name!r} came, the balancer knows {', '.join(tasks)}{nearest(name, tasks)}")
    return [task for task in tasks if task in losses]
