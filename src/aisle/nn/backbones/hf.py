"""Any causal language model of the ``transformers`` library, by name or path, behind the same interface as the small one.

A model is read from a folder, from one file or an installed package (``gguf.py``) or from the library's cache; nothing is
downloaded unless ``download`` is set.  LoRA comes from ``peft``, its products from ``adapters.py``, 4 and 8 bit weights from what
the library finds on the machine.

Legend: B rows, T tokens, Q prompts, G answers a prompt, S = Q G answers, P prompt tokens, R answer tokens, D width, V vocabulary.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from aisle.core.errors import AisleError, SettingError, StateError
from aisle.core.lists import Array
from aisle.core.method import Settings
from aisle.nn.backbones.adapters import lean
from aisle.nn.backbones.backbone import Backbone, Decoding
from aisle.nn.backbones.gguf import gguf_file, read_model, read_words
from aisle.nn.backbones.packed import Packed
from aisle.nn.backbones.words import END, Words


class Lora(Settings):
    """Low-rank adapters (arXiv:2106.09685).

    rank, alpha, dropout  of each
    layers                the products that get one
    last                  in so many of the last blocks alone; 0 in all.  The blocks below are then only computed, not learned
                          through, which is cheaper.  New tokens then learn as answers alone, not as input
    """

    rank: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    layers: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    last: int = Field(0, ge=0)


class Pretrained(Settings):
    """
    How a pre-trained model is loaded.

    dtype     of the weights
    bits      4 or 8: weights in that width (bitsandbytes and a GPU); 0 as ``dtype``; a ``.gguf`` file is unpacked to ``dtype``
    lora      train adapters and leave the model as it is; null trains every weight
    revision  of a name of the hub
    download  whether weights that are not on this machine may be fetched
    """

    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    bits: Literal[0, 4, 8] = 0
    lora: Lora | None = Lora()
    revision: str | None = None
    download: bool = False


class HfShape(Pretrained):
    """``name``: a folder, a ``.gguf`` file, a package's model (``smollm2``), or a name of the hub.  No adapters unless given."""

    name: str
    lora: Lora | None = None


class Hf(Backbone):
    """A pre-trained model."""

    def __init__(self, shape: HfShape, model: Any, end_id: int) -> None:
        super().__init__()
        self.shape, self.model, self.end_id = shape, model, end_id
        config = model.config.get_text_config()
        self.vocab_size, self.width = int(config.vocab_size), int(config.hidden_size)

    @classmethod
    def load(
        cls, shape: HfShape, *, end_id: int, vocab_size: int = 0, device: str = "cpu",
        new_tokens: Mapping[int, Array] | None = None, seed: int = 0,
    ) -> Hf:  # fmt: skip
        """A model of this machine.

        vocab_size  above the model's own makes room for marks
        new_tokens  token -> the tokens that spell its meaning: it starts as their mean, and is learned beside adapters
        seed        of the adapters' first weights

        Raises StateError when the model is not here.
        """
        with _without_bars():
            model = _read(shape)
        if vocab_size > model.get_input_embeddings().num_embeddings:
            model.resize_token_embeddings(vocab_size, mean_resizing=False)
        _start(model, new_tokens or {})
        if shape.lora is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                model = _with_adapters(model, shape.lora, list(new_tokens or {}))
        return cls(shape, model.to(device), end_id)

    @property
    def device(self) -> torch.device:
        found: torch.device = next(self.model.parameters()).device
        return found

    @property
    def embedding(self) -> nn.Module:
        table: nn.Module = self.model.get_input_embeddings()
        return table

    def settings(self) -> dict[str, Any]:
        return {"shape": self.shape.model_dump(), "end_id": self.end_id}

    def save_merged(self, folder: Path, words: Words) -> None:
        """The model as it answers now, adapters taken into its weights, with its vocabulary: a folder for any engine that reads
        such models."""
        model = copy.deepcopy(self.model)
        if self.shape.lora is not None:
            model = model.merge_and_unload()
        model.save_pretrained(folder)
        (folder / "tokenizer.json").write_text(words.to_json(), encoding="utf-8")
        (folder / "tokenizer_config.json").write_text(
            '{"tokenizer_class": "PreTrainedTokenizerFast"}', encoding="utf-8"
        )

    def learned(self) -> dict[str, Tensor]:
        if self.shape.lora is None:
            return self.state_dict()
        return {name: parameter.detach() for name, parameter in self.named_parameters() if parameter.requires_grad}

    def hidden(self, packed: Packed) -> Tensor:
        """Through the decoder alone: logits are made only where they are asked for."""
        seen = packed.mask
        lowest = torch.finfo(self.model.dtype).min
        bias = torch.zeros(seen.shape, dtype=self.model.dtype, device=seen.device).masked_fill(~seen, lowest)
        out = self.decoder(
            **self._as_input(packed.token), attention_mask=bias, position_ids=packed.position, use_cache=False
        )
        return out.last_hidden_state  # type: ignore[no-any-return]

    def logits(self, hidden_ND: Tensor) -> Tensor:
        return self.model.get_output_embeddings()(hidden_ND)  # type: ignore[no-any-return]

    def decoding(self, prompts: Sequence[Array], group: int, max_new: int) -> HfDecoding:
        # The library's caches end where the next token goes, so prompts are filled up in front.
        length_Q = torch.tensor([len(p) for p in prompts], device=self.device)
        longest = int(length_Q.max())
        token_QP = torch.zeros(len(prompts), longest, dtype=torch.int64)
        for q, prompt in enumerate(prompts):
            token_QP[q, longest - len(prompt) :] = torch.from_numpy(np.asarray(prompt, np.int64))
        place_P = torch.arange(longest, device=self.device)
        filling_Q1 = (longest - length_Q)[:, None]
        out = self.decoder(
            **self._as_input(token_QP.to(self.device)),
            attention_mask=(place_P >= filling_Q1).long(),
            position_ids=(place_P - filling_Q1).clamp(min=0),
            use_cache=True,
        )
        return HfDecoding(self, out, (place_P >= filling_Q1).long(), length_Q, group)

    def _as_input(self, token: Tensor) -> dict[str, Tensor]:
        """Tokens as the decoder takes them: by number, so that a layer that asks for numbers has them, unless merged."""
        return {"input_ids": token} if self.merger is None else {"inputs_embeds": self.embedded(token)}

    @property
    def decoder(self) -> Any:
        """The stack of layers without the output head, adapters included."""
        base = self.model.get_base_model() if self.shape.lora is not None else self.model
        return base.get_decoder()


class HfDecoding(Decoding):
    """The library's own cache, repeated for the group after the prompt was computed once."""

    def __init__(self, model: Hf, prompt: Any, seen_QP: Tensor, length_Q: Tensor, group: int) -> None:
        self.model, self.last_QD = model, prompt.last_hidden_state[:, -1]
        self.cache = prompt.past_key_values
        self.cache.batch_repeat_interleave(group)
        self.seen_ST = seen_QP.repeat_interleave(group, 0)
        self.position_S = length_Q.repeat_interleave(group)

    def first(self) -> Tensor:
        return self.model.logits(self.last_QD).float()

    def next(self, token_S: Tensor) -> Tensor:
        self.seen_ST = torch.cat([self.seen_ST, self.seen_ST.new_ones(len(token_S), 1)], 1)
        out = self.model.decoder(
            input_ids=token_S[:, None],
            attention_mask=self.seen_ST,
            position_ids=self.position_S[:, None],
            cache=self.cache,
            use_cache=True,
        )
        self.position_S = self.position_S + 1
        return self.model.logits(out.last_hidden_state[:, -1]).float()

    def keep(self, row_S: Tensor) -> None:
        self.cache.reorder_cache(row_S)


def hf_words(shape: HfShape, marks: Sequence[str]) -> Words:
    """The model's own vocabulary with our marks and end token as further tokens.  Raises StateError when it is not here."""
    transformers = _library("transformers")
    file = gguf_file(shape.name)
    if file is not None:
        return Words.extended(read_words(file), marks)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            shape.name, revision=shape.revision, local_files_only=not shape.download
        )
    except (OSError, ValueError) as error:
        raise StateError(
            f"no vocabulary of {shape.name!r} on this machine ({str(error).splitlines()[0]}); give a folder with its "
            "tokenizer.json, or set pretrained.download=true to let it be fetched"
        ) from None
    return Words.extended(tokenizer.backend_tokenizer, marks)


def spelled(words: Words) -> dict[int, Array]:
    """Each mark of a pre-trained vocabulary with the tokens of the words inside it."""
    marks = (END, *words.marks)
    texts = [" ".join(re.findall(r"[^\W_]+", mark)) for mark in marks]
    return {words.id(mark): tokens for mark, tokens in zip(marks, words.encode(texts), strict=True)}


def _read(shape: HfShape) -> Any:
    """The library's model, as it was published."""
    transformers = _library("transformers")
    file = gguf_file(shape.name)
    if file is not None:
        if shape.bits:
            raise SettingError(
                f"the weights of {file.name} are unpacked to {shape.dtype} as they are read; leave bits at 0, it was {shape.bits}"
            )
        return read_model(file, shape.dtype)
    quantised = {"quantization_config": _quantised(shape, transformers)} if shape.bits else {}
    try:
        return transformers.AutoModelForCausalLM.from_pretrained(
            shape.name,
            revision=shape.revision,
            dtype=getattr(torch, shape.dtype),
            local_files_only=not shape.download,
            use_safetensors=True,
            **quantised,
        )
    except OSError as error:
        raise StateError(
            f"no model {shape.name!r} on this machine ({str(error).splitlines()[0]}); give a folder that holds one, or set "
            "pretrained.download=true to let it be fetched"
        ) from None


@contextmanager
def _without_bars() -> Iterator[None]:
    """Progress of our own commands is shown by them; the library's bars would stand in between."""
    logging = _library("transformers.utils.logging")
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _start(model: Any, new_tokens: Mapping[int, Array]) -> None:
    """New rows of the embedding and of the output as the mean of the rows that spell them."""
    tables = {id(m.weight): m.weight for m in (model.get_input_embeddings(), model.get_output_embeddings())}
    with torch.no_grad():
        for weight in tables.values():
            for token, parts in new_tokens.items():
                if len(parts):
                    weight[token] = weight[torch.from_numpy(parts).to(weight.device)].float().mean(0).to(weight.dtype)


def _with_adapters(model: Any, lora: Lora, new_tokens: Sequence[int] = ()) -> Any:
    peft = _library("peft")
    tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    learned = {"embed_tokens": list(new_tokens)} | ({} if tied else {"lm_head": list(new_tokens)})
    num_blocks = int(model.config.get_text_config().num_hidden_layers)
    first = max(0, num_blocks - lora.last) if lora.last else 0
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.layers),
        layers_to_transform=list(range(first, num_blocks)) if first else None,
        trainable_token_indices=learned if new_tokens else None,
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        # peft asks the model by a name that transformers renamed; nothing that a user of ours could change.
        warnings.simplefilter("ignore", FutureWarning)
        adapted = peft.get_peft_model(model, config)
    if not lora.dropout:
        lean(adapted)
    if first:
        adapted.get_input_embeddings().register_forward_hook(_detached)
    return adapted


def _detached(module: Any, args: Any, out: Tensor) -> Tensor:
    """What leaves the embedding, as a constant: no gradient is wanted below the first adapter."""
    return out.detach()


def _quantised(shape: HfShape, transformers: Any) -> Any:
    _library("bitsandbytes")
    if shape.bits == 8:
        return transformers.BitsAndBytesConfig(load_in_8bit=True)
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=getattr(torch, shape.dtype)
    )


def _library(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        raise AisleError(f"this model needs the library {name!r}; pip install 'aisle[llm]'") from None
