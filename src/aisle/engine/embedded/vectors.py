"""Nearest vectors under a filter: cells near the query are swept by 8-bit codes, the best are scored again exactly.

The sweep ends when it stops paying: after ``PATIENCE`` allowed rows of which hardly one was among the best.  So it looks into
more cells by itself where a filter thins rows out, or leaves only such as lie far from the query.  Where few rows are allowed
they are compared one by one.  All scores come from one loop over float16 vectors, so that search, score and any batching agree.

Vectors put later stand in a delta, compared exactly, until a background thread folds them into new files.  Readers take one
``_State`` and see no change until their answer is ready; other processes ``follow`` what the writer puts on disk.

Legend: Q queries, N rows, I rows of the catalogue, K cut-off, D width, H candidates, M distinct filters.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from threading import RLock, Thread
from urllib.parse import quote, unquote

import numpy as np

from aisle.core.errors import ContractError
from aisle.core.lists import Array, ItemLists, splits_of
from aisle.core.requests import RowMasks
from aisle.engine.embedded import vectors_files as files
from aisle.engine.embedded import vectors_kernels as kernels
from aisle.engine.embedded.compiled import frozen
from aisle.engine.embedded.vectors_kernels import ABSENT, IN_BASE
from aisle.engine.embedded.vectors_segment import ONE_CELL, Segment, bits_of, floats_of
from aisle.engine.embedded.versions import Home

FEW_ROWS = 4096
"""Up to this many allowed rows are picked out one by one, which beats sweeping over all others."""
PATIENCE = 3000
ENTRIES = 64
"""A sweep ends when of ``PATIENCE`` allowed rows at most one in ``ENTRIES`` of the candidates was new among the best."""
SPARE = 64
"""Candidates beyond k, or half of k if that is more: 8-bit codes confuse neighbours, float16 puts them right."""
FOLD_ROWS, FOLD_SHARE = 8192, 0.05
"""The delta is folded in the background when it holds more rows than this, and than this share of the base."""


@dataclass(frozen=True, eq=False)
class _State:
    """The base; for each row a place in the delta, IN_BASE or ABSENT (int32[I]); the delta's float16 bits; places in use.

    Later states share the delta's memory and write only to places beyond ``used``.
    """

    base: Segment
    place: Array
    delta: Array
    used: int = 0

    @cached_property
    def present(self) -> Array:
        """bool[I]: the row has a vector."""
        return frozen(self.place != ABSENT)

    @cached_property
    def in_base(self) -> Array | None:
        """bool[I]: the base's vector counts; None when that is so for all it holds."""
        current = self.place == IN_BASE
        return None if np.count_nonzero(current) == len(self.base.row) else frozen(current)

    @cached_property
    def delta_rows(self) -> Array:
        """int32: rows whose vector is in the delta, ascending."""
        return np.flatnonzero(self.place >= 0).astype(np.int32)

    @property
    def num_stale(self) -> int:
        """What a fold would tidy up: places in the delta, and vectors of the base that no longer count."""
        lost = 0 if self.in_base is None else len(self.base.row) - int(np.count_nonzero(self.in_base))
        return self.used + lost

    @classmethod
    def of(cls, base: Segment) -> _State:
        place = np.full(base.num_rows, ABSENT, np.int32)
        place[base.row] = IN_BASE
        return cls(base, frozen(place), np.zeros((0, base.dim), np.uint16))


class Vectors:
    """The vectors of one encoder; implements ``core.shop.VectorIndex``.  One writer and any number of reading threads."""

    def __init__(self, base: Segment, *, generation: int = 0, one_cell: int = ONE_CELL) -> None:
        _warm()
        self._state = _State.of(base)
        self._generation = generation
        self._one_cell = one_cell
        self._writing = RLock()
        self._folding: Thread | None = None
        self._home: Home[files.Change] | None = None

    @classmethod
    def empty(cls, dim: int, *, generation: int = 0, one_cell: int = ONE_CELL) -> Vectors:
        """No vector yet.  one_cell: up to this many vectors are not sorted into cells."""
        return cls(Segment.empty(dim), generation=generation, one_cell=one_cell)

    @property
    def dim(self) -> int:
        return self._state.base.dim

    @property
    def num_rows(self) -> int:
        """Rows that have a vector."""
        return int(np.count_nonzero(self._state.present))

    @property
    def num_bytes(self) -> int:
        """Bytes of all arrays, mapped ones included."""
        now = self._state
        return now.base.num_bytes + now.place.nbytes + now.delta.nbytes

    @property
    def num_delta(self) -> int:
        """Rows whose vector waits to be folded into the base."""
        return len(self._state.delta_rows)

    @property
    def present(self) -> Array:
        """bool[rows]: which rows have a vector."""
        return self._state.present

    def has(self, rows: Array) -> Array:
        """bool[N]: the row has a vector."""
        present = self._state.present
        inside = (rows >= 0) & (rows < len(present))
        return inside & present[np.where(inside, rows, 0)] if len(present) else inside

    def put(self, rows: Array, vectors_ND: Array) -> None:
        """Store these rows' vectors; the next search finds them, and an index that has a folder keeps them.

        Raises ContractError for a wrong width, a negative or repeated row, or a value that is not finite as float16.
        """
        rows = np.asarray(rows, np.int64)
        if vectors_ND.shape != (len(rows), self.dim):
            raise ContractError(f"vectors of shape {vectors_ND.shape}; expected {(len(rows), self.dim)}, one a row")
        if len(rows) and (rows.min() < 0 or len(np.unique(rows)) < len(rows)):
            raise ContractError("rows of vectors must be catalogue rows, each once; look ids up with items.rows_of")
        bits_ND = bits_of(vectors_ND)
        if not np.isfinite(bits_ND.view(np.float16)).all():
            raise ContractError(
                "a vector holds NaN, infinity or a number beyond 65,504; check the encoder, an empty text is all zeros"
            )
        if len(rows):
            self._change(rows, bits_ND)

    def delete(self, rows: Array) -> None:
        """Forget these rows' vectors, because they are gone or say what the row no longer is."""
        rows = np.asarray(rows, np.int64)
        rows = rows[self.has(rows)]
        if len(rows):
            self._change(rows, None)

    def vectors(self, rows: Array) -> Array:
        """float32[N, D]; zero for rows without a vector yet."""
        return self._vectors(self._state, np.asarray(rows, np.int64))

    def score(self, query_QD: Array, candidates: ItemLists) -> Array:
        """float32[N]: exact inner products; NaN for rows without a vector yet."""
        now, rows = self._state, frozen(candidates.item)
        out = np.empty(len(rows), np.float32)
        for q in range(len(candidates)):
            mine = slice(int(candidates.splits[q]), int(candidates.splits[q + 1]))
            out[mine] = _scores(now, rows[mine], frozen(query_QD[q].astype(np.float32)))
        return out

    def search(self, query_QD: Array, k: int, masks: RowMasks) -> ItemLists:
        """The k nearest allowed rows of each query with column ``score`` float32; ties go to the lower row."""
        query_QD = frozen(query_QD.astype(np.float32))
        if query_QD.ndim != 2 or query_QD.shape[1] != self.dim:
            raise ContractError(f"queries of shape {query_QD.shape}; expected [Q, {self.dim}], this index's width")
        now = self._state
        found: list[tuple[Array, Array]] = [(np.zeros(0, np.int32), np.zeros(0, np.float32))] * len(query_QD)
        for m in np.unique(masks.which) if k > 0 else ():
            allowed = _Allowed(now, masks.bits[m])
            for q in np.flatnonzero(masks.which == m):
                rows = allowed.candidates(query_QD[q], k)
                found[q] = _top(rows, _scores(now, rows, query_QD[q]), k)
        splits = splits_of(np.array([len(rows) for rows, _ in found], np.int64))
        rows_N = np.concatenate([rows for rows, _ in found] or [np.zeros(0, np.int32)])
        score_N = np.concatenate([score for _, score in found] or [np.zeros(0, np.float32)])
        return ItemLists(rows_N, splits, {"score": score_N}, self._generation)

    # -- writing -------------------------------------------------------------------------------------------------------

    def train(self) -> None:
        """Fold the delta into the base now.  Nobody has to: it happens by itself as the delta grows."""
        with self._writing:
            if self._state.num_stale:
                self._state = _State.of(self._folded(self._state))

    def saved(self, folder: Path) -> Vectors:
        """Fold, write a new version into ``folder`` and return it, memory-mapped; readers see only whole versions."""
        self.wait()
        with self._writing:
            base = self._folded(self._state) if self._state.num_stale else self._state.base
            files.write_version(folder, base, self._generation)
        return Vectors.open(folder, self._generation, one_cell=self._one_cell)

    @classmethod
    def open(cls, folder: Path, generation: int, *, one_cell: int = ONE_CELL) -> Vectors:
        """The current version in ``folder`` and what was put since it was written.

        Raises StateError when it cannot be read or is damaged, GenerationError when it belongs to another generation.
        """
        home, base = files.open_version(folder, generation)
        out = cls(base, generation=generation, one_cell=one_cell)
        out._home = home
        out._read_changes()
        return out

    def follow(self) -> bool:
        """Take in what another process has put into the folder since; True when that was anything."""
        with self._writing:
            if self._home is None:
                return False
            before = self._state
            if not self._home.is_current():
                self._home, base = files.open_version(self._home.folder, self._generation)
                self._state = _State.of(base)
            self._read_changes()
            return self._state is not before

    def wait(self) -> None:
        """Until a fold that runs in the background has ended."""
        thread = self._folding
        if thread is not None:
            thread.join()

    def _change(self, rows: Array, bits_ND: Array | None) -> None:
        """Put the vectors of these rows, or forget them; kept on disk first where there is a folder."""
        with self._writing:
            if self._home is not None:
                self._home.add(files.Change(rows, bits_ND))
                if self._home.num_changes >= files.MOST_CHANGES:
                    self._home.replace(_change_of(self._state, rows, bits_ND))
            self._state = _changed(self._state, rows, bits_ND)
            if self._state.num_stale > max(FOLD_ROWS, FOLD_SHARE * self._state.base.num_rows) and self._folding is None:
                self._folding = Thread(target=self._fold, args=(self._state,), name="aisle-vectors")
                self._folding.start()

    def _fold(self, then: _State) -> None:
        """Fold ``then`` into a new base and put on top of it what has changed since."""
        try:
            base = self._folded(then)
            work = None if self._home is None else files.prepare_version(self._home.folder, base, self._generation)
            with self._writing:
                if self._state.base is not then.base:
                    if work is not None:
                        shutil.rmtree(work, ignore_errors=True)
                    return
                later = _since(then, self._state)
                if work is not None and self._home is not None:
                    self._home, base = files.publish(self._home.folder, work, self._generation, later)
                state = _State.of(base)
                self._state = state if later is None else later.applied(state, _changed)
        finally:
            self._folding = None

    def _read_changes(self) -> None:
        if self._home is not None:
            for change in self._home.new_changes():
                self._state = change.applied(self._state, _changed)

    def _folded(self, now: _State) -> Segment:
        rows = np.flatnonzero(now.present)
        bits_ID = np.zeros((len(now.place), self.dim), np.uint16)
        old = rows[now.place[rows] == IN_BASE]
        bits_ID[old] = now.base.base[old]
        bits_ID[now.delta_rows] = now.delta[now.place[now.delta_rows]]
        return Segment.of(bits_ID, rows, like=now.base, one_cell=self._one_cell)

    def _vectors(self, now: _State, rows: Array) -> Array:
        out = np.zeros((len(rows), self.dim), np.float32)
        inside = (rows >= 0) & (rows < len(now.place))
        place = np.full(len(rows), ABSENT, np.int64)
        place[inside] = now.place[rows[inside]]
        out[place == IN_BASE] = floats_of(now.base.base[rows[place == IN_BASE]])
        out[place >= 0] = floats_of(now.delta[place[place >= 0]])
        return out


class _Allowed:
    """What one mask leaves of one state; rows put after the mask was made are for the next search."""

    def __init__(self, now: _State, bits: Array) -> None:
        self._now = now
        size = len(now.place)
        if len(bits) < size:
            bits = np.concatenate([bits, np.zeros(size - len(bits), bool)])
        bits = bits[:size]
        self._rows: Array | None = None
        self._sweep = bits
        self._delta = now.delta_rows
        if np.count_nonzero(bits) <= FEW_ROWS or not len(now.base.row):
            self._rows = np.flatnonzero(bits & now.present).astype(np.int32)
            return
        if now.in_base is not None:
            self._sweep = bits & now.in_base
        self._sweep = frozen(self._sweep)
        self._delta = self._delta[bits[self._delta]]

    def candidates(self, query_D: Array, k: int) -> Array:
        """int32: rows among which the k nearest allowed ones are."""
        if self._rows is not None:
            return self._rows
        base = self._now.base
        size = k + max(SPARE, k // 2)
        score_H, row_H = np.empty(size, np.float32), np.empty(size, np.int32)
        found = kernels.scan(
            base.codes, base.scale, base.row, base.start, base.order(query_D), self._sweep, query_D,
            PATIENCE, max(1, size // ENTRIES), score_H, row_H,
        )  # fmt: skip
        return np.concatenate([row_H[:found], self._delta])


def _scores(now: _State, rows: Array, query_D: Array) -> Array:
    """float32[N]: one fixed order of additions a row, whatever stands beside it; NaN without a vector."""
    out = np.empty(len(rows), np.float32)
    kernels.score_rows(now.base.base, frozen(now.delta), now.place, frozen(rows.astype(np.int32)), query_D, out)
    return out


def _top(rows: Array, scores: Array, k: int) -> tuple[Array, Array]:
    if len(rows) > 4 * k:
        # Rows that tie with the k-th stay, so that the lower ones among them win.
        kept = scores >= np.partition(scores, len(scores) - k)[len(scores) - k]
        rows, scores = rows[kept], scores[kept]
    order = np.lexsort((rows, -scores))[:k]
    return rows[order], scores[order]


def _changed(now: _State, rows: Array, bits_ND: Array | None) -> _State:
    """With these rows' vectors, or without any for them.  Places in the delta are never written twice."""
    place = np.full(max(len(now.place), int(rows.max()) + 1), ABSENT, np.int32)
    place[: len(now.place)] = now.place
    if bits_ND is None:
        place[rows] = ABSENT
        return replace(now, place=frozen(place))
    used, delta = now.used + len(rows), now.delta
    if used > len(delta):
        delta = np.empty((max(64, 2 * len(delta), used), now.base.dim), np.uint16)
        delta[: now.used] = now.delta[: now.used]
    delta[now.used : used] = bits_ND
    place[rows] = np.arange(now.used, used)
    return _State(now.base, frozen(place), delta, used)


def _since(then: _State, now: _State) -> files.Change | None:
    """What changed between two states of one base."""
    old = np.full(len(now.place), ABSENT, np.int32)
    old[: len(then.place)] = then.place
    rows = np.flatnonzero(old != now.place)
    return _change_from(now, rows) if len(rows) else None


def _change_of(now: _State, rows: Array, bits_ND: Array | None) -> files.Change:
    """Everything in which the state, after one more change, differs from its base."""
    after = _changed(now, rows, bits_ND)
    return _since(_State.of(after.base), after) or files.Change(rows, bits_ND)


def _change_from(now: _State, rows: Array) -> files.Change:
    there = now.place[rows] >= 0
    return files.Change(rows[there], now.delta[now.place[rows[there]]], rows[~there])


def folder_name(encoder: str) -> str:
    """A folder for an encoder, whose name may be a path."""
    name = quote(encoder, safe="")
    return "%2E" + name[1:] if name.startswith(".") else name


def encoder_name(folder: str) -> str:
    """The inverse of ``folder_name``."""
    return unquote(folder)


@cache
def _warm() -> None:
    """Compile, or load from disk, every loop, so that no request waits for it; once a process."""
    base = Segment.of(bits_of(np.eye(2, dtype=np.float32)), np.arange(2))
    now, query_D = _State.of(base), frozen(np.ones(2, np.float32))
    _scores(now, np.zeros(1, np.int32), query_D)
    heap = np.empty(1, np.float32), np.empty(1, np.int32)
    allowed = frozen(np.ones(2, bool))
    kernels.scan(base.codes, base.scale, base.row, base.start, base.order(query_D), allowed, query_D, 1, 1, *heap)
