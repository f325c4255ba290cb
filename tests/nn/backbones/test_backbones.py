"""The small decoder and any transformers model answer alike: packing, sampling, beams, labels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from aisle.core.errors import ContractError, SettingError, StateError
from aisle.core.lists import Array
from aisle.nn.backbones.backbone import Backbone, Sampling, draw
from aisle.nn.backbones.packed import Packed, pack
from aisle.nn.backbones.tiny import Tiny, TinyShape, qwen3_weights

V, END = 60, 1
SHAPE = TinyShape(width=32, layers=2, heads=4, key_heads=2, head_dim=8, hidden=48)


def tiny() -> Tiny:
    """Weights large enough that answers differ from prompt to prompt."""
    model = Tiny(SHAPE, V, END, seed=3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)
    return model


def hf_of(model: Tiny) -> Backbone:
    """The same weights in the library's Qwen3."""
    transformers = pytest.importorskip("transformers")
    from aisle.nn.backbones.hf import Hf, HfShape

    shape = model.shape
    config = transformers.Qwen3Config(
        vocab_size=V, hidden_size=shape.width, intermediate_size=shape.hidden, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.key_heads, head_dim=shape.head_dim, rope_theta=1e4,
        rms_norm_eps=1e-6, tie_word_embeddings=True, eos_token_id=END, pad_token_id=0,
    )  # fmt: skip
    qwen = transformers.Qwen3ForCausalLM(config).eval()
    qwen.load_state_dict(qwen3_weights(model), strict=True)
    return Hf(HfShape(name="here", dtype="float32"), qwen, END)


@pytest.fixture(scope="module")
def model() -> Tiny:
    return tiny().eval()


@pytest.fixture(scope="module", params=["tiny", "hf"])
def either(request, model) -> Backbone:
    return model if request.param == "tiny" else hf_of(model)


def some(*lengths: int, seed: int = 0) -> list[Array]:
    random = np.random.default_rng((seed, *lengths))
    return [random.integers(2, V, n) for n in lengths]


PROMPTS = some(5, 9, 3)
BRANCHES = [some(4, 2, seed=1), some(3, seed=2), some(1, 6, 2, seed=3)]


def alone(model: Tiny, prompt: Array, branch: Array) -> Tensor:
    """float32[R]: log-probabilities of one answer, computed with nothing beside it."""
    packed = pack([prompt], [[branch]])
    logits = model.logits(model.hidden(packed)[0]).log_softmax(-1)
    return logits[len(prompt) - 1 : -1].gather(1, torch.from_numpy(branch)[:, None])[:, 0]


class TestPacking:
    @pytest.mark.parametrize("row_tokens", [0, 16, 100])
    def test_nothing_that_lies_beside_an_answer_changes_it(self, either, model, row_tokens):
        packed = pack(PROMPTS, BRANCHES, row_tokens=row_tokens)
        with torch.inference_mode():
            logp_SR = either.logp(packed)
            flat = [(p, b) for p, of in zip(PROMPTS, BRANCHES, strict=True) for b in of]
            for s, (prompt, branch) in enumerate(flat):
                torch.testing.assert_close(
                    logp_SR[s, : len(branch)], alone(model, prompt, branch), rtol=1e-4, atol=1e-4
                )
                assert (logp_SR[s, len(branch) :] == 0).all()

    def test_short_documents_share_rows(self):
        packed = pack(some(4, 4, 4, 4), [some(4)] * 4, row_tokens=16)
        assert packed.token.shape == (2, 16)
        assert not packed.is_plain
        assert pack(some(4), [some(4)]).is_plain

    def test_an_empty_branch_is_refused(self):
        with pytest.raises(ContractError, match="one token or more"):
            pack(some(3), [[np.zeros(0, np.int64)]])

    def test_last_and_target(self):
        packed = pack(PROMPTS, BRANCHES, row_tokens=40)
        row_S, place_S = packed.last
        flat = [b for of in BRANCHES for b in of]
        assert packed.token[row_S, place_S].tolist() == [int(b[-1]) for b in flat]
        assert packed.target.tolist() == np.concatenate(flat).tolist()


class TestSampling:
    def test_the_likeliest_token_each_time_is_what_the_full_computation_says(self, either, model):
        answers = either.sample(PROMPTS, 2, Sampling(max_new=6, temperature=0))
        for q, prompt in enumerate(PROMPTS):
            tokens = prompt
            for step in range(int(answers.counts[2 * q])):
                split = len(tokens) - 1
                with torch.inference_mode():
                    expected = int(model.next_logits(pack([tokens[:split]], [[tokens[split:]]]))[0].argmax())
                assert int(answers.token[2 * q, step]) == expected
                tokens = np.append(tokens, expected)

    def test_log_probabilities_are_those_of_a_full_computation(self, either):
        answers = either.sample(
            PROMPTS, 4, Sampling(max_new=7, temperature=0.8), generator=torch.Generator().manual_seed(1)
        )
        lists = answers.lists()
        packed = pack(PROMPTS, [lists[4 * q : 4 * q + 4] for q in range(3)])
        with torch.inference_mode():
            torch.testing.assert_close(either.logp(packed, temperature=0.8), answers.logp, rtol=1e-4, atol=1e-4)

    def test_same_seed_same_answers_and_answers_of_a_group_differ(self, model):
        draws = [
            model.sample(PROMPTS, 8, Sampling(max_new=5), generator=torch.Generator().manual_seed(s)).token
            for s in (7, 7, 8)
        ]
        assert torch.equal(draws[0], draws[1])
        assert draws[0].shape != draws[2].shape or not torch.equal(draws[0], draws[2])
        assert len({tuple(row.tolist()) for row in draws[0][:8]}) > 1

    def test_an_answer_ends_with_the_end_token_and_nothing_after_it_counts(self, model):
        answers = model.sample(PROMPTS, 64, Sampling(max_new=12), generator=torch.Generator().manual_seed(0))
        for tokens, count in zip(answers.token, answers.counts, strict=True):
            assert (tokens[count:] == END).all()
            assert END not in tokens[: count - 1]
        assert (answers.counts < 12).any()

    def test_frequencies_are_the_distribution(self):
        logits_SV = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05])).repeat(40_000, 1)
        token_S, logp_S = draw(logits_SV, Sampling(), torch.Generator().manual_seed(0), None)
        share = torch.bincount(token_S, minlength=4) / 40_000
        torch.testing.assert_close(share, torch.tensor([0.5, 0.3, 0.15, 0.05]), atol=0.01, rtol=0)
        torch.testing.assert_close(logp_S.exp(), torch.tensor([0.5, 0.3, 0.15, 0.05])[token_S])
        kept_S, _ = draw(logits_SV, Sampling(top_k=2), torch.Generator().manual_seed(0), None)
        assert set(kept_S.tolist()) == {0, 1}

    def test_a_constraint_holds(self, model):
        def only_even(token_SR: Tensor) -> Tensor:
            return (torch.arange(V) % 2 == 0).expand(len(token_SR), V)

        answers = model.sample(PROMPTS, 8, Sampling(max_new=6), constraint=only_even)
        assert (answers.token % 2 == 0).all() or set(answers.token[answers.token % 2 == 1].tolist()) <= {END}
        drawn = answers.token[torch.arange(answers.token.shape[1]) < answers.counts[:, None]]
        assert (drawn % 2 == 0).all()


class TestBeams:
    def test_as_wide_as_all_answers_finds_the_best_of_them(self, either):
        few = torch.zeros(V, dtype=torch.bool)
        few[[2, 3, 4, 5]] = True
        answers, total_QG = either.beams(PROMPTS, 16, 2, constraint=lambda token_SR: few.expand(len(token_SR), V))
        every = [np.array([a, b]) for a in range(2, 6) for b in range(2, 6)]
        packed = pack(PROMPTS, [every] * 3)
        with torch.inference_mode():
            hidden = either.hidden(packed)[packed.row, packed.source]
            logits = either.logits(hidden).float().masked_fill(~few, -torch.inf).log_softmax(-1)
            score = packed.by_branch(logits.gather(1, packed.target[:, None])[:, 0]).sum(1).view(3, 16)
        torch.testing.assert_close(total_QG, score.sort(1, descending=True).values, rtol=1e-4, atol=1e-4)
        best = [every[int(i)].tolist() for i in score.argmax(1)]
        assert answers.token[::16].tolist() == best
        torch.testing.assert_close(answers.logp.sum(1).view(3, 16), total_QG, rtol=1e-4, atol=1e-4)


class TestLabels:
    def test_read_by_prefill_with_the_prefix_shared_equal_the_first_step_of_generation(self, either):
        suffixes = [some(3, 2, seed=5), some(4, seed=6), some(2, 2, seed=7)]
        labels = np.array([10, 11, 12, 13])
        with torch.inference_mode():
            chances_SC = either.label_probabilities(PROMPTS, suffixes, labels)
            whole = [np.concatenate([p, s]) for p, of in zip(PROMPTS, suffixes, strict=True) for s in of]
            first_SC = either.decoding(whole, 1, 1).first()[:, torch.from_numpy(labels)].softmax(1)
        torch.testing.assert_close(chances_SC, first_SC, rtol=1e-4, atol=1e-5)

    def test_label_first_chances_do_not_depend_on_what_follows(self, model):
        """Changing the reasoning after the label leaves its probability as it is, bit for bit."""
        packed = [pack(PROMPTS[:1], [[np.array([10, *tail])]]) for tail in ([20, 21, 22], [30, 31, 32])]
        with torch.inference_mode():
            one, other = (model.logp(p)[0, 0] for p in packed)
        assert torch.equal(one, other)


class Pairs(torch.nn.Module):
    """Number V + i stands for the mean of tokens i and i + 1."""

    def forward(self, embedding: torch.nn.Module, token: Tensor) -> Tensor:
        first = (token - V).clamp(min=0)
        mean = (embedding(first) + embedding(first + 1)) / 2
        return torch.where((token >= V)[..., None], mean, embedding(token.clamp(max=V - 1)))


class TestMerger:
    @pytest.fixture
    def merged(self, either) -> Iterator[Backbone]:
        either.merger = Pairs()
        yield either
        either.merger = None

    def test_prompts_are_read_through_it_packed_and_when_sampling(self, merged):
        asked = [np.array([V + 5, 9]), np.array([7, V + 8])]
        answers = merged.sample(asked, 2, Sampling(max_new=3), generator=torch.Generator().manual_seed(0))
        lists = answers.lists()
        packed = pack(asked, [lists[:2], lists[2:]], row_tokens=32)
        with torch.inference_mode():
            torch.testing.assert_close(merged.logp(packed), answers.logp, atol=1e-4, rtol=1e-4)

    def test_words_alone_are_read_as_without_it(self, merged, model):
        packed = pack(PROMPTS, BRANCHES)
        with torch.inference_mode():
            read = merged.logp(packed)
            merged.merger = None
            torch.testing.assert_close(read, merged.logp(packed), atol=1e-5, rtol=1e-5)


def steps(model: Backbone, packed: Packed, times: int) -> None:
    """Learn that these answers are right."""
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(times):
        optimiser.zero_grad()
        (-model.logp(packed).mean()).backward()
        optimiser.step()


def test_the_frozen_model_stays_as_it_was_where_all_of_it_learns():
    model, packed = tiny(), pack(PROMPTS, BRANCHES)
    reference, before = model.frozen(), model.logp(packed).detach()
    steps(model, packed, 1)
    assert not any(p.requires_grad for p in reference.parameters())
    assert all(p.requires_grad for p in model.parameters())
    assert torch.equal(reference.logp(packed), before)
    assert not torch.allclose(model.logp(packed), before)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft asks the model by an older name
class TestHf:
    @pytest.fixture
    def adapted(self, model) -> Backbone:
        """Adapters, and a new word's row that learns beside them."""
        pytest.importorskip("peft")
        from aisle.nn.backbones.hf import Hf, HfShape, Lora, _with_adapters

        lora = Lora(rank=2, alpha=4)
        return Hf(
            HfShape(name="here", dtype="float32", lora=lora), _with_adapters(hf_of(model).model, lora, [V - 1]), END
        )

    def test_adapters_start_as_the_model_and_are_a_small_part_of_it(self, model, adapted):
        packed = pack(PROMPTS, BRANCHES)
        with torch.inference_mode():
            torch.testing.assert_close(adapted.logp(packed), model.logp(packed), atol=1e-4, rtol=1e-4)
        learning = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
        assert 0 < learning < sum(p.numel() for p in adapted.parameters()) / 2

    def test_the_frozen_model_is_the_tuned_one_and_its_weights_stand_in_memory_once(self, adapted):
        packed = pack([*PROMPTS, np.array([V - 1, 5])], [*BRANCHES, [np.array([7, V - 1])]])
        steps(adapted, packed, 2)
        with torch.no_grad():
            tuned = adapted.logp(packed)
        reference = adapted.frozen()
        for mine, copied in zip(adapted.parameters(), reference.parameters(), strict=True):
            assert (mine.data_ptr() == copied.data_ptr()) is not mine.requires_grad, "only what learns is copied"
        steps(adapted, packed, 2)
        with torch.no_grad():
            assert torch.equal(reference.logp(packed), tuned)
            assert (adapted.logp(packed) - tuned).abs().min(1).values.max() > 1e-3

    def test_the_reference_between_forward_and_backward_disturbs_no_gradient(self, adapted):
        packed = pack(PROMPTS, BRANCHES)
        steps(adapted, packed, 2)
        reference, learning = adapted.frozen(), [p for p in adapted.parameters() if p.requires_grad]
        steps(adapted, packed, 1)
        with torch.no_grad():
            known = reference.logp(packed)
        expected = torch.autograd.grad(((adapted.logp(packed) - known) ** 2).sum(), learning)
        logp = adapted.logp(packed)
        with torch.no_grad():
            between = reference.logp(packed)
        found = torch.autograd.grad(((logp - between) ** 2).sum(), learning)
        assert max(grad.abs().max() for grad in expected) > 0
        assert all(map(torch.equal, found, expected))

    def test_a_model_that_is_not_here_is_not_fetched(self):
        pytest.importorskip("transformers")
        from aisle.nn.backbones.hf import Hf, HfShape

        with pytest.raises(StateError, match="download=true"):
            Hf.load(HfShape(name="nobody/nothing-at-all"), end_id=1)


def test_a_shape_whose_heads_do_not_divide_is_refused():
    with pytest.raises(SettingError, match="multiple"):
        TinyShape(heads=3, key_heads=2)


class TestRepeats:
    """A model that is told which tokens stood before: the same whether packed, alone or generated."""

    @pytest.fixture
    def told(self) -> Tiny:
        model = Tiny(
            TinyShape(width=32, layers=2, heads=4, key_heads=2, head_dim=8, hidden=48, repeats=True), V, END, 3
        )
        with torch.no_grad():
            model.repeated.normal_(0.0, 1.0, generator=torch.Generator().manual_seed(1))
        return model.eval()

    def test_packing_changes_nothing_and_siblings_do_not_count_as_before(self, told):
        prompts, branches = some(3, 5), [some(4, 2, seed=1), some(3, seed=2)]
        together = told.logp(pack(prompts, branches, row_tokens=40))
        alone = [told.logp(pack([p], [[b]]))[0] for p, of in zip(prompts, branches, strict=True) for b in of]
        for row, one in zip(together, alone, strict=True):
            torch.testing.assert_close(row[: len(one)], one, atol=1e-5, rtol=1e-5)

    def test_generation_knows_prompt_and_own_answer(self, told):
        prompts = some(3, 6)
        answers = told.sample(prompts, 4, Sampling(max_new=6), generator=torch.Generator().manual_seed(0))
        lists = answers.lists()
        logp = told.logp(pack(prompts, [lists[:4], lists[4:]]))
        torch.testing.assert_close(logp, answers.logp[:, : logp.shape[1]], atol=1e-4, rtol=1e-4)
        beams, total_QG = told.beams(prompts, 3, 4)
        lists = beams.lists()
        again = told.logp(pack(prompts, [lists[:3], lists[3:]])).sum(1)
        torch.testing.assert_close(again, total_QG.flatten(), atol=1e-4, rtol=1e-4)

    def test_it_matters_and_is_no_qwen3(self, told):
        fresh, repeated = (told.next_logits(pack([np.array([4, t])], [[np.array([6])]])) for t in (5, 6))
        assert not torch.allclose(fresh, repeated)
        with pytest.raises(SettingError, match="repeats=false"):
            qwen3_weights(told)
