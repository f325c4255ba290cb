"""Multi-CoT tuning: three kinds of reasoning, each with an input of its own, beside the label alone.

    plain  query, item                -> label
    EE     query, item                -> how brand, category, attributes and keywords fit, label      (expert explaining)
    RA     rule, query, item          -> product relevance, modifier relevance, label                 (rule adherence)
    DR     wrong label, query, item   -> why that is too high or too low, label                       (decision reflection)

Legend: N pairs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from aisle.core.lists import Array
from aisle.core.shop import Items
from aisle.relevance._judge.llm import Llm
from aisle.relevance._pairs import Pairs
from aisle.relevance._verdicts import ATTRIBUTE, CATEGORY, Rationale, RuleTable
from aisle.relevance._writers import Writer
from aisle.relevance._writers.rules import RuleStore
from aisle.relevance._writers.tagger import Asked, Said, Tagger
from aisle.training.supervised import Examples

Task = Literal["plain", "ee", "ra", "dr"]

EXPLAIN = "<explain:>"
"""Ends the prompt of every task that reasons."""

BRAND, KEYWORDS = ("other", "silent", "asked"), ("none", "some", "all")
TOO_HIGH, TOO_LOW = "<too:high>", "<too:low>"
MARKS = (
    EXPLAIN, TOO_HIGH, TOO_LOW,
    *(f"<brand:{word}>" for word in BRAND), *(f"<keywords:{word}>" for word in KEYWORDS),
)  # fmt: skip
"""Beside those of prompts and grammar."""

_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, eq=False)
class Lesson:
    """The examples of one task and the pairs that they are about, int64 places; ``wrong``: labels that DR was shown."""

    examples: Examples
    places: Array
    wrong: Array | None = None


class Tasks:
    """Writes the examples of a set of pairs.

    writer  of rationales: gives the two verdicts and the words behind them
    tagger  of brands and keywords
    rules   one is shown to RA
    """

    def __init__(self, llm: Llm, items: Items, writer: Writer, tagger: Tagger, rules: RuleStore, seed: int) -> None:
        self.llm, self.items, self.writer, self.tagger, self.rules, self.seed = llm, items, writer, tagger, rules, seed
        self.table = RuleTable(len(llm.scale))

    def plain(self, pairs: Pairs) -> Lesson:
        answers = self.llm.answers_of([self.llm.grammar.labels[label] for label in pairs.label])
        return Lesson(Examples(self.llm.prompts_of(pairs, self.items), answers), np.arange(len(pairs)))

    def lesson(self, task: Task, pairs: Pairs, rationales: Sequence[Rationale | None]) -> Lesson:
        """The task's examples of all pairs whose rationale stands: one that a blind reader of its verdicts takes for another
        label is a story told afterwards, and is left out."""
        if task == "plain":
            return self.plain(pairs)
        places = np.flatnonzero([self._stands(r) for r in rationales])
        part, kept = pairs.take(places), [r for r in rationales if r is not None and self._stands(r)]
        wrong = wrong_labels(part, self.seed)
        if task == "ee":
            texts = self._explained(part, kept)
        elif task == "ra":
            texts = self._by_rule(kept)
        else:
            texts = self._reflected(kept, wrong)
        answers = self.llm.answers_of([self._joined(text, r.label) for text, r in zip(texts, kept, strict=True)])
        prompts = self.llm.prompts_of(
            part, self.items, cue=f" {EXPLAIN}",
            rules=[self.rule_of(query) for query in part.queries] if task == "ra" else (),
            judged=[self.llm.grammar.labels[w] for w in wrong] if task == "dr" else (),
        )  # fmt: skip
        return Lesson(Examples(prompts, answers), places, wrong if task == "dr" else None)

    def rationales(self, pairs: Pairs) -> list[Rationale | None]:
        """One a pair; None where the writer has none."""
        out: list[Rationale | None] = [None] * len(pairs)
        for query, places in pairs.by_query():
            written = self.writer.write(query, pairs.row[places].tolist(), pairs.label[places])
            for place, rationale in zip(places.tolist(), written, strict=True):
                out[place] = rationale
        return out

    def rule_of(self, query: str) -> list[str]:
        """The rule that a query calls for; the first one where it calls for none."""
        return self.rules.find(query, 1) or list(self.rules.rules[:1])

    # -- what is written -----------------------------------------------------------------------------------------------

    def _stands(self, rationale: Rationale | None) -> bool:
        return rationale is not None and self.table.label(rationale.category, rationale.attribute) == rationale.label

    def _joined(self, reasoning: str, label: int) -> str:
        mark = self.llm.grammar.labels[label]
        return f"{mark} {reasoning}" if self.llm.grammar.order == "label_first" else f"{reasoning} {mark}"

    def _explained(self, pairs: Pairs, rationales: Sequence[Rationale]) -> list[str]:
        """EE: brand, category, attributes and keywords in turn."""
        out = [""] * len(pairs)
        for query, places in pairs.by_query():
            asked, words = self.tagger.asked(query), _words(query)
            for place, said in zip(places.tolist(), self.tagger.said(pairs.row[places].tolist()), strict=True):
                out[place] = self._aspects(asked, words, said, rationales[place])
        return out

    def _aspects(self, asked: Asked, words: frozenset[str], said: Said, rationale: Rationale) -> str:
        brand, shared = brand_of(asked, said), words & _words(said.title)
        keywords = KEYWORDS[2 if shared == words else 1 if shared else 0]
        category, attribute = self._verdicts(rationale)
        if self.llm.grammar.form == "short":
            return f"<brand:{brand}> {category} {attribute} <keywords:{keywords}>"
        own = ", ".join(said.values.get("brand", ())) or "none"
        return (
            f"<brand:{brand}> brand {own} ; {category} {rationale.words[2]} ; {attribute} {rationale.words[3]} ; "
            f"<keywords:{keywords}> {' '.join(sorted(shared)) or 'no word'}"
        )

    def _by_rule(self, rationales: Sequence[Rationale]) -> list[str]:
        """RA: product relevance, then modifier relevance."""
        verdicts = [self._verdicts(r) for r in rationales]
        if self.llm.grammar.form == "short":
            return [" ".join(pair) for pair in verdicts]
        return [
            f"product {category} {r.words[2]} ; modifiers {attribute} {r.words[3]}"
            for (category, attribute), r in zip(verdicts, rationales, strict=True)
        ]

    def _reflected(self, rationales: Sequence[Rationale], wrong: Array) -> list[str]:
        """DR: which way the earlier decision errs, and what it overlooks."""
        out = []
        for rationale, before in zip(rationales, wrong.tolist(), strict=True):
            errs = TOO_HIGH if before > rationale.label else TOO_LOW
            category, attribute = self._verdicts(rationale)
            short = self.llm.grammar.form == "short"
            out.append(
                f"{errs} {category} {attribute}"
                if short
                else f"{errs} {category} {rationale.words[2]} ; {attribute} {rationale.words[3]}"
            )
        return out

    @staticmethod
    def _verdicts(rationale: Rationale) -> tuple[str, str]:
        return f"<category:{CATEGORY[rationale.category]}>", f"<attribute:{ATTRIBUTE[rationale.attribute]}>"


def wrong_labels(pairs: Pairs, seed: int) -> Array:
    """int64[N]: a label other than the own one, drawn evenly."""
    num = len(pairs.scale)
    step = np.random.default_rng((seed, 0xD2)).integers(1, num, len(pairs))
    return (pairs.label + step) % num


def brand_of(asked: Asked, said: Said) -> str:
    """``asked`` where the item's brand is one that the query names (or it names none), ``other``, or ``silent``."""
    wanted = [want for want in asked.wanted if want.field == "brand"]
    own = said.values.get("brand", ())
    if wanted and not own:
        return "silent"
    fits = all((want.value in own) != want.negated for want in wanted)
    return "asked" if fits else "other"


def _words(text: str) -> frozenset[str]:
    return frozenset(word.lower() for word in _WORD.findall(text))
