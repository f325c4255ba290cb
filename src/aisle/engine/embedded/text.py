"""The text index of one generation: BM25 over weighted fields, typing errors, prefixes, synonyms, match sets.

A base, memory-mapped when it was saved, and the newer segments over it; a changed row is found by the next search.
Everything a search reads is one ``State`` that is replaced, never changed, so that searches need no lock.

Legend: Q queries, N candidate rows, K cut-off, I items.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from threading import Lock

import numpy as np

from aisle.core.atomic import sync_tree
from aisle.core.env import Progress, silent
from aisle.core.errors import StateError
from aisle.core.lists import Array, ItemLists, Ragged, splits_of
from aisle.core.requests import RowMasks, hashed
from aisle.core.shop import TEXT_FIELDS, TEXT_WEIGHTS, Asked, Items
from aisle.engine.embedded import text_kernels as kernels
from aisle.engine.embedded.analysis import Analyser, Query, analyser, valid
from aisle.engine.embedded.compiled import frozen
from aisle.engine.embedded.synonyms import NAME, SynonymFile
from aisle.engine.embedded.text_denials import Denied
from aisle.engine.embedded.text_query import NONE, Matches, Plan, Weights, joined
from aisle.engine.embedded.text_reading import Reader, Reading
from aisle.engine.embedded.text_segment import ARRAYS, NUM_FIELDS, Segment, concatenated, flattened, merged
from aisle.engine.embedded.text_state import State
from aisle.engine.embedded.text_words import Lexicon

FORMAT = 2
CHUNK = 20_000
LONGEST_ID = 1000
ID_SCORE = 1000.0
"""Score of the item whose id the query is: above any sum of BM25."""
UNWANTED = 0.5
"""Share of its score that a row keeps which has what the query says no to.  On generated shops .1 to .5 order alike; a product that
names a thing may not be made of it, so that the mildest is best."""
REMEMBERED_ROWS = 2_000_000
"""Rows of lately evaluated queries that are kept: search, score and match of one request ask the same."""


class EmbeddedText:
    """Implements ``core.shop.TextIndex``."""

    def __init__(
        self, items: Items, lexicon: Lexicon, base: Segment, *, folder: Path | None = None, synonyms: Path | None = None
    ) -> None:
        self._items = items
        self._lexicon = lexicon
        self.folder = folder
        self.synonyms = SynonymFile(synonyms, lexicon.analyser)
        self._writing = Lock()
        warm()
        self._follow(State.of([base], lexicon.term_W))

    @classmethod
    def build(cls, items: Items, folder: Path | None = None, *, progress: Progress = silent) -> EmbeddedText:
        """Index every live row, in memory or as ``folder`` (which must not exist yet)."""
        lexicon = Lexicon(Analyser.of_locales(items.text("locale")))
        rows = np.flatnonzero(items.live).astype(np.int32)
        pieces, done = [], 0
        for chunk in (rows[n : n + CHUNK] for n in range(0, len(rows), CHUNK)):
            pieces.append(_read(lexicon, items, chunk))
            done += len(chunk)
            progress("indexing text", done, len(rows))
        fields = [concatenated([piece[0][f] for piece in pieces]) for f in range(NUM_FIELDS)]
        ids = np.concatenate([np.zeros(0, np.uint64), *(piece[1] for piece in pieces)])
        built = cls(items, lexicon, Segment.made(rows, *flattened(fields), ids, lexicon.term_W))
        return built if folder is None else built.saved(folder)

    @classmethod
    def open(cls, items: Items, folder: Path) -> EmbeddedText:
        """A saved index; its shop's ``rules/synonyms.txt`` is followed.

        Raises StateError when it is missing, damaged, of another generation or of an unknown format.
        """
        try:
            record = json.loads((folder / "text.json").read_text())
            if record["format"] != FORMAT or record["generation"] != items.generation:
                raise StateError(
                    f"{folder} is of format {record['format']}, generation {record['generation']}; expected {FORMAT} and "
                    f"{items.generation}: build the indexes again"
                )
            lexicon, base = Lexicon.load(folder, analyser(record["language"])), Segment.load(folder)
            sizes = {name: len(getattr(base, name)) for name in ARRAYS} | {"lexicon": len(lexicon)}
            if sizes != record["sizes"]:
                raise ValueError(f"arrays have lengths {sizes}, expected {record['sizes']}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StateError(f"{folder} holds no text index ({error}); build the indexes again") from None
        shop = folder.resolve().parents[3] if len(folder.resolve().parents) > 3 else None
        return cls(items, lexicon, base, folder=folder, synonyms=None if shop is None else shop / "rules" / NAME)

    def saved(self, folder: Path) -> EmbeddedText:
        """Write what is indexed now as a new version and return that, memory-mapped; this one goes on unchanged.

        ``folder`` must not exist yet and appears whole or not at all.
        """
        with self._writing:
            state, items, titles_W = self._state, self._items, self._lexicon.titles_W
        base = _merged(state)
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(mkdtemp(prefix=".text-", dir=folder.parent))
        try:
            base.save(work)
            self._lexicon.save(work, state.word_terms, titles_W)
            sizes = {name: len(getattr(base, name)) for name in ARRAYS} | {"lexicon": len(state.word_terms)}
            language = self._lexicon.analyser.language
            record = {"format": FORMAT, "language": language, "generation": items.generation, "sizes": sizes}
            (work / "text.json").write_text(json.dumps(record))
            sync_tree(work)
            os.replace(work, folder)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
        return EmbeddedText.open(items, folder)

    def refresh(self, items: Items, changed: Array) -> None:
        """Bring these rows up to date: gone, new or different; the next search finds them.

        In memory: ``saved`` makes it last.  Doing it twice changes nothing more.
        """
        with self._writing:
            rows = np.unique(changed)
            live = rows[items.live[rows]].astype(np.int32)
            fields, ids = _read(self._lexicon, items, live)
            self._lexicon.count_titles(self._state.title_words(rows), -1)
            state = self._state.without(rows, self._lexicon.term_W)
            if len(live):
                state = state.plus(Segment.made(live, *flattened(fields), ids, self._lexicon.term_W))
            self._items = items
            self._follow(state)

    @property
    def analyser(self) -> Analyser:
        return self._lexicon.analyser

    def forget(self) -> None:
        """Drop what is remembered of queries: how they are read, and what they find."""
        self._reader.forget()
        self.analyser.forget()

    @property
    def num_docs(self) -> int:
        """Indexed rows."""
        return self._state.num_docs

    def asked(self, query: str) -> Asked:
        """What a query asks for, and what it says no to."""
        self.synonyms.look()
        reader = self._reader
        reading = reader.reading(query)
        excluded = None
        if reading.queries and reading.queries[0].excluded:
            excluded = self._plan(reading.queries[0], reader).excluded_rows(reader.state, self._items.num_rows)
        has, denies = (None, None) if reading.denied is None else reading.denied
        return Asked(reading.wanted, reading.unwanted, has, denies, excluded)

    def search(self, queries: Sequence[str], k: int, masks: RowMasks, weights: Mapping[str, float]) -> ItemLists:
        """The k best allowed rows of each query with column ``score`` float32; ties go to the lower row."""
        found = [(NONE.rows, NONE.score)]
        self.synonyms.look()
        for q, text in enumerate(queries):
            matches = self._matches(text, weights) if k > 0 else NONE
            rows, scores = kernels.best_rows(
                frozen(matches.rows), frozen(matches.score), frozen(masks.of(q)), max(k, 1)
            )
            order = np.lexsort((rows, -scores))[:k]
            found.append((rows[order], scores[order]))
        rows, scores = (np.concatenate(part) for part in zip(*found, strict=True))
        counts = np.array([len(r) for r, _ in found[1:]], np.int64)
        return ItemLists(rows, splits_of(counts), {"score": scores}, self._items.generation)

    def score(self, queries: Sequence[str], candidates: ItemLists, weights: Mapping[str, float]) -> Array:
        """float32[N]: what ``search`` would have given these rows; 0 where no word matches."""
        out = np.zeros(len(candidates.item), np.float32)
        for q, text in enumerate(queries):
            mine = slice(candidates.splits[q], candidates.splits[q + 1])
            rows, matches = candidates.item[mine], self._matches(text, weights)
            if len(rows) and len(matches.rows):
                at = np.minimum(np.searchsorted(matches.rows, rows), len(matches.rows) - 1)
                out[mine] = np.where(matches.rows[at] == rows, matches.score[at], 0)
        return out

    def match(self, query: str, weights: Mapping[str, float]) -> Array:
        """bool[I]: live rows with enough of the query's words; every row for an empty query.

        All of one or two words, at least three quarters of more; one word less until some row matches.
        """
        self.synonyms.look()
        items, reader = self._items, self._reader
        out = np.zeros(items.num_rows, bool)
        queries = reader.queries(query)
        if not queries:
            return ~out
        if not any(q.scoring for q in queries):
            return items.live & ~self._plan(queries[0], reader).excluded_rows(reader.state, items.num_rows)
        matches = self._matches(query, weights)
        # Rows that a refresh adds meanwhile are left to the next request.
        kernels.mark_best(frozen(matches.rows), frozen(matches.missing), out)
        return out

    def suggest(self, query: str) -> str | None:
        """The query with its unknown words corrected, or None when there is nothing to correct."""
        found = self._reader.suggestion(query)
        return found.text if found else None

    def suggestion(self, query: str) -> tuple[str, float] | None:
        """Did-you-mean and how sure it is, 0 to 1: the share of the guess among all words that are as close."""
        found = self._reader.suggestion(query)
        return (found.text, found.share) if found else None

    def completions(self, prefix: str, limit: int = 8) -> list[tuple[str, int]]:
        """Words of titles that begin with a prefix, the most frequent first, with how many times titles use them."""
        return self._reader.completions(prefix, limit)

    def also(self, typed: str) -> list[str]:
        """What is being typed and its synonyms, as wholes, in lower case without accents."""
        self.synonyms.look()
        return self.synonyms.rules.also(typed, self.analyser)

    def terms(self, query: str) -> list[str]:
        """The index terms of a query's words, corrected ones included."""
        self.synonyms.look()
        return [w.term for q in self._reader.queries(query)[:1] for w in q.scoring]

    def matched_fields(self, query: str, row: int) -> Mapping[str, tuple[str, ...]]:
        """Field -> the query's words found there, as they read; a synonym or a completion as it stands there."""
        self.synonyms.look()
        reader = self._reader
        by_field = reader.state.words_of(row)
        found: dict[str, dict[str, None]] = {field: {} for field in TEXT_FIELDS}
        for parsed in reader.queries(query):
            for word in parsed.scoring:
                own = self._lexicon.term(word.term)
                terms = {term for choice in reader.choices(word) for term in choice.terms}
                for field, words in zip(TEXT_FIELDS, by_field, strict=True):
                    there = words[words >= 0]
                    held = reader.state.word_terms[there]
                    if own >= 0 and own in held and not word.is_prefix:
                        found[field][word.text] = None
                    else:
                        found[field] |= {
                            self._lexicon.words[w]: None for w, t in zip(there, held, strict=True) if t in terms
                        }
        return {field: tuple(texts) for field, texts in found.items() if texts}

    def _follow(self, state: State) -> None:
        self._state = state
        self._reader = Reader(self._lexicon, state, self.synonyms)

    def _plan(self, query: Query, reader: Reader) -> Plan:
        return Plan.of(query, reader.choices, self._lexicon.term)

    def _matches(self, text: str, weights: Mapping[str, float]) -> Matches:
        # One reference, so that what an older state gave is never remembered of a newer one.
        reader = self._reader
        remembered = reader.remembered
        # One key for the weights of a retriever and of the match set, which are the same by default.
        key = (text, tuple(sorted((weights or TEXT_WEIGHTS).items())), self.synonyms.version)
        known = remembered.get(key)
        if known is None:
            known = self._with_id(text, self._evaluated(text, Weights.of(weights), reader), reader.state)
            if sum(len(m.rows) for m in list(remembered.values())) + len(known.rows) > REMEMBERED_ROWS:
                remembered.clear()
            remembered[key] = known
        return known

    def _evaluated(self, text: str, weights: Weights, reader: Reader) -> Matches:
        parts, reading = [], reader.reading(text)
        for n, query in enumerate(reading.queries):
            if query.scoring:
                parts.append((self._plan(query, reader).matches(reader.state, weights), reader.factor(n)))
        found = joined(parts) if parts else NONE
        if reading.denied is None or not len(found.rows):
            return found
        return self._without_denied(found, reading, reading.denied, weights, reader)

    def _without_denied(
        self, found: Matches, reading: Reading, denied: Denied, weights: Weights, reader: Reader
    ) -> Matches:
        """With rows that have what is not wanted scored low, and those first that say they have it not."""
        score = np.where(denied.has[found.rows], np.float32(UNWANTED) * found.score, found.score)
        says_so = denied.denies[found.rows]
        if reading.literal is not None and says_so.any():
            literal = self._plan(reading.literal, reader).matches(reader.state, weights)
            _same, here, there = np.intersect1d(found.rows, literal.rows, assume_unique=True, return_indices=True)
            score[here] = np.where(says_so[here], np.maximum(score[here], literal.score[there]), score[here])
            score[says_so] += np.float32(weights.all_words)
        return Matches(found.rows, score, found.missing)

    def _with_id(self, text: str, matches: Matches, state: State) -> Matches:
        """With the item whose id the query is, first of all."""
        wanted = normal_id(text)
        if not wanted:
            return matches
        same = [
            row
            for row in state.rows_with_id(hashed(wanted))
            if normal_id(self._items.ids(np.array([row]))[0]) == wanted
        ]
        if not same:
            return matches
        named = Matches(
            np.array(same, np.int32), np.full(len(same), ID_SCORE, np.float32), np.zeros(len(same), np.uint8)
        )
        at = np.searchsorted(matches.rows, named.rows)
        for n, row in enumerate(same):
            if at[n] < len(matches.rows) and matches.rows[at[n]] == row:
                named.score[n] += matches.score[at[n]]
        return joined([(matches, 1.0), (named, 1.0)])


@cache
def warm() -> None:
    """Compile, or load from disk, every loop, so that no request waits for it; once a process."""
    lexicon = Lexicon(Analyser())
    fields = [lexicon.read(["red lamp", "lamp lamp"]) for _ in TEXT_FIELDS]
    ids = np.zeros(2, np.uint64)
    base = Segment.made(np.arange(2), *flattened(fields), ids, lexicon.term_W)
    state = State.of([base], lexicon.term_W).without(np.array([1]))
    reader = Reader(lexicon, state, SynonymFile(None, lexicon.analyser))
    found = Plan.of(lexicon.analyser.query("red lamp l*"), reader.choices, lexicon.term).matches(state, Weights.of({}))
    kernels.mark_best(frozen(found.rows), frozen(found.missing), np.zeros(2, bool))
    kernels.best_rows(frozen(found.rows), frozen(found.score), frozen(np.ones(2, bool)), 1)
    lexicon.vocabulary.guesses("lamx", np.ones(len(lexicon), np.int64))
    reader.reading("lamp without red lamp")


def _read(lexicon: Lexicon, items: Items, rows: Array) -> tuple[list[Ragged], Array]:
    """The words of the rows by field, and the hashes of their ids."""
    fields = [lexicon.read(items.text(field, rows)) for field in TEXT_FIELDS]
    lexicon.count_titles(fields[TEXT_FIELDS.index("title")].values)
    return fields, np.array([hashed(normal_id(item_id)) for item_id in items.ids(rows)], np.int64).view(np.uint64)


def _merged(state: State) -> Segment:
    if len(state.parts) == 1 and state.parts[0].num_live == len(state.parts[0].segment):
        return state.parts[0].segment
    return merged([(part.segment, part.dead) for part in state.parts], state.word_terms)


def normal_id(text: str) -> str:
    """An item id as it is indexed and looked up: no surrounding blanks, any case, valid Unicode."""
    return valid(text).strip().lower()[:LONGEST_ID]
