"""Compiled decoding and drawing say what torch says."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from aisle.nn.backbones.backbone import Sampling, draw
from aisle.nn.backbones.tiny import Tiny, TinyDecoding, TinyShape
from aisle.nn.backbones.tiny_compiled import CompiledDecoding

V, END = 75, 1
SHAPES = {
    "plain": {"width": 40, "layers": 2, "heads": 4, "key_heads": 2, "head_dim": 8, "hidden": 50},
    "told": {"width": 32, "layers": 2, "heads": 2, "key_heads": 2, "head_dim": 16, "hidden": 48, "repeats": True},
    "wide heads": {"width": 64, "layers": 1, "heads": 2, "key_heads": 1, "head_dim": 40, "hidden": 33},
}


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def model_of(name: str) -> Tiny:
    """Every parameter away from where it starts, the norms' too."""
    model = Tiny(TinyShape(**SHAPES[name]), V, END, seed=3)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(6 if parameter.dim() > 1 else 1)
            parameter.add_(torch.rand(parameter.shape, generator=generator), alpha=0.1)
    return model.eval()


def in_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tiny, "_decodes_compiled", lambda self, hidden: False)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("group", [1, 9])
@pytest.mark.parametrize("num_threads", [1, 2])
def test_scores_are_those_of_torch_at_every_step(name, group, num_threads, monkeypatch):
    """Prompts shorter and longer than a panel, answers longer than one, and rows that do not fill a tile."""
    torch.set_num_threads(num_threads)
    model, random = model_of(name), np.random.default_rng(0)
    prompts = [random.integers(2, V, n) for n in (3, 32, 45)]
    token_TS = torch.from_numpy(random.integers(2, V, (35, 3 * group)))
    with torch.inference_mode():
        compiled = model.decoding(prompts, group, 36)
        with monkeypatch.context() as patched:
            in_torch(patched)
            plain = model.decoding(prompts, group, 36)
        assert isinstance(compiled, CompiledDecoding)
        assert isinstance(plain, TinyDecoding)
        torch.testing.assert_close(compiled.first(), plain.first())
        for token_S in token_TS:
            torch.testing.assert_close(compiled.next(token_S), plain.next(token_S), rtol=1e-4, atol=1e-4)


def test_answers_are_those_of_torch_with_the_same_seed(monkeypatch):
    """A draw that falls between two tokens may differ by rounding; most answers may not."""
    model, random = model_of("told"), np.random.default_rng(0)
    prompts = [random.integers(2, V, n) for n in (5, 11)]

    def answers():
        return model.sample(prompts, 16, Sampling(max_new=8, top_k=20), generator=torch.Generator().manual_seed(4))

    ours = answers()
    in_torch(monkeypatch)
    theirs = answers()
    same = [np.array_equal(a, b) for a, b in zip(ours.lists(), theirs.lists(), strict=True)]
    assert np.mean(same) > 0.9


def test_where_gradients_or_another_precision_are_asked_for_torch_decodes():
    model = model_of("plain")
    assert isinstance(model.decoding([np.array([4, 5])], 2, 3), TinyDecoding)
    with torch.inference_mode():
        assert isinstance(model.bfloat16().decoding([np.array([4, 5])], 2, 3), TinyDecoding)


class TestDraw:
    @pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.7, top_k=30), Sampling(temperature=0)])
    @pytest.mark.parametrize("some_allowed", [False, True])
    def test_it_is_what_torch_draws_from_the_same_numbers(self, sampling, some_allowed):
        """Double precision takes torch's way; the uniform numbers are the same but for their rounding."""
        generator = torch.Generator().manual_seed(0)
        logits_SV = torch.randn(500, 200, generator=generator) * 3
        allowed_SV = torch.rand(500, 200, generator=generator) < 0.3 if some_allowed else None
        token_S, logp_S = draw(logits_SV, sampling, torch.Generator().manual_seed(1), allowed_SV)
        masked_SV = logits_SV if allowed_SV is None else logits_SV.masked_fill(~allowed_SV, -torch.inf)
        tempered_SV = (masked_SV / (sampling.temperature or 1.0)).log_softmax(1)
        torch.testing.assert_close(logp_S, tempered_SV.gather(1, token_S[:, None])[:, 0], rtol=1e-4, atol=1e-5)
        if sampling.temperature == 0:
            assert torch.equal(token_S, masked_SV.argmax(1))
            return
        kept_SV = tempered_SV.exp()
        if sampling.top_k:
            least_S1 = kept_SV.topk(sampling.top_k, 1).values[:, -1:]
            kept_SV = kept_SV.masked_fill(kept_SV < least_S1 * (1 - 1e-5), 0)
        sum_SV = kept_SV.double().cumsum(1)
        drawn_S1 = torch.rand(500, generator=torch.Generator().manual_seed(1))[:, None] * sum_SV[:, -1:]
        expected_S = torch.searchsorted(sum_SV, drawn_S1.double(), right=True)[:, 0]
        assert (token_S == expected_S).float().mean() > 0.99

    def test_no_chance_no_draw(self):
        logits_SV = torch.full((2000, 3), -200.0)
        logits_SV[:, 1] = 0.0
        token_S, logp_S = draw(logits_SV, Sampling(), torch.Generator().manual_seed(0), None)
        assert (token_S == 1).all()
        torch.testing.assert_close(logp_S, torch.zeros(2000))
