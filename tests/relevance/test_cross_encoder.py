"""The cross-encoder's own: heads, weights, batches, the student of a teacher."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from aisle.core.errors import SettingError
from aisle.core.lists import ItemLists
from aisle.core.method import Given
from aisle.core.requests import Requests
from aisle.data.view import View
from aisle.funnel import Plan, fit
from aisle.nn.encoders import minilm_is_installed
from aisle.nn.encoders.bert import Bert, bert_of
from aisle.nn.encoders.checkpoint import minilm_checkpoint
from aisle.nn.encoders.pair_network import PairNetwork, bert_config
from aisle.relevance import cross_encoder
from aisle.relevance._pairs import training_pairs
from aisle.relevance.cross_encoder import CrossEncoder, TargetBatch, pair_loss
from aisle.retrieval.bm25 import Bm25
from aisle.training.settings import TrainSettings

CONFIG = {
    "hidden_size": 16, "vocab_size": 40, "max_position_embeddings": 32, "type_vocab_size": 2, "layer_norm_eps": 1e-12,
    "num_attention_heads": 2, "intermediate_size": 32, "num_hidden_layers": 2,
}  # fmt: skip


def network(head: str) -> PairNetwork:
    torch.manual_seed(0)
    made = PairNetwork(Bert(CONFIG), 4, head).eval()
    with torch.no_grad():
        for parameter in made.bert.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.3)
    return made


@pytest.mark.parametrize("head", ["ordinal", "softmax"])
class TestNetwork:
    def test_chances_sum_to_one(self, head):
        token = torch.randint(4, 40, (6, 12))
        logp = network(head)(token, torch.zeros_like(token), torch.ones_like(token, dtype=torch.bool))
        torch.testing.assert_close(logp.exp().sum(1), torch.ones(6))

    def test_before_it_learns_grades_have_the_chances_it_is_given(self, head):
        made, share = network(head), torch.tensor([0.1, 0.05, 0.25, 0.6])
        made.start_at(share)
        with torch.no_grad():
            made.out.weight.zero_()
        token = torch.randint(4, 40, (3, 9))
        logp = made(token, torch.zeros_like(token), torch.ones_like(token, dtype=torch.bool))
        torch.testing.assert_close(logp.exp(), share.expand(3, 4), atol=1e-5, rtol=0)

    def test_what_fills_a_row_up_changes_nothing(self, head):
        made, token = network(head), torch.randint(4, 40, (3, 9))
        kind, there = torch.zeros_like(token), torch.ones_like(token, dtype=torch.bool)
        filled = torch.nn.functional.pad(token, (0, 5), value=2)
        filled_there = torch.nn.functional.pad(there, (0, 5), value=False)
        longer = made(filled, torch.nn.functional.pad(kind, (0, 5)), filled_there)
        torch.testing.assert_close(longer, made(token, kind, there), atol=1e-5, rtol=1e-5)

    def test_the_second_text_is_told_from_the_first(self, head):
        made, token = network(head), torch.randint(4, 40, (3, 9))
        there = torch.ones_like(token, dtype=torch.bool)
        kind = torch.zeros_like(token)
        other = kind.clone()
        other[:, 4:] = 1
        assert (made(token, kind, there) - made(token, other, there)).abs().max() > 1e-3


class TestBert:
    def test_the_first_token_has_what_whole_texts_of_one_length_give_it(self):
        bert, token = network("ordinal").bert, torch.randint(4, 40, (5, 11))
        first = bert.first(token, torch.zeros_like(token), torch.ones_like(token, dtype=torch.bool))
        torch.testing.assert_close(first, bert(token)[:, 0], atol=1e-5, rtol=1e-5)

    def test_texts_of_several_lengths_are_read_as_each_alone(self):
        bert, token = network("ordinal").bert, torch.randint(4, 40, (4, 11))
        kind = (torch.arange(11) > 3).long().expand(4, 11).contiguous()
        length = [11, 2, 7, 1]
        there = torch.arange(11) < torch.tensor(length)[:, None]
        alone = [
            bert.first(token[[b], :n], kind[[b], :n], torch.ones(1, n, dtype=torch.bool)) for b, n in enumerate(length)
        ]
        torch.testing.assert_close(bert.first(token, kind, there), torch.cat(alone), atol=1e-5, rtol=1e-5)

    def test_what_it_learns_by_is_the_same_as_of_whole_texts(self):
        bert, token = network("ordinal").bert.requires_grad_(True), torch.randint(4, 40, (3, 8))
        there = torch.ones_like(token, dtype=torch.bool)
        grads = []
        for out in (bert.first(token, torch.zeros_like(token), there), bert(token)[:, 0]):
            bert.zero_grad()
            out.square().sum().backward()
            grads.append(bert.layers[0].qkv.weight.grad.clone())
        torch.testing.assert_close(grads[0], grads[1], atol=1e-4, rtol=1e-4)


def test_ordinal_cuts_rise_and_chances_move_along_the_grades():
    made = network("ordinal")
    score = torch.linspace(-20, 20, 41)[:, None]
    logp = made._ordered(score)
    assert torch.isfinite(logp).all()
    place = logp.argmax(1)
    assert place[0] == 0
    assert place[-1] == 3
    assert (place.diff() >= 0).all()
    assert set(place.tolist()) == {0, 1, 2, 3}


def test_the_shape_is_told_by_the_network():
    assert bert_config(Bert(CONFIG)) == CONFIG


def test_the_loss_is_the_weighted_cross_entropy():
    made = network("softmax")
    token = torch.randint(4, 40, (3, 8))
    kind, there = torch.zeros_like(token), torch.ones_like(token, dtype=torch.bool)
    target, weight = torch.eye(4)[[0, 3, 1]], torch.tensor([1.0, 0.0, 2.0])
    loss = pair_loss(made, TargetBatch(token, kind, there, target, weight))["grade"]
    logp = made(token, kind, there)
    torch.testing.assert_close(loss, -(logp[0, 0] + 2 * logp[2, 1]) / 3)


class TestPairs:
    def test_a_long_item_is_cut_and_still_closed(self, shop, env):
        stage = CrossEncoder.tiny().model_copy(update={"max_tokens": 16}).fit(shop, env)
        reader = stage.reader
        heads, tails = reader.heads(["red ball"]), reader.tails(shop.items, np.array([0]))
        token, kind, there = reader.batch(heads, tails)
        assert token.shape == (1, 16)
        assert there.all()
        assert token[0, 0] == reader.pieces.cls_id
        assert token[0, -1] == reader.pieces.sep_id
        assert kind[0, : len(heads[0])].sum() == 0
        assert kind[0, len(heads[0]) :].all()


def test_a_fit_that_was_killed_goes_on_and_ends_the_same(shop, env, tmp_path, monkeypatch):
    steps, taken = TrainSettings(epochs=3, lr=1e-3, save_every=2), []
    method, kept = CrossEncoder.tiny().model_copy(update={"train": steps}), replace(env, scratch=tmp_path)
    whole = method.fit(shop, env)

    def counted(module, batch):
        taken.append(len(batch.token))
        if len(taken) == 6:
            raise KeyboardInterrupt
        return pair_loss(module, batch)

    monkeypatch.setattr(cross_encoder, "pair_loss", counted)
    with pytest.raises(KeyboardInterrupt):
        method.fit(shop, kept)
    again = method.fit(shop, kept)
    pairs, _ = training_pairs(shop)
    assert len(taken) == 6 + 3 * -(-len(pairs) // method.batch) - 4  # the fifth step was not kept
    assert not list(tmp_path.iterdir())
    found, wanted = again.state().tensors, whole.state().tensors
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


def test_relevance_is_what_score_writes_in_time(shop, env):
    stage = CrossEncoder.tiny().fit(shop, env)
    requests, lists = Requests.make(["desk lamp", "ball"]), ItemLists(np.arange(30), np.array([0, 18, 30]))
    written = stage.score(requests, lists)
    assert (written["tier"] >= 0).all()
    np.testing.assert_allclose(stage.relevance(requests, lists), written["relevance"], atol=1e-5)


class TestShort:
    def test_a_network_from_scratch_has_layers_of_its_own(self, shop, env):
        with pytest.raises(SettingError, match=r"layers is 2.*set scratch.layers"):
            CrossEncoder.tiny().model_copy(update={"layers": 2}).fit(shop, env)

    @pytest.mark.skipif(not minilm_is_installed(), reason="needs the weights of MiniLM")
    def test_it_keeps_the_first_layers_of_a_pre_trained_encoder(self):
        whole, short = bert_of(minilm_checkpoint()), bert_of(minilm_checkpoint(), 2)
        assert bert_config(short)["num_hidden_layers"] == 2
        kept = short.state_dict()
        assert all(torch.equal(kept[name], tensor) for name, tensor in whole.state_dict().items() if name in kept)
        with pytest.raises(SettingError, match="7 layers of 'minilm', which has 6"):
            bert_of(minilm_checkpoint(), 7)

    def test_a_brief_text_is_read_in_fewer_tokens_also_when_restored(self, shop, env):
        method = CrossEncoder.tiny().model_copy(update={"text": "brief"})
        stage = method.fit(shop, env)
        again = method.restore(stage.state(), env)
        rows, full = np.arange(20), CrossEncoder.tiny().fit(shop, env)
        pieces = stage.reader.pieces
        brief = sum(map(len, pieces.encode(stage.reader.texts(shop.items, rows))))
        assert brief < 0.8 * sum(map(len, pieces.encode(full.reader.texts(shop.items, rows))))
        lists = ItemLists(rows, np.array([0, 20]))
        assert np.array_equal(again.chances(["desk lamp"], lists), stage.chances(["desk lamp"], lists))


class TestStudent:
    class Confident:
        """A teacher who gives every pair the best grade but one."""

        def chances(self, queries, lists: ItemLists):
            return np.tile(np.array([0.0, 0.0, 1.0, 0.0], np.float32), (len(lists.item), 1))

    def test_it_learns_the_teachers_chances(self, shop, env):
        method = CrossEncoder.tiny().model_copy(
            update={"teacher": "relevance.lref", "own": 0.0, "train": TrainSettings(epochs=4, lr=5e-3)}
        )
        method = method.model_copy(update={"scratch": method.scratch.model_copy(update={"lr": 5e-3})})
        assert method.needs == {"teacher": "relevance.lref"}
        # Without validation queries, whose people's grades would stop it.
        alone = View(shop.items, judgments={"train": shop.judgments("train")})
        stage = method.fit(alone, env, Given(stages={"teacher": self.Confident()}))
        pairs, _ = training_pairs(shop)
        chance = stage.reader.chances_of_pairs(pairs.take(np.arange(20)), shop.items)
        assert (chance.argmax(1) == 2).all()

    def test_a_plan_fits_teacher_and_student(self, shop, env):
        """The judge stands under ``offline``, its chances of candidates that nobody graded are learned too."""
        from aisle.relevance.lref import Lref

        student = CrossEncoder.tiny().model_copy(update={"teacher": "relevance.lref", "unlabelled": 5})
        quick = Lref.tiny().with_setting("selection.by=all").with_setting("debiasing.on=false")
        plan = Plan(retrieval={"bm25": Bm25()}, relevance=student, offline={"lref": quick})
        funnel = fit(plan, shop, env)
        found = funnel.ranked(Requests.make(["desk lamp"]), k=5)
        assert found["tier"].min() >= 0
        assert np.ptp(found["relevance"]) >= 0


@pytest.mark.skipif(not minilm_is_installed(), reason="needs the weights of MiniLM")
def test_a_pre_trained_network_reads_pairs_in_bf16_as_in_float32(shop, env):
    quick = TrainSettings(epochs=1, lr=1e-4, max_steps=1)
    base = CrossEncoder(threads=1, train=quick, precision="fp32", max_tokens=48)
    exact = base.fit(shop, env)
    lists = ItemLists(np.arange(16), np.array([0, 16]))
    full = exact.chances(["tennis ball"], lists)
    short = base.model_copy(update={"precision": "bf16"}).restore(exact.state(), env).chances(["tennis ball"], lists)
    assert np.abs(full - short).max() < 0.05
