"""The two decisive verdicts of a judgment, and which grade follows from them.

A writer explains a grade by a ``Rationale``; what a model wrote is read as ``Parsed``; the ``RuleTable`` says whether verdicts and
grade go together.

Legend: C grades.
"""

from __future__ import annotations

from dataclasses import dataclass

from aisle.core.errors import SettingError

CATEGORY = ("mismatch", "near", "match")
ATTRIBUTE = ("conflict", "partial", "all")
"""Whether the product is of the kind asked for, and has what was asked of it; the worst first."""


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
