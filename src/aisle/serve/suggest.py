"""Completions for the search box: brands, category names and frequent words of titles, by prefix; where nothing begins as
typed, what was probably meant; and synonyms of what is being typed."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable

import numpy as np

from aisle.core.shop import Items
from aisle.data.schema import CATEGORY_SEPARATOR
from aisle.engine.embedded.engine import EmbeddedEngine
from aisle.serve.models import Suggestion

MAX_TITLES = 50_000
MAX_PHRASES = 60_000
WORD = re.compile(r"[^\W_][\w'&+-]*")
STOP = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "by",
        "for",
        "from",
        "in",
        "is",
        "it",
        "of",
        "on",
        "or",
        "the",
        "to",
        "with",
        "your",
        "you",
        "our",
        "new",
        "pack",
        "set",
    ]
)


class Completer:
    """A sorted list of (phrase from one of its words on, phrase): a prefix is a range of it."""

    def __init__(self, phrases: Iterable[Suggestion], engine: EmbeddedEngine | None = None) -> None:
        self._engine = engine
        best: dict[str, Suggestion] = {}
        for phrase in phrases:
            key = phrase.text.casefold()
            if key not in best or best[key].count < phrase.count:
                best[key] = phrase
        kept = sorted(best.values(), key=lambda p: -p.count)[:MAX_PHRASES]
        starts = [(key, n) for n, phrase in enumerate(kept) for key in _starts(phrase.text.casefold())]
        starts.sort()
        self._keys = [key for key, _ in starts]
        self._which = [n for _, n in starts]
        self._phrases = kept

    def complete(self, text: str, limit: int = 8) -> list[Suggestion]:
        """The most frequent phrases with a word at which the typed text begins; where there is none, completions of
        its last word after the words before it.  Nothing for an empty text."""
        prefix = " ".join(text.casefold().split())
        if not prefix:
            return []
        if self._engine is None:
            return self._completed(prefix, limit)
        found = self._beginning_with(prefix, limit)
        if not found:
            # Of "wirelss ket" the first word is mistyped, the last one not finished.
            meant = self._engine.text.suggest(f"{prefix}*")
            found = self._completed(meant.rstrip("*") if meant else prefix, limit)
        return _distinct([*found, *self._synonyms(prefix)])[:limit]

    def _completed(self, prefix: str, limit: int) -> list[Suggestion]:
        found = self._beginning_with(prefix, limit)
        head, _, last = prefix.rpartition(" ")
        if found:
            return found
        ends = [p for p in self._beginning_with(last, limit) if p.kind == "words" or " " not in p.text] if head else []
        if not ends and self._engine is not None:
            # Words that came after the list of phrases was made.
            ends = [
                Suggestion(text=word, kind="words", count=n) for word, n in self._engine.text.completions(last, limit)
            ]
        return [Suggestion(text=f"{head} {p.text.casefold()}".strip(), kind="words", count=p.count) for p in ends]

    def _synonyms(self, prefix: str) -> list[Suggestion]:
        """What means the same as the last words being typed, one or two of them."""
        assert self._engine is not None
        words, found = prefix.split(" "), []
        for size in (1, 2)[: len(words)]:
            head, last = " ".join(words[:-size]), " ".join(words[-size:])
            also = self._engine.text.also(last)[1:]
            found += [Suggestion(text=f"{head} {phrase}".strip(), kind="words", count=0) for phrase in also]
        return found

    def _beginning_with(self, prefix: str, limit: int) -> list[Suggestion]:
        low = bisect_left(self._keys, prefix)
        high = bisect_left(self._keys, prefix + "\U0010ffff")
        # Phrases are numbered by falling frequency, so the smallest numbers are the best ones.
        found = sorted(set(self._which[low : min(high, low + 20_000)]))
        found.sort(key=lambda n: not self._phrases[n].text.casefold().startswith(prefix))
        return [self._phrases[n] for n in found[:limit]]


def _distinct(found: Iterable[Suggestion]) -> list[Suggestion]:
    return list({s.text.casefold(): s for s in reversed(list(found))}.values())[::-1]


def _starts(phrase: str) -> list[str]:
    words = phrase.split()
    return [" ".join(words[at:]) for at in range(len(words))]


def completer(engine: EmbeddedEngine) -> Completer:
    """Completions of a catalogue: phrases of its first 50,000 titles; words that come later, close words and synonyms as
    the engine's text index knows them at the time."""
    items = engine.items
    live = np.flatnonzero(items.live)
    return Completer(
        [
            *_labels(items, "brand"),
            *_labels(items, "category"),
            *_title_phrases(items.text("title", live[:MAX_TITLES])),
        ],
        engine,
    )


def _labels(items: Items, field: str) -> list[Suggestion]:
    codes, labels = items.codes(field)
    counts = np.bincount(codes.values[items.live[codes.owner]], minlength=len(labels))
    kind = "brand" if field == "brand" else "category"
    names = [label.rsplit(CATEGORY_SEPARATOR, 1)[-1] if kind == "category" else label for label in labels]
    return [
        Suggestion(text=name, kind=kind, count=int(count))
        for name, count in zip(names, counts, strict=True)
        if count and name and len(name) <= 60
    ]


def _title_phrases(titles: list[str]) -> list[Suggestion]:
    """Runs of one to three words that several titles share, without runs that begin or end in a stop word."""
    seen: Counter[str] = Counter()
    for title in titles:
        words = [w.casefold() for w in WORD.findall(title)[:16]]
        runs = {tuple(words[a : a + n]) for n in (1, 2, 3) for a in range(len(words) - n + 1)}
        seen.update(
            " ".join(r) for r in runs if r[0] not in STOP and r[-1] not in STOP and not any(w[0].isdigit() for w in r)
        )
    floor = 2 if len(titles) < 5000 else 4
    return [
        Suggestion(text=text, kind="words", count=count)
        for text, count in seen.items()
        if count >= floor and len(text) > 2
    ]
