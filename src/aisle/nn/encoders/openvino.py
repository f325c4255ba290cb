"""A BERT text encoder on OpenVINO (extra ``openvino``): three times as fast as torch for one query, and without torch.

The graph is written from the checkpoint's weights directly, so nothing is converted, traced or sent anywhere.  Weights are kept
with 8 bits a number and a scale for each output, which halves what a query has to read; all arithmetic is float32, so no
scale depends on what stands beside a text, and every CPU computes alike.

Legend: B texts, T tokens, D width, H heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from threading import local
from typing import Any

import numpy as np

from aisle.core.lists import Array
from aisle.nn.encoders.checkpoint import Checkpoint, TokenEncoder

ARITHMETIC = 2
"""Counted up whenever this file computes another vector from the same weights and text."""
QUERY_TOKENS = range(3, 13)
"""Lengths computed once when the encoder is made: the first batch of a shape costs 5 to 40 ms of compilation."""


class OpenVinoEncoder(TokenEncoder):
    """Texts to unit vectors (Encoder).  precision: "int8" weights, or all of it "bf16" or "f32". threads: for one batch."""

    def __init__(self, checkpoint: Checkpoint, *, precision: str = "int8", threads: int = 1) -> None:
        import openvino
        from safetensors.numpy import load_file

        super().__init__(checkpoint.tokenizer())
        core = openvino.Core()
        self.precision = precision
        self.name, self.dim = checkpoint.name, int(checkpoint.config["hidden_size"])
        self.revision = f"{checkpoint.weights_hash[:12]}-openvino-{self.precision}-{ARITHMETIC}"
        settings = {
            "INFERENCE_PRECISION_HINT": "f32" if precision == "int8" else precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        graph = _graph(load_file(checkpoint.weights_path), checkpoint.config, precision == "int8")
        self._compiled = core.compile_model(graph, "CPU", settings)
        self._mine = local()
        for length in QUERY_TOKENS:
            self.encode_tokens(np.zeros((1, length), np.int64))

    def encode_tokens(self, token_BT: Array) -> Array:
        """float32[B, D].  Threads may call at once: each has its own buffers."""
        if not hasattr(self._mine, "request"):
            self._mine.request = self._compiled.create_infer_request()
        found: Array = self._mine.request.infer([token_BT], share_inputs=True)[0]
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)


def _graph(weights: Mapping[str, Array], config: Mapping[str, Any], rounded: bool) -> Any:
    """Token ids int64[B, T] to mean hidden states float32[B, D]; all texts have T tokens, so nothing is masked.

    rounded: weights of products as 8-bit integers, round(127 w / max |w|) by output.
    """
    import openvino
    from openvino import opset15 as ops

    weights = {name.removeprefix("bert."): tensor for name, tensor in weights.items()}
    width, heads, eps = config["hidden_size"], config["num_attention_heads"], config["layer_norm_eps"]

    def matrix(name: str) -> Any:
        full = weights[f"{name}.weight"]
        if not rounded:
            return ops.constant(full)
        scale = (np.maximum(np.abs(full).max(1, keepdims=True), 1e-12) / 127).astype(np.float32)
        return ops.multiply(
            ops.convert(ops.constant(np.rint(full / scale).astype(np.int8)), "f32"), ops.constant(scale)
        )

    def linear(x: Any, name: str) -> Any:
        product = ops.matmul(x, matrix(name), False, True)
        return ops.add(product, ops.constant(weights[f"{name}.bias"]))

    def normed(x: Any, name: str) -> Any:
        centred = ops.mvn(x, np.array([-1], np.int64), True, eps, "inside_sqrt")
        scaled = ops.multiply(centred, ops.constant(weights[f"{name}.weight"]))
        return ops.add(scaled, ops.constant(weights[f"{name}.bias"]))

    def split(x_BTD: Any) -> Any:
        """[B, H, T, D / H]"""
        parted = ops.reshape(x_BTD, np.array([0, 0, heads, width // heads], np.int64), True)
        return ops.transpose(parted, np.array([0, 2, 1, 3], np.int64))

    token_BT = ops.parameter([-1, -1], np.int64, name="tokens")
    first_axis = np.array(0, np.int64)
    length = ops.gather(ops.shape_of(token_BT), np.array(1, np.int64), first_axis)
    place_T = ops.range(np.array(0, np.int64), length, np.array(1, np.int64), "i64")
    table = "embeddings.word_embeddings.weight"
    x_BTD = ops.gather(ops.constant(weights[table]), token_BT, first_axis)
    x_BTD = ops.add(
        x_BTD, ops.gather(ops.constant(weights["embeddings.position_embeddings.weight"]), place_T, first_axis)
    )
    x_BTD = ops.add(x_BTD, ops.constant(weights["embeddings.token_type_embeddings.weight"][:1]))
    x_BTD = normed(x_BTD, "embeddings.LayerNorm")
    for i in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{i}"
        q, k, v = (split(linear(x_BTD, f"{layer}.attention.self.{part}")) for part in ("query", "key", "value"))
        mixed = ops.transpose(ops.scaled_dot_product_attention(q, k, v), np.array([0, 2, 1, 3], np.int64))
        joined = ops.reshape(mixed, np.array([0, 0, width], np.int64), True)
        x_BTD = ops.add(x_BTD, linear(joined, f"{layer}.attention.output.dense"))
        x_BTD = normed(x_BTD, f"{layer}.attention.output.LayerNorm")
        hidden = ops.gelu(linear(x_BTD, f"{layer}.intermediate.dense"), "erf")
        x_BTD = normed(ops.add(x_BTD, linear(hidden, f"{layer}.output.dense")), f"{layer}.output.LayerNorm")
    mean_BD = ops.reduce_mean(x_BTD, np.array([1], np.int64), False)
    return openvino.Model([mean_BD], [token_BT], "bert")
