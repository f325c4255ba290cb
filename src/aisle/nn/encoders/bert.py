"""A thin BERT text encoder on torch: weights from safetensors, mean pooling, unit vectors.  bf16 where the CPU has it.

Legend: B texts, T tokens of the longest, N tokens of all texts together, D width, H heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from aisle.core.errors import SettingError
from aisle.core.lists import Array
from aisle.nn.encoders.checkpoint import Checkpoint, TokenEncoder

ARITHMETIC = 2
"""Counted up whenever this file computes another vector from the same weights and text."""


class Layer(nn.Module):
    """One post-norm transformer encoder layer.  Matrix products in their weights' dtype, sums and norms in float32."""

    def __init__(self, width: int, heads: int, hidden: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        self.output_norm = nn.LayerNorm(width, eps)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Of texts of one length."""
        b, t, _ = x_BTD.shape
        q, k, v = self._heads(self.qkv(self._cast(x_BTD)), b, t)
        return self._after(x_BTD, _joined(functional.scaled_dot_product_attention(q, k, v)))

    def of_tokens(self, x_ND: Tensor, texts: Packed) -> Tensor:
        """[N, D]: every token of texts of several lengths; only attention knows of rows that are filled up."""
        b, t = texts.shape
        q, k, v = self._heads(texts.spread(self.qkv(self._cast(x_ND))), b, t)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=texts.mask)
        return self._after(x_ND, _joined(mixed).flatten(0, 1)[texts.place])

    def of_first(self, x_ND: Tensor, texts: Packed) -> Tensor:
        """[B, D]: what ``of_tokens`` gives the first token of each text: of the others it needs keys and values alone."""
        (b, t), d = texts.shape, x_ND.shape[1]
        first_BD = x_ND[texts.first]
        weight, bias = self.qkv.weight, self.qkv.bias
        (q,) = self._heads(functional.linear(self._cast(first_BD), weight[:d], bias[:d]), b, 1)
        k, v = self._heads(texts.spread(functional.linear(self._cast(x_ND), weight[d:], bias[d:])), b, t)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=texts.mask)
        return self._after(first_BD, _joined(mixed)[:, 0])

    def _cast(self, x: Tensor) -> Tensor:
        return x.to(self.qkv.weight.dtype)

    def _heads(self, x: Tensor, b: int, t: int) -> Tensor:
        """[parts, B, H, T, D / H] of as many parts as stand side by side (query, key, value)."""
        size = self.out.in_features // self.heads
        return x.view(b, t, -1, self.heads, size).permute(2, 0, 3, 1, 4)

    def _after(self, x: Tensor, mixed: Tensor) -> Tensor:
        """What follows attention, token by token."""
        x = self.attention_norm(x + self.out(mixed).float())
        hidden = functional.gelu(self.up(self._cast(x)))
        return self.output_norm(x + self.down(hidden).float())  # type: ignore[no-any-return]


def _joined(mixed_BHTd: Tensor) -> Tensor:
    """[B, T, D]: the heads side by side."""
    return mixed_BHTd.transpose(1, 2).flatten(2)


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Texts of several lengths without what fills them up.

    shape  (B, T)
    place  int64[N]  of each token in [B * T]
    first  int64[B]  place of each text's first token among the N
    mask   bool[B, 1, 1, T]  the tokens that may be looked at
    """

    shape: tuple[int, int]
    place: Tensor
    first: Tensor
    mask: Tensor

    @classmethod
    def of(cls, is_token_BT: Tensor) -> Self:
        """Each text has its tokens at the front of its row, one at least."""
        b, t = is_token_BT.shape
        count_B = is_token_BT.sum(1)
        place = is_token_BT.flatten().nonzero()[:, 0]
        return cls((b, t), place, count_B.cumsum(0) - count_B, is_token_BT[:, None, None, :])

    def spread(self, x_NE: Tensor) -> Tensor:
        """[B * T, E] with zeros where a row is filled up."""
        b, t = self.shape
        return x_NE.new_zeros(b * t, x_NE.shape[1]).index_copy(0, self.place, x_NE)


class Bert(nn.Module):
    """Token ids to hidden states [B, T, D]."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width = config["hidden_size"]
        self.tokens = nn.Embedding(config["vocab_size"], width)
        self.places = nn.Embedding(config["max_position_embeddings"], width)
        self.types = nn.Embedding(config["type_vocab_size"], width)
        self.norm = nn.LayerNorm(width, config["layer_norm_eps"])
        sizes = width, config["num_attention_heads"], config["intermediate_size"], config["layer_norm_eps"]
        self.layers = nn.ModuleList(Layer(*sizes) for _ in range(config["num_hidden_layers"]))

    def forward(self, token_BT: Tensor) -> Tensor:
        """Of texts of one length."""
        place_T = torch.arange(token_BT.shape[1], device=token_BT.device)
        x_BTD = self.norm(self.tokens(token_BT) + self.places(place_T) + self.types.weight[0])
        for layer in self.layers:
            x_BTD = layer(x_BTD)
        return x_BTD  # type: ignore[no-any-return]

    def first(self, token_BT: Tensor, type_BT: Tensor, is_token_BT: Tensor) -> Tensor:
        """[B, D]: the last hidden state of each text's first token, and no more than it takes.

        ``type_BT``: 1 for tokens of a second text; ``is_token_BT``: False where a row is only filled up, at its end.
        """
        texts = Packed.of(is_token_BT)
        token_N, type_N = token_BT.flatten()[texts.place], type_BT.flatten()[texts.place]
        x_ND = self.norm(self.tokens(token_N) + self.places(texts.place % texts.shape[1]) + self.types(type_N))
        *before, last = self.layers
        for layer in before:
            x_ND = layer.of_tokens(x_ND, texts)
        return last.of_first(x_ND, texts)  # type: ignore[no-any-return]


class BertEncoder(TokenEncoder):
    """Texts to unit vectors (Encoder).  dtype: float32 or bfloat16 for the matrix products, None for what the CPU does best."""

    def __init__(self, checkpoint: Checkpoint, *, dtype: torch.dtype | None = None) -> None:
        super().__init__(checkpoint.tokenizer())
        module = bert_of(checkpoint)
        self.name, self.dim = checkpoint.name, int(checkpoint.config["hidden_size"])
        self.dtype = dtype or best_dtype()
        self.revision = f"{checkpoint.weights_hash[:12]}-{str(self.dtype).removeprefix('torch.')}-{ARITHMETIC}"
        self._module = module.eval()
        for part in module.modules():
            if isinstance(part, nn.Linear):
                part.to(self.dtype)

    @torch.inference_mode()
    def encode_tokens(self, token_BT: Array) -> Array:
        """float32[B, D], unit rows."""
        mean_BD = self._module(torch.from_numpy(token_BT)).mean(1)
        return functional.normalize(mean_BD, dim=-1).numpy()


def bert_of(checkpoint: Checkpoint, layers: int = 0) -> Bert:
    """The checkpoint's network, in float32; with ``layers`` only the first so many of it.

    Raises SettingError for more layers than there are.
    """
    from safetensors.torch import load_file

    whole = checkpoint.config["num_hidden_layers"]
    if layers > whole:
        raise SettingError(
            f"{layers} layers of {checkpoint.name!r}, which has {whole}; write {whole} or fewer, 0 for all"
        )
    module = Bert({**checkpoint.config, "num_hidden_layers": layers or whole})
    module.load_state_dict(_renamed(load_file(checkpoint.weights_path), layers or whole))
    return module


def best_dtype() -> torch.dtype:
    """bfloat16 where the CPU multiplies it natively (about four times as fast there), float32 elsewhere."""
    native = torch.cpu._is_avx512_bf16_supported() if hasattr(torch.cpu, "_is_avx512_bf16_supported") else False
    return torch.bfloat16 if native else torch.float32


def _renamed(weights: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """The checkpoint's tensors under this module's names; query, key and value are one product here."""
    weights = {name.removeprefix("bert."): tensor for name, tensor in weights.items()}
    mine = {
        "tokens.weight": weights["embeddings.word_embeddings.weight"],
        "places.weight": weights["embeddings.position_embeddings.weight"],
        "types.weight": weights["embeddings.token_type_embeddings.weight"],
    }
    pairs = {"norm": "embeddings.LayerNorm"}
    for i in range(layers):
        theirs, ours = f"encoder.layer.{i}", f"layers.{i}"
        for kind in ("weight", "bias"):
            parts = [weights[f"{theirs}.attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            mine[f"{ours}.qkv.{kind}"] = torch.cat(parts)
        pairs[f"{ours}.out"] = f"{theirs}.attention.output.dense"
        pairs[f"{ours}.attention_norm"] = f"{theirs}.attention.output.LayerNorm"
        pairs[f"{ours}.up"] = f"{theirs}.intermediate.dense"
        pairs[f"{ours}.down"] = f"{theirs}.output.dense"
        pairs[f"{ours}.output_norm"] = f"{theirs}.output.LayerNorm"
    for ours, theirs in pairs.items():
        mine |= {f"{ours}.{kind}": weights[f"{theirs}.{kind}"] for kind in ("weight", "bias")}
    return mine
