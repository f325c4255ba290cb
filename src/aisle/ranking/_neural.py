"""What the rankers that learn from the log have in common: settings, fitting, and the fitted stage.

Legend: Q requests (pages), N candidates, K tasks.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field
from torch import nn

from aisle.core import registry
from aisle.core.balance import Balancer
from aisle.core.env import Env
from aisle.core.errors import SettingError
from aisle.core.lists import Array
from aisle.core.method import NOTHING, Given, Method, State
from aisle.core.shop import Counter, ShopView
from aisle.core.tables import Tables
from aisle.core.workplaces import Workplace
from aisle.ranking._counts import COUNTERS
from aisle.ranking._facts import attributes_of
from aisle.ranking._features import FeatureMaker, Features, scale_of, standardised, with_query_vectors
from aisle.ranking._impressions import Impressions, impressions
from aisle.ranking._inputs import RATES, Batch, InputLayer, Ranker, Shape, TableLookup, losses
from aisle.ranking._negatives import with_negatives
from aisle.ranking._serving import NeuralStage
from aisle.ranking.fusion import Fusion
from aisle.training.batches import RowBatches
from aisle.training.loop import train
from aisle.training.settings import TrainSettings
from aisle.training.threads import seeded

VALIDATION_SHARE = 0.1
LEAST_PAGES = 20
"""With fewer pages nothing is held back for validation."""


class NeuralRanker(Method):
    """
    tasks      actions that are predicted, each by a head of its own
    utility    task -> what its probability counts for in the order; 1 for the first task alone when empty
    start      a fusion of the retrievers' scores that the order starts from: what was learned of clicks moves items in an
               order by relevance; None orders by what was learned alone
    start_weight  how loud, beside what was learned; both are standardised over the candidates of a request
    dim        width of an id's vector
    dropout    of hidden layers
    attributes how many of the catalogue's attributes are features
    encoder    whose vectors compare query and item; "" for none
    negatives  rows added to each page as seen and passed over, from what the plan finds for its query and from the whole
               catalogue: a ranker of 500 candidates must know more than what was shown
    tables     the part that holds the ids' vectors, with its settings
    balancer   the part that joins the tasks' losses, with its settings; "" adds them up
    page_batch pages a batch
    train      the loop's settings
    serve_precision  ``bf16``: the network serves in bf16; ``auto``: where the processor has it
    serve_threads  processor threads that share the candidates of a request, where the network is compiled (``hhft`` in bf16);
               torch's operators use the process's own
    threads    processor threads of a fit
    """

    tasks: tuple[str, ...] = ("click", "cart", "order")
    utility: dict[str, float] = {}
    start: Fusion | None = None
    start_weight: float = Field(2.0, gt=0)
    dim: int = Field(16, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    attributes: int = Field(4, ge=0)
    encoder: str = ""
    negatives: int = Field(5, ge=0)
    tables: str = "sparse.recis"
    table_settings: dict[str, Any] = {}
    balancer: str = ""
    balancer_settings: dict[str, Any] = {}
    page_batch: int = Field(256, ge=1)
    train: TrainSettings = TrainSettings(epochs=3, watch="loss", patience=2, save_every=20)
    serve_precision: Literal["fp32", "bf16", "auto"] = "auto"
    serve_threads: int = Field(1, ge=1)
    threads: int = Field(2, ge=1)

    @property
    def reads(self) -> frozenset[str]:
        own = frozenset({f"emb_{self.encoder}"} if self.encoder else ())
        return own if self.start is None else own | self.start.reads

    @property
    def writes(self) -> frozenset[str]:
        return frozenset({"score", *(RATES[task] for task in self.tasks)})

    @property
    def counters(self) -> tuple[Counter, ...]:
        return COUNTERS

    @property
    def needs(self) -> Mapping[str, str]:
        return {"lists": "candidates"} if self.negatives else {}

    def trunk(self, shape: Shape, tasks: Sequence[str]) -> nn.Module:
        """The network: ``Inputs`` -> logits [N, K].  What only one task uses is under ``heads`` and is given float32."""
        raise TypeError(f"{type(self).__name__} defines no trunk(shape, tasks)")

    def weights(self) -> dict[str, float]:
        """task -> weight in the score.  Raises SettingError for a task that is not predicted."""
        for task in self.utility:
            if task not in self.tasks:
                raise SettingError(f"utility names {task!r}, the tasks are {', '.join(self.tasks)}")
        return dict(self.utility) or {self.tasks[0]: 1.0}

    def fit(self, shop: ShopView, env: Env, given: Given = NOTHING) -> NeuralStage:
        self.weights()
        # What is learned counts what the view counts; a stage that is fitted by itself goes on with it.
        seen = replace(env, counters=shop)
        env = env if env.counters is not None else seen
        pages = impressions(shop, self.tasks)
        maker = FeatureMaker(attributes_of(env.engine.items, self.attributes), self.encoder)
        fit_on, held = _split(pages)
        examples = Examples.of(with_negatives(fit_on, self.negatives, env, given), maker, seen)
        scale = scale_of(examples.features)
        examples = examples.standardised(scale)
        held_back = None if held is None else Examples.of(held, maker, seen).standardised(scale)
        shape = Shape.of(examples.features, maker.fields(), self.dim)
        with seeded(env.seed, self.threads):
            model, tables = self.network(shape, env)
            model.begin_at(dict(zip(self.tasks, torch.from_numpy(examples.label.T), strict=True)))
            place = _workplace(self, shop, env)
            self._train(model, tables, examples, held_back, env, None if place is None else place.folder)
        return NeuralStage.exported(self, env, maker, scale, shape, model, tables)

    def network(self, shape: Shape, env: Env) -> tuple[Ranker, Tables]:
        """The network before training, and the tables inside it."""
        part = self.tables_part(shape)
        if "seed" in type(part).model_fields:
            part = part.model_copy(update={"seed": env.seed})
        tables: Tables = part.build(env)
        return self.ranker(shape, TableLookup(tables, shape)), tables

    def tables_part(self, shape: Shape) -> Any:
        """The settings of the tables that hold the vectors of these fields."""
        return registry.build(self.tables, {"embeddings": embeddings(shape), **self.table_settings})

    def ranker(self, shape: Shape, lookup: nn.Module) -> Ranker:
        """The network over any lookup of ids."""
        return Ranker(InputLayer(shape, lookup), self.trunk(shape, self.tasks), self.tasks)

    def _train(
        self, model: Ranker, tables: Tables, examples: Examples, held: Examples | None, env: Env, folder: Path | None
    ) -> None:
        train(
            model,
            RowBatches(len(examples), min(self.page_batch, len(examples)), examples.batch, seed=env.seed),
            losses,
            self.train,
            tables=tables,
            balancer=self._balancer(env),
            shared=lambda module: module.shared_parameters(),
            validate=None if held is None else lambda module: mean_losses(module, held),
            folder=folder,
            seed=env.seed,
            progress=env.progress,
            task=f"train {registry.name_of(self)}",
        )
        if folder is not None:
            for done in (folder / "checkpoints", *folder.glob("best-*")):
                shutil.rmtree(done, ignore_errors=True)

    def _balancer(self, env: Env) -> Balancer | None:
        return registry.build(self.balancer, self.balancer_settings).build(env) if self.balancer else None

    def restore(self, state: State, env: Env, given: Given = NOTHING) -> NeuralStage:
        return NeuralStage.restored(self, state, env)

    @classmethod
    def tiny_settings(cls) -> dict[str, Any]:
        """What every ranker's ``tiny()`` has in common."""
        return {
            "dim": 8,
            "negatives": 0,
            "page_batch": 16,
            "tasks": ("click", "order"),
            "train": TrainSettings(epochs=2, lr=3e-3, schedule="constant"),
            "serve_precision": "fp32",
            "threads": 1,
        }

    @classmethod
    def tiny(cls) -> Self:
        return cls(**cls.tiny_settings())


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Pages with their features: position int64[N] and label float32[N, K] of each candidate."""

    features: Features
    position: Array
    label: Array

    @classmethod
    def of(cls, pages: Impressions, maker: FeatureMaker, env: Env) -> Examples:
        requests = pages.requests
        if maker.encoder:
            requests = with_query_vectors(requests, maker.encoder, env)
        return cls(maker.make(requests, pages.lists, env), pages.lists["position"], pages.lists["label"])

    def __len__(self) -> int:
        """Pages."""
        return len(self.features.splits) - 1

    def standardised(self, scale: Mapping[str, Array]) -> Examples:
        return replace(self, features=standardised(self.features, scale))

    def batch(self, pages: Array) -> Batch:
        """These pages as tensors."""
        part = self.features.select(pages)
        counts = np.diff(part.splits)
        rows = np.arange(part.splits[-1]) + np.repeat(self.features.splits[pages] - part.splits[:-1], counts)
        return Batch.of(part, self.position[rows], self.label[rows])


def mean_losses(module: nn.Module, examples: Examples, pages: int = 512) -> dict[str, float]:
    """``loss/<task>`` over all candidates, and their sum as ``loss``."""
    total: dict[str, float] = {}
    for start in range(0, len(examples), pages):
        batch = examples.batch(np.arange(start, min(start + pages, len(examples))))
        share = len(batch.owner) / len(examples.position)
        for task, value in losses(module, batch).items():
            total[f"loss/{task}"] = total.get(f"loss/{task}", 0.0) + share * float(value)
    return {**total, "loss": sum(total.values())}


def embeddings(shape: Shape) -> dict[str, dict[str, Any]]:
    """The declarations of the tables: field -> settings of ``core.tables.Embedding``.  The past shares its candidates' fields."""
    return {
        field.name: {"dim": shape.dim, "table": field.table, "combiner": "mean" if field.length else "sum"}
        for field in shape.fields
        if not field.is_past
    }


def _split(pages: Impressions) -> tuple[Impressions, Impressions | None]:
    """What to learn from, and the latest pages to stop by; all and None where there are few."""
    return pages.parted(VALIDATION_SHARE) if len(pages.requests) >= LEAST_PAGES else (pages, None)


def _workplace(method: NeuralRanker, shop: ShopView, env: Env) -> Workplace | None:
    """Where this very fit keeps its checkpoints, so that it goes on after a kill; None where nothing is kept."""
    if env.scratch is None:
        return None
    name = registry.name_of(method)
    last_s = float(shop.events["time_s"][-1]) if len(shop.events) else 0.0
    parts = [method.model_dump(mode="json"), env.seed, shop.generation, repr(shop.until_s), len(shop.events), last_s]
    return Workplace.of(env.scratch, name, parts)
