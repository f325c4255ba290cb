"""BM25 over weighted fields, on Tantivy.

A version of the index is a folder written once and renamed into place; later changes of rows go into it by Tantivy's
own atomic commits.  The writer, and with it the folder's lock, exists only while rows are written.

Legend: Q queries, N candidate rows, K cut-off, I items.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import tantivy

from aisle.core.atomic import sync_tree, write_file
from aisle.core.env import Progress, silent
from aisle.core.errors import StateError
from aisle.core.lists import Array, ItemLists, splits_of
from aisle.core.requests import RowMasks
from aisle.core.shop import TEXT_FIELDS, Items
from aisle.engine.embedded.analysis import Analyser, Query, Word, analyser
from aisle.engine.embedded.spelling import Vocabulary, count_words
from aisle.engine.embedded.text_query import QueryBuilder, normal_id, words_needed

FORMAT = 1
CHUNK = 10_000
MOST_CORRECTED = 8
"""Unknown words of one query that are looked up; more of them are another language or noise."""
WRITER_BYTES = 200_000_000
NARROW = 5000
"""Up to this many allowed rows are handed to Tantivy; under wider filters we fetch more and drop."""
NOTHING = (np.zeros(0, np.int32), np.zeros(0, np.float32))


class TantivyText:
    """The text index of one generation; implements ``core.shop.TextIndex``."""

    def __init__(
        self, index: tantivy.Index, items: Items, language: str, words: Vocabulary, folder: Path | None = None
    ) -> None:
        self._index = index
        self._items = items
        self._analyser = analyser(language)
        self._words = words
        self._folder = folder
        _register(index, self._analyser)
        self._reload()

    @classmethod
    def build(cls, items: Items, folder: Path | None = None, *, progress: Progress = silent) -> TantivyText:
        """Index every live row, in memory or as ``folder`` (which must not exist yet)."""
        chosen = Analyser.of_locales(items.text("locale"))
        rows = np.flatnonzero(items.live).astype(np.int32)
        words = Vocabulary(count_words(text for chunk in _chunks(rows) for text in items.text("title", chunk)))
        if folder is None:
            index = tantivy.Index(_schema())
            _write(index, chosen, items, rows, progress)
            return cls(index, items, chosen.language, words)
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(mkdtemp(prefix=".text-", dir=folder.parent))
        try:
            (work / "index").mkdir()
            _write(tantivy.Index(_schema(), str(work / "index")), chosen, items, rows, progress)
            _save_words(work, words)
            record = {"format": FORMAT, "language": chosen.language, "generation": items.generation}
            (work / "text.json").write_text(json.dumps(record))
            sync_tree(work)
            os.replace(work, folder)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
        return cls.open(items, folder)

    @classmethod
    def open(cls, items: Items, folder: Path) -> TantivyText:
        """A saved index.  Raises StateError when it is missing, of another generation or of an unknown format."""
        try:
            record = json.loads((folder / "text.json").read_text())
            counts = json.loads((folder / "words.json").read_text())
        except (OSError, ValueError) as error:
            raise StateError(f"{folder} holds no text index ({error}); build the indexes again") from None
        if record["format"] != FORMAT or record["generation"] != items.generation:
            raise StateError(
                f"{folder} is of format {record['format']}, generation {record['generation']}; expected {FORMAT} and "
                f"{items.generation}: build the indexes again"
            )
        index = tantivy.Index.open(str(folder / "index"))
        return cls(index, items, record["language"], Vocabulary(counts), folder)

    def refresh(self, items: Items, changed: Array) -> None:
        """Bring these rows up to date: gone, new or different.  Doing it twice changes nothing more."""
        self._items = items
        rows = np.unique(changed)
        live = rows[items.live[rows]].astype(np.int32)
        _write(self._index, self._analyser, items, live, silent, replaced=rows)
        self._words = self._words.plus(count_words(items.text("title", live)))
        if self._folder is not None:
            _save_words(self._folder, self._words)
        self._reload()

    @property
    def num_docs(self) -> int:
        """Indexed rows."""
        return self._searcher.num_docs

    def search(self, queries: Sequence[str], k: int, masks: RowMasks, weights: Mapping[str, float]) -> ItemLists:
        """The k best allowed rows of each query with column ``score`` float32; ties go to the lower row."""
        builder = QueryBuilder(self._index.schema, weights)
        width_M = masks.bits.sum(1)
        few = np.flatnonzero((width_M <= NARROW) & (2 * width_M < self.num_docs))
        narrow = {m: builder.rows(np.flatnonzero(masks.bits[m])) for m in few}
        found = [NOTHING]
        for q, text in enumerate(queries):
            query, chosen = self._scoring(builder, text), narrow.get(masks.which[q])
            if query is None or k < 1:
                found.append(NOTHING)
            elif chosen is not None:
                found.append(_top(*self._hits(builder.within(query, chosen), NARROW), k))
            else:
                found.append(self._best(query, k, masks.of(q)))
        rows, scores = (np.concatenate(part) for part in zip(*found, strict=True))
        counts = np.array([len(r) for r, _ in found[1:]], np.int64)
        return ItemLists(rows, splits_of(counts), {"score": scores}, self._items.generation)

    def score(self, queries: Sequence[str], candidates: ItemLists, weights: Mapping[str, float]) -> Array:
        """float32[N]: what ``search`` would have given these rows; 0 where no word matches."""
        builder = QueryBuilder(self._index.schema, weights)
        out = np.zeros(len(candidates.item), np.float32)
        for q, text in enumerate(queries):
            mine = slice(candidates.splits[q], candidates.splits[q + 1])
            rows = candidates.item[mine]
            query = self._scoring(builder, text)
            if query is None or not len(rows):
                continue
            hit, score = self._hits(builder.within(query, builder.rows(rows)), len(rows))
            by_row = dict(zip(hit.tolist(), score.tolist(), strict=True))
            out[mine] = [by_row.get(row, 0.0) for row in rows.tolist()]
        return out

    def match(self, query: str, weights: Mapping[str, float]) -> Array:
        """bool[I]: live rows with enough of the query's words; every row for an empty query.

        All of one or two words, at least three quarters of more; one word less until some row matches.
        """
        parsed = self._understood(query)
        if parsed.is_empty:
            return np.ones(self._items.num_rows, bool)
        builder = QueryBuilder(self._index.schema, weights)
        out = np.zeros(self._items.num_rows, bool)
        # Rows that a refresh adds meanwhile are left to the next request.
        for needed in range(words_needed(len({w.term for w in parsed.words})), -1, -1):
            if needed == 0 and parsed.words:
                break
            rows = self._rows(builder.matching(parsed, normal_id(query), needed))
            if len(rows):
                out[rows[rows < len(out)]] = True
                break
        return out

    def suggest(self, query: str) -> str | None:
        """The query with its unknown words corrected, or None when there is nothing to correct."""
        corrections = self._corrections(self._analyser.query(query))
        if not corrections:
            return None
        pieces = query.split()
        fixed = [self._fixed(piece, corrections) for piece in pieces]
        return " ".join(fixed) if fixed != pieces else None

    def terms(self, query: str) -> list[str]:
        """The index terms of a query's words, corrected ones included."""
        return [w.term for w in self._understood(query).scoring]

    def matched_fields(self, query: str, row: int) -> Mapping[str, tuple[str, ...]]:
        """Field -> the query's words found there, as they read."""
        words = self._understood(query).scoring
        at = np.array([row], np.int32)
        found = {}
        for field in TEXT_FIELDS:
            there = set(self._analyser.terms(self._items.text(field, at)[0]))
            found[field] = tuple(w.text for w in words if w.term in there)
        return {field: texts for field, texts in found.items() if texts}

    def _understood(self, text: str) -> Query:
        """The parsed query; words that no item holds are replaced by their corrections."""
        query = self._analyser.query(text)
        corrections = self._corrections(query)
        if not corrections:
            return query
        words: list[Word] = []
        for word in query.words:
            better = corrections.get(word.text)
            start = words[-1].position + 1 if words else 0
            new = self._analyser.words(better) if better else [word]
            words += [Word(w.text, w.term, start + n) for n, w in enumerate(new)] if better else [word]
        return Query(tuple(words), query.phrases, query.excluded)

    def _corrections(self, query: Query) -> dict[str, str]:
        unknown = [w for w in query.words if not any(self._searcher.doc_freq(f, w.term) for f in TEXT_FIELDS)]
        nearest = {w.text: self._words.nearest(w.text) for w in unknown[:MOST_CORRECTED]}
        return {text: better for text, better in nearest.items() if better}

    def _fixed(self, piece: str, corrections: Mapping[str, str]) -> str:
        for text in self._analyser.surface(piece):
            if text in corrections:
                piece = piece.lower().replace(text, corrections[text])
        return piece

    def _scoring(self, builder: QueryBuilder, text: str) -> tantivy.Query | None:
        return builder.scoring(self._understood(text), normal_id(text))

    def _best(self, query: tantivy.Query, k: int, mask: Array) -> tuple[Array, Array]:
        """The k best rows within a wide mask: fetch more than k, drop what is not allowed, until enough are left."""
        width = int(mask.sum())
        limit = k + 1 if width >= self.num_docs else int(1.5 * k * self.num_docs / max(width, 1)) + 1
        while True:
            rows, scores = self._hits(query, limit)
            exhausted = len(rows) < limit
            allowed = (rows < len(mask)) & mask[np.minimum(rows, len(mask) - 1)]
            # Rows that tie with the last one fetched may be missing: only better ones are certain.
            certain = allowed if exhausted else allowed & (scores > scores[-1])
            if exhausted or certain.sum() >= k:
                return _top(rows[certain], scores[certain], k)
            limit *= 2

    def _hits(self, query: tantivy.Query, limit: int) -> tuple[Array, Array]:
        """Rows int32 and scores float32 of the best hits, best first, ties in any order."""
        # One searcher for both calls: addresses mean nothing to another one, and a refresh may come between.
        searcher = self._searcher
        hits = searcher.search(query, limit=min(limit, max(searcher.num_docs, 1)), count=False).hits
        rows = np.array(searcher.fast_field_values("row", [address for _, address in hits]), np.int32)
        return rows, np.array([score for score, _ in hits], np.float32)

    def _rows(self, query: tantivy.Query) -> Array:
        """int32: every row that the query matches."""
        searcher = self._searcher
        hits = searcher.search(query, limit=max(searcher.num_docs, 1), count=False, order_by_field="row").hits
        return np.fromiter((row for row, _ in hits), np.int32, len(hits))

    def _reload(self) -> None:
        self._index.reload()
        self._searcher = self._index.searcher()


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("row", fast=True, indexed=True)
    builder.add_text_field("item_id", tokenizer_name="raw", index_option="basic")
    for field in TEXT_FIELDS:
        builder.add_text_field(field, tokenizer_name="aisle")
    return builder.build()


def _register(index: tantivy.Index, chosen: Analyser) -> None:
    index.register_tokenizer("aisle", chosen.tokenizer)


def _write(
    index: tantivy.Index, chosen: Analyser, items: Items, rows: Array, progress: Progress, replaced: Array | None = None
) -> None:
    """Add the rows in one commit, after deleting those that are replaced."""
    _register(index, chosen)
    writer = index.writer(WRITER_BYTES, 1)
    try:
        if replaced is not None and len(replaced):
            writer.delete_documents_by_query(tantivy.Query.term_set_query(index.schema, "row", replaced.tolist()))
        done = 0
        for chunk in _chunks(rows):
            for document in _documents(chosen, items, chunk):
                writer.add_document(document)
            done += len(chunk)
            progress("indexing text", done, len(rows))
        writer.commit()
    except BaseException:
        writer.rollback()
        raise
    finally:
        # Waiting ends the writer's threads and releases the folder's lock.
        writer.wait_merging_threads()


def _documents(chosen: Analyser, items: Items, rows: Array) -> Iterator[tantivy.Document]:
    texts = {field: [chosen.prepared(text) for text in items.text(field, rows)] for field in TEXT_FIELDS}
    for n, (row, item_id) in enumerate(zip(rows.tolist(), items.ids(rows), strict=True)):
        document = tantivy.Document()
        # Only the typed call: a plain int would arrive as a signed one and kill the writer.
        document.add_unsigned("row", row)
        document.add_text("item_id", normal_id(item_id))
        for field, values in texts.items():
            if values[n]:
                document.add_text(field, values[n])
        yield document


def _chunks(rows: Array) -> Iterator[Array]:
    return (rows[n : n + CHUNK] for n in range(0, len(rows), CHUNK))


def _top(rows: Array, scores: Array, k: int) -> tuple[Array, Array]:
    order = np.lexsort((rows, -scores))[:k]
    return rows[order], scores[order]


def _save_words(folder: Path, words: Vocabulary) -> None:
    text = json.dumps(words.counts, ensure_ascii=False)
    write_file(folder / "words.json", lambda path: path.write_text(text, encoding="utf-8"))
