"""Small problems whose answer is known, and the shortest loop that trains them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from aisle.core.balance import Balancer
from aisle.core.env import Env

Losses = Callable[[nn.Module], Mapping[str, Tensor]]


def env(seed: int = 0) -> Env:
    return Env(engine=None, seed=seed)  # type: ignore[arg-type]


class Point(nn.Module):
    """A vector to be moved."""

    def __init__(self, start_D: Tensor) -> None:
        super().__init__()
        self.theta_D = nn.Parameter(start_D.clone())


class Conflict(nn.Module):
    """Two regressions through one tanh layer of 6 units; the labels of the second are those of the first, turned around."""

    def __init__(self, opposed: float = 1.0, seed: int = 0) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.x_BD = torch.randn(64, 4, generator=draw)
        first_B = torch.tanh(self.x_BD @ torch.randn(4, generator=draw)) + 0.3 * torch.randn(64, generator=draw)
        other_B = torch.tanh(self.x_BD @ torch.randn(4, generator=draw)) + 0.3 * torch.randn(64, generator=draw)
        self.labels = {"first": first_B, "second": (1 - opposed) * other_B - opposed * first_B}
        self.shared = nn.Linear(4, 6)
        self.out = nn.Linear(6, 1)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(0.5 * torch.randn(parameter.shape, generator=draw))

    def losses(self) -> dict[str, Tensor]:
        """Both tasks read the same output, so no point serves both."""
        y_B = self.out(torch.tanh(self.shared(self.x_BD))).squeeze(1)
        return {task: (y_B - label_B).square().mean() for task, label_B in self.labels.items()}


class OwnHeads(nn.Module):
    """Two regressions with little in common, each with a head of its own on one tanh unit: what serves both is a compromise."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.x_BD = torch.randn(128, 4, generator=draw)
        self.shared = nn.Linear(4, 1)
        self.heads = nn.ModuleDict({task: nn.Linear(1, 1) for task in ("first", "second")})
        self.labels = {
            task: torch.tanh(self.x_BD @ torch.randn(4, generator=draw)) + 0.3 * torch.randn(128, generator=draw)
            for task in self.heads
        }
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(0.5 * torch.randn(parameter.shape, generator=draw))

    def losses(self) -> dict[str, Tensor]:
        hidden_B1 = torch.tanh(self.shared(self.x_BD))
        return {t: (head(hidden_B1).squeeze(1) - self.labels[t]).square().mean() for t, head in self.heads.items()}

    def best_head(self, task: str) -> float:
        """The lowest loss that a head of the task has on the present tanh unit: least squares."""
        hidden_B1 = torch.tanh(self.shared(self.x_BD)).detach()
        known_B2 = torch.cat([hidden_B1, torch.ones_like(hidden_B1)], 1)
        head_21 = torch.linalg.lstsq(known_B2, self.labels[task][:, None]).solution
        return float((known_B2 @ head_21 - self.labels[task][:, None]).square().mean())


def values(losses: Mapping[str, Tensor]) -> dict[str, float]:
    return {task: float(loss.detach()) for task, loss in losses.items()}


def train_stage(
    module: nn.Module,
    losses: Losses,
    balancer: Balancer,
    *,
    steps: int,
    lr: float,
    optimiser: type[torch.optim.Optimizer] = torch.optim.SGD,
    shared: Sequence[Tensor] = (),
) -> list[dict[str, float]]:
    """One stage of full-batch training; what ``step`` reported and the gradient's norm, a step."""
    frozen = deepcopy(module) if balancer.wants_reference else None
    descent = optimiser(module.parameters(), lr=lr)
    history = []
    for _ in range(steps):
        descent.zero_grad()
        reference = None
        if frozen is not None:
            with torch.no_grad():
                reference = values(losses(frozen))
        figures = dict(balancer.step(losses(module), shared, reference))
        grads = [p.grad.reshape(-1) for p in module.parameters() if p.grad is not None]
        figures["grad_norm"] = float(torch.cat(grads).norm()) if grads else 0.0
        history.append(figures)
        descent.step()
    return history


def train(module: nn.Module, losses: Losses, balancer: Balancer, **how: object) -> list[dict[str, float]]:
    """All stages; the last one's history."""
    while True:
        history = train_stage(module, losses, balancer, **how)  # type: ignore[arg-type]
        if not balancer.advance(values(losses(module))):
            return history
