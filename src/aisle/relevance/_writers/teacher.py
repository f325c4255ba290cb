"""The teacher: writes the reasoning of a grade from displayed text, for models to learn from.

It tags query and item with the catalogue's own words, judges category and attributes step by step, and reads the label off
the rule table.  Given the human label as well, it explains that label by the verdicts nearest to its own.  It is imperfect: by
what its tagger misses, and by setting (``step_noise``), so that reinforcement learning has something to correct.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np

from aisle.core.lists import Array
from aisle.relevance._scale import Scale
from aisle.relevance._verdicts import ATTRIBUTE, CATEGORY, Rationale, RuleTable
from aisle.relevance._writers.rules import RuleStore
from aisle.relevance._writers.tagger import Asked, Measure, Said, Tagger, Wanted

SALT = 0x7EAC
NEARLY = 1.25
"""A price up to so many times the highest one asked for is nearly right."""
SAME = 0.01
"""Numbers that differ by this share or less are the same one, written in two units."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The teacher's own verdicts; None where the words do not tell.  ``notes``: each constraint with what it found."""

    category: int | None
    attribute: int | None
    notes: tuple[str, ...] = ()


class Teacher:
    """A ``Writer``.

    rules       atomic rules; the verdict quotes the one that the query calls for
    sees_label  explain the human label (as a strong writer who is given it would), or judge alone and keep to that
    step_noise  chance that a written verdict is replaced by another one, the label staying as it is
    """

    def __init__(
        self,
        tagger: Tagger,
        scale: Scale,
        rules: RuleStore | None = None,
        *,
        sees_label: bool = True,
        step_noise: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.tagger, self.scale, self.table, self.rules = tagger, scale, RuleTable(len(scale)), rules or RuleStore()
        self.sees_label, self.step_noise, self.seed = sees_label, step_noise, seed

    def read(self, query: str, rows: Sequence[int]) -> list[Reading]:
        """The teacher's own judgment of these rows."""
        asked = self.tagger.asked(query)
        return [self._reading(asked, said) for said in self.tagger.said(rows)]

    def write(self, query: str, rows: Sequence[int], labels: Array) -> list[Rationale | None]:
        """A rationale for each pair whose verdicts lead to its label (a place on the scale); None where the teacher cannot
        write one: what it sees leads elsewhere and it does not see the label."""
        asked = self.tagger.asked(query)
        seen = self.tagger.said(rows)
        rule = next(iter(self.rules.find(query, 1)), "")
        random = np.random.default_rng((self.seed, SALT, *query.encode()[:64]))
        out: list[Rationale | None] = []
        for said, label in zip(seen, labels.tolist(), strict=True):
            reading = self._reading(asked, said)
            verdicts = self._verdicts(reading, label)
            out.append(
                None if verdicts is None else self._rationale(asked, said, reading, label, verdicts, rule, random)
            )
        return out

    def _verdicts(self, reading: Reading, label: int) -> tuple[int, int] | None:
        """The pair of verdicts that leads to the label and is nearest to the own reading."""
        fitting = self.table.verdicts(label)
        if not self.sees_label:
            fitting = [(c, a) for c, a in fitting if reading.category in (None, c) and reading.attribute in (None, a)]
        if not fitting:
            return None
        return min(
            fitting, key=lambda pair: _distance(pair[0], reading.category) + _distance(pair[1], reading.attribute)
        )

    def _rationale(
        self,
        asked: Asked,
        said: Said,
        reading: Reading,
        label: int,
        verdicts: tuple[int, int],
        rule: str,
        random: np.random.Generator,
    ) -> Rationale:
        category, attribute = (_disturbed(v, 3, self.step_noise, random) for v in verdicts)
        wants = ", ".join(map(str, (*asked.wanted, *asked.measures))) or "nothing else"
        kinds = " or ".join(path.rpartition(" > ")[2] for path in asked.categories) or "no kind of product"
        kind = " or ".join(path.rpartition(" > ")[2] for path in said.categories) or "no category"
        words = (
            f"asks for {kinds}, {wants}",
            f"is {kind}; {said.title}",
            f"asked {kinds}, is {kind}",
            "; ".join(reading.notes) or "nothing else was asked",
            f"{self.scale.meanings[label]}; {rule}" if rule else self.scale.meanings[label],
        )
        return Rationale(label, category, attribute, label, words)

    # -- judging -------------------------------------------------------------------------------------------------------

    def _reading(self, asked: Asked, said: Said) -> Reading:
        found: list[tuple[Wanted | Measure, int | None]] = [(want, _holds(want, said)) for want in asked.wanted]
        found += [(measure, _measures_up(measure, said)) for measure in asked.measures]
        notes = [f"{want}: {'unknown' if v is None else ('no', 'nearly', 'yes')[v]}" for want, v in found]
        verdicts = [v for _, v in found]
        limit = asked.most_cents
        if asked.cheaper_than:
            limit = self.tagger.usual_cents(asked.cheaper_than, asked.categories[0] if asked.categories else "")
        if not isnan(limit) and not isnan(said.price_cents):
            price = 2 if said.price_cents <= limit else 1 if said.price_cents <= NEARLY * limit else 0
            verdicts.append(price)
            notes.append(f"price {said.price_cents / 100:g} against {limit / 100:g}: {('no', 'nearly', 'yes')[price]}")
        return Reading(_category(asked, said), _attribute(verdicts), tuple(notes))


def _category(asked: Asked, said: Said) -> int | None:
    """match where a named category holds the item's, near where they share all but the last step, mismatch elsewhere."""
    if not asked.categories or not said.categories:
        return None
    for path in asked.categories:
        if any(own == path or own.startswith(f"{path} > ") for own in said.categories):
            return CATEGORY.index("match")
    above = {path.rpartition(" > ")[0] for path in asked.categories} - {""}
    if any(own.rpartition(" > ")[0] in above for own in said.categories):
        return CATEGORY.index("near")
    return CATEGORY.index("mismatch")


def _holds(want: Wanted, said: Said) -> int | None:
    """2 yes, 0 no, None where the item says nothing of the field."""
    values = said.values.get(want.field, ())
    if not values:
        return None
    return 2 if (want.value in values) != want.negated else 0


def _measures_up(measure: Measure, said: Said) -> int | None:
    """2 where one of the attributes that may be meant has the number, 0 where all that are told differ."""
    told = [(number, own) for name, number in measure.options for own in said.numbers.get(name, ())]
    if not told:
        return None
    same = any(abs(own - number) <= SAME * abs(number) for number, own in told)
    return 2 if same != measure.negated else 0


def _attribute(verdicts: Sequence[int | None]) -> int | None:
    """all where every constraint holds, conflict where one is contradicted, partial in between; None where nothing is known."""
    told = [v for v in verdicts if v is not None]
    if 0 in told:
        return ATTRIBUTE.index("conflict")
    if verdicts and not told:
        return None
    return ATTRIBUTE.index("all") if all(v == 2 for v in verdicts) else ATTRIBUTE.index("partial")


def _distance(verdict: int, own: int | None) -> int:
    return 0 if own is None else abs(verdict - own)


def _disturbed(verdict: int, count: int, noise: float, random: np.random.Generator) -> int:
    """Another verdict with chance ``noise``."""
    if random.random() >= noise:
        return verdict
    return int((verdict + 1 + random.integers(count - 1)) % count)
