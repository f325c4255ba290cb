"""The heterogeneous layer: an ordinary encoder layer when its blocks share, and what makes it different when they do not.

Legend: S request tokens, I candidate tokens, T = S + I, Q requests, N candidates, d width.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from aisle.core.errors import SettingError
from aisle.nn.hetero_layer import HeteroLayer, attend, block_numbers
from aisle.nn.tokens import Tokens, mean_cosine

D, H, F = 16, 4, 64


def layer(blocks: int, **settings) -> HeteroLayer:
    torch.manual_seed(0)
    made = HeteroLayer(blocks, D, H, F, **settings)
    for parameter in made.parameters():  # norms and biases too, so that no part is trivially right
        nn.init.normal_(parameter, std=0.3)
    return made.double().eval()


def tokens(request: int = 2, item: int = 3, rows: int = 7, requests: int = 2) -> Tokens:
    rng = torch.Generator().manual_seed(1)
    owner = torch.arange(rows) % requests if request else None
    return Tokens(
        torch.randn(request, requests if request else rows, D, generator=rng, dtype=torch.float64),
        torch.randn(item, rows, D, generator=rng, dtype=torch.float64),
        owner,
    )


def test_with_shared_weights_it_is_the_encoder_layer_of_torch():
    mine, given = layer(1), tokens()
    theirs = nn.TransformerEncoderLayer(D, H, F, 0.0, "gelu", batch_first=True, norm_first=True).double().eval()
    with torch.no_grad():
        for norm, part in ((theirs.norm1, mine.qkv), (theirs.norm2, mine.up)):
            norm.weight.copy_(part.gain[0])
            norm.bias.copy_(part.shift[0])
        theirs.self_attn.in_proj_weight.copy_(mine.qkv.weight[0].T)
        theirs.self_attn.in_proj_bias.copy_(mine.qkv.bias[0])
        for linear, part in (
            (theirs.self_attn.out_proj, mine.out),
            (theirs.linear1, mine.up),
            (theirs.linear2, mine.down),
        ):
            linear.weight.copy_(part.weight[0].T)
            linear.bias.copy_(part.bias[0])
    out = mine(given, block_numbers([2, 3], shared=True)).all()
    expected = theirs(given.all().transpose(0, 1)).transpose(0, 1)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)


def test_what_is_computed_once_a_request_changes_nothing():
    mine, given, blocks = layer(3), tokens(), block_numbers([2, 1, 2])
    torch.testing.assert_close(mine(given, blocks).all(), mine(given.spread(), blocks).all(), rtol=1e-12, atol=1e-12)


def test_masked_request_tokens_never_see_a_candidate():
    mine, given, blocks = layer(3), tokens(), block_numbers([2, 1, 2])
    once = mine(given, blocks, masked=True)
    assert once.request.shape == (2, 2, D)
    other = Tokens(given.request, given.item + 1.0, given.owner)
    torch.testing.assert_close(mine(other, blocks, masked=True).request, once.request)
    torch.testing.assert_close(mine(given.spread(), blocks, masked=True).all(), once.all(), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(mine(given, blocks).all(), once.all())


@pytest.mark.parametrize("shared", [True, False])
def test_tokens_are_interchangeable_only_when_they_share_weights(shared):
    mine, given = layer(1 if shared else 5), tokens(request=0, item=5)
    blocks = block_numbers([1] * 5, shared=shared)
    order = torch.tensor([3, 1, 4, 0, 2])
    plain = mine(given, blocks).item
    moved = mine(Tokens(given.request, given.item[order]), blocks).item
    assert torch.allclose(moved, plain[order], atol=1e-9) == shared


def test_it_has_as_many_weights_as_the_formula_says():
    for blocks in (1, 4):
        matrices = sum(p.numel() for name, p in HeteroLayer(blocks, D, H, F).named_parameters() if "weight" in name)
        assert matrices == blocks * (4 * D * D + 2 * D * F)


def test_gradients_reach_every_block():
    mine = layer(3)
    mine(tokens(), block_numbers([2, 1, 2])).all().square().sum().backward()
    for name, parameter in mine.named_parameters():
        assert (parameter.grad.abs().flatten(1).sum(1) > 0).all(), name


def test_attention_is_that_of_torch():
    q, k, v = (torch.randn(n, 6, D, dtype=torch.float64) for n in (3, 5, 5))
    split = [x.transpose(0, 1).reshape(6, -1, H, D // H).transpose(1, 2) for x in (q, k, v)]
    expected = nn.functional.scaled_dot_product_attention(*split).transpose(1, 2).reshape(6, 3, D).transpose(0, 1)
    torch.testing.assert_close(attend(q, k, v, H), expected, rtol=1e-5, atol=1e-6)


def test_the_mixer_gives_every_token_a_piece_of_all():
    mine = layer(4, mixer=True)
    x = torch.randn(4, 3, D, dtype=torch.float64)
    mixed = mine._mixed(Tokens(x[:0], x)).item - x
    for token in range(4):
        pieces = [x[t, :, token * 4 : token * 4 + 4] for t in range(4)]
        torch.testing.assert_close(mixed[token], torch.cat(pieces, 1))
    with pytest.raises(SettingError, match="do not divide a width"):
        mine(tokens(2, 3), block_numbers([2, 1, 1, 1]))


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(SettingError, match="choose a divisor"):
        HeteroLayer(1, 10, 4, 8)


def test_cosine_tells_tokens_that_became_the_same():
    x = torch.randn(6, 50, D)
    assert abs(mean_cosine(x)) < 0.1
    assert mean_cosine(x[:1].expand(6, -1, -1)) == pytest.approx(1.0, abs=1e-5)
    assert np.isfinite(mean_cosine(x[:1]))
