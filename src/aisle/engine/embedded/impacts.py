"""Rows by the weighted terms they share with a query: postings for learned sparse methods, searched exactly.

Weights are kept as float16, so a weight means the same in every segment and for ever, and merging changes no answer.  A
put makes a small segment, found by the next search; segments are merged as they pile up, large ones in the background.
``home`` says in which segment a row lives: postings of a changed or deleted row are passed over until a merge drops them.
Readers take one ``Snapshot`` and see no change until their answer is ready.

Legend: Q queries, N rows, I rows, K cut-off, S terms of a query, M distinct filters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path
from threading import RLock, Thread

import numpy as np

from aisle.core.atomic import write_json
from aisle.core.bags import LARGEST, Bags
from aisle.core.errors import ContractError, SettingError, StateError
from aisle.core.lists import Array, ItemLists, splits_of
from aisle.core.requests import RowMasks
from aisle.engine.embedded import impacts_files as files
from aisle.engine.embedded import impacts_kernels as kernels
from aisle.engine.embedded import impacts_snapshot as snapshot
from aisle.engine.embedded.compiled import frozen
from aisle.engine.embedded.impacts_overrides import Edit, Overrides
from aisle.engine.embedded.impacts_segment import Best, Segment, query_of, warm
from aisle.engine.embedded.impacts_snapshot import Snapshot
from aisle.engine.embedded.versions import Home, writing

SMALL_POSTINGS = 1 << 18
"""Segments of up to this many postings are merged while their writer waits, which takes milliseconds."""
SHARE = 0.1
"""All segments are merged in the background when those after the first hold more than this share of it."""
FEW_ROWS = 0.05
"""Up to this share of the rows is counted as few."""


class Impacts:
    """The bags of one model; implements ``core.shop.SparseIndex``.  Of its threads one at a time writes."""

    def __init__(self, parts: Sequence[Segment] = (), home: Array | None = None, *, generation: int = 0) -> None:
        warm()
        self._now = Snapshot(tuple(parts), frozen(np.zeros(0, np.int32) if home is None else home))
        self._generation = generation
        self._next = 1 + max((part.number for part in parts), default=-1)
        self._overrides = Overrides()
        self._home: Home[files.Change] | None = None
        self._stamp = (0, 0)
        self._writing = RLock()
        self._held: tuple[Segment, ...] = ()
        self._lost = 0
        """Rows deleted or replaced since the last merge of everything: their postings are still held."""

    @classmethod
    def empty(cls, *, generation: int = 0) -> Impacts:
        """No bag yet."""
        return cls(generation=generation)

    @property
    def num_rows(self) -> int:
        """Rows that have a bag, empty ones included."""
        return int((self._now.home >= 0).sum())

    @property
    def num_postings(self) -> int:
        """Postings held, out-of-date ones included until the next merge."""
        return sum(part.num_postings for part in self._now.parts)

    @property
    def num_bytes(self) -> int:
        """Bytes of all postings and their tables."""
        return sum(part.num_bytes for part in self._now.parts) + self._now.home.nbytes

    @property
    def num_segments(self) -> int:
        return len(self._now.parts)

    def has(self, rows: Array) -> Array:
        """bool[N]: the row has a bag."""
        home = self._now.home
        inside = (rows >= 0) & (rows < len(home))
        inside[inside] = home[rows[inside]] >= 0
        return inside

    def search(self, queries: Bags, k: int, masks: RowMasks) -> ItemLists:
        """The k best allowed rows of each query, those sharing a term with it, with column ``score`` float32.

        The score is the sum over shared terms of query weight times row weight; ties go to the lower row.
        """
        if len(queries) != len(masks.which):
            raise ContractError(f"{len(queries)} queries came with masks of {len(masks.which)}; give one a query")
        now = self._now
        query_Q = query_of(queries, self._overrides.factors)
        found: list[tuple[Array, Array]] = [(np.zeros(0, np.int64), np.zeros(0, np.float32))] * len(query_Q)
        if k > 0:
            best = Best(k)
            for m in np.unique(masks.which):
                allowed = snapshot.allowed(masks.bits[m], len(now.home))
                few = np.count_nonzero(allowed) <= FEW_ROWS * len(allowed)
                rows = np.flatnonzero(allowed) if few else None
                for q in np.flatnonzero(masks.which == m):
                    found[q] = snapshot.search(now, *query_Q[q], allowed, rows, best)
        rows_N = np.concatenate([rows for rows, _ in found] or [np.zeros(0)]).astype(np.int32)
        score_N = np.concatenate([score for _, score in found] or [np.zeros(0)]).astype(np.float32)
        splits = splits_of(np.array([len(rows) for rows, _ in found], np.int64))
        return ItemLists(rows_N, splits, {"score": score_N}, self._generation)

    def score(self, queries: Bags, candidates: ItemLists) -> Array:
        """float32[N]: what ``search`` gives these rows; 0 where no term is shared, NaN for rows without a bag."""
        if len(queries) != len(candidates):
            raise ContractError(f"{len(queries)} queries came with {len(candidates)} lists; give one list a query")
        now = self._now
        query_Q = query_of(queries, self._overrides.factors)
        out = np.full(len(candidates.item), np.nan, np.float32)
        for q, (term_S, weight_S) in enumerate(query_Q):
            mine = slice(int(candidates.splits[q]), int(candidates.splits[q + 1]))
            out[mine] = snapshot.score(now, term_S, weight_S, candidates.item[mine])
        return out

    def bag(self, row: int) -> dict[int, float]:
        """Term to weight of a row as it is searched, overrides included, for explanations; empty without a bag."""
        scaled = {t: w * self._overrides.factors.get(t, 1.0) for t, w in self._stored(row).items()}
        return {t: w for t, w in scaled.items() if w > 0}

    def put(self, rows: Array, bags: Bags) -> None:
        """Store these rows' bags, in place of those they had; the next search finds them.

        Raises ContractError for a negative or repeated row, or when there is not one bag a row.
        """
        rows = np.asarray(rows, np.int64)
        if len(rows) != len(bags):
            raise ContractError(f"{len(rows)} rows came with {len(bags)} bags; give one a row")
        if len(rows) and (rows.min() < 0 or len(np.unique(rows)) < len(rows)):
            raise ContractError("rows of bags must be catalogue rows, each once; look ids up with items.rows_of")
        if not len(rows):
            return
        with self._writing:
            self._keep(files.Change(rows, bags))
            overrides = self._overridden(rows, bags)
            if overrides is not self._overrides:
                self._override(overrides)

    def delete(self, rows: Array) -> None:
        """Forget these rows' bags and their overrides; rows without a bag are passed over."""
        with self._writing:
            rows = np.asarray(rows, np.int64)
            rows = rows[self.has(rows)]
            if not len(rows):
                return
            self._keep(files.Change(lost=rows))
            self._forget(rows)
            if not self._overrides.edits.keys().isdisjoint(rows.tolist()):
                self._override(self._overrides.without(rows.tolist()))

    def scale_term(self, term: int, factor: float) -> None:
        """Multiply a term's weight in every row: 0 switches it off, 1 takes the override back.  Acts at once and lasts."""
        if not (isfinite(factor) and 0 <= factor <= LARGEST):
            raise SettingError(f"factor {factor} of term {term}; expected 0 to {LARGEST:g}")
        with self._writing:
            self._override(self._overrides.with_factor(int(term), float(factor)))

    def set_weight(self, row: int, term: int, weight: float | None) -> None:
        """Give one row this weight for a term, whatever bag is put later; 0 takes the term away, None the override.

        A row without a bag gets one.  Acts at once and lasts until the row is deleted.
        """
        if weight is not None and not (isfinite(weight) and 0 <= weight <= LARGEST):
            raise SettingError(f"weight {weight} of term {term} in row {row}; expected 0 to {LARGEST:g}, or None")
        if row < 0 or term < 0:
            raise SettingError(f"row {row}, term {term}; both are numbers of 0 and more")
        with self._writing:
            before = self._overrides.edits.get(row, {}).get(term)
            if weight is None and before is None:
                return
            bag = self._stored(row)
            own = before.own if before else bag.get(term, 0.0)
            edit = None if weight is None else Edit(float(weight), own)
            self._replace(row, bag, term, edit.weight if edit else own)
            self._override(self._overrides.with_edit(row, term, edit))

    @property
    def overrides(self) -> Overrides:
        """What ``scale_term`` and ``set_weight`` changed and was not taken back."""
        return self._overrides

    def compact(self) -> None:
        """Merge all segments now.  Nobody has to: it happens by itself as they pile up."""
        with self._writing:
            if len(self._now.parts) > 1 or self._lost:
                self._swap(self._now.parts, snapshot.merged(self._now, self._now.parts, self._number()), self._lost)

    def _stored(self, row: int) -> dict[int, float]:
        now = self._now
        number = now.home[row] if 0 <= row < len(now.home) else -1
        return next((part.bag(row) for part in now.parts if part.number == number), {})

    def _replace(self, row: int, bag: dict[int, float], term: int, weight: float) -> None:
        changed = {t: w for t, w in bag.items() if t != term} | ({term: weight} if weight > 0 else {})
        self._put(np.array([row], np.int64), Bags.of([changed]))

    def _put(self, rows: Array, bags: Bags) -> None:
        number = self._number()
        part = Segment.of_bags(number, rows, bags)
        home = np.full(max(len(self._now.home), int(rows.max()) + 1), -1, np.int32)
        home[: len(self._now.home)] = self._now.home
        self._lost += int((home[rows] >= 0).sum())
        home[rows] = number
        self._now = Snapshot((*self._now.parts, part), frozen(home))
        self._tidy()

    def _number(self) -> int:
        self._next += 1
        return self._next - 1

    def _tidy(self) -> None:
        """Merge the newest segments while the one before them is not much larger; leave large ones to the background."""
        while len(self._now.parts) > 1:
            a, b = self._now.parts[-2:]
            small = a.num_postings <= 2 * b.num_postings and a.num_postings + b.num_postings <= SMALL_POSTINGS
            if not small or a in self._held:
                break
            self._swap((a, b), snapshot.merged(self._now, (a, b), self._number()), 0)
        parts = self._now.parts
        base, later = sum(p.num_postings for p in parts[:1]), sum(p.num_postings for p in parts[1:])
        grown = later > max(SHARE * base, SMALL_POSTINGS)
        if not self._held and (grown or self._lost > max(SHARE * len(self._now.home), kernels.BLOCK)):
            self._held = parts
            Thread(target=self._merge, args=(self._now, self._number(), self._lost)).start()

    def _merge(self, then: Snapshot, number: int, lost: int) -> None:
        try:
            made = snapshot.merged(then, then.parts, number)
            with self._writing:
                self._swap(then.parts, made, lost)
        finally:
            self._held = ()

    def _swap(self, parts: Sequence[Segment], made: Segment, lost: int) -> None:
        """Put ``made``, without ``lost`` rows, in the place of the segments it came from, unless another was quicker."""
        now = self._now
        if not all(part in now.parts for part in parts):
            return
        self._lost -= lost
        numbers = [part.number for part in parts]
        home = np.where(np.isin(now.home, numbers), np.int32(made.number), now.home)
        at = now.parts.index(parts[0])
        rest = [part for part in now.parts if part.number not in numbers]
        self._now = Snapshot((*rest[:at], made, *rest[at:]), frozen(home))

    def saved(self, folder: Path) -> Impacts:
        """Merge, write a new version into ``folder`` and return it, memory-mapped; readers see only whole versions."""
        with self._writing:
            self._write(folder)
        return Impacts.open(folder, self._generation)

    @classmethod
    def open(cls, folder: Path, generation: int) -> Impacts:
        """The current version in ``folder``, memory-mapped, and what was put since it was written.

        Raises StateError when it cannot be read or is damaged, GenerationError when it belongs to another generation.
        """
        stamp, kept = _stamp_of(folder), files.read(folder, generation)
        out = cls([kept.part], kept.rows, generation=generation)
        out._home, out._stamp = kept.home, stamp
        for change in kept.home.new_changes():
            out._apply(change)
        try:
            out._recall(kept.overrides)
        except (ValueError, KeyError, TypeError) as error:
            raise StateError(f"{folder} holds no readable overrides ({error}); restore a backup") from None
        return out

    def follow(self) -> bool:
        """Take in what another process has put into the folder since; True when that was anything."""
        with self._writing:
            if self._home is None:
                return False
            if not self._home.is_current() or files.stamp(self._home.folder) != self._stamp:
                fresh = Impacts.open(self._home.folder, self._generation)
                self._home, self._stamp, self._overrides = fresh._home, fresh._stamp, fresh._overrides
                self._now, self._next, self._lost, self._held = fresh._now, fresh._next, fresh._lost, ()
                return True
            before = self._now
            for change in self._home.new_changes():
                self._apply(change)
            return self._now is not before

    def _apply(self, change: files.Change) -> None:
        """What another process has put, and kept itself."""
        if len(change.rows):
            self._overrides = self._overridden(change.rows, change.bags)
        if len(change.lost):
            self._forget(change.lost)

    def _keep(self, change: files.Change) -> None:
        """A change is on disk before it is searched, where the index has a folder."""
        if self._home is not None:
            if self._home.num_changes >= files.MOST_CHANGES:
                self._write(self._home.folder)
            with writing(self._home.folder):
                self.follow()
                self._home.add(change)

    def _write(self, folder: Path) -> None:
        self.compact()
        now, folder_is_new = self._now, not (folder / files.OVERRIDES).exists()
        if folder_is_new:  # before anybody can open it
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / files.OVERRIDES, self._overrides.to_json())
        self._home = files.write(folder, (now.parts or (Segment.empty(0),))[0], now.home, self._generation)
        self._override(self._overrides)

    def _overridden(self, rows: Array, bags: Bags) -> Overrides:
        """Put bags as the overrides have them; returns the overrides, which remember what was put."""
        bags, overrides = self._overrides.over(rows, bags)
        self._put(rows, bags)
        return overrides

    def _forget(self, rows: Array) -> None:
        home = self._now.home.copy()
        home[rows] = -1
        self._now = replace(self._now, home=frozen(home))
        self._lost += len(rows)
        self._tidy()

    def _override(self, overrides: Overrides) -> None:
        """Overrides outlive the process from the moment they are made, when the index has a folder."""
        self._overrides = overrides
        if self._home is not None:
            write_json(self._home.folder / files.OVERRIDES, overrides.to_json())
            self._stamp = files.stamp(self._home.folder)

    def _recall(self, kept: Mapping[str, Sequence[Sequence[float]]]) -> None:
        """Overrides as they were kept, applied to bags that were saved before them."""
        overrides = Overrides({int(t): float(f) for t, f in kept["factors"]})
        for r, t, weight, own in kept["edits"]:
            row, term = int(r), int(t)
            bag = self._stored(row)
            now = bag.get(term, 0.0)
            if now != float(np.float16(weight)):
                self._replace(row, bag, term, weight)
                own = now
            overrides = overrides.with_edit(row, term, Edit(float(weight), float(own)))
        self._overrides = overrides


def _stamp_of(folder: Path) -> tuple[int, int]:
    try:
        return files.stamp(folder)
    except OSError as error:
        raise StateError(f"{folder} holds no readable bags ({error}); put the bags again") from None
