"""Text to index terms: one analyser for items and queries, and the small query syntax: ``"phrases"``, ``-word``, ``begin*``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from unicodedata import normalize

from tantivy import Filter, TextAnalyzerBuilder, Tokenizer

LANGUAGES = {
    "ar": "arabic",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "fi": "finnish",
    "fr": "french",
    "hu": "hungarian",
    "it": "italian",
    "nb": "norwegian",
    "nl": "dutch",
    "nn": "norwegian",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
}
"""Locale prefix -> stemmer.  Any other language is indexed unstemmed."""

LONGEST_WORD = 64
REMEMBERED = 1000
"""Parsed queries that are kept."""
_TOKENS = 10_000
"""Tokens that are analysed in one call."""
LONGEST_QUERY, MOST_WORDS = 2000, 64
"""Characters and words of a query that are read, so that its cost is bounded."""
_NO_STOP_WORDS = {"arabic", "greek", "romanian", "tamil", "turkish"}
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9d"
_CJK_RUN = re.compile(f"[{_CJK}]+")
_WIDTHS = re.compile("[\uff01-\uff9f\u3000]+")
"""Full-width Latin and half-width kana, which mean the same as the usual ones."""
_APOSTROPHE = re.compile(r"(?<=\w)['\u2019](?=\w)")
_PIECE = re.compile(r'(?<!\S)(?P<minus>-(?=["\w]))?(?:"(?P<phrase>[^"]*)"(?!\S)|(?P<word>\S+))')
"""A quote inside a word is no phrase: 15" means inches."""
_SYNTAX = re.compile(r'["*]|(?<!\S)-')
"""Without any of these a query is words alone."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a query: as it reads (lower case, no accents), its index term, and its place among the words.

    ``is_prefix``: it was typed as ``ket*`` and stands for every word that begins so.  ``others``: terms that may have
    been meant as well, where this one corrects what was typed.
    """

    text: str
    term: str
    position: int
    is_prefix: bool = False
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed query: words that should match, phrases that must, phrases (or single words) that must not."""

    words: tuple[Word, ...] = ()
    phrases: tuple[tuple[Word, ...], ...] = ()
    excluded: tuple[tuple[Word, ...], ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.words or self.phrases or self.excluded)

    @property
    def scoring(self) -> tuple[Word, ...]:
        """Every wanted word once, phrases included, in order."""
        seen = {(w.term, w.is_prefix): w for w in (*self.words, *(w for p in self.phrases for w in p))}
        return tuple(seen.values())


class Analyser:
    """Lower case, no accents, stemmed; CJK runs as overlapping pairs.

    Items keep their stop words, so that a query of nothing else still finds something; other queries drop them.
    """

    def __init__(self, language: str = "english") -> None:
        self.language = language
        self._split = TextAnalyzerBuilder(Tokenizer.simple()).build()
        self._surface = _chain().build()
        self._stemmed = (_chain().filter(Filter.stemmer(language)) if language else _chain()).build()
        has_list = language and language not in _NO_STOP_WORDS
        # One request asks for the same text several times: to search, to match, to suggest.
        self._parsed = lru_cache(maxsize=REMEMBERED)(self._parse)
        self._without_stop_words = _chain().filter(Filter.stopword(language)).build() if has_list else self._surface

    @classmethod
    def of_locales(cls, locales: Sequence[str]) -> Analyser:
        """The analyser of the most frequent locale; English where none is given."""
        counts = Counter(locale[:2].lower() for locale in locales if locale)
        return cls(LANGUAGES.get(counts.most_common(1)[0][0], "")) if counts else cls()

    @staticmethod
    def prepared(text: str) -> str:
        """Text as both sides give it to the tokenizer: "men's" is "mens", a CJK run its overlapping pairs."""
        if "'" in text or "\u2019" in text:
            text = _APOSTROPHE.sub("", text)
        if text.isascii():
            return text
        text = _WIDTHS.sub(lambda run: normalize("NFKC", run.group()), valid(text))
        return _CJK_RUN.sub(_pairs, text)

    def tokens(self, prepared: str) -> list[str]:
        """The words of a prepared text as they are written."""
        return self._split.analyze(prepared) if prepared else []

    def words(self, text: str) -> list[Word]:
        """Every word of a text, stop words included."""
        text = self.prepared(text)
        surface, stemmed = self._surface.pre_tokenize(text).tokens, self._stemmed.pre_tokenize(text).tokens
        return [Word(s.text, t.text, t.position) for s, t in zip(surface, stemmed, strict=True)]

    def each(self, tokens: Sequence[str]) -> list[tuple[str, str] | None]:
        """(as it reads without accents, term) of every token, each a single word; None for one that is too long."""
        found: list[tuple[str, str] | None] = [None] * len(tokens)
        for at in range(0, len(tokens), _TOKENS):
            text = " ".join(tokens[at : at + _TOKENS])
            surface, stemmed = self._surface.pre_tokenize(text).tokens, self._stemmed.pre_tokenize(text).tokens
            for s, t in zip(surface, stemmed, strict=True):
                found[at + s.position] = (s.text, t.text)
        return found

    def terms(self, text: str) -> list[str]:
        """Index terms of a text, in order."""
        return self._stemmed.analyze(self.prepared(text))

    def surface(self, text: str) -> list[str]:
        """Words of a text as they read: lower case, no accents, not stemmed."""
        return self._surface.analyze(self.prepared(text))

    def is_stop_word(self, word: str) -> bool:
        """Whether a word, in lower case without accents, says too little to be looked for."""
        return not self._without_stop_words.analyze(word)

    def query(self, text: str) -> Query:
        """The parsed query, of a pasted text its first words.  Stop words are dropped unless there is nothing else."""
        return self._parsed(text[:LONGEST_QUERY])

    def forget(self) -> None:
        """Drop the queries that are kept parsed."""
        self._parsed.cache_clear()

    def _parse(self, text: str) -> Query:
        if len(text) <= LONGEST_WORD and text.isascii() and not _SYNTAX.search(text):
            return self._plain(text)
        words: list[Word] = []
        phrases: list[tuple[Word, ...]] = []
        excluded: list[tuple[Word, ...]] = []
        for piece in _PIECE.finditer(text):
            found = self.words(piece["phrase"] or piece["word"] or "")
            if not found:
                continue
            # "-20" is a temperature, "-red" an exclusion.
            if piece["minus"] and not found[0].text[0].isdigit():
                excluded.append(tuple(found))
            elif piece["phrase"]:
                phrases.append(tuple(found))
            else:
                start = words[-1].position + 1 if words else 0
                words += [Word(w.text, w.term, start + w.position) for w in found]
                if piece["word"].endswith("*"):
                    words[-1] = replace(words[-1], is_prefix=True)
        content = [w for w in words if w.is_prefix or self._without_stop_words.analyze(w.text)]
        kept = content or ([] if phrases else words)
        return Query(tuple(kept[:MOST_WORDS]), tuple(phrases), tuple(excluded))

    def _plain(self, text: str) -> Query:
        """A query of words alone, none too long to be indexed, read at once."""
        words = self.words(text)
        content = {token.position for token in self._without_stop_words.pre_tokenize(self.prepared(text)).tokens}
        return Query(tuple(w for w in words if w.position in content) or tuple(words))


@lru_cache(maxsize=8)
def analyser(language: str) -> Analyser:
    """The analyser of a language, built once."""
    return Analyser(language)


def unfolded(text: str) -> str:
    """A text in lower case without accents, one blank between words."""
    return " ".join(_FOLDED.analyze(text))


def is_pair(word: str) -> bool:
    """Whether a word is a pair of neighbouring CJK characters."""
    return len(word) == 2 and _CJK_RUN.fullmatch(word) is not None


def valid(text: str) -> str:
    """The text without halves of surrogate pairs, which no encoding can write."""
    return text if text.isascii() else text.encode("utf-8", "ignore").decode()


def _chain() -> TextAnalyzerBuilder:
    chain = TextAnalyzerBuilder(Tokenizer.simple()).filter(Filter.remove_long(LONGEST_WORD))
    return chain.filter(Filter.lowercase()).filter(Filter.ascii_fold())


def _pairs(run: re.Match[str]) -> str:
    text = run.group()
    if len(text) == 1:
        return f" {text} "
    return f" {' '.join(text[n : n + 2] for n in range(len(text) - 1))} "


_FOLDED = _chain().build()
