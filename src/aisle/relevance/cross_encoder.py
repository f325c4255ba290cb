"""Cross-encoder: one BERT reads query and item together and gives the chances of each grade.  The baseline of every judge, and
the student of their grades.

    [CLS] query [SEP] item [SEP]  ->  vector of [CLS]  ->  chances of C grades

``softmax``: P(grade = c) = softmax(W v + b);  ``ordinal``: P(grade >= c) = sigmoid(w v - t_c) with t rising (CORAL,
arXiv:1901.07884), so that a near miss costs less than a far one.  With a teacher the target is its chances (Hinton et al.,
arXiv:1503.02531, at temperature 1): the loss is then KL up to a constant.

Legend: B texts, T tokens, D width, N pairs, C grades from worst to best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from aisle.core.env import Env
from aisle.core.errors import SettingError
from aisle.core.lists import Array, ItemLists
from aisle.core.method import NOTHING, Given, Settings, State
from aisle.core.requests import Requests
from aisle.core.shop import Items, ShopView
from aisle.nn.encoders import minilm_is_installed
from aisle.nn.encoders.bert import Bert, bert_of, best_dtype
from aisle.nn.encoders.checkpoint import Checkpoint, minilm_checkpoint, read_checkpoint
from aisle.nn.encoders.pair_network import PairNetwork, bert_config
from aisle.nn.encoders.pieces import Pieces
from aisle.relevance._item_texts import brief_texts, item_texts
from aisle.relevance._pair_reader import PairReader
from aisle.relevance._pairs import Pairs, class_weights, training_pairs
from aisle.relevance._scale import Scale
from aisle.relevance._serving import ServedMethod, ServingStage
from aisle.relevance._stages import Stages
from aisle.relevance._tiers import fit_threshold
from aisle.training.batches import RowBatches
from aisle.training.settings import TrainSettings
from aisle.training.threads import seeded

NAME = "relevance.cross_encoder"

TEXTS = {"full": item_texts, "brief": brief_texts}
"""What is read of an item, by the setting ``text``."""


class Scratch(Settings):
    """Of a network without pre-trained weights.

    width, hidden  of its vectors, and between the two products of a block
    layers, heads  blocks, and heads of attention in each
    vocabulary     pieces of words that it learns at most
    lr             its own rate, higher than ``train.lr``, which is for weights that know something
    """

    width: int = Field(128, ge=8)
    layers: int = Field(3, ge=1)
    heads: int = Field(4, ge=1)
    hidden: int = Field(384, ge=8)
    vocabulary: int = Field(8000, ge=300)
    lr: float = Field(5e-4, gt=0)


class CrossEncoder(ServedMethod):
    """
    encoder       ``minilm``, the folder of a BERT-like model, or ``scratch``; ``auto``: minilm where its weights are installed
    layers        of a pre-trained encoder that are kept, from the first on; 0 for all.  Half of them cost half the time
    text          what is read of an item: ``full``, or ``brief``, its words once each, half as many tokens
    scratch       of a network from scratch
    head          ``softmax`` or ``ordinal``
    class_weight  power of the inverse frequency by which pairs of rare grades count more: 0 not at all, 1 evens grades out
    teacher       a stage of this plan (such as ``relevance.lref``, put under ``offline``) or ``relevance.lref@VERSION``, whose
                  chances are learned; "" for none
    own           weight of the human grade beside the teacher's chances, on pairs that have one
    unlabelled    candidates of each training query that only the teacher grades
    max_tokens    of a pair
    train_words   learn the word vectors too
    batch, train  pairs a step, and the loop's settings
    precision     of serving: ``auto`` is bf16 where the processor multiplies it
    threads       processor threads of a fit; serving uses the process's own
    """

    encoder: str = "auto"
    layers: int = Field(0, ge=0)
    text: Literal["full", "brief"] = "full"
    scratch: Scratch = Scratch()
    head: Literal["softmax", "ordinal"] = "ordinal"
    class_weight: float = Field(0.5, ge=0, le=1)
    teacher: str = ""
    own: float = Field(0.5, ge=0, le=1)
    unlabelled: int = Field(0, ge=0)
    max_tokens: int = Field(96, ge=8, le=512)
    train_words: bool = False
    batch: int = Field(32, ge=1)
    train: TrainSettings = TrainSettings(
        epochs=2,
        lr=1e-4,
        warmup=0.1,
        weight_decay=0.01,
        precision="auto",
        evaluate_every=200,
        patience=3,
        save_every=100,
    )
    precision: Literal["fp32", "bf16", "auto"] = "auto"
    threads: int = Field(2, ge=1)

    @property
    def needs(self) -> Mapping[str, str]:
        lists = {"lists": "candidates"} if self.teacher and self.unlabelled else {}
        return {"teacher": self.teacher, **lists} if self.teacher else {}

    def fit(self, shop: ShopView, env: Env, given: Given = NOTHING) -> CrossEncoderStage:
        """A fit that was killed goes on, except from a teacher, which may be another one by then."""
        stages = Stages(NAME, env) if self.teacher else Stages.of(self, shop, env)
        fitted = self.fit_pairs(*training_pairs(shop), shop.items, env, given, stages)
        stages.close()
        return fitted

    def fit_pairs(
        self, pairs: Pairs, held: Pairs, items: Items, env: Env, given: Given = NOTHING, stages: Stages | None = None
    ) -> CrossEncoderStage:
        """The judge that learns from ``pairs``; ``held`` choose its moment and its threshold."""
        with seeded(env.seed, self.threads):
            reader = self._reader(pairs.scale, items, pairs.queries)
            targets = self._targets(pairs, env, given)
            self._train(reader, targets, held, items, stages or Stages(NAME, env))
        reader.ready(_dtype(self.precision))
        threshold = fit_threshold(reader.chances_of_pairs(held, items), held.label) if len(held) else 0.5
        return CrossEncoderStage(self, env, reader, threshold)

    def restore(self, state: State, env: Env, given: Given = NOTHING) -> CrossEncoderStage:
        return CrossEncoderStage.restored(self, state, env)

    @classmethod
    def tiny(cls) -> Self:
        scratch = Scratch(width=16, layers=1, heads=2, hidden=32, vocabulary=400)
        quick = TrainSettings(epochs=1, lr=1e-3, max_steps=20)
        return cls(
            encoder="scratch", scratch=scratch, train=quick, precision="fp32", threads=1, top=1000, budget_ms=1e9
        )

    @property
    def is_from_scratch(self) -> bool:
        return self.encoder == "scratch" or (self.encoder == "auto" and not minilm_is_installed())

    @property
    def loudness(self) -> float:
        """Chosen on a generated shop, by a record: docs/guides/judges.md."""
        return 1.0 if self.is_from_scratch else 4.0

    def checkpoint(self) -> Checkpoint | None:
        """The pre-trained model that is fine-tuned; None for a network from scratch."""
        if self.is_from_scratch:
            return None
        return (
            minilm_checkpoint()
            if self.encoder in ("auto", "minilm")
            else read_checkpoint(Path(self.encoder), self.encoder)
        )

    def _reader(self, scale: Scale, items: Items, queries: Sequence[str]) -> PairReader:
        found = self.checkpoint()
        if found is not None:
            network = PairNetwork(bert_of(found, self.layers), len(scale), self.head)
            return self._reads(network, Pieces(found.tokenizer()), scale)
        if self.layers:
            raise SettingError(
                f"layers is {self.layers}: it shortens a pre-trained encoder, and this network is from scratch; set scratch.layers"
            )
        texts = [*queries, *TEXTS[self.text](items, np.arange(items.num_rows, dtype=np.int32))]
        pieces = Pieces.learned(texts, self.scratch.vocabulary)
        return self._reads(self._from_scratch(len(pieces), len(scale)), pieces, scale)

    def _reads(self, network: PairNetwork, pieces: Pieces, scale: Scale) -> PairReader:
        return PairReader(network, pieces, scale, self.max_tokens, TEXTS[self.text])

    def _from_scratch(self, vocabulary: int, num_grades: int) -> PairNetwork:
        size = self.scratch
        config = {
            "hidden_size": size.width, "vocab_size": vocabulary, "max_position_embeddings": self.max_tokens,
            "type_vocab_size": 2, "layer_norm_eps": 1e-12, "num_attention_heads": size.heads,
            "intermediate_size": size.hidden, "num_hidden_layers": size.layers,
        }  # fmt: skip
        bert = Bert(config)
        for table in (bert.tokens, bert.places, bert.types):
            nn.init.normal_(table.weight, std=0.02)
        return PairNetwork(bert, num_grades, self.head)

    # -- learning ------------------------------------------------------------------------------------------------------

    def _targets(self, pairs: Pairs, env: Env, given: Given) -> PairTargets:
        """What is learned: human grades, a teacher's chances, or both."""
        target_NC: Array = np.eye(len(pairs.scale), dtype=np.float32)[pairs.label]
        weight_N = class_weights(pairs)[pairs.label] ** self.class_weight
        if not self.teacher:
            return PairTargets(pairs.texts, pairs.row, target_NC, weight_N / weight_N.mean())
        teacher = given.stage("teacher")
        taught_NC = _in_order(teacher, pairs)
        target_NC = self.own * target_NC + (1 - self.own) * taught_NC
        targets = PairTargets(pairs.texts, pairs.row, target_NC, weight_N / weight_N.mean())
        if not self.unlabelled or given.candidates is None:
            return targets
        asked = sorted(set(pairs.texts))
        lists = given.candidates(Requests.make(asked), 1)
        lists = lists.take(lists.position < self.unlabelled)
        more = teacher.chances(asked, lists)
        texts = [asked[q] for q in lists.owner]
        return targets.plus(PairTargets(texts, lists.item, more, np.ones(len(texts))))

    def _train(self, reader: PairReader, targets: PairTargets, held: Pairs, items: Items, stages: Stages) -> None:
        env = stages.env
        network = reader.network.to(env.device)
        network.bert.tokens.requires_grad_(self.train_words or self.checkpoint() is None)
        settings = (
            self.train if self.checkpoint() is not None else self.train.model_copy(update={"lr": self.scratch.lr})
        )
        heads, tails = reader.heads(targets.queries), reader.tails(items, targets.row)
        target = torch.from_numpy(targets.target)
        weight = torch.from_numpy(targets.weight.astype(np.float32))
        network.start_at((target * weight[:, None]).mean(0).to(env.device))

        def batch(rows: Array) -> TargetBatch:
            tokens = reader.batch([heads[n] for n in rows], [tails[n] for n in rows])
            of = torch.from_numpy(rows)
            return TargetBatch(*(t.to(env.device) for t in (*tokens, target[of], weight[of])))

        def validate(module: nn.Module) -> Mapping[str, float]:
            gold = np.eye(len(held.scale))[held.label]
            chance = np.maximum(reader.chances_of_pairs(held, items), 1e-9)
            return {"loss": float(-(gold * np.log(chance)).sum(1).mean())}

        batches = RowBatches(len(targets), min(self.batch, len(targets)), batch, seed=env.seed)
        check = validate if len(held) else None
        stages.train("learned", network, batches, pair_loss, settings, stages.home, check)


@dataclass(frozen=True, eq=False)
class PairTargets:
    """N pairs with their targets: row int32[N], target float32[N, C] (sums to 1), weight float64[N]."""

    queries: Sequence[str]
    row: Array
    target: Array
    weight: Array

    def __len__(self) -> int:
        return len(self.row)

    def plus(self, other: PairTargets) -> PairTargets:
        both = (np.concatenate(pair) for pair in zip(self._arrays(), other._arrays(), strict=True))
        return PairTargets([*self.queries, *other.queries], *both)

    def _arrays(self) -> tuple[Array, Array, Array]:
        return self.row, self.target, self.weight


@dataclass(frozen=True, eq=False)
class TargetBatch:
    """A batch: token, type int64[B, T]; is_token bool[B, T]; target float32[B, C]; weight float32[B]."""

    token: Tensor
    type: Tensor
    is_token: Tensor
    target: Tensor
    weight: Tensor


def pair_loss(module: nn.Module, batch: TargetBatch) -> Mapping[str, Tensor]:
    """{"grade": weighted mean over pairs of - sum_c target_c log P(c)}"""
    logp_BC = module(batch.token, batch.type, batch.is_token)
    loss_B = -(batch.target * logp_BC).sum(1)
    return {"grade": (loss_B * batch.weight).sum() / batch.weight.sum().clamp(min=1e-9)}


class CrossEncoderStage(ServingStage[PairReader]):
    """See ``ServingStage``."""

    def state(self) -> State:
        """The weights in float32 as far as they are known so (products that serve in bf16 are kept as they serve)."""
        tensors = {name: t.float().cpu().numpy() for name, t in self.reader.network.state_dict().items()}
        values: dict[str, Any] = {
            "scale": self.reader.scale.to_json(),
            "threshold": self.threshold,
            "pieces": self.reader.pieces.to_json(),
            "config": bert_config(self.reader.network.bert),
        }
        return State(tensors, values)

    @classmethod
    def restored(cls, method: CrossEncoder, state: State, env: Env) -> CrossEncoderStage:
        values = state.values
        scale = Scale.from_json(values["scale"])
        network = PairNetwork(Bert(values["config"]), len(scale), method.head)
        network.load_state_dict({n: torch.from_numpy(np.array(a)) for n, a in state.tensors.items()})
        reader = method._reads(network.to(env.device), Pieces.from_json(values["pieces"]), scale)
        reader.ready(_dtype(method.precision))
        return cls(method, env, reader, float(values["threshold"]))


def _in_order(teacher: Any, pairs: Pairs) -> Array:
    """float32[N, C]: a teacher's chances of the pairs in their order."""
    out = np.zeros((len(pairs), len(pairs.scale)), np.float32)
    groups = pairs.by_query()
    counts = [len(places) for _, places in groups]
    flat = np.concatenate([places for _, places in groups])
    lists = ItemLists(pairs.row[flat], np.concatenate([[0], np.cumsum(counts)]))
    out[flat] = teacher.chances([query for query, _ in groups], lists)
    return out


def _dtype(precision: str) -> torch.dtype:
    if precision == "auto":
        return best_dtype()
    return torch.bfloat16 if precision == "bf16" else torch.float32


METHOD = CrossEncoder
