"""Tagger: what a query asks for and what an item says of itself, by the catalogue's own words.

It reads displayed text only: the labels of categories, brands and attributes, numbers with their units, and titles.  It knows
no synonyms and no facts of the world, so it errs where a careful person would not.

Legend: I items, N chosen rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from aisle.core.lists import Array
from aisle.core.shop import Items
from aisle.data.units import WRITTEN, converted

LONGEST = 4
"""Words of a phrase at most."""

MOST_LETTERS = 1000
"""Of a query or title that are read: more is no wish and no name, and the search for numbers looks back from each."""

NUM_ATTRIBUTES = 24
NEGATIONS = ("not", "no", "non", "without", "but", "except")
CHEAPER = ("cheaper", "cheap", "affordable", "dupe", "alternative")
_WORD = re.compile(r"[^\W_]+(?:\.\d+)?")
_NUMBER = re.compile(r"(?<![\w.$])(\d+(?:[.,]\d+)?)[ -]?(fl oz|sq ft|[^\W\d_]+(?:/s|²)?|[\"°%])?")
_PRICE = re.compile(r"\b(?:under|below|max|up to|less than)\s*\$?\s*(\d+(?:\.\d+)?)")


@dataclass(frozen=True, slots=True)
class Wanted:
    """One constraint: the item's ``field`` must (or, negated, must not) hold ``value``."""

    field: str
    value: str
    negated: bool = False

    def __str__(self) -> str:
        return f"not {self.value}" if self.negated else self.value


@dataclass(frozen=True, slots=True)
class Measure:
    """A number that is asked for: one of the (attribute, number in its unit) must (or, negated, must not) hold.

    A unit alone seldom says which attribute is meant: 8 in may be a screen or a blade.
    """

    options: tuple[tuple[str, float], ...]
    words: str
    negated: bool = False

    def __str__(self) -> str:
        return f"not {self.words}" if self.negated else self.words


@dataclass(frozen=True, slots=True)
class Asked:
    """
    categories     full paths of the categories that the query names
    wanted         constraints on brand and attributes
    measures       constraints on numeric attributes
    most_cents     highest price that is named; NaN for none
    cheaper_than   the brand whose usual price is to be undercut; "" for none
    """

    categories: tuple[str, ...] = ()
    wanted: tuple[Wanted, ...] = ()
    measures: tuple[Measure, ...] = ()
    most_cents: float = float("nan")
    cheaper_than: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """What an item displays: category paths, field -> values, attribute -> number in its unit, price."""

    categories: tuple[str, ...]
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    numbers: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    price_cents: float = float("nan")
    title: str = ""


class Tagger:
    """Made from a catalogue; phrases are looked up longest first."""

    def __init__(self, items: Items) -> None:
        self._items = items
        self.fields = ("brand", *_attributes(items))
        self._codes = {name: items.codes(name) for name in ("category", *self.fields)}
        self._phrase: dict[str, list[tuple[str, str]]] = {}
        for name, (_, labels) in self._codes.items():
            for label in labels:
                for phrase in _phrases(name, label):
                    self._phrase.setdefault(phrase, []).append((name, label))
        self._units = {name: items.unit(name) for name in _measured(items)}
        self._usual_cents: dict[str, float] = {}
        self._said: dict[int, Said] = {}

    def asked(self, query: str) -> Asked:
        """What a query asks for, as far as the catalogue's words tell."""
        query = query[:MOST_LETTERS]
        words = [word.lower() for word in _WORD.findall(query)]
        categories: list[str] = []
        wanted: list[Wanted] = []
        negated, at = False, 0
        while at < len(words):
            if words[at] in NEGATIONS:
                negated, at = True, at + 1
                continue
            length, tags = self._longest(words, at)
            for name, label in tags:
                if name == "category" and not negated:
                    categories.append(label)
                elif name != "category":
                    wanted.append(Wanted(name, label, negated))
            if tags:
                negated = False
            at += max(length, 1)
        price = _PRICE.search(query.lower())
        brand = next((w.value for w in wanted if w.field == "brand"), "")
        cheaper = brand if brand and set(words) & set(CHEAPER) else ""
        if cheaper:
            # What is to be cheaper than a brand, or instead of it, is not that brand's.
            wanted = [Wanted("brand", w.value, True) if w.field == "brand" else w for w in wanted]
        return Asked(
            _deepest(categories),
            tuple(dict.fromkeys(wanted)),
            tuple(self._measures(_PRICE.sub(" ", query.lower()))),
            100 * float(price[1]) if price else float("nan"),
            cheaper,
        )

    def said(self, rows: Sequence[int]) -> list[Said]:
        """What each of these rows displays; read once a row."""
        new = [row for row in dict.fromkeys(map(int, rows)) if row not in self._said]
        if new:
            self._said |= dict(zip(new, self._read(np.array(new, np.int32)), strict=True))
        return [self._said[int(row)] for row in rows]

    def _read(self, row_N: Array) -> Iterable[Said]:
        titles, cents = self._items.text("title", row_N), self._items.number("price_cents", row_N)
        measured = {name: self._items.number(name, row_N) for name in self._units}
        for n, (row, title) in enumerate(zip(row_N.tolist(), titles, strict=True)):
            values = {name: self._labels(name, row) for name in self.fields}
            numbers = {name: (float(of[n]),) for name, of in measured.items() if not np.isnan(of[n])}
            spoken = self.asked(title)
            for want in spoken.wanted:
                if not values[want.field]:
                    values[want.field] = (want.value,)
            told = dict(numbers)
            for name, number in (option for measure in spoken.measures for option in measure.options):
                # What the attribute list leaves out may stand in the title, which may name several sizes.
                if name not in told:
                    numbers[name] = (*numbers.get(name, ()), number)
            yield Said(_deepest(self._labels("category", row)), values, numbers, float(cents[n]), title)

    def _measures(self, text: str) -> Iterable[Measure]:
        """Numbers with a unit that some attribute is measured in, and numbers right behind the name of one without a unit."""
        for found in _NUMBER.finditer(text):
            number, unit = float(found[1].replace(",", ".")), WRITTEN.get(found[2] or "", "")
            before = _WORD.findall(text[: found.start()])
            options = []
            for name, own in self._units.items():
                if unit and own:
                    there = converted(np.array([number]), unit, own)
                    if there is not None:
                        options.append((name, float(there[0])))
                elif not unit and not own and before[-len(name.split()) :] == name.lower().split():
                    options.append((name, number))
            if options:
                yield Measure(tuple(options), found[0].strip(), bool(before) and before[-1] in NEGATIONS)

    def usual_cents(self, brand: str, category: str) -> float:
        """The median displayed price of a brand in a category (of the brand where it has nothing there); NaN if unknown."""
        key = f"{brand}\n{category}"
        if key not in self._usual_cents:
            self._usual_cents[key] = self._median(brand, category)
        return self._usual_cents[key]

    def _median(self, brand: str, category: str) -> float:
        rows = self._rows("brand", brand)
        there = np.intersect1d(rows, self._rows("category", category)) if category else rows
        cents = self._items.number("price_cents", (there if len(there) else rows).astype(np.int32))
        cents = cents[np.isfinite(cents)]
        return float(np.median(cents)) if len(cents) else float("nan")

    def _rows(self, name: str, label: str) -> Array:
        codes, labels = self._codes[name]
        if label not in labels:
            return np.zeros(0, np.int64)
        rows: Array = codes.owner[codes.values == labels.index(label)]
        return rows

    def _labels(self, name: str, row: int) -> tuple[str, ...]:
        codes, labels = self._codes[name]
        return tuple(labels[code] for code in codes[row])

    def _longest(self, words: Sequence[str], at: int) -> tuple[int, list[tuple[str, str]]]:
        for length in range(min(LONGEST, len(words) - at), 0, -1):
            found = self._phrase.get(" ".join(words[at : at + length]))
            if found:
                return length, found
        return 0, []


def _attributes(items: Items) -> list[str]:
    known = {"category", "brand", "price_cents", "rating"}
    return [name for name in items.facet_fields() if name not in known and items.codes(name)[1]][:NUM_ATTRIBUTES]


def _measured(items: Items) -> list[str]:
    """Attributes with numbers."""
    known = {"category", "brand", "price_cents", "rating"}
    names = [name for name in items.facet_fields() if name not in known]
    return [name for name in names if np.isfinite(items.number(name)).any()][:NUM_ATTRIBUTES]


def _phrases(name: str, label: str) -> Iterable[str]:
    """How a label is named in running text: a category by its last part, in singular and plural."""
    text = label.rpartition(" > ")[2] if name == "category" else label
    words = [word.lower() for word in _WORD.findall(text)]
    # A bare number is no phrase: it stands for a price here and for a size there.
    if not words or len(words) > LONGEST or all(word[0].isdigit() for word in words):
        return
    yield " ".join(words)
    if name == "category":
        last = words[-1]
        for other in _numbers_of(last):
            yield " ".join([*words[:-1], other])


def _numbers_of(noun: str) -> Iterable[str]:
    """The other grammatical number of an English noun, as the endings suggest."""
    if noun.endswith("ies"):
        yield f"{noun[:-3]}y"
    elif noun.endswith(("shes", "ches", "xes", "sses")):
        yield noun[:-2]
    elif noun.endswith("s"):
        yield noun[:-1]
    else:
        yield f"{noun}s"


def _deepest(paths: Iterable[str]) -> tuple[str, ...]:
    """The paths of which no other one is a continuation."""
    distinct = list(dict.fromkeys(paths))
    return tuple(p for p in distinct if not any(o != p and o.startswith(f"{p} > ") for o in distinct))
