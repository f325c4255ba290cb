"""What a query says no to: ``lamp without plastic and glass``, ``case not leather``, ``sugar-free gum``, ``NOT red``.

A negating word says no to the word after it (or before it: "sugar-free").  Further words belong to it where they stand together
in the shop's texts as a rule ("stainless steel") or where a list goes on ("plastic and glass"); what then follows is wanted
again, so that "case not leather black" asks for black.  The words of each language stand in ``negation_words.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import NamedTuple, Protocol

from aisle.engine.embedded.analysis import analyser, unfolded, valid
from aisle.engine.embedded.negation_words import words_of

MOST_DENIALS, MOST_BETWEEN = 8, 3
_TOKEN = re.compile(r"""[^\W_]+(?:['\u2019][^\W_]+)*\*?|"[^"]*"|\S""")
_WORD = re.compile(r"[^\W_]+")
_OPERATOR = re.compile(r'(?<!\S)NOT\s+(?=["\w])')
_EXCLUDED = re.compile(r'(?<!\S)-(?:"[^"]*"(?!\S)|[^\W\d]\S*)')


class Denial(NamedTuple):
    """
    start, stop  the letters of the query that say it, the negating word included
    texts        what is not wanted: words, or words that stand together
    is_name      it may as well be the name of a feature that products have: "non stick", "sugar free"
    """

    start: int
    stop: int
    texts: tuple[str, ...]
    is_name: bool


class Shelf(Protocol):
    """What the shop's texts tell of words."""

    def is_known(self, word: str) -> bool:
        """Whether some text holds it."""
        ...

    def stand_together(self, first: str, second: str) -> bool:
        """Whether the rarer of the two stands beside the other as a rule."""
        ...


class _Token(NamedTuple):
    """A word, a quoted phrase or a sign; ``low`` in lower case without accents; ``is_joined`` to what is before it."""

    low: str
    start: int
    stop: int
    is_joined: bool

    @property
    def is_word(self) -> bool:
        return self.low[:1].isalpha()


class Negation:
    """The negating words of one language.  ``is_stop_word``: of that language, given in lower case without accents."""

    def __init__(self, language: str, is_stop_word: Callable[[str], bool]) -> None:
        words = words_of(language)
        self._is_stop_word = is_stop_word
        self._before = _by_first((*words.far, *words.near))
        self._never = _by_first(words.never)
        self._names, self._behind = frozenset(words.name), frozenset(words.behind)
        self._endings = tuple(sorted(words.endings, key=len, reverse=True))
        self._between, self._lead, self._joins = frozenset(words.between), frozenset(words.lead), frozenset(words.joins)
        self._ends = frozenset(words.ends)
        self._first = frozenset((*self._before, *self._behind))

    def may_deny(self, text: str) -> bool:
        """Whether a text holds a negating word: a quick look that most queries end with."""
        low = text.lower() if text.isascii() else unfolded(valid(text))
        if "NOT" in text or any(ending in low for ending in self._endings):
            return True
        return not self._first.isdisjoint(_WORD.findall(low))

    def is_negating(self, word: str) -> bool:
        """Whether a word, in lower case without accents, begins what says no."""
        return word in self._first

    def read(self, text: str, shelf: Shelf) -> list[Denial]:
        """What a text says no to in words, in order; operators are ``with_operators``' business."""
        tokens, found, n = _tokens(text), list[Denial](), 0
        while n < len(tokens) and len(found) < MOST_DENIALS:
            skipped = self._skipped(tokens, n)
            if skipped:
                n += skipped
                continue
            denial, n = self._ahead(text, tokens, n, shelf) or self._back(text, tokens, n, shelf) or (None, n + 1)
            if denial is not None and (not found or denial.start >= found[-1].stop):
                found.append(denial)
        return found

    def _skipped(self, tokens: Sequence[_Token], n: int) -> int:
        """How many tokens from n on say no to nothing: an excluded word, or words such as "no more than"."""
        if tokens[n].low == "-" and not tokens[n].is_joined:
            return 1 + _joined(tokens, n + 1)
        return _length(self._never, tokens, n)

    def _ahead(self, text: str, tokens: Sequence[_Token], n: int, shelf: Shelf) -> tuple[Denial, int] | None:
        """The denial that a negating word at n begins, and the token behind it."""
        length = _length(self._before, tokens, n)
        if not length:
            return None
        first = n + length
        hyphened = first < len(tokens) and tokens[first].low == "-" and tokens[first].is_joined
        first += hyphened
        while (
            not hyphened
            and first < len(tokens)
            and first < n + length + MOST_BETWEEN
            and tokens[first].low in self._between
        ):
            first += 1
        is_name = hyphened or (tokens[n].low in self._names and (tokens[n].low != "no" or n == 0))
        spans, stop = self._reach(tokens, first, shelf, goes_on=not is_name)
        if not spans:
            return None
        start = n
        while start > 0 and tokens[start - 1].low in self._lead:
            start -= 1
        return self._denial(text, tokens, start, stop, spans, is_name), stop

    def _reach(
        self, tokens: Sequence[_Token], first: int, shelf: Shelf, *, goes_on: bool
    ) -> tuple[list[tuple[int, int]], int]:
        """Tokens (from, to) of each thing that is said no to from ``first`` on, and the token behind the last one."""
        spans, at = list[tuple[int, int]](), first
        while at < len(tokens):
            if tokens[at].low.startswith('"') and len(tokens[at].low) > 2:
                spans.append((at, at + 1))
                return spans, at + 1
            if not self._is_content(tokens[at]):
                break
            stop = self._one(tokens, at, shelf) if goes_on else at + 1 + _joined(tokens, at + 1)
            spans.append((at, stop))
            if not goes_on or stop >= len(tokens) or tokens[stop].low not in self._joins:
                return spans, stop
            at = stop + 1
            while at < len(tokens) and tokens[at].low in self._between - self._lead:
                at += 1
        return spans, spans[-1][1] if spans else first

    def _one(self, tokens: Sequence[_Token], at: int, shelf: Shelf) -> int:
        """The token behind one thing: a word, with what is hyphened to it and what stands together with it."""
        stop = at + 1 + _joined(tokens, at + 1)
        while stop < len(tokens) and self._is_content(tokens[stop]) and not tokens[stop].is_joined:
            if not shelf.stand_together(tokens[stop - 1].low, tokens[stop].low):
                break
            stop += 1 + _joined(tokens, stop + 1)
        return stop

    def _back(self, text: str, tokens: Sequence[_Token], n: int, shelf: Shelf) -> tuple[Denial, int] | None:
        """The denial that ends at n: "sugar-free", "sugar free" where products are called so, "zuckerfrei"."""
        token = tokens[n]
        if token.low in self._behind and n > 0 and not _length(self._before, tokens, n):
            before = n - 1
            if tokens[before].low == "-" and token.is_joined and tokens[before].is_joined and before > 0:
                before -= 1
            elif not self._is_content(tokens[before]) or not shelf.stand_together(tokens[before].low, token.low):
                return None
            return self._denial(text, tokens, before, n + 1, [(before, before + 1)], True), n + 1
        ending = next((e for e in self._endings if token.low.endswith(e)), "")
        stem = token.low.removesuffix(ending) if ending else ""
        if len(stem) > 2 and shelf.is_known(stem):
            return Denial(token.start, token.stop, (stem,), True), n + 1
        return None

    def _denial(
        self,
        text: str,
        tokens: Sequence[_Token],
        start: int,
        stop: int,
        spans: Iterable[tuple[int, int]],
        is_name: bool,
    ) -> Denial:
        texts = (text[tokens[a].start : tokens[b - 1].stop].strip('"') for a, b in spans)
        return Denial(tokens[start].start, tokens[stop - 1].stop, tuple(texts), is_name)

    def _is_content(self, token: _Token) -> bool:
        """A word that can be said no to; numbers are not ("No. 5", "not 220 volt")."""
        if not token.is_word or token.low in self._before or token.low in self._ends or token.low in self._joins:
            return False
        return not self._is_stop_word(token.low)


@cache
def negation(language: str) -> Negation:
    """The negating words of a language, read once."""
    return Negation(language, analyser(language).is_stop_word)


def with_operators(text: str) -> str:
    """``NOT red`` as ``-red``, save in a text that is all in capitals."""
    return _OPERATOR.sub("-", text) if "NOT" in text and not text.isupper() else text


def without_excluded(text: str) -> str:
    """The text without its ``-words``."""
    return " ".join(_EXCLUDED.sub(" ", text).split()) if "-" in text else text


def without_denials(text: str, denials: Sequence[Denial]) -> str:
    """The text without what says no."""
    for denial in reversed(denials):
        text = f"{text[: denial.start]} {text[denial.stop :]}"
    return " ".join(text.split())


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    text = text if text.isascii() else "".join(c if valid(c) else " " for c in text)
    for match in _TOKEN.finditer(text):
        joined = bool(found) and found[-1].stop == match.start()
        low = match.group() if match.group()[0] == '"' else unfolded(match.group()) or match.group()
        found.append(_Token(low, match.start(), match.end(), joined))
    return found


def _joined(tokens: Sequence[_Token], n: int) -> int:
    """How many tokens from n on are hyphened to the one before: of t-shirt, two."""
    count = 0
    while (
        n + count < len(tokens)
        and tokens[n + count].is_joined
        and (tokens[n + count].is_word or tokens[n + count].low == "-")
    ):
        count += 1
    return count


def _by_first(phrases: Iterable[str]) -> dict[str, list[tuple[str, ...]]]:
    """First word -> the phrases that begin with it, the longest first."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for phrase in sorted((tuple(_TOKEN.findall(p)) for p in phrases), key=len, reverse=True):
        found.setdefault(phrase[0], []).append(phrase)
    return found


def _length(phrases: dict[str, list[tuple[str, ...]]], tokens: Sequence[_Token], n: int) -> int:
    """Tokens of the longest of these phrases that stands at n, 0 for none."""
    for phrase in phrases.get(tokens[n].low, ()):
        if tuple(token.low for token in tokens[n : n + len(phrase)]) == phrase:
            return len(phrase)
    return 0
