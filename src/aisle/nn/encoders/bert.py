"""A thin BERT text encoder on torch: weights from safetensors, mean pooling, unit vectors.  bf16 where the CPU has it.

Legend: B texts, T tokens, D width, H heads.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

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

    def forward(self, x_BTD: Tensor, mask: Tensor | None = None) -> Tensor:
        """``mask`` bool[B, 1, 1, T]: the tokens that may be looked at; None for all."""
        b, t, d = x_BTD.shape
        dtype = self.qkv.weight.dtype
        q, k, v = self.qkv(x_BTD.to(dtype)).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).reshape(b, t, d)
        x_BTD = self.attention_norm(x_BTD + self.out(mixed).float())
        hidden = functional.gelu(self.up(x_BTD.to(dtype)))
        return self.output_norm(x_BTD + self.down(hidden).float())  # type: ignore[no-any-return]


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

    def forward(self, token_BT: Tensor, type_BT: Tensor | None = None, is_token_BT: Tensor | None = None) -> Tensor:
        """``type_BT``: 1 for tokens of a second text; ``is_token_BT``: False where a row is only filled up, None where all
        texts have the same number of tokens."""
        place_T = torch.arange(token_BT.shape[1], device=token_BT.device)
        kind = self.types.weight[0] if type_BT is None else self.types(type_BT)
        x_BTD = self.norm(self.tokens(token_BT) + self.places(place_T) + kind)
        mask = None if is_token_BT is None else is_token_BT[:, None, None, :]
        for layer in self.layers:
            x_BTD = layer(x_BTD, mask)
        return x_BTD  # type: ignore[no-any-return]


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


def bert_of(checkpoint: Checkpoint) -> Bert:
    """The checkpoint's network, in float32."""
    from safetensors.torch import load_file

    module = Bert(checkpoint.config)
    module.load_state_dict(_renamed(load_file(checkpoint.weights_path), checkpoint.config["num_hidden_layers"]))
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
