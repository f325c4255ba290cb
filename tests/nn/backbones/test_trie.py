"""A trie of codes: what may come next, what an answer is, and sampling, scores and beams that keep to it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.training.words_world import END, V, model, prompts

from aisle.core.errors import ContractError
from aisle.nn.backbones.backbone import Sampling
from aisle.nn.backbones.packed import pack
from aisle.nn.backbones.trie import Trie

CODES = [np.array([12, 14]), np.array([12, 15]), np.array([13, 14, 20]), np.array([12, 14])]


def trie() -> Trie:
    return Trie.of(CODES, vocab_size=V, end_id=END)


def allowed(*tokens: int) -> list[int]:
    return trie()(torch.tensor([tokens], dtype=torch.int64)).nonzero()[:, 1].tolist()


def test_what_may_come_next():
    assert allowed() == [12, 13]
    assert allowed(12) == [14, 15]
    assert allowed(13, 14) == [20]
    assert allowed(12, 15) == [END]
    assert allowed(12, 15, END) == [END]
    assert allowed(15) == [END]
    assert allowed(15, 14) == [END]


def test_an_answer_is_a_code_with_or_without_its_end():
    codes = trie()
    assert codes.number[0] == codes.number[3]
    assert len(set(codes.number.tolist())) == 3
    whole = torch.tensor(
        [[12, 14, END, END], [12, 15, -1, -1], [13, 14, 20, END], [13, 14, END, END], [12, -1, -1, -1]]
    )
    assert codes.read(whole).tolist() == [codes.number[0], codes.number[1], codes.number[2], -1, -1]


def test_a_code_that_begins_another_is_one_too():
    codes = Trie.of([np.array([12]), np.array([12, 13])], vocab_size=V, end_id=END)
    assert codes(torch.tensor([[12]])).nonzero()[:, 1].tolist() == [END, 13]
    assert codes.read(torch.tensor([[12, END], [12, 13]])).tolist() == codes.number.tolist()


def test_answers_beams_and_their_scores_keep_to_the_codes():
    module, codes = model().eval(), trie()
    answers = module.sample(
        prompts(), 16, Sampling(max_new=4), generator=torch.Generator().manual_seed(0), constraint=codes
    )
    assert set(codes.read(answers.token).tolist()) == {0, 1, 2}
    lists = answers.lists()
    packed = pack(prompts(), [lists[q * 16 : (q + 1) * 16] for q in range(len(prompts()))])
    torch.testing.assert_close(module.logp(packed, constraint=codes), answers.logp, atol=1e-5, rtol=1e-5)
    beams, total_QG = module.beams(prompts(), 3, 4, constraint=codes)
    assert sorted(codes.read(beams.token)[:3].tolist()) == [0, 1, 2]
    torch.testing.assert_close(total_QG.exp().sum(1), torch.ones(len(total_QG)), atol=1e-5, rtol=1e-5)


def test_an_answer_that_is_no_code_has_no_chance():
    logp_SR = model().logp(pack([np.array([4])], [[np.array([12, 20])]]), constraint=trie())
    assert torch.isfinite(logp_SR[0, 0])
    assert logp_SR[0, 1] == -torch.inf


@pytest.mark.parametrize("code", [[], [END], [V], [-1]])
def test_what_cannot_be_a_code_is_refused(code):
    with pytest.raises(ContractError, match="without the end token"):
        Trie.of([np.array(code, np.int64), np.array([12])], vocab_size=V, end_id=END)
