"""Nearest vectors under a filter: exact while few rows are allowed, else candidate codes scored again exactly.

The base is a row-addressed matrix (a memory-mapped file when saved), one bit a row says whether it is there.  Vectors
put later stand in an overlay, searched exactly, until ``train`` folds them in.  All scores come from one function of
query and row, so that search, score and any batching agree.

Legend: Q queries, N rows, I rows of the base, K cut-off, D width, M distinct filters.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from aisle.core.atomic import sync_tree, write_file
from aisle.core.errors import ContractError, GenerationError, StateError
from aisle.core.lists import Array, ItemLists, splits_of
from aisle.core.requests import RowMasks

FORMAT = 1
EXACT_ROWS = 20_000
"""Up to this many allowed rows are compared one by one."""
NUM_PROBES = 32
"""Cells looked into without a filter, for each ``CANDIDATES`` wanted."""
CANDIDATES = 400
"""Codes scored again exactly, or 4 for each wanted row if that is more."""
FILTERED_PROBES, FILTERED_CANDIDATES = 4, 2
"""Times as many under a filter, and cells again by its selectivity: where filter and query go together (a category),
the nearest allowed rows stand in cells that the query alone would not look into, and their codes differ little."""
UNFILTERED = 0.9
"""Share of rows that a mask keeps when it is no filter but a few deleted or inactive items."""
SPARE = 16
"""Rows beyond the k-th that are scored again, so that rounding of the first pass cannot drop one."""
CHUNK = 8192
TRAINING_ROWS = 100_000


class Vectors:
    """The vectors of one encoder; implements ``core.shop.VectorIndex``."""

    def __init__(
        self, base: Array, present: Array, index: Any = None, *, generation: int = 0, exact_rows: int = EXACT_ROWS
    ) -> None:
        self._base = base
        self._present = present
        self._index = index
        self._generation = generation
        self._exact_rows = exact_rows
        self._overlay = Overlay(base.shape[1])

    @classmethod
    def empty(cls, dim: int, *, generation: int = 0, dtype: Any = np.float32, exact_rows: int = EXACT_ROWS) -> Vectors:
        """No vector yet.  ``dtype`` float16 halves file and memory for about three digits of a score."""
        return cls(np.zeros((0, dim), dtype), np.zeros(0, bool), generation=generation, exact_rows=exact_rows)

    @property
    def dim(self) -> int:
        return int(self._base.shape[1])

    @property
    def num_rows(self) -> int:
        """Rows that have a vector."""
        return int(self.present.sum())

    @property
    def present(self) -> Array:
        """bool[rows]: which rows have a vector."""
        out = np.zeros(max(len(self._present), len(self._overlay.slot)), bool)
        out[: len(self._present)] = self._present
        out[: len(self._overlay.slot)] |= self._overlay.slot >= 0
        return out

    def has(self, rows: Array) -> Array:
        """bool[N]: the row has a vector."""
        present = self.present
        inside = (rows >= 0) & (rows < len(present))
        return inside & present[np.where(inside, rows, 0)] if len(present) else inside

    def put(self, rows: Array, vectors_ND: Array) -> None:
        """Store these rows' vectors; the next search finds them.

        Raises ContractError for a wrong width, a negative or repeated row, or a value that is not finite.
        """
        rows = np.asarray(rows, np.int64)
        if vectors_ND.shape != (len(rows), self.dim):
            raise ContractError(f"vectors of shape {vectors_ND.shape}; expected {(len(rows), self.dim)}, one a row")
        if len(rows) and (rows.min() < 0 or len(np.unique(rows)) < len(rows)):
            raise ContractError("rows of vectors must be catalogue rows, each once; look ids up with items.rows_of")
        if not np.isfinite(vectors_ND).all():
            raise ContractError("a vector holds NaN or infinity; check the encoder, an empty text is all zeros")
        self._overlay.put(rows, vectors_ND.astype(self._base.dtype))

    def vectors(self, rows: Array) -> Array:
        """float32[N, D]; zero for rows without a vector yet."""
        rows = np.asarray(rows, np.int64)
        out = np.zeros((len(rows), self.dim), np.float32)
        in_base = (rows >= 0) & (rows < len(self._present))
        in_base[in_base] = self._present[rows[in_base]]
        out[in_base] = self._base[rows[in_base]]
        self._overlay.fill(rows, out)
        return out

    def score(self, query_QD: Array, candidates: ItemLists) -> Array:
        """float32[N]: exact inner products; NaN for rows without a vector yet."""
        out = np.full(len(candidates.item), np.nan, np.float32)
        present = self.present
        for q in range(len(candidates)):
            mine = slice(int(candidates.splits[q]), int(candidates.splits[q + 1]))
            rows = candidates.item[mine]
            there = (rows >= 0) & (rows < len(present))
            there[there] = present[rows[there]]
            out[mine][there] = self._inner(query_QD[q], rows[there])
        return out

    def search(self, query_QD: Array, k: int, masks: RowMasks) -> ItemLists:
        """The k nearest allowed rows of each query with column ``score`` float32; ties go to the lower row."""
        query_QD = np.ascontiguousarray(query_QD, np.float32)
        if query_QD.ndim != 2 or query_QD.shape[1] != self.dim:
            raise ContractError(f"queries of shape {query_QD.shape}; expected [Q, {self.dim}], this index's width")
        present = self.present
        found: list[tuple[Array, Array]] = [(np.zeros(0, np.int64), np.zeros(0, np.float32))] * len(query_QD)
        for m in np.unique(masks.which):
            bits = masks.bits[m]
            size = min(len(bits), len(present))
            allowed = np.zeros(len(present), bool)
            allowed[:size] = bits[:size] & present[:size]
            for q in np.flatnonzero(masks.which == m):
                rows = self._candidates(query_QD[q], k, allowed)
                found[q] = _top(rows, self._inner(query_QD[q], rows), k)
        counts = np.array([len(rows) for rows, _ in found], np.int64)
        rows_N = np.concatenate([rows for rows, _ in found] or [np.zeros(0)]).astype(np.int32)
        score_N = np.concatenate([score for _, score in found] or [np.zeros(0)]).astype(np.float32)
        return ItemLists(rows_N, splits_of(counts), {"score": score_N}, self._generation)

    def train(self) -> None:
        """Fold the overlay into the base and index it, when there are more rows than are compared one by one."""
        rows = np.flatnonzero(self.present)
        base = np.zeros((len(self.present), self.dim), self._base.dtype)
        for n in range(0, len(rows), CHUNK):
            base[rows[n : n + CHUNK]] = self.vectors(rows[n : n + CHUNK])
        index = _trained(base, rows) if len(rows) > self._exact_rows else None
        self._base, self._present, self._index, self._overlay = base, self.present, index, Overlay(self.dim)

    def saved(self, folder: Path) -> Vectors:
        """Write a new version into ``folder`` and return it, memory-mapped; readers see only whole versions."""
        folder.mkdir(parents=True, exist_ok=True)
        old = sorted(int(p.name[1:]) for p in folder.glob("v*"))
        version = f"v{old[-1] + 1 if old else 1}"
        work = Path(mkdtemp(prefix=".vectors-", dir=folder))
        try:
            np.save(work / "vectors.npy", self._base)
            np.save(work / "present.npy", np.packbits(self._present))
            if self._index is not None:
                _faiss().write_index(self._index, str(work / "index.faiss"))
            record = {"format": FORMAT, "generation": self._generation, "num_rows": len(self._present)}
            (work / "vectors.json").write_text(json.dumps(record))
            sync_tree(work)
            os.replace(work, folder / version)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
        write_file(folder / "CURRENT", lambda path: path.write_text(version))
        # A reader may be about to open the version before this one.
        for number in old[:-1]:
            shutil.rmtree(folder / f"v{number}", ignore_errors=True)
        return Vectors.open(folder, self._generation, exact_rows=self._exact_rows)

    @classmethod
    def open(cls, folder: Path, generation: int, *, exact_rows: int = EXACT_ROWS) -> Vectors:
        """The current version in ``folder``.

        Raises StateError when it cannot be read, GenerationError when it belongs to another generation.
        """
        try:
            place = folder / (folder / "CURRENT").read_text().strip()
            record = json.loads((place / "vectors.json").read_text())
            base = np.load(place / "vectors.npy", mmap_mode="r")
            bits = np.load(place / "present.npy")
        except (OSError, ValueError) as error:
            raise StateError(f"{folder} holds no readable vectors ({error}); encode the catalogue again") from None
        if record["format"] != FORMAT:
            raise StateError(f"{place} is of format {record['format']}, expected {FORMAT}; encode the catalogue again")
        if record["generation"] != generation:
            raise GenerationError(
                f"{folder} holds vectors of generation {record['generation']}, the shop is at {generation}: its row "
                "numbers name other items; encode the catalogue again"
            )
        present = np.unpackbits(bits, count=record["num_rows"]).astype(bool)
        index = None
        if (place / "index.faiss").exists():
            index = _faiss().read_index(str(place / "index.faiss"))
        return cls(base, present, index, generation=generation, exact_rows=exact_rows)

    def _candidates(self, query_D: Array, k: int, allowed: Array) -> Array:
        """int64: rows among which the k nearest allowed ones are, overlay rows included."""
        num_allowed = int(allowed.sum())
        if self._index is None or num_allowed <= max(self._exact_rows, k):
            return self._nearest(query_D, k, allowed, num_allowed)
        overlay = self._overlay.rows
        # A row put since the mask was made is for the next search.
        overlay = overlay[overlay < len(allowed)]
        mine = allowed.copy()
        mine[overlay] = False
        coded = self._probe(query_D, k, mine)
        return np.concatenate([coded, overlay[allowed[overlay]]])

    def _nearest(self, query_D: Array, k: int, allowed: Array, num_allowed: int) -> Array:
        rows = np.flatnonzero(allowed)
        if num_allowed <= k + SPARE:
            return rows
        # Without gaps and overlay, slices of the base save the copy that a gather makes.
        whole = not len(self._overlay.rows) and 2 * num_allowed > len(self._base) and self._base.dtype == np.float32
        if whole:
            return np.argpartition(-np.where(allowed, self._base @ query_D, -np.inf), k + SPARE)[: k + SPARE]
        parts = [self._gather(rows[n : n + CHUNK]) @ query_D for n in range(0, len(rows), CHUNK)]
        best: Array = rows[np.argpartition(-np.concatenate(parts), k + SPARE)[: k + SPARE]]
        return best

    def _probe(self, query_D: Array, k: int, allowed: Array) -> Array:
        """Candidates by code, looking into more cells until the filter leaves enough."""
        faiss = _faiss()
        selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        num_allowed, cells = int(allowed.sum()), self._index.nlist
        share = num_allowed / self._index.ntotal
        wanted = max(CANDIDATES, 4 * k)
        probes = NUM_PROBES * wanted // CANDIDATES
        if share < UNFILTERED:
            wanted, probes = wanted * FILTERED_CANDIDATES, int(probes * FILTERED_PROBES / max(share, 1e-6))
        wanted, probes = min(wanted, num_allowed), min(probes, cells)
        while True:
            options = faiss.SearchParametersIVF(nprobe=probes, sel=selector)
            # One query at a time: its answer must not depend on its neighbours in the batch.
            _, ids = self._index.search(query_D[None], wanted, params=options)
            rows: Array = ids[0][ids[0] >= 0]
            if len(rows) >= wanted or probes == cells:
                return rows
            probes = min(cells, 2 * probes)

    def _gather(self, rows: Array) -> Array:
        """float32[N, D] of rows that are known to have a vector: one copy where ``vectors`` needs two."""
        if len(self._overlay.rows):
            return self.vectors(rows)
        return np.asarray(self._base[rows], np.float32)

    def _inner(self, query_D: Array, rows: Array) -> Array:
        """float32[N].  One fixed order of additions a row, whatever stands beside it."""
        parts = [
            np.einsum("nd,d->n", self._gather(rows[n : n + CHUNK]), query_D.astype(np.float32))
            for n in range(0, len(rows), CHUNK)
        ]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)


class Overlay:
    """Vectors by row, growing: ``slot`` int64[rows] says where a row's vector stands, -1 for none."""

    def __init__(self, dim: int) -> None:
        self.slot = np.zeros(0, np.int64)
        self.rows = np.zeros(0, np.int64)
        self._vectors = np.zeros((0, dim), np.float32)

    def put(self, rows: Array, vectors_ND: Array) -> None:
        if not len(rows):
            return
        slot = np.full(max(len(self.slot), int(rows.max()) + 1), -1, np.int64)
        slot[: len(self.slot)] = self.slot
        new = rows[slot[rows] < 0]
        used = len(self.rows)
        slot[new] = used + np.arange(len(new))
        if used + len(new) > len(self._vectors):
            grown = np.zeros((max(2 * len(self._vectors), used + len(new)), vectors_ND.shape[1]), np.float32)
            grown[:used] = self._vectors[:used]
            self._vectors = grown
        self._vectors[slot[rows]] = vectors_ND
        self.slot, self.rows = slot, np.concatenate([self.rows, new])

    def fill(self, rows: Array, out_ND: Array) -> None:
        """Write the vectors of those rows that are here."""
        here = (rows >= 0) & (rows < len(self.slot))
        here[here] = self.slot[rows[here]] >= 0
        out_ND[here] = self._vectors[self.slot[rows[here]]]


def _faiss() -> Any:
    """The library, held to one thread: a search takes a fraction of a millisecond."""
    import faiss

    faiss.omp_set_num_threads(1)
    return faiss


def folder_name(encoder: str) -> str:
    """A folder for an encoder, whose name may be a path."""
    name = quote(encoder, safe="")
    return "%2E" + name[1:] if name.startswith(".") else name


def encoder_name(folder: str) -> str:
    """The inverse of ``folder_name``."""
    return unquote(folder)


def _trained(base: Array, rows: Array) -> Any:
    """IVF cells with 4-bit product codes of these rows, ids = rows."""
    faiss = _faiss()
    rng = np.random.default_rng(0)
    cells = int(2 ** np.round(np.log2(2 * np.sqrt(len(rows)))))
    dim = base.shape[1]
    index = faiss.index_factory(dim, f"IVF{cells},PQ{_num_codes(dim)}x4fs", faiss.METRIC_INNER_PRODUCT)
    sample = rng.choice(rows, min(len(rows), TRAINING_ROWS, 64 * cells), replace=False)
    index.train(base[np.sort(sample)].astype(np.float32))
    for n in range(0, len(rows), 8 * CHUNK):
        some = rows[n : n + 8 * CHUNK]
        index.add_with_ids(base[some].astype(np.float32), some)
    return index


def _num_codes(dim: int) -> int:
    """Codes a vector: one for two numbers where the width allows it."""
    return next(c for c in range(dim // 2 or 1, 0, -1) if dim % c == 0)


def _top(rows: Array, scores: Array, k: int) -> tuple[Array, Array]:
    order = np.lexsort((rows, -scores))[:k]
    return rows[order], scores[order]
