"""RAD-DPO on the core: several positives against several negatives, shared prefixes detached, likely pseudo-negatives spared.

An answer is a semantic id of two tokens and its end; what is shared with a positive is its first token.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from math import log

import numpy as np
import pytest
import torch
from tests.training.words_world import END, model
from torch import Tensor, nn
from torch.nn import functional

from aisle.core.lists import Array
from aisle.nn.backbones.packed import pack
from aisle.nn.backbones.tiny import Tiny
from aisle.training.loop import train
from aisle.training.preference import (
    PreferenceBatch,
    PreferenceLoss,
    Preferences,
    answer_reward,
    batch_of,
    gradient_times,
    lists,
    listwise,
    mean_over_prompts,
    monitors,
    preference_batches,
    preferred_nll,
    shared_prefix,
    without_prefix_gradient,
)
from aisle.training.settings import TrainSettings

BETA, BUFFER = 2.0, 64


def code(first: int, second: int) -> Array:
    return np.array([first, second, END])


def sessions() -> Preferences:
    """Four bought ids and three that were shown with them; some of these begin like a bought one."""
    chosen = [[code(10, 16), code(10, 17), code(11, 16), code(11, 18)], [code(12, 16), code(13, 17)]]
    rejected = [[code(10, 18), code(13, 16), code(12, 17)], [code(12, 18), code(10, 16), code(11, 17)]]
    return Preferences([np.array([4, 5]), np.array([6, 7])], chosen, rejected)


class Sparing(nn.Module):
    """The policy with its memory of how alike positives and negatives are; a checkpoint keeps both."""

    seen: Tensor
    count: Tensor

    def __init__(self, backbone: Tiny) -> None:
        super().__init__()
        self.backbone = backbone
        self.register_buffer("seen", torch.zeros(BUFFER))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def weight(self, like_NJ: Tensor, there_NJ: Tensor) -> Tensor:
        """float[N, J]: 1 for what is unlike, down to .5 for the most alike; 1 for all until the memory is full."""
        new = like_NJ[there_NJ]
        places = (self.count + torch.arange(len(new))) % BUFFER
        self.seen[places] = new
        self.count += len(new)
        if self.count < BUFFER:
            return torch.ones_like(like_NJ)
        low, high = self.seen.quantile(torch.tensor([0.5, 0.9]))
        return 1 - 0.5 * ((like_NJ - low) / (high - low)).clamp(0, 1)


def rad(
    module: Sparing, batch: PreferenceBatch, alpha: float = 1.0
) -> tuple[Mapping[str, Tensor], Mapping[str, float]]:
    backbone, packed = module.backbone, batch.packed
    hidden_BTD = backbone.hidden(packed)
    logp_SR = backbone.logp_of(hidden_BTD, packed)
    chosen_N, rejected_NJ, there_NJ = lists(batch.prompt, batch.preferred)
    prefix_NJ = shared_prefix(packed.answer, chosen_N, rejected_NJ)
    suffix_NJR = without_prefix_gradient(logp_SR[rejected_NJ], prefix_NJ)
    worse_NJ = answer_reward(suffix_NJR, batch.weight[rejected_NJ], beta=BETA, per_token=True)
    end_SD = hidden_BTD[packed.last]
    like_NJ = functional.cosine_similarity(end_SD[chosen_N][:, None], end_SD[rejected_NJ], dim=2)
    worse_NJ = gradient_times(worse_NJ, module.weight(like_NJ, there_NJ))
    reward_S = answer_reward(logp_SR, batch.weight, beta=BETA, per_token=True)
    contrast_N = listwise(reward_S[chosen_N], worse_NJ, there_NJ, centred=True)
    losses = {"contrast": mean_over_prompts(contrast_N, batch.prompt[chosen_N])}
    if alpha:
        losses["positives"] = alpha * preferred_nll(logp_SR, batch)
    return losses, monitors(logp_SR, reward_S, batch)


def one_pair(chosen: Array, rejected: Array) -> PreferenceBatch:
    return batch_of(Preferences([np.array([4, 5])], [[chosen]], [[rejected]]))


def token_gradient(batch: PreferenceBatch) -> tuple[Tensor, float]:
    """d contrast / d logp of each token, and the contrast."""
    module = Sparing(model())
    held = torch.zeros(0)

    def kept(hidden: Tensor, packed: object, *more: object) -> Tensor:
        nonlocal held
        held = Tiny.logp_of(module.backbone, hidden, packed, *more)
        held.retain_grad()
        return held

    module.backbone.logp_of = kept
    loss = rad(module, batch, alpha=0.0)[0]["contrast"]
    loss.backward()
    return held.grad, float(loss.detach())


def test_a_shared_prefix_is_strengthened_not_cancelled():
    """One pair of equal length: SimPO's two prefix gradients cancel; detached, the positive's stays."""
    batch = one_pair(code(10, 16), code(10, 17))
    gradient_SR, loss = token_gradient(batch)
    each = BETA / 3 * (1 - np.exp(-loss))  # beta / length * sigmoid(-z), where the loss is - log sigmoid(z)
    assert gradient_SR[0].tolist() == pytest.approx([-each] * 3, rel=1e-4)
    assert gradient_SR[1].tolist() == pytest.approx([0, each, each], rel=1e-4)


def test_nothing_shared_nothing_spared_it_is_simpo():
    module = model()
    batch = one_pair(code(10, 16), code(12, 17))
    simpo, _ = PreferenceLoss(beta=BETA, per_token=True)(module, batch)
    ours, _ = rad(Sparing(module), batch, alpha=0.0)
    torch.testing.assert_close(ours["contrast"], simpo["preference"])


def test_a_tie_of_all_costs_log_2_however_many_there_are():
    module = model()
    with torch.no_grad():
        module.tokens.weight.zero_()
    losses, _ = rad(Sparing(module), batch_of(sessions()))
    assert losses["contrast"].item() == pytest.approx(log(2), abs=1e-6)


def test_packed_candidates_score_as_alone_in_any_order():
    module, session = model(), sessions()
    batch = batch_of(session)
    together = module.logp(batch.packed)
    flat = [(p, a) for p, c, r in zip(session.prompts, session.chosen, session.rejected, strict=True) for a in (*c, *r)]
    alone = torch.cat([module.logp(pack([p], [[a]])) for p, a in flat])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    turned = Preferences(session.prompts, [c[::-1] for c in session.chosen], [r[::-1] for r in session.rejected])
    ours, theirs = (rad(Sparing(module), batch_of(s))[0]["contrast"] for s in (session, turned))
    torch.testing.assert_close(ours, theirs)


def test_the_most_alike_are_spared_by_half_and_only_once_the_memory_is_full():
    module = Sparing(model())
    like_NJ = torch.linspace(-1, 1, BUFFER).view(8, 8)
    there_NJ = torch.ones(8, 8, dtype=torch.bool)
    assert (module.weight(like_NJ[:4], there_NJ[:4]) == 1).all()
    weight_NJ = module.weight(like_NJ[4:], there_NJ[4:])
    assert module.count == BUFFER
    weight = module.weight(like_NJ, there_NJ).flatten()
    assert (weight.diff() <= 0).all()
    assert weight[0] == 1.0
    assert weight[-1] == 0.5
    assert weight_NJ.min() == 0.5


def test_every_positive_rises_and_what_the_memory_holds_is_kept():
    module = Sparing(model())
    batches = preference_batches(sessions(), 2)
    before = deepcopy(module)
    train(module, batches, rad, TrainSettings(epochs=100, lr=1e-2, warmup=0.0, weight_decay=0.0))
    batch = batch_of(sessions())
    with torch.no_grad():
        likely = [m.backbone.logp(batch.packed).sum(1) for m in (before, module)]
    assert (likely[1][batch.preferred] > likely[0][batch.preferred]).all()
    assert float(likely[1][batch.preferred].exp().sum()) > 0.9 * 2
    assert module.count > BUFFER
    assert "seen" in module.state_dict()
