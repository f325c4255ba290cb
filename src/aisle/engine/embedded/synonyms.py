"""Synonyms: a small text file of the shop, read again as soon as it changes.

```text
# who asks for one of them finds all of them
couch, sofa, settee
tv, television, flat screen
# who asks for the left finds the right too, but not the other way round
sneaker => trainer, running shoe
```

A synonym may be a phrase on either side.  What was typed counts in full, a synonym ``FACTOR`` of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from aisle.core.atomic import write_file
from aisle.core.errors import AisleError, DataError
from aisle.engine.embedded.analysis import Analyser, Word

NAME = "synonyms.txt"
ARROW = "=>"
FACTOR = 0.8
MOST_WORDS, MOST_RULES, MOST_BYTES = 6, 10_000, 2_000_000


class Rule(NamedTuple):
    """Who asks for ``asked`` also finds each of ``found``; phrases as they were written."""

    asked: str
    found: tuple[str, ...]


def parse_synonyms(text: str) -> list[Rule]:
    """The rules of a file.  Raises DataError naming the line that cannot be read."""
    rules = [rule for number, line in enumerate(text.splitlines(), 1) for rule in _rules(line, number)]
    if len(rules) > MOST_RULES:
        raise DataError(f"{len(rules)} synonym rules are more than the {MOST_RULES} that are read; leave some out")
    return rules


def _rules(line: str, number: int) -> Iterator[Rule]:
    line = line.partition("#")[0].strip()
    if not line:
        return
    left, arrow, right = line.partition(ARROW)
    asked, found = _phrases(left, number), _phrases(right, number) if arrow else []
    if arrow and (not asked or not found or ARROW in right):
        raise DataError(f"line {number} of the synonyms is {line!r}; write 'asked {ARROW} found, found'")
    if not arrow and len(asked) < 2:
        raise DataError(
            f"line {number} of the synonyms is {line!r}, one phrase alone; write 'couch, sofa' or use {ARROW}"
        )
    for phrase in asked:
        others = tuple(other for other in (found or asked) if other.casefold() != phrase.casefold())
        if not others:
            raise DataError(f"line {number} of the synonyms maps {phrase!r} to itself; give another word")
        yield Rule(phrase, others)


def _phrases(text: str, number: int) -> list[str]:
    phrases = [" ".join(part.split()) for part in text.split(",")]
    for phrase in phrases:
        if len(phrase.split()) > MOST_WORDS:
            raise DataError(
                f"line {number} of the synonyms has {phrase!r}; a synonym is {MOST_WORDS} words at most, comma between two"
            )
    return [phrase for phrase in phrases if phrase]


_Words = tuple[Word, ...]


class Span(NamedTuple):
    """Words ``start`` to ``stop`` of a query, and a phrase that means the same."""

    start: int
    stop: int
    found: _Words


class Synonyms:
    """Rules ready to be looked up in parsed queries, by terms."""

    def __init__(self, rules: Sequence[Rule] = (), analyser: Analyser | None = None) -> None:
        self.rules = tuple(rules)
        self._by_first: dict[str, list[tuple[_Words, tuple[_Words, ...]]]] = {}
        self._asked: list[tuple[_Words, tuple[_Words, ...]]] = []
        for rule in rules:
            assert analyser is not None
            asked = tuple(analyser.words(rule.asked))
            found = tuple(phrase for phrase in (tuple(analyser.words(text)) for text in rule.found) if phrase)
            if asked and found:
                self._asked.append((asked, found))
                self._by_first.setdefault(asked[0].term, []).append((asked, found))

    def __bool__(self) -> bool:
        return bool(self.rules)

    def spans(self, words: Sequence[Word]) -> list[Span]:
        """What of a query has synonyms; of a word that is being typed, those of the words it may become."""
        spans = []
        for start, word in enumerate(words):
            rules = self._asked if word.is_prefix else self._by_first.get(word.term, ())
            for asked, found in rules:
                stop = start + len(asked)
                here = words[start:stop]
                whole = len(here) == len(asked) and all(map(_same, here, asked))
                begun = 0 < len(here) < len(asked) and here[-1].is_prefix and all(map(_same, here, asked))
                if whole or begun:
                    spans += [Span(start, start + len(here), phrase) for phrase in found]
        return spans

    def also(self, text: str, analyser: Analyser) -> list[str]:
        """What was typed and its synonyms as a whole, without accents: what the values of a facet are searched by."""
        typed = analyser.words(text)
        if typed:
            typed[-1] = replace(typed[-1], is_prefix=True)
        spans = [span for span in self.spans(typed) if span.stop - span.start == len(typed)]
        return [" ".join(w.text for w in phrase) for phrase in (typed, *(span.found for span in spans))]


def _same(typed: Word, word: Word) -> bool:
    return word.text.startswith(typed.text) if typed.is_prefix else typed.term == word.term


@dataclass(eq=False)
class SynonymFile:
    """The shop's ``rules/synonyms.txt``.  Every search looks at it first, so that a change acts at once in every process.

    A file that cannot be read changes nothing: the last good ``rules`` go on, and ``error`` says what is wrong.
    """

    path: Path | None
    analyser: Analyser
    error: str | None = None
    version: int = 0
    rules: Synonyms = field(default_factory=Synonyms)
    _mark: tuple[int, int, int] | None = None

    def look(self) -> None:
        """Read the file where it has changed."""
        if self.path is None:
            return
        try:
            at = os.stat(self.path)
            mark = (at.st_mtime_ns, at.st_size, at.st_ino)
        except OSError:
            mark = None
        if mark != self._mark:
            self._read(mark)

    def write(self, text: str) -> Synonyms:
        """Replace the rules, atomically.  Raises DataError, and changes nothing, when they cannot be read."""
        parse_synonyms(text)
        if self.path is None:
            raise DataError("this index is in memory and has no rules folder; open the shop from its folder")
        write_file(self.path, lambda path: path.write_text(text, encoding="utf-8"))
        self.look()
        return self.rules

    def _read(self, mark: tuple[int, int, int] | None) -> None:
        # The mark is kept even when the file is bad, so that it is not read again at every query.
        self._mark = mark
        try:
            text = ""
            if mark is not None and self.path is not None:
                if mark[1] > MOST_BYTES:
                    raise DataError(f"{self.path} has {mark[1]} bytes; synonyms of {MOST_BYTES} at most are read")
                text = self.path.read_text(encoding="utf-8")
            self.rules, self.error = Synonyms(parse_synonyms(text), self.analyser), None
            self.version += 1
        except (AisleError, OSError, UnicodeError) as error:
            self.error = f"{self.path}: {error}"
