"""The Hiformer layer: the heterogeneous layer where its matrices are block-diagonal, any matrix at full rank.

Legend: T tokens, N candidates, d width.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from aisle.nn.hetero_layer import HeteroLayer, block_numbers
from aisle.nn.hiformer_layer import Composite, HiformerLayer, default_rank
from aisle.nn.tokens import Tokens

D, H, F, T, N = 8, 2, 32, 5, 6


def tokens(request: int = 2, requests: int = 2) -> Tokens:
    rng = torch.Generator().manual_seed(1)
    owner = torch.arange(N) % requests
    rows = requests if request else N
    return Tokens(
        torch.randn(request, rows, D, generator=rng, dtype=torch.float64),
        torch.randn(T - request, N, D, generator=rng, dtype=torch.float64),
        owner if request else None,
    )


def layer(**settings) -> HiformerLayer:
    torch.manual_seed(0)
    made = HiformerLayer(T, T, D, H, F, **{"rank": 0, **settings})
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return made.double().eval()


def test_block_diagonal_matrices_make_it_the_heterogeneous_layer():
    """One token a block: zero between the blocks of Qhat, Khat and Vhat, each token's own projection on the diagonal."""
    high = layer()
    plain = HeteroLayer(T, D, H, F).double().eval()
    with torch.no_grad():
        for parameter in plain.parameters():
            nn.init.normal_(parameter, std=0.3)
        plain.qkv.bias.zero_()  # composite projections have none
        for part, columns in zip((high.query, high.key, high.value), range(3), strict=True):
            blocks = [plain.qkv.weight[t, :, columns * D : (columns + 1) * D] for t in range(T)]
            part.right.copy_(torch.block_diag(*blocks))
        high.gain.copy_(plain.qkv.gain)
        high.shift.copy_(plain.qkv.shift)
        for name in ("out", "up", "down"):
            getattr(high, name).load_state_dict(getattr(plain, name).state_dict())
    blocks, given = block_numbers([1] * T), tokens()
    torch.testing.assert_close(high(given, blocks).all(), plain(given, blocks).all(), rtol=1e-9, atol=1e-9)


def test_full_rank_factors_can_be_any_matrix():
    """Found by gradient descent from samples of c and c Khat."""
    torch.manual_seed(0)
    size = 3 * 4
    wanted = torch.randn(size, size, dtype=torch.float64)
    part = Composite(3, 4, 3, size).double()
    c = torch.randn(100, size, dtype=torch.float64)
    target = c @ wanted
    optimizer = torch.optim.LBFGS(
        part.parameters(),
        max_iter=1500,
        tolerance_grad=1e-12,
        tolerance_change=1e-16,
        line_search_fn="strong_wolfe",
        history_size=40,
    )

    def closure():
        optimizer.zero_grad()
        out = part(c[:, :0], c, None).transpose(0, 1).flatten(1)
        loss = (out - target).square().mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert float((part.left @ part.right - wanted).abs().max().detach()) < 1e-4


def test_a_low_rank_is_a_bottleneck():
    part = Composite(T, D, T, 3)
    assert torch.linalg.matrix_rank(part.left @ part.right) == 3
    assert part.left.numel() + part.right.numel() == 2 * 3 * T * D
    assert default_rank(9, 64) == 72
    assert default_rank(64, 256) == 256


@pytest.mark.parametrize("composite", [True, False])
@pytest.mark.parametrize("asking", [0, 1])
def test_what_is_computed_once_a_request_changes_nothing(composite, asking):
    high, given, blocks = layer(rank=6, asking=asking, composite_queries=composite), tokens(), block_numbers([1] * T)
    torch.testing.assert_close(high(given, blocks).all(), high(given.spread(), blocks).all(), rtol=1e-10, atol=1e-10)


def test_asking_tokens_answer_as_if_all_had_asked():
    """The queries of the others do not matter to the last token."""
    whole, some = layer(), layer(asking=2)
    state = {n: p for n, p in whole.state_dict().items() if n != "query.right"}
    some.load_state_dict(state, strict=False)
    with torch.no_grad():
        some.query.right.copy_(whole.query.right[:, -2 * D :])
    blocks, given = block_numbers([1] * T), tokens()
    torch.testing.assert_close(some(given, blocks).item, whole(given, blocks).all()[-2:])


def test_every_token_reaches_every_key():
    high, given, blocks = layer(rank=6), tokens(request=0), block_numbers([1] * T)
    x = given.item.clone().requires_grad_()
    key = high.key(x[:0].transpose(0, 1).flatten(1)[:N], x.transpose(0, 1).flatten(1), None)
    key[0].sum().backward()
    assert (x.grad.abs().sum((1, 2)) > 0).all()
    assert high(given, blocks).all().shape == (T, N, D)
