"""What a judge writes: a label and its reasoning in five steps, in either order, and how it is read again.

    label first       4 <query> .. </query> <item> .. </item> <category> match : .. </category>
                      <attribute> all : .. </attribute> <verdict> 4 : .. </verdict>
    reasoning first   the same with the label at the end

The short form keeps the verdicts alone, a token each: ``4 match all 4``.  It is what a model of a million parameters can learn.

Legend: C grades, N answers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from aisle.core.errors import SettingError

Order = Literal["label_only", "label_first", "reason_first"]
Form = Literal["short", "steps"]

CATEGORY = ("mismatch", "near", "match")
ATTRIBUTE = ("conflict", "partial", "all")
STEPS = ("query", "item", "category", "attribute", "verdict")


@dataclass(frozen=True, slots=True)
class Rationale:
    """
    label               place of the grade on its scale, 0 the worst
    category, attribute index into CATEGORY and ATTRIBUTE
    verdict             the label as the reasoning's last step says it
    words               of each step, "" where nothing is said beside the verdict
    """

    label: int
    category: int
    attribute: int
    verdict: int
    words: tuple[str, str, str, str, str] = ("", "", "", "", "")


@dataclass(frozen=True, slots=True)
class Parsed:
    """What an answer says; None where it does not say it, or not in the grammar's place.  ``complete``: every part, once."""

    label: int | None = None
    category: int | None = None
    attribute: int | None = None
    verdict: int | None = None
    complete: bool = False


class RuleTable:
    """Which label follows from the two decisive verdicts, for a scale of C grades.

    On four grades: another kind of product is irrelevant; a contradiction is a mismatch; a substitute, or something of lesser
    weight missed, is related; the right kind with everything is excellent.  Longer and shorter scales keep the order.
    """

    def __init__(self, num_grades: int) -> None:
        if num_grades < 2:
            raise SettingError(f"a scale of {num_grades} grades; a rule table needs two or more")
        best = num_grades - 1
        worst_of_kind, middle = min(1, best), max(best - 1, min(1, best))
        self._label = {(0, a): 0 for a in range(3)}
        for category in (1, 2):
            self._label |= {(category, 0): worst_of_kind, (category, 1): middle}
        self._label |= {(1, 2): middle, (2, 2): best}

    def label(self, category: int, attribute: int) -> int:
        return self._label[category, attribute]

    def verdicts(self, label: int) -> list[tuple[int, int]]:
        """Every (category, attribute) that leads to a label, the most usual first."""
        usual = sorted(self._label, key=lambda pair: (-pair[0], pair[1]))
        return [pair for pair in usual if self._label[pair] == label]

    def contradicts(self, parsed: Parsed) -> bool:
        """Discriminative hallucination: the reasoning is complete, and its verdicts lead to another label than the one given."""
        if parsed.label is None or parsed.category is None or parsed.attribute is None:
            return False
        return self.label(parsed.category, parsed.attribute) != parsed.label


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
