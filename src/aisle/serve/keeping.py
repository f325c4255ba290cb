"""Keeping right what models make of items: vectors and bags follow the log's changes in the background, in small chunks.

Until then a changed row shows what was made of it before, and a new one is found by its words.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from aisle.core.env import Env
from aisle.core.errors import DataError
from aisle.core.lists import Array
from aisle.core.roles import BagMaker
from aisle.data.items import ItemTable
from aisle.engine.embedded.appliers import touched
from aisle.engine.embedded.engine import EmbeddedEngine
from aisle.engine.embedded.log import Log
from aisle.nn.item_vectors import item_texts
from aisle.serve.background import CHUNK

FLEETING = ("price_cents", "list_price_cents", "stock", "rating", "rating_count", "active")
"""Columns that change often and say nothing of what a product is."""


class Following(ABC):
    """What is made of the items of one engine, as of a log record."""

    def __init__(self, engine: EmbeddedEngine, log: Log, sequence: int) -> None:
        self.engine, self._log, self._sequence = engine, log, sequence
        self._items: ItemTable | None = None

    @property
    def sequence(self) -> int:
        """What was made stands for the catalogue as of this log record."""
        return self._sequence

    def step(self, pause: Callable[[], None]) -> int:
        """Make what changed since the last call.  Returns of how many rows; raises Stopped, and begins anew next time."""
        items, sequence = self.engine.at_once()
        assert isinstance(items, ItemTable)
        if sequence == self._sequence:
            return 0
        rows = self._touched(items, sequence)
        gone = rows[~items.live[rows]]
        rows = self._changed(items, rows[items.live[rows]])
        for start in range(0, len(rows), CHUNK):
            pause()
            self._make(items, rows[start : start + CHUNK])
        if len(gone):
            self._forget(items, gone)
        self._note(sequence)
        self._items, self._sequence = items, sequence
        return len(rows)

    def _touched(self, items: ItemTable, sequence: int) -> Array:
        """int32: rows that the log is about since the last call; all of them where it has forgotten which they were."""
        try:
            return touched(items, self._log, self._sequence, sequence).astype(np.int32)
        except DataError:
            return np.arange(items.num_rows, dtype=np.int32)

    def _changed(self, items: ItemTable, rows: Array) -> Array:
        """int32: of these rows those of which something else is to be made, as far as that is known."""
        if self._items is None:
            return rows
        old = np.flatnonzero(rows < self._items.num_rows)
        now, before = self._read(items, rows[old]), self._read(self._items, rows[old])
        same = np.array([new == was for new, was in zip(now, before, strict=True)], bool)
        unchanged: Array = np.delete(rows, old[same & self._has(rows[old])])
        return unchanged

    @abstractmethod
    def _read(self, items: ItemTable, rows: Array) -> Sequence[Any]:
        """What it is made from, of each row."""

    @abstractmethod
    def _has(self, rows: Array) -> Array:
        """bool[N]: it was made of the row."""

    @abstractmethod
    def _make(self, items: ItemTable, rows: Array) -> None: ...

    @abstractmethod
    def _forget(self, items: ItemTable, rows: Array) -> None:
        """Of rows that nobody finds any more."""

    @abstractmethod
    def _note(self, sequence: int) -> None:
        """Remember in the engine how far it is."""


class Reencoding(Following):
    """An encoder's vectors."""

    def __init__(self, env: Env, log: Log, encoder: str) -> None:
        assert isinstance(env.engine, EmbeddedEngine)
        super().__init__(env.engine, log, env.engine.encoded.get(encoder, 0))
        self._env, self._encoder = env, encoder

    def _read(self, items: ItemTable, rows: Array) -> Sequence[Any]:
        return item_texts(items, rows)

    def _has(self, rows: Array) -> Array:
        return self.engine.vectors(self._encoder).has(rows)

    def _make(self, items: ItemTable, rows: Array) -> None:
        vectors_ND = self._env.encoder(self._encoder).encode(item_texts(items, rows))
        self.engine.put_vectors(self._encoder, rows, vectors_ND)

    def _forget(self, items: ItemTable, rows: Array) -> None:
        """A hidden row may come back as it was, so its vector stays; nobody finds it meanwhile."""

    def _note(self, sequence: int) -> None:
        self.engine.note_encoded(self._encoder, sequence)


class Rebagging(Following):
    """A model's bags, made by the fitted stage that searches them."""

    def __init__(self, engine: EmbeddedEngine, log: Log, model: str, maker: BagMaker) -> None:
        super().__init__(engine, log, engine.bagged.get(model, 0))
        self._model, self.maker = model, maker

    def _read(self, items: ItemTable, rows: Array) -> Sequence[Any]:
        return items.row_table(rows).drop_columns(FLEETING).to_pylist() if len(rows) else []

    def _has(self, rows: Array) -> Array:
        return self.engine.sparse(self._model).has(rows)

    def _make(self, items: ItemTable, rows: Array) -> None:
        self.engine.put_sparse(self._model, rows, self.maker.bags(rows))

    def _forget(self, items: ItemTable, rows: Array) -> None:
        self.engine.sparse(self._model).delete(rows[items.tombstones[rows]])

    def _note(self, sequence: int) -> None:
        self.engine.note_bags(self._model, sequence)
