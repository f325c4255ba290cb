"""Supervised fine-tuning: the loss of the answer's tokens, short examples packed into shared rows.

Legend: S answers, R answer tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aisle.core.errors import ContractError
from aisle.core.lists import Array
from aisle.nn.backbones.backbone import Backbone
from aisle.nn.backbones.packed import Packed, pack
from aisle.training.batches import RowBatches

ROW_TOKENS = 512


@dataclass(frozen=True, eq=False)
class Examples:
    """
    prompts, answers  token lists; only the answer is learned
    weights           float32 a token of each answer (a label counts more, a class is rare); None for 1
    """

    prompts: Sequence[Array]
    answers: Sequence[Array]
    weights: Sequence[Array] | None = None

    def __post_init__(self) -> None:
        sizes = {len(self.prompts), len(self.answers), len(self.weights if self.weights is not None else self.answers)}
        if len(sizes) > 1:
            raise ContractError(
                f"{len(self.prompts)} prompts, {len(self.answers)} answers and their weights; give one of each"
            )

    def __len__(self) -> int:
        return len(self.prompts)

    def take(self, rows: Array) -> Examples:
        weights = None if self.weights is None else [self.weights[r] for r in rows]
        return Examples([self.prompts[r] for r in rows], [self.answers[r] for r in rows], weights)


@dataclass(frozen=True, eq=False)
class ExampleBatch:
    """Packed examples with a weight for each answer token, float32[S, R] (0 beyond an answer's end)."""

    packed: Packed
    weight: Tensor


def batch_of(examples: Examples, row_tokens: int = ROW_TOKENS, device: torch.device | str = "cpu") -> ExampleBatch:
    packed = pack(examples.prompts, [[a] for a in examples.answers], row_tokens=row_tokens).to(device)
    if examples.weights is None:
        return ExampleBatch(packed, packed.is_token.float())
    flat_N = torch.from_numpy(np.concatenate(examples.weights).astype(np.float32)).to(device)
    return ExampleBatch(packed, packed.by_branch(flat_N))


def example_batches(
    examples: Examples, size: int, *, row_tokens: int = ROW_TOKENS, seed: int = 0, device: torch.device | str = "cpu",
    rank: int = 0, of: int = 1,
) -> RowBatches:  # fmt: skip
    """``size`` examples a batch."""
    return RowBatches.of_data(
        examples, size, lambda taken: batch_of(taken, row_tokens, device), seed=seed, rank=rank, of=of
    )


def supervised_loss(module: Backbone, batch: ExampleBatch) -> Mapping[str, Tensor]:
    """{"supervised": weighted mean of - log pi(token | what stands before it) over all answer tokens of the batch}"""
    return {"supervised": nll(module.logp(batch.packed), batch.weight)}


def nll(logp_SR: Tensor, weight_SR: Tensor) -> Tensor:
    """The weighted mean of - log pi over all answer tokens."""
    return -(logp_SR * weight_SR).sum() / weight_SR.sum().clamp(min=1e-9)
