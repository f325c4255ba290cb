"""The shared judge: pairs as tokens, chances by prefill, pre-trained backbones, state."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from aisle.core.errors import StateError
from aisle.core.lists import ItemLists
from aisle.core.requests import Requests
from aisle.nn.backbones.backbone import Sampling
from aisle.nn.backbones.hf import Hf, HfShape, hf_words
from aisle.nn.backbones.tiny import Tiny, qwen3_weights
from aisle.nn.backbones.words import Words
from aisle.relevance._judge.llm import Llm, LlmMethod
from aisle.relevance._judge.prompts import Prompts
from aisle.relevance._judge.serving import JudgeStage, in_words
from aisle.relevance._pairs import training_pairs
from aisle.relevance._serving import BAD, GOOD, MID, tiers

SETTINGS = LlmMethod.tiny_settings()


@pytest.fixture(scope="module")
def llm(shop, env) -> Llm:
    """Untrained, with weights large enough that chances differ."""
    pairs, _ = training_pairs(shop)
    made = Llm.made(LlmMethod(**SETTINGS), pairs.scale, shop.items, pairs.queries, env)
    with torch.no_grad():
        for parameter in made.backbone.parameters():
            if parameter.dim() > 1:
                parameter.mul_(12)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory, llm):
    """A pre-trained model as ``transformers`` saves it: the small one's weights under the library's names."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("peft")
    home = tmp_path_factory.mktemp("qwen")
    words = Words.learn(["desk lamp red ball grade search product"], size=400, kind="pieces")
    shape = SETTINGS["shape"]
    model = Tiny(shape, len(words), words.end_id, seed=1)
    config = transformers.Qwen3Config(
        vocab_size=len(words), hidden_size=shape.width, intermediate_size=shape.hidden, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.key_heads, head_dim=shape.head_dim,
        rope_theta=1e4, tie_word_embeddings=True,
    )  # fmt: skip
    qwen = transformers.Qwen3ForCausalLM(config)
    qwen.load_state_dict(qwen3_weights(model))
    qwen.save_pretrained(home)
    (home / "tokenizer.json").write_text(words.to_json())
    (home / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    return home


class TestTokens:
    def test_a_grade_is_one_token_and_no_two_share_one(self, llm):
        assert len(set(llm.label_ids.tolist())) == len(llm.scale) == 4
        for mark, token in zip(llm.grammar.labels, llm.label_ids, strict=True):
            assert llm.words.encode([f"a {mark}{mark}"])[0].tolist()[-2:] == [token, token]

    def test_a_prompt_is_its_head_and_its_tail(self, llm, shop):
        pairs, _ = training_pairs(shop)
        some = pairs.take(np.array([3, 50, 51]))
        prompts = llm.prompts_of(some, shop.items, judged=["<excellent>", "", ""])
        heads, tails = llm.heads(some.texts), llm.tails(shop.items, some.row)
        assert prompts[1].tolist() == [*heads[1], *tails[1]]
        assert llm.words.id("<judged:>") in prompts[0]
        assert llm.words.id("<judged:>") not in prompts[1]

    def test_a_terse_prompt_says_the_same_in_fewer_words(self, llm, shop):
        terse, told = (Prompts(llm.scale, llm.grammar.labels, detail) for detail in ("terse", "instructed"))
        rows = np.arange(3)
        whole = [p.head("red ball", ["no glass"]) + p.tail(p.items(shop.items, rows)[0]) for p in (terse, told)]
        assert len(whole[0].split()) < len(whole[1].split()) / 2
        assert all("red ball" in text and "no glass" in text and text.endswith("Grade:") for text in whole)
        title = shop.items.text("title", rows)[0]
        assert set(title.lower().split()) <= set(whole[0].lower().split())

    def test_an_answer_is_closed(self, llm):
        assert [a[-1] for a in llm.answers_of(["<excellent>", "<excellent> <related>"])] == [llm.words.end_id] * 2


class TestChances:
    def test_what_stands_after_the_label_does_not_touch_it(self, llm, shop):
        """Prefill gives what decoding gives as its first token, whatever would follow."""
        rows = np.arange(6, dtype=np.int32)
        chance = llm.chances(["red ball"], [rows], shop.items)
        prompts = [np.concatenate([llm.heads(["red ball"])[0], tail]) for tail in llm.tails(shop.items, rows)]
        with torch.inference_mode():
            first = llm.backbone.decoding(prompts, 1, 4).first()
        expected = first[:, torch.from_numpy(llm.label_ids)].softmax(1).numpy()
        assert np.abs(chance - expected).max() < 1e-5
        assert np.ptp(chance, axis=0).max() > 0.01

    @pytest.mark.parametrize("chunk", [1, 3, 64])
    def test_neither_chunks_nor_neighbours_nor_a_shared_prefix_change_them(self, llm, shop, chunk, monkeypatch):
        rows = [np.arange(5, dtype=np.int32), np.arange(3, 11, dtype=np.int32)]
        queries = ["red ball", "desk lamp"]
        apart = np.concatenate(
            [
                llm.chances([q], [r[n : n + 1]], shop.items)
                for q, r in zip(queries, rows, strict=True)
                for n in range(len(r))
            ]
        )
        assert np.abs(llm.chances(queries, rows, shop.items, chunk=chunk) - apart).max() < 1e-5
        monkeypatch.setattr("aisle.relevance._judge.llm.SHARED_TOKENS", 1)
        for most in (10_000, 40):
            monkeypatch.setattr("aisle.relevance._judge.llm.ROW_TOKENS", most)
            assert np.abs(llm.chances(queries, rows, shop.items, chunk=chunk) - apart).max() < 1e-5


class TestPretrained:
    @pytest.mark.parametrize("lora", [True, False])
    def test_learns_reads_and_comes_back(self, folder, shop, env, lora):
        pairs, _ = training_pairs(shop)
        pretrained = {"dtype": "bfloat16"} | ({} if lora else {"lora": None})
        method = LlmMethod(**SETTINGS | {"backbone": str(folder), "pretrained": pretrained})
        made = Llm.made(method, pairs.scale, shop.items, pairs.queries, env)
        # A mark starts as the mean of the words inside it.
        table = made.backbone.model.get_input_embeddings()
        parts = torch.from_numpy(made.words.encode(["related"])[0])
        got = table(torch.tensor([made.words.id("<related>")]))[0].float()
        torch.testing.assert_close(got, table(parts).float().mean(0), atol=1e-2, rtol=1e-2)
        with torch.no_grad():
            for parameter in made.backbone.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.05 * torch.randn_like(parameter))
        state = made.state()
        num_all = sum(p.numel() for p in made.backbone.parameters())
        num_kept = sum(a.size for a in state.tensors.values())
        assert num_kept < num_all / 2 if lora else num_kept >= num_all
        again = Llm.restored(method, state, env)
        rows = [np.arange(4, dtype=np.int32)]
        assert np.array_equal(made.chances(["lamp"], rows, shop.items), again.chances(["lamp"], rows, shop.items))
        prompts = made.prompts_of(pairs.take(np.arange(2)), shop.items)
        assert len(made.read(made.backbone.sample(prompts, 2, Sampling(max_new=3)))) == 4

    def test_adapters_taken_into_the_weights_answer_alike(self, folder, shop, env, tmp_path):
        pairs, _ = training_pairs(shop)
        method = LlmMethod(**SETTINGS | {"backbone": str(folder), "pretrained": {"dtype": "float32"}})
        made = Llm.made(method, pairs.scale, shop.items, pairs.queries, env)
        with torch.no_grad():
            for parameter in made.backbone.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.05 * torch.randn_like(parameter))
        made.backbone.save_merged(tmp_path / "merged", made.words)
        shape = HfShape(name=str(tmp_path / "merged"), dtype="float32")
        again = Llm(
            Hf.load(shape, end_id=made.words.end_id), hf_words(shape, made.words.marks), made.prompts, made.grammar
        )
        rows = [np.arange(4, dtype=np.int32)]
        before, after = (llm.chances(["lamp"], rows, shop.items) for llm in (made, again))
        assert np.abs(before - after).max() < 1e-4

    def test_a_model_that_is_not_here_is_named(self, shop, env):
        pairs, _ = training_pairs(shop)
        with pytest.raises(StateError, match="no/such"):
            Llm.made(LlmMethod(**SETTINGS | {"backbone": "no/such"}), pairs.scale, shop.items, pairs.queries, env)


class TestServing:
    def stage(self, llm, env, **settings) -> JudgeStage:
        return JudgeStage(LlmMethod(**SETTINGS | settings), env, llm, 0.5)

    def lists(self) -> ItemLists:
        rank = np.array([4, 2, -1, 0, 1, 3], np.int32)
        return ItemLists(np.arange(6), np.array([0, 6]), {"rank_bm25": rank})

    def test_the_best_ranked_are_judged_and_the_rest_stands_below(self, llm, env):
        found = self.stage(llm, env, top=3).score(Requests.make(["red ball"]), self.lists())
        judged = found["tier"] >= 0
        assert np.flatnonzero(judged).tolist() == [1, 3, 4]
        assert (found["relevance"][~judged] == found["relevance"][judged].min()).all()

    def test_time_that_is_up_leaves_the_rest_unjudged(self, llm, env, monkeypatch):
        ticks = iter(np.arange(100) * 0.01)
        monkeypatch.setattr("aisle.relevance._serving.monotonic", lambda: next(ticks))
        found = self.stage(llm, env, chunk=1, budget_ms=45).score(Requests.make(["red ball"]), self.lists())
        assert np.flatnonzero(found["tier"] >= 0).tolist() == [3, 4]

    def test_a_passed_deadline_judges_nothing_and_a_feed_asks_nothing(self, llm, env):
        stage = self.stage(llm, env)
        late = stage.score(Requests.make(["red ball"], deadline_s=0.0), self.lists())
        feed = stage.score(Requests.make([""]), self.lists())
        for found in (late, feed):
            assert (found["tier"] == -1).all()
            assert (found["relevance"] == 0).all()

    def test_reasons_are_words(self, llm, env):
        reasons = self.stage(llm, env).explain(Requests.make(["red ball"]), self.lists())
        assert len(reasons) == 6
        assert all("judged" in row[0].words and "% sure" in row[0].words for row in reasons)

    def test_reasoning_in_words(self, llm):
        text = "<related> <category:match> <attribute:partial> <related>"
        assert in_words(llm.grammar.read(text), text) == ": kind of product: match; what was asked of it: partial"
        assert in_words(llm.grammar.read("nonsense"), "nonsense") == ""


def test_tiers_of_scales():
    assert tiers(np.arange(4), 4).tolist() == [BAD, MID, GOOD, GOOD]
    assert tiers(np.arange(5), 5).tolist() == [BAD, BAD, MID, GOOD, GOOD]
    assert tiers(np.arange(2), 2).tolist() == [BAD, GOOD]


def test_a_judge_without_its_weights_is_refused(llm, env):
    state = llm.state()
    fewer = {n: a for n, a in state.tensors.items() if "norm" not in n}
    with pytest.raises(StateError, match="lacks the weights"):
        Llm.restored(LlmMethod(**SETTINGS), replace(state, tensors=fewer), env)
