"""One arm of ``ctr_training.py`` in a process of its own: ``ctr_arms.py ARM MODEL IDS STEPS THREADS``.

Each line of its input but "score" is the number of a round: its STEPS batches are made, trained on, and the seconds answered.
"score" answers the area under the curve over held-out samples.  Peers run with the Python of their own environments, which know
nothing of aisle.

Legend: F features, B samples, D width of a vector.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import pairwise
from time import perf_counter
from typing import Any

import numpy as np
import torch

F, B, D = 26, 4096, 16
HIDDEN, CROSSES, LR = [64, 64, 64], 3, 1e-3  # FuxiCTR's own defaults
TABLE_LR = 0.02
"""Of tables whose optimiser changes met rows only, chosen on generated batches of another seed; Adam over all rows, which goes on
moving a row between its meetings, keeps LR."""
NAMES = [f"f{n}" for n in range(F)]
HELD = 16
READY = 3_000_000
"""Ids at most that aisle's tables have memory for from the start, as peers have for all; fewer are met."""

Batch = tuple[torch.Tensor, torch.Tensor]
"""(int64[F, B] ids, float32[B] labels)"""
Model = tuple[Callable[[Batch], None], Callable[[torch.Tensor], torch.Tensor]]
"""(a training step, scores float32[B] of ids without learning)"""
Parts = tuple[Callable[[int, list[int], int], torch.nn.Module], Callable[[int, int], torch.nn.Module]]
"""((width, hidden widths, outputs or 0) -> linear layers with ReLU between them, (width, number) -> cross layers)"""


def batches(num_ids: int, seed: int) -> Iterator[Batch]:
    """Zipf ids, popular ones anywhere, and labels of a planted additive model."""
    each, rng = num_ids // F, np.random.default_rng(seed)
    while True:
        rank = ((1 - rng.random((F, B)) * (1 - each**-0.2)) ** -5).astype(np.int64) - 1
        ids = rank * 2_654_435_761 % each
        effect = np.sin(ids * 12.9898 + np.arange(F)[:, None]).sum(0) * 0.6 - 1
        label = (rng.random(B) < 1 / (1 + np.exp(-effect))).astype(np.float32)
        yield torch.from_numpy(ids), torch.from_numpy(label)


def plain_layers(width: int, hidden: list[int], out: int) -> torch.nn.Module:
    """torch's own layers."""
    layers = [m for a, b in pairwise([width, *hidden]) for m in (torch.nn.Linear(a, b), torch.nn.ReLU())]
    return torch.nn.Sequential(*layers, *([torch.nn.Linear(hidden[-1], out)] if out else []))


class PlainCross(torch.nn.Module):
    """Cross layers of torch's operations."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Linear(width, width) for _ in range(layers)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        crossed = x
        for layer in self.layers:
            crossed = torch.addcmul(crossed, x, layer(crossed))
        return crossed


PLAIN: Parts = (plain_layers, PlainCross)


def own_parts() -> Parts:
    """Those of aisle, which have the same first values."""
    from aisle.nn.cross_layers import CrossLayers
    from aisle.nn.mlp import mlp

    return mlp, CrossLayers


class Dense(torch.nn.Module):
    """The dense part: a DNN, or DCNv2 with cross layers beside it; float32[B, F * D] -> logits float32[B]."""

    def __init__(self, model: str, parts: Parts = PLAIN) -> None:
        super().__init__()
        (layers, cross), width = parts, F * D
        self.deep = layers(width, HIDDEN, 0 if model == "dcnv2" else 1)
        self.cross, self.head = None, None
        if model == "dcnv2":
            self.cross, self.head = cross(width, CROSSES), torch.nn.Linear(HIDDEN[-1] + width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.deep(x)
        if self.cross is not None and self.head is not None:
            out = self.head(torch.cat([self.cross(x), out], 1))
        return out[:, 0]


def trained(
    model: str,
    vectors: Callable[[torch.Tensor], torch.Tensor],
    step_tables: Callable[[], None],
    bf16: bool = False,
    parts: Parts = PLAIN,
) -> Model:
    """``Dense`` over ``vectors`` of ids float32[B, F * D], trained by Adam; tables step after it."""
    dense = Dense(model, parts)
    optimiser = torch.optim.Adam(dense.parameters(), lr=LR, fused=True)

    def logits(ids: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
            return dense(vectors(ids)).float()

    def step(batch: Batch) -> None:
        ids, label = batch
        torch.nn.functional.binary_cross_entropy_with_logits(logits(ids), label).backward()
        optimiser.step()
        optimiser.zero_grad()
        step_tables()

    return step, logits


def recis(model: str, num_ids: int, threads: int, kind: str = "adam", bf16: bool = False) -> Model:
    from aisle.sparse.recis import Recis
    from aisle.training.memory import keep_freed

    keep_freed()
    tables = Recis(
        embeddings={n: {"dim": D} for n in NAMES},
        optimiser={"kind": kind, "lr": TABLE_LR},
        threads=threads,
        ready_ids=min(num_ids, READY),
    ).build()

    def vectors(ids: torch.Tensor) -> torch.Tensor:
        return tables.packed(dict(zip(NAMES, ids, strict=True)), torch.bfloat16 if bf16 else torch.float32)

    return trained(model, vectors, tables.step, bf16, own_parts())


def dense(model: str, num_ids: int, threads: int, bf16: bool = False, plain: bool = False) -> Model:
    """The dense part alone, aisle's or torch's own, over given vectors of which gradients are asked too."""
    from aisle.training.memory import keep_freed

    keep_freed()
    fixed = (torch.randn(B, F * D) * 0.01).to(torch.bfloat16 if bf16 else torch.float32).requires_grad_()
    return trained(model, lambda ids: fixed, lambda: None, bf16, PLAIN if plain else own_parts())


def plain(model: str, num_ids: int, threads: int) -> Model:
    """``nn.Embedding`` with sparse gradients and SparseAdam."""
    table = torch.nn.Embedding(num_ids, D, sparse=True)
    torch.nn.init.normal_(table.weight, std=0.01)
    optimiser, first = torch.optim.SparseAdam(table.parameters(), lr=LR), torch.arange(F)[:, None] * (num_ids // F)

    def step_tables() -> None:
        optimiser.step()
        optimiser.zero_grad()

    return trained(model, lambda ids: table((ids + first).T).reshape(B, F * D), step_tables)


def torchrec(model: str, num_ids: int, threads: int, bf16: bool = False) -> Model:
    """TorchRec's fused collection: fbgemm's tables, row-wise Adagrad in the backward pass."""
    from torchrec.modules.embedding_configs import EmbeddingBagConfig
    from torchrec.modules.fused_embedding_modules import FusedEmbeddingBagCollection
    from torchrec.optim.rowwise_adagrad import RowWiseAdagrad
    from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

    configs = [
        EmbeddingBagConfig(name=f"t_{n}", embedding_dim=D, num_embeddings=num_ids // F, feature_names=[n])
        for n in NAMES
    ]
    tables = FusedEmbeddingBagCollection(
        configs, RowWiseAdagrad, {"lr": TABLE_LR, "eps": 1e-8}, device=torch.device("cpu")
    )
    for _, parameter in tables.named_parameters():
        torch.nn.init.normal_(parameter.data, std=0.01)
    lengths = torch.ones(F * B, dtype=torch.int64)

    def vectors(ids: torch.Tensor) -> torch.Tensor:
        return tables(KeyedJaggedTensor(NAMES, ids.reshape(-1), lengths=lengths)).values()

    return trained(model, vectors, lambda: None, bf16)


def fuxictr(model: str, num_ids: int, threads: int, optimiser: str = "adam", lr: float = LR) -> Model:
    """FuxiCTR's layers and training step; its models stand in its repository's model_zoo, not in its package.  The optimiser is
    any name in torch.optim, for all parameters; embeddings have dense gradients."""
    from collections import OrderedDict
    from pathlib import Path
    from tempfile import gettempdir

    from fuxictr.features import FeatureMap
    from fuxictr.pytorch.layers import CrossNetV2, FeatureEmbedding, MLP_Block
    from fuxictr.pytorch.models import BaseModel

    features = FeatureMap("made", str(Path(gettempdir())))
    features.features = OrderedDict(
        (n, {"source": "", "type": "categorical", "vocab_size": num_ids // F}) for n in NAMES
    )
    features.labels, features.num_fields, features.default_emb_dim = ["label"], F, D

    class Own(BaseModel):
        def __init__(self) -> None:
            super().__init__(features, verbose=0, model_root=gettempdir(), metrics=["AUC"])
            self.embedding_layer = FeatureEmbedding(features, D, "partial(nn.init.normal_, std=1e-2)")
            self.deep = MLP_Block(input_dim=F * D, output_dim=None, hidden_units=HIDDEN, hidden_activations="ReLU")
            self.cross = CrossNetV2(F * D, CROSSES) if model == "dcnv2" else None
            self.head = torch.nn.Linear(HIDDEN[-1] + (F * D if self.cross else 0), 1)
            self.compile(optimiser, "binary_crossentropy", lr)
            self.reset_parameters()
            self.model_to_device()
            self._max_gradient_norm = 10.0  # what fit() sets

        def forward(self, inputs: Any) -> dict[str, torch.Tensor]:
            x = self.embedding_layer(self.get_inputs(inputs), flatten_emb=True)
            deep = self.deep(x)
            out = torch.cat([self.cross(x), deep], 1) if self.cross else deep
            return {"y_pred": self.output_activation(self.head(out))}

    own = Own()
    own.train()

    def inputs(ids: torch.Tensor, label: torch.Tensor) -> dict[str, torch.Tensor]:
        return {**dict(zip(NAMES, ids, strict=True)), "label": label}

    def score(ids: torch.Tensor) -> torch.Tensor:
        return own(inputs(ids, torch.zeros(B)))["y_pred"][:, 0]

    return lambda batch: own.train_step(inputs(*batch)), score


ARMS: dict[str, Callable[[str, int, int], Model]] = {
    "recis": recis,
    "recis-bf16": lambda *a: recis(*a, bf16=True),
    "recis-adagrad": lambda *a: recis(*a, kind="adagrad"),
    "recis-adagrad-bf16": lambda *a: recis(*a, kind="adagrad", bf16=True),
    "plain": plain,
    "dense": dense,
    "dense-bf16": lambda *a: dense(*a, bf16=True),
    "dense-torch": lambda *a: dense(*a, plain=True),
    "torchrec": torchrec,
    "torchrec-bf16": lambda *a: torchrec(*a, bf16=True),
    "fuxictr": fuxictr,
    "fuxictr-sgd": lambda *a: fuxictr(*a, optimiser="SGD", lr=1.0),
}


def auc(score: np.ndarray, label: np.ndarray) -> float:
    rank = score.argsort().argsort() + 1
    good = label.sum()
    return float((rank[label == 1].sum() - good * (good + 1) / 2) / (good * (len(label) - good)))


def main(arm: str, model: str, num_ids: int, steps: int, threads: int) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    step, score = ARMS[arm](model, num_ids, threads)
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "score":
            source = batches(num_ids, 10_000)
            held = [next(source) for _ in range(HELD)]
            with torch.no_grad():
                scores = [score(ids).numpy() for ids, _ in held]
            print(auc(np.concatenate(scores), np.concatenate([label.numpy() for _, label in held])), flush=True)
            continue
        source = batches(num_ids, int(line))
        made = [next(source) for _ in range(steps)]
        start = perf_counter()
        for batch in made:
            step(batch)
        print(perf_counter() - start, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(float(sys.argv[3])), int(sys.argv[4]), int(sys.argv[5]))
