"""A BERT text encoder on OpenVINO (extra ``openvino``): three times as fast as torch for one query, and without torch.

The graph is written from the checkpoint's weights directly, so nothing is converted, traced or sent anywhere.  A single text of
a query's length runs on a graph of exactly that length, since to fit one graph to another length costs a third of a query's time.

Weights are kept with 8 bits a number and a scale for each output, which halves what a query has to read.  Where the processor
multiplies bytes, what they are multiplied with is rounded to 8 bits too, with a scale for every 32 numbers of a token, so that
no scale depends on what stands beside a text; all else is float32.

Legend: B texts, T tokens, D width, H heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock, local
from typing import Any

import numpy as np

from aisle.core.errors import SettingError, nearest
from aisle.core.lists import Array
from aisle.nn.encoders.checkpoint import Checkpoint, TokenEncoder

ARITHMETIC = 2
"""Counted up whenever this file computes another vector from the same weights and text."""
QUERY_TOKENS = range(3, 11)
"""Lengths that get a graph of their own, with the two marks around a text: 16 MB and a fifth of a second each, once."""
PRECISIONS = {"int8": "f32", "int8-weights": "f32", "bf16": "bf16", "f32": "f32"}
ROUNDED_TOGETHER = 32


class _Mine(local):
    """A thread's buffers by length of text."""

    def __init__(self) -> None:
        self.requests: dict[int, Any] = {}


class OpenVinoEncoder(TokenEncoder):
    """Texts to unit vectors (Encoder).

    precision  "int8": weights of 8 bits, multiplied in 8 bits where the processor can; "int8-weights": the same weights, all
               arithmetic in float32, for vectors that no processor computes otherwise, at twice the time; "bf16" or "f32": all
               of it
    threads    for one batch

    Raises SettingError for another precision.
    """

    def __init__(self, checkpoint: Checkpoint, *, precision: str = "int8", threads: int = 1) -> None:
        import openvino
        from safetensors.numpy import load_file

        if precision not in PRECISIONS:
            raise SettingError(f"no precision {precision!r}{nearest(precision, PRECISIONS)}")
        super().__init__(checkpoint.tokenizer())
        self._core = openvino.Core()
        self.precision = precision
        self._settings = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": ROUNDED_TOGETHER if precision == "int8" else 0,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        self.name, self.dim = checkpoint.name, int(checkpoint.config["hidden_size"])
        arithmetic = (
            "int8-weights" if precision == "int8" and not _rounds_inputs(self._core, self._settings) else precision
        )
        self.revision = f"{checkpoint.weights_hash[:12]}-openvino-{arithmetic}-{ARITHMETIC}"
        self._graph = _graph(load_file(checkpoint.weights_path), checkpoint.config, precision.startswith("int8"))
        self._any_length = self._core.compile_model(self._graph, "CPU", self._settings)
        self._of_length: dict[int, Any] = {}
        self._making, self._mine = Lock(), _Mine()

    def encode_tokens(self, token_BT: Array) -> Array:
        """float32[B, D].  Threads may call at once: each has its own buffers."""
        texts, length = token_BT.shape
        key = length if texts == 1 and length in QUERY_TOKENS else 0
        requests = self._mine.requests
        if key not in requests:
            requests[key] = self._compiled(key).create_infer_request()
        found: Array = requests[key].infer([token_BT], share_inputs=True)[0]
        return found.copy()

    def _compiled(self, length: int) -> Any:
        """The graph for one text of this length, or with 0 for any texts."""
        if not length:
            return self._any_length
        with self._making:
            if length not in self._of_length:
                graph = self._graph.clone()
                graph.reshape([1, length])
                self._of_length[length] = self._core.compile_model(graph, "CPU", self._settings)
            return self._of_length[length]


def _rounds_inputs(core: Any, settings: Mapping[str, Any]) -> bool:
    """Whether this processor rounds what 8-bit weights are multiplied with: a small product is asked."""
    import openvino
    from openvino import opset15 as ops

    width = 2 * ROUNDED_TOGETHER
    ones = ops.convert(ops.constant(np.ones((width, width), np.int8)), "f32")
    weights = ops.multiply(ones, ops.constant(np.ones((width, 1), np.float32)))
    asked = ops.parameter([1, width], np.float32)
    model = openvino.Model([ops.matmul(asked, weights, False, True)], [asked], "probe")
    x = np.zeros((1, width), np.float32)
    x[0, :2] = 1, 0.001  # 8 bits have no room for both
    out = core.compile_model(model, "CPU", dict(settings))([x])[0]
    return bool(abs(out[0, 0] - 1.001) > 1e-4)


def _graph(weights: Mapping[str, Array], config: Mapping[str, Any], rounded: bool) -> Any:
    """Token ids int64[B, T] to mean hidden states of length 1, float32[B, D]; all texts have T tokens, so nothing is masked.

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

    def attended(x_BTD: Any, layer: str) -> Any:
        """What each token takes from the others [B, T, D]; query, key and value are one product."""
        for kind in ("weight", "bias"):
            parts = [weights[f"{layer}.self.{part}.{kind}"] for part in ("query", "key", "value")]
            weights[f"{layer}.together.{kind}"] = np.concatenate(parts)
        together = linear(x_BTD, f"{layer}.together")
        by_head = ops.reshape(together, np.array([0, 0, 3 * heads, width // heads], np.int64), True)
        heads_first = ops.transpose(by_head, np.array([0, 2, 1, 3], np.int64))
        mixed = ops.scaled_dot_product_attention(*ops.split(heads_first, np.array(1, np.int64), 3).outputs())
        return ops.reshape(
            ops.transpose(mixed, np.array([0, 2, 1, 3], np.int64)), np.array([0, 0, width], np.int64), True
        )

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
        mixed = attended(x_BTD, f"{layer}.attention")
        x_BTD = ops.add(x_BTD, linear(mixed, f"{layer}.attention.output.dense"))
        x_BTD = normed(x_BTD, f"{layer}.attention.output.LayerNorm")
        hidden = ops.gelu(linear(x_BTD, f"{layer}.intermediate.dense"), "erf")
        x_BTD = normed(ops.add(x_BTD, linear(hidden, f"{layer}.output.dense")), f"{layer}.output.LayerNorm")
    mean_BD = ops.reduce_mean(x_BTD, np.array([1], np.int64), False)
    unit_BD = ops.normalize_l2(mean_BD, np.array([1], np.int64), 1e-12, "max")
    return openvino.Model([unit_BD], [token_BT], "bert")
