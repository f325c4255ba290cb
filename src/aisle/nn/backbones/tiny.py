"""Tiny: a small decoder, trained from scratch on a shop's text.  The layout is Qwen3's (arXiv:2505.09388): RMS norms before
each block and on queries and keys, rotary positions, grouped key heads, gated feed-forward, tied embeddings.

Sampling keeps one cache of the prompts and one of the answers: the G answers of a prompt read the same keys in one product.

Legend: B rows, T tokens, Q prompts, G answers a prompt, S = Q G answers, P prompt tokens, R answer tokens, D width,
H query heads, K key heads, E width of a head, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from aisle.core.errors import SettingError
from aisle.core.lists import Array
from aisle.core.method import Settings
from aisle.nn.backbones.backbone import Backbone, Decoding
from aisle.nn.backbones.packed import Packed

ROPE_BASE = 10_000.0
EPS = 1e-6


class TinyShape(Settings):
    """
    width      of a token's vector
    layers     decoder blocks
    heads      query heads; their width is ``head_dim``
    key_heads  key and value heads, shared by groups of query heads
    head_dim   width of a head
    hidden     of the gated feed-forward
    repeats    tell each token whether it stood in its text before.  A large model finds repetitions by heads that it learned from
               much text; a small one that learns to compare two texts from few examples is given them (exact-match cues, as
               MarkedBERT, SIGIR 2020, writes into its input).  The layout is then no longer Qwen3's
    """

    width: int = Field(128, ge=8)
    layers: int = Field(4, ge=1)
    heads: int = Field(4, ge=1)
    key_heads: int = Field(2, ge=1)
    head_dim: int = Field(32, ge=2)
    hidden: int = Field(384, ge=8)
    repeats: bool = False

    def model_post_init(self, context: Any) -> None:
        if self.heads % self.key_heads or self.head_dim % 2:
            raise SettingError(
                f"{self.heads} query heads, {self.key_heads} key heads of width {self.head_dim}; the first must be a multiple of "
                "the second, and the width even"
            )


class Cache:
    """Keys and values of prompts [Q, K, P, E] and of answers so far [S, K, R, E], a pair a layer."""

    def __init__(self, prompt: list[tuple[Tensor, Tensor]], seen_QP: Tensor, group: int, max_new: int) -> None:
        self.prompt = prompt
        self.seen_QP = seen_QP
        self.group = group
        num_prompts, key_heads, _, head_dim = prompt[0][0].shape
        shape = (num_prompts * group, key_heads, max_new, head_dim)
        self.answers = [(k.new_empty(shape), v.new_empty(shape)) for k, v in prompt]
        self.length = 0


class Block(nn.Module):
    """Attention and feed-forward, each behind a norm and added to what came in."""

    def __init__(self, shape: TinyShape) -> None:
        super().__init__()
        self.shape = shape
        width, inner = shape.width, shape.heads * shape.head_dim
        self.attention_norm = nn.RMSNorm(width, EPS)
        self.qkv = nn.Linear(width, inner + 2 * shape.key_heads * shape.head_dim, bias=False)
        self.query_norm = nn.RMSNorm(shape.head_dim, EPS)
        self.key_norm = nn.RMSNorm(shape.head_dim, EPS)
        self.out = nn.Linear(inner, width, bias=False)
        self.forward_norm = nn.RMSNorm(width, EPS)
        self.gate_up = nn.Linear(width, 2 * shape.hidden, bias=False)
        self.down = nn.Linear(shape.hidden, width, bias=False)

    def forward(
        self, x_BTD: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """``mask`` bool[B, 1, T, T], None for plainly causal.  Also returns this block's keys and values [B, K, T, E]."""
        q, k, v = self.heads(x_BTD, turn)
        mixed = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=True
        )
        return self.after(x_BTD, mixed.transpose(1, 2).flatten(2)), (k, v)

    def next(self, x_S1D: Tensor, turn: tuple[Tensor, Tensor], cache: Cache, layer: int) -> Tensor:
        """One more token of every answer."""
        q, k, v = self.heads(x_S1D, turn)
        keys, values = cache.answers[layer]
        keys[:, :, cache.length], values[:, :, cache.length] = k[:, :, 0], v[:, :, 0]
        mixed = _attend_next(q[:, :, 0], cache.prompt[layer], (keys, values), cache)
        return self.after(x_S1D, mixed[:, None])

    def heads(self, x_BTD: Tensor, turn: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Turned queries [B, H, T, E] and keys, and values [B, K, T, E]."""
        b, t, _ = x_BTD.shape
        h, kv = self.shape.heads, self.shape.key_heads
        parts = self.qkv(self.attention_norm(x_BTD)).view(b, t, h + 2 * kv, self.shape.head_dim)
        q, k, v = parts.split([h, kv, kv], 2)
        q, k = _turned(self.query_norm(q), turn), _turned(self.key_norm(k), turn)
        return q.transpose(1, 2).to(v.dtype), k.transpose(1, 2).to(v.dtype), v.transpose(1, 2)

    def after(self, x_BTD: Tensor, mixed_BTI: Tensor) -> Tensor:
        x_BTD = x_BTD + self.out(mixed_BTI)
        gate, up = self.gate_up(self.forward_norm(x_BTD)).chunk(2, -1)
        return x_BTD + self.down(functional.silu(gate) * up)


class Tiny(Backbone):
    """``Tiny(shape, vocab_size, end_id, seed)``: weights drawn from the seed."""

    def __init__(self, shape: TinyShape, vocab_size: int, end_id: int, seed: int = 0) -> None:
        super().__init__()
        self.shape, self.vocab_size, self.end_id, self.width = shape, vocab_size, end_id, shape.width
        self.tokens = nn.Embedding(vocab_size, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, EPS)
        self.repeated = nn.Parameter(torch.zeros(shape.width)) if shape.repeats else None
        self._draw_weights(seed)

    def _draw_weights(self, seed: int) -> None:
        """Normal with deviation .02; what writes into the residual stream smaller by the square root of its depth."""
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                written = name.endswith(("out.weight", "down.weight"))
                scale = 0.02 / (2 * self.shape.layers) ** 0.5 if written else 0.02
                with torch.no_grad():
                    parameter.normal_(0.0, scale, generator=generator)

    @property
    def device(self) -> torch.device:
        return self.tokens.weight.device

    @property
    def embedding(self) -> nn.Module:
        return self.tokens

    def hidden(self, packed: Packed) -> Tensor:
        mask = None if packed.is_plain else packed.mask
        return self._run(packed.token, packed.position, mask)[0]

    def logits(self, hidden_ND: Tensor) -> Tensor:
        return functional.linear(hidden_ND, self.tokens.weight)

    def settings(self) -> dict[str, Any]:
        return {"shape": self.shape.model_dump(), "vocab_size": self.vocab_size, "end_id": self.end_id}

    def decoding(self, prompts: Sequence[Array], group: int, max_new: int) -> Decoding:
        length_Q = torch.tensor([len(p) for p in prompts], device=self.device)
        token_QP = torch.zeros(len(prompts), int(length_Q.max()), dtype=torch.int64)
        for q, prompt in enumerate(prompts):
            token_QP[q, : len(prompt)] = torch.from_numpy(np.asarray(prompt, np.int64))
        token_QP = token_QP.to(self.device)
        place_P = torch.arange(token_QP.shape[1], device=self.device)
        # Prompts are filled up behind their last token, where a causal mask keeps the filling out of sight.
        hidden_QPD, kept = self._run(token_QP, place_P.expand_as(token_QP), None)
        last_QD = hidden_QPD[torch.arange(len(prompts), device=self.device), length_Q - 1]
        seen_QP, seen_SV = place_P < length_Q[:, None], None
        if self.repeated is not None:
            seen_SV = self._vocabulary_seen(token_QP, seen_QP).repeat_interleave(group, 0)
        if self._decodes_compiled(hidden_QPD):
            from aisle.nn.backbones.tiny_compiled import CompiledDecoding

            turn = _turn(torch.arange(token_QP.shape[1] + max_new)[None], self.shape.head_dim)
            return CompiledDecoding(self, kept, last_QD, length_Q, group, max_new, seen_SV, turn)
        cache = Cache(kept, seen_QP, group, max_new)
        return TinyDecoding(self, cache, last_QD, length_Q.repeat_interleave(group), seen_SV)

    def _decodes_compiled(self, hidden: Tensor) -> bool:
        """Whether compiled loops may go on from here: they know float32 in plain memory and no gradient."""
        return hidden.device.type == "cpu" and hidden.dtype == torch.float32 and not hidden.requires_grad

    def _vocabulary_seen(self, token_QP: Tensor, is_token_QP: Tensor) -> Tensor:
        """bool[Q, V]: the tokens of each prompt; what only a merger knows is none."""
        count_QV = torch.zeros(len(token_QP), self.vocab_size, dtype=torch.int32, device=token_QP.device)
        is_token_QP = is_token_QP & (token_QP < self.vocab_size)
        return count_QV.scatter_add_(1, token_QP.clamp(max=self.vocab_size - 1), is_token_QP.int()) > 0

    def _run(
        self, token_BT: Tensor, position_BT: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        x_BTD = self.embedded(token_BT)
        if self.repeated is not None:
            x_BTD = x_BTD + _stood_before(token_BT, mask)[..., None] * self.repeated
        turn = _turn(position_BT, self.shape.head_dim)
        kept = []
        for block in self.blocks:
            x_BTD, pair = block(x_BTD, turn, mask)
            kept.append(pair)
        return self.norm(x_BTD), kept


def qwen3_weights(model: Tiny) -> dict[str, Tensor]:
    """The same weights under the names of ``transformers``' Qwen3ForCausalLM, to carry a trained model elsewhere.

    Raises SettingError for a model with ``repeats``, which Qwen3 does not have.
    """
    shape = model.shape
    if shape.repeats:
        raise SettingError("a model with repeats=true is no Qwen3; train one with repeats=false to carry it elsewhere")
    inner, kv = shape.heads * shape.head_dim, shape.key_heads * shape.head_dim
    weights = {
        "model.embed_tokens": model.tokens.weight,
        "lm_head": model.tokens.weight,
        "model.norm": model.norm.weight,
    }
    for layer, block in enumerate(model.blocks):
        query, key, value = block.qkv.weight.split([inner, kv, kv])
        gate, up = block.gate_up.weight.chunk(2)
        parts = {
            "self_attn.q_proj": query,
            "self_attn.k_proj": key,
            "self_attn.v_proj": value,
            "self_attn.o_proj": block.out.weight,
            "self_attn.q_norm": block.query_norm.weight,
            "self_attn.k_norm": block.key_norm.weight,
            "input_layernorm": block.attention_norm.weight,
            "post_attention_layernorm": block.forward_norm.weight,
            "mlp.gate_proj": gate,
            "mlp.up_proj": up,
            "mlp.down_proj": block.down.weight,
        }
        weights |= {f"model.layers.{layer}.{name}": tensor for name, tensor in parts.items()}
    return {f"{name}.weight": tensor.detach().clone() for name, tensor in weights.items()}


class TinyDecoding(Decoding):
    """By torch, on any device and in any precision."""

    def __init__(self, model: Tiny, cache: Cache, last_QD: Tensor, length_S: Tensor, seen_SV: Tensor | None) -> None:
        self.model, self.cache, self.last_QD, self.length_S, self.seen_SV = model, cache, last_QD, length_S, seen_SV

    def first(self) -> Tensor:
        return self.model.logits(self.last_QD).float()

    def next(self, token_S: Tensor) -> Tensor:
        model, cache = self.model, self.cache
        x_S1D = model.tokens(token_S)[:, None]
        if model.repeated is not None and self.seen_SV is not None:
            x_S1D = x_S1D + self.seen_SV.gather(1, token_S[:, None])[..., None] * model.repeated
            self.seen_SV.scatter_(1, token_S[:, None], True)
        turn = _turn((self.length_S + cache.length)[:, None], model.shape.head_dim)
        for layer, block in enumerate(model.blocks):
            x_S1D = block.next(x_S1D, turn, cache, layer)
        cache.length += 1
        return model.logits(model.norm(x_S1D[:, 0])).float()

    def keep(self, row_S: Tensor) -> None:
        self.cache.answers = [(k[row_S], v[row_S]) for k, v in self.cache.answers]
        if self.seen_SV is not None:
            self.seen_SV = self.seen_SV[row_S]


def _stood_before(token_BT: Tensor, mask: Tensor | None) -> Tensor:
    """bool[B, T]: the same token stands earlier among those that this one may look at."""
    same_BTT = (token_BT[:, :, None] == token_BT[:, None, :]).tril(-1)
    return (same_BTT if mask is None else same_BTT & mask[:, 0]).any(-1)


def _turn(position_BT: Tensor, head_dim: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the rotary angles, float32[B, T, 1, E]."""
    rate_E = ROPE_BASE ** (-torch.arange(0, head_dim, 2, device=position_BT.device).float() / head_dim)
    angle_BTE = position_BT[..., None].float() * rate_E
    angle_BTE = torch.cat([angle_BTE, angle_BTE], -1)[:, :, None]
    return angle_BTE.cos(), angle_BTE.sin()


def _turned(x_BTHE: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    low, high = x_BTHE.chunk(2, -1)
    return x_BTHE * turn[0] + torch.cat([-high, low], -1) * turn[1]


def _attend_next(q_SHE: Tensor, prompt: tuple[Tensor, Tensor], answers: tuple[Tensor, Tensor], cache: Cache) -> Tensor:
    """[S, H E]: each answer's newest token looks at its prompt and at its own tokens so far, this one included."""
    s, h, e = q_SHE.shape
    num_prompts, kv = prompt[0].shape[:2]
    own = cache.length + 1
    keys, values = answers[0][:, :, :own], answers[1][:, :, :own]
    q_SKXE = q_SHE.view(s, kv, h // kv, e) * e**-0.5
    # All answers of a prompt against its keys at once: [Q, K, G X, E] x [Q, K, E, P].
    q_QKYE = q_SKXE.view(num_prompts, cache.group, kv, h // kv, e).transpose(1, 2).reshape(num_prompts, kv, -1, e)
    to_prompt = (q_QKYE @ prompt[0].transpose(2, 3)).float().masked_fill(~cache.seen_QP[:, None, None], -torch.inf)
    to_own = (q_SKXE @ keys.transpose(2, 3)).float()
    to_own = to_own.view(num_prompts, cache.group, kv, h // kv, own).transpose(1, 2).reshape(num_prompts, kv, -1, own)
    weight = torch.cat([to_prompt, to_own], -1).softmax(-1).to(q_SHE.dtype)
    from_prompt, from_own = weight.split([to_prompt.shape[-1], own], -1)
    mixed = (
        (from_prompt @ prompt[1]).view(num_prompts, kv, cache.group, h // kv, e).transpose(1, 2).reshape(s, kv, -1, e)
    )
    from_own = from_own.view(num_prompts, kv, cache.group, h // kv, own).transpose(1, 2).reshape(s, kv, -1, own)
    return (mixed + from_own @ values).reshape(s, h * e)
