"""What a judge writes: a label and its reasoning in five steps, in either order, and how it is read again.

    label first       4 <query> .. </query> <item> .. </item> <category> match : .. </category>
                      <attribute> all : .. </attribute> <verdict> 4 : .. </verdict>
    reasoning first   the same with the label at the end

The short form keeps the verdicts alone, a token each: ``4 match all 4``.  It is what a model of a million parameters can learn.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from aisle.relevance._verdicts import ATTRIBUTE, CATEGORY, Parsed, Rationale

Order = Literal["label_only", "label_first", "reason_first"]
Form = Literal["short", "steps"]

STEPS = ("query", "item", "category", "attribute", "verdict")


class Grammar:
    """Writes and reads answers.  ``names``: of the grades, worst first; each is one token by construction (``marks``)."""

    def __init__(self, names: Sequence[str], order: Order = "label_first", form: Form = "short") -> None:
        self.names, self.order, self.form = tuple(names), order, form
        self.labels = tuple(f"<{name}>" for name in self.names)
        self._label = {mark: n for n, mark in enumerate(self.labels)}
        self._category = {f"<category:{word}>": n for n, word in enumerate(CATEGORY)}
        self._attribute = {f"<attribute:{word}>": n for n, word in enumerate(ATTRIBUTE)}

    @property
    def marks(self) -> tuple[str, ...]:
        """Strings that the vocabulary must hold as single tokens."""
        if self.order == "label_only":
            return self.labels
        tags = () if self.form == "short" else tuple(f"<{end}{step}>" for step in STEPS for end in ("", "/"))
        return (*self.labels, *self._category, *self._attribute, *tags)

    def write(self, rationale: Rationale) -> str:
        """The answer's text, without what closes it."""
        label = self.labels[rationale.label]
        if self.order == "label_only":
            return label
        reasoning = self._short(rationale) if self.form == "short" else self._steps(rationale)
        return f"{label} {reasoning}" if self.order == "label_first" else f"{reasoning} {label}"

    def read(self, text: str) -> Parsed:
        """What an answer says, whoever wrote it."""
        parts = re.findall(r"<[^<>\s]+>", text)
        labels = [self._label[p] for p in parts if p in self._label]
        if self.order == "label_only":
            return Parsed(labels[0] if labels else None, complete=len(parts) == 1 and len(labels) == 1)
        category = [self._category[p] for p in parts if p in self._category]
        attribute = [self._attribute[p] for p in parts if p in self._attribute]
        first = bool(parts) and parts[0] in self._label
        last = bool(parts) and parts[-1] in self._label
        label = (
            labels[0]
            if self.order == "label_first" and first
            else labels[-1]
            if self.order == "reason_first" and last
            else None
        )
        expected = self.write(Rationale(0, 0, 0, 0))
        return Parsed(
            label,
            category[0] if len(category) == 1 else None,
            attribute[0] if len(attribute) == 1 else None,
            self._verdict(labels),
            self._shape(text) == self._shape(expected),
        )

    def _verdict(self, labels: list[int]) -> int | None:
        if len(labels) != 2:
            return None
        return labels[1] if self.order == "label_first" else labels[0]

    def _shape(self, text: str) -> list[str]:
        """The marks in their order, each kind of verdict under one name."""
        kinds = {**dict.fromkeys(self._label, "label"), **dict.fromkeys(self._category, "category")}
        kinds |= dict.fromkeys(self._attribute, "attribute")
        return [kinds.get(part, part) for part in re.findall(r"<[^<>\s]+>", text)]

    def _short(self, rationale: Rationale) -> str:
        return f"{self._said(rationale)[2]} {self._said(rationale)[3]} {self.labels[rationale.verdict]}"

    def _steps(self, rationale: Rationale) -> str:
        parts = []
        for step, verdict, words in zip(STEPS, self._said(rationale), rationale.words, strict=True):
            inner = " ".join(part for part in (verdict, words) if part)
            parts.append(f"<{step}> {inner} </{step}>" if inner else f"<{step}> </{step}>")
        return " ".join(parts)

    def _said(self, rationale: Rationale) -> tuple[str, str, str, str, str]:
        """The verdict of each step, "" for the two that only describe."""
        category, attribute = list(self._category)[rationale.category], list(self._attribute)[rationale.attribute]
        return "", "", category, attribute, self.labels[rationale.verdict]
