"""The vectors of one encoder: kept on disk, changed row by row, searched under a filter (``vectors_search``).

All scores come from one loop over float16 vectors, so that search, score and any batching agree.  Vectors put later stand in
a delta, compared exactly, until a background thread folds them into new files.  Readers take one ``State`` and see no change
until their answer is ready; other processes ``follow`` what the writer puts on disk.

Legend: Q queries, N rows, I rows of the catalogue, K cut-off, D width.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache
from pathlib import Path
from threading import RLock, Thread
from urllib.parse import quote, unquote

import numpy as np

from aisle.core.errors import ContractError
from aisle.core.lists import Array, ItemLists, splits_of
from aisle.core.requests import RowMasks
from aisle.engine.embedded import vectors_files as files
from aisle.engine.embedded.compiled import frozen
from aisle.engine.embedded.vectors_kernels import IN_BASE
from aisle.engine.embedded.vectors_search import NOTHING, nearest, warm
from aisle.engine.embedded.vectors_segment import ONE_CELL, Segment, bits_of
from aisle.engine.embedded.vectors_state import State
from aisle.engine.embedded.versions import Home, writing

FOLD_ROWS, FOLD_SHARE = 8192, 0.05
"""The delta is folded in the background when it holds more rows than this, and than this share of the base."""


class Vectors:
    """The vectors of one encoder; implements ``core.shop.VectorIndex``.  Of its threads one at a time writes."""

    def __init__(self, base: Segment, *, generation: int = 0, one_cell: int = ONE_CELL) -> None:
        _warm()
        self._state = State.of(base)
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
        return self._state.vectors(np.asarray(rows, np.int64))

    def score(self, query_QD: Array, candidates: ItemLists) -> Array:
        """float32[N]: exact inner products; NaN for rows without a vector yet."""
        now, rows = self._state, frozen(candidates.item)
        out = np.empty(len(rows), np.float32)
        for q in range(len(candidates)):
            mine = slice(int(candidates.splits[q]), int(candidates.splits[q + 1]))
            out[mine] = now.scores(rows[mine], frozen(query_QD[q].astype(np.float32)))
        return out

    def search(self, query_QD: Array, k: int, masks: RowMasks) -> ItemLists:
        """The k nearest allowed rows of each query with column ``score`` float32; ties go to the lower row."""
        query_QD = frozen(query_QD.astype(np.float32))
        if query_QD.ndim != 2 or query_QD.shape[1] != self.dim:
            raise ContractError(f"queries of shape {query_QD.shape}; expected [Q, {self.dim}], this index's width")
        found = nearest(self._state, query_QD, k, masks)
        splits = splits_of(np.array([len(rows) for rows, _ in found], np.int64))
        rows_N = np.concatenate([NOTHING.rows, *(rows for rows, _ in found)])
        score_N = np.concatenate([NOTHING.score, *(score for _, score in found)])
        return ItemLists(rows_N, splits, {"score": score_N}, self._generation)

    # -- writing -------------------------------------------------------------------------------------------------------

    def train(self) -> None:
        """Fold the delta into the base now.  Nobody has to: it happens by itself as the delta grows."""
        with self._writing:
            if self._state.num_stale:
                self._state = State.of(self._folded(self._state))

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
                self._state = State.of(base)
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
                with writing(self._home.folder):
                    self.follow()
                    self._home.add(files.Change(rows, bits_ND))
                    if self._home.num_changes >= files.MOST_CHANGES:
                        after = self._state.changed(rows, bits_ND)
                        self._home.replace(after.since_base() or files.Change(rows, bits_ND))
            self._state = self._state.changed(rows, bits_ND)
            if self._state.num_stale > max(FOLD_ROWS, FOLD_SHARE * self._state.base.num_rows) and self._folding is None:
                self._folding = Thread(target=self._fold, args=(self._state,), name="aisle-vectors")
                self._folding.start()

    def _fold(self, then: State) -> None:
        """Fold ``then`` into a new base and put on top of it what has changed since."""
        try:
            base = self._folded(then)
            work = None if self._home is None else files.prepare_version(self._home.folder, base, self._generation)
            with self._writing, nullcontext() if work is None else writing(work.folder):
                self.follow()
                if self._state.base is not then.base:
                    if work is not None:
                        work.discard()
                    return
                later = self._state.since(then)
                if work is not None:
                    self._home, base = files.publish(work, later)
                state = State.of(base)
                self._state = state if later is None else later.applied(state, State.changed)
        finally:
            self._folding = None

    def _read_changes(self) -> None:
        if self._home is not None:
            for change in self._home.new_changes():
                self._state = change.applied(self._state, State.changed)

    def _folded(self, now: State) -> Segment:
        rows = np.flatnonzero(now.present)
        bits_ID = np.zeros((len(now.place), self.dim), np.uint16)
        old = rows[now.place[rows] == IN_BASE]
        bits_ID[old] = now.base.base[old]
        bits_ID[now.delta_rows] = now.delta[now.place[now.delta_rows]]
        return Segment.of(bits_ID, rows, like=now.base, one_cell=self._one_cell)


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
    warm(State.of(base))
