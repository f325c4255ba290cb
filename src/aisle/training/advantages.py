"""Advantages of group-relative reinforcement learning: how much better an answer was than its siblings.

Pure functions of rewards.  Papers differ in them; the loop (``policy.py``) does not.

Legend: Q prompts, G answers a prompt, S = Q G answers, R answer tokens, K steps of an answer.
"""

from __future__ import annotations

import torch
from torch import Tensor

from aisle.core.errors import ContractError

CLAMP = 2.0
"""The usual bound of an advantage (ROLL's setting, which TaoSR1's reports share)."""


def group_advantage(reward_QG: Tensor, *, ddof: int = 1, eps: float = 1e-4, clamp: float | None = None) -> Tensor:
    """float[Q, G]:  A = (r - mean of the group) / (standard deviation of the group + eps).

    A group whose rewards agree teaches nothing: its advantages are 0.  ``ddof``: 1 divides by G - 1, 0 by G.
    """
    centred_QG = reward_QG - reward_QG.mean(1, keepdim=True)
    advantage_QG = centred_QG / (reward_QG.std(1, correction=ddof, keepdim=True) + eps)
    return advantage_QG if clamp is None else advantage_QG.clamp(-clamp, clamp)


def step_advantage(
    reward_QGK: Tensor, *, seen_QGK: Tensor | None = None, ddof: int = 1, eps: float = 1e-4, clamp: float | None = None
) -> Tensor:
    """float[Q, G, K]: each step against the same step of its siblings.

    seen_QGK  bool, which answers have the step at all and a reward for it; others neither count nor learn (0)
    """
    seen = torch.ones_like(reward_QGK) if seen_QGK is None else seen_QGK.to(reward_QGK.dtype)
    count_Q1K = seen.sum(1, keepdim=True)
    mean_Q1K = (reward_QGK * seen).sum(1, keepdim=True) / count_Q1K.clamp(min=1)
    centred = (reward_QGK - mean_Q1K) * seen
    variance = centred.square().sum(1, keepdim=True) / (count_Q1K - ddof).clamp(min=1)
    advantage = centred / (variance.sqrt() + eps)
    return advantage if clamp is None else advantage.clamp(-clamp, clamp)


def until_first_error(right_SK: Tensor) -> Tensor:
    """bool[S, K]: the steps up to and including the first wrong one; what follows rests on a false premise."""
    wrong_before_SK = (~right_SK).cumsum(1) - (~right_SK).long()
    return wrong_before_SK == 0


def spread_over_steps(value_SK: Tensor, step_SR: Tensor) -> Tensor:
    """float[S, R]: each token gets its step's value, 0 where ``step_SR`` (int64, -1 for none) says that it has no step."""
    token_SR = value_SK.gather(1, step_SR.clamp(min=0))
    return torch.where(step_SR >= 0, token_SR, torch.zeros_like(token_SR))


def spread_over_tokens(advantage_QG: Tensor, is_token_SR: Tensor) -> Tensor:
    """float[S, R]: one advantage for the whole answer."""
    return advantage_QG.reshape(-1, 1) * is_token_SR


def over_tokens(advantage: Tensor, is_token_SR: Tensor) -> Tensor:
    """float[S, R]: an advantage of each answer ([Q, G] or [S]) or of each token ([S, R] or wider) at the tokens that are there.

    Raises ContractError for any other shape.
    """
    num_answers, longest = is_token_SR.shape
    if advantage.numel() == num_answers:
        return spread_over_tokens(advantage, is_token_SR)
    if advantage.dim() != 2 or len(advantage) != num_answers or advantage.shape[1] < longest:
        raise ContractError(
            f"an advantage of shape {list(advantage.shape)} for {num_answers} answers of up to {longest} tokens; give one for "
            "each answer, or one for each token of each answer"
        )
    return advantage[:, :longest] * is_token_SR


def live_groups(reward_QG: Tensor) -> Tensor:
    """bool[Q]: groups that can teach something, whose rewards differ; of rewards [Q, G, K] in any of the K steps."""
    differs = reward_QG.amax(1) > reward_QG.amin(1)
    return differs if differs.dim() == 1 else differs.flatten(1).any(1)


def between(right_QG: Tensor, most: float) -> Tensor:
    """bool[Q]: 0 < number of right answers < ``most`` (the constraint of DAPO and TaoSR1).

    ``most`` = G drops only groups that are all right or all wrong; less than G drops easy ones too.
    """
    count_Q = right_QG.sum(1)
    return (count_Q > 0) & (count_Q < most)
