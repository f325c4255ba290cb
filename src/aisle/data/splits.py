"""Splits that do not move: by query (hash), by time, and leave-one-out over sequences.

Legend: Q queries, U users, N rows of all sequences together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aisle.core.errors import SettingError
from aisle.core.lists import Array, ItemLists
from aisle.core.shop import Events, Judgments

VALIDATION_FOLDS = 5
"""One query in so many is held back for validation."""


def query_folds(queries: Sequence[str], folds: int, seed: int = 0) -> Array:
    """int64[Q]: the fold of each query, from a hash of its text: other queries do not change it.

    Raises SettingError for fewer than 2 folds.
    """
    if folds < 2:
        raise SettingError(f"{folds} folds; a split needs 2 or more")
    marks = (f"{seed}\n{' '.join(q.lower().split())}".encode() for q in queries)
    numbers = (int.from_bytes(hashlib.blake2b(m, digest_size=8).digest(), "little") for m in marks)
    return np.array([n % folds for n in numbers], np.int64)


def even_folds(queries: Sequence[str], folds: int, seed: int = 0) -> Array:
    """int64[Q]: folds of equal size (give or take one), dealt out in the order of the queries' hashes.

    For small sets, where plain hashing leaves folds uneven.  A query asked twice (case and blanks aside) is in one fold.
    Raises SettingError for fewer than 2 folds or fewer distinct queries than folds.
    """
    if folds < 2:
        raise SettingError(f"{folds} folds; a split needs 2 or more")
    plain = [" ".join(q.lower().split()) for q in queries]
    distinct = sorted(set(plain))
    if len(distinct) < folds:
        raise SettingError(f"{len(distinct)} distinct queries cannot fill {folds} folds; ask for fewer folds")
    order = np.argsort(query_folds(distinct, 2**62, seed), kind="stable")
    fold_of = {distinct[place]: n % folds for n, place in enumerate(order.tolist())}
    return np.array([fold_of[q] for q in plain], np.int64)


def split_judgments(judgments: Judgments, seed: int = 0) -> dict[str, Judgments]:
    """``train`` and ``validation`` (about one query in five); a query keeps its part whatever else is judged."""
    held = query_folds(judgments.query, VALIDATION_FOLDS, seed) == 0
    return {"train": judgments.select(np.flatnonzero(~held)), "validation": judgments.select(np.flatnonzero(held))}


def split_time(events: Events, time_s: float) -> tuple[Events, Events]:
    """The events strictly before a time, and the rest."""
    cut = int(np.searchsorted(events["time_s"], time_s, side="left"))
    return events.take(np.arange(cut)), events.take(np.arange(cut, len(events)))


@dataclass(frozen=True, slots=True, eq=False)
class LeaveOneOut:
    """One evaluation part: what each user did before, and the item to find.

    history  U lists, oldest first
    target   int32[U]
    """

    history: ItemLists
    target: Array

    def last(self, length: int) -> LeaveOneOut:
        """With each history cut to its last entries: 50 for SASRec, 20 for TIGER."""
        kept = self.history.position >= np.repeat(self.history.counts - length, self.history.counts)
        return LeaveOneOut(self.history.take(kept), self.target)


def leave_one_out(sequences: ItemLists) -> tuple[ItemLists, LeaveOneOut, LeaveOneOut]:
    """(train, validation, test): the last item of each sequence is the test, the last but one the validation target.

    Train sequences and the validation's histories hold neither; the test's histories hold the validation target.
    Raises SettingError when a sequence has fewer than 3 items.
    """
    if len(sequences) and sequences.counts.min() < 3:
        short = int(np.argmin(sequences.counts))
        raise SettingError(f"sequence {short} has {sequences.counts[short]} items; leave-one-out needs 3 or more each")
    from_end = np.repeat(sequences.counts, sequences.counts) - 1 - sequences.position
    train = sequences.take(from_end >= 2)
    test = LeaveOneOut(sequences.take(from_end >= 1), sequences.item[from_end == 0])
    return train, LeaveOneOut(train, sequences.item[from_end == 1]), test
