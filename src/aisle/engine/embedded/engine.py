"""EmbeddedEngine: every index of one catalogue generation, in this process.

Folder of a generation: ``text/<version>``, ``vectors/<encoder>``, ``sparse/<model>``.

Legend: I items, N chosen rows, Q requests, D width.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from aisle.core.atomic import write_json
from aisle.core.bags import Bags
from aisle.core.env import Progress, silent
from aisle.core.errors import StateError, UnknownName, nearest
from aisle.core.filters import Sort
from aisle.core.lists import Array
from aisle.core.requests import Requests
from aisle.core.shop import Items
from aisle.engine.embedded.facets import FacetCounter
from aisle.engine.embedded.filters import Fields, compile_filters
from aisle.engine.embedded.text import TantivyText
from aisle.engine.embedded.vectors import Vectors, encoder_name, folder_name

if TYPE_CHECKING:
    from aisle.engine.embedded.impacts import Impacts

POINTER = "engine.json"


class EmbeddedEngine:
    """Implements ``core.shop.Engine``.  Made by ``build`` or ``open``; ``refresh`` brings every index up to date."""

    def __init__(
        self, items: Items, text: TantivyText, vectors: Mapping[str, Vectors], folder: Path | None, sequence: int = 0
    ) -> None:
        self._text = text
        self._vectors = dict(vectors)
        self._sparse = _open_sparse(folder, items.generation)
        self._folder = folder
        self._sequence = sequence
        self._writing = Lock()
        self._follow(items)

    @classmethod
    def build(
        cls, items: Items, folder: Path | None = None, *, sequence: int = 0, progress: Progress = silent
    ) -> EmbeddedEngine:
        """Index a catalogue, in memory or in ``folder`` (its generation's); vectors that stand there are kept."""
        if folder is None:
            return cls(items, TantivyText.build(items, progress=progress), {}, None, sequence)
        built = sorted(int(p.name[1:]) for p in (folder / "text").glob("v*"))
        version = f"v{built[-1] + 1 if built else 1}"
        TantivyText.build(items, folder / "text" / version, progress=progress)
        write_json(folder / POINTER, {"text": version, "sequence": sequence})
        # A reader may be about to open the version before this one.
        for number in built[:-1]:
            shutil.rmtree(folder / "text" / f"v{number}", ignore_errors=True)
        return cls.open(items, folder)

    @classmethod
    def open(cls, items: Items, folder: Path) -> EmbeddedEngine:
        """The engine saved in a generation's folder.  Raises StateError when there is none or it belongs to another."""
        try:
            pointer = json.loads((folder / POINTER).read_text())
        except (OSError, ValueError) as error:
            raise StateError(f"{folder} holds no indexes ({error}); build them with EmbeddedEngine.build") from None
        text = TantivyText.open(items, folder / "text" / pointer["text"])
        stored = sorted(p for p in (folder / "vectors").glob("[!.]*") if p.is_dir())
        vectors = {encoder_name(p.name): Vectors.open(p, items.generation) for p in stored}
        return cls(items, text, vectors, folder, pointer["sequence"])

    @property
    def generation(self) -> int:
        return self._items.generation

    @property
    def sequence(self) -> int:
        """The last log record that every index has applied."""
        return self._sequence

    @property
    def items(self) -> Items:
        return self._items

    @property
    def text(self) -> TantivyText:
        return self._text

    def refresh(self, items: Items, changed_rows: Array, *, sequence: int | None = None) -> None:
        """Bring every index to this catalogue: rows that are new, different or gone.  Applying it twice is harmless."""
        with self._writing:
            if items is not self._items or len(changed_rows):
                self._text.refresh(items, np.asarray(changed_rows, np.int32))
                self._follow(items)
            self._sequence = self._sequence if sequence is None else sequence
            if self._folder is not None:
                pointer = json.loads((self._folder / POINTER).read_text())
                write_json(self._folder / POINTER, {**pointer, "sequence": self._sequence})

    def encoders(self) -> list[str]:
        """Names of the encoders whose vectors are here."""
        return sorted(self._vectors)

    def put_vectors(self, encoder: str, rows: Array, vectors_ND: Array) -> None:
        """Store these rows' vectors, found by the next search; ``save_vectors`` indexes them and makes them last."""
        with self._writing:
            if encoder not in self._vectors:
                self._vectors[encoder] = Vectors.empty(vectors_ND.shape[1], generation=self.generation)
            self._vectors[encoder].put(rows, vectors_ND)

    def save_vectors(self, encoder: str) -> None:
        """Index all vectors of an encoder and, for an engine with a folder, write them there."""
        with self._writing:
            index = self._known(encoder)
            index.train()
            if self._folder is not None:
                self._vectors[encoder] = index.saved(self._folder / "vectors" / folder_name(encoder))

    def vectors(self, encoder: str) -> Vectors:
        """The vectors of a named encoder.  Raises UnknownName when they were not built."""
        return self._known(encoder)

    def put_sparse(self, name: str, rows: Array, bags: Bags) -> None:
        """Store these rows' bags, found by the next search; ``save_sparse`` makes them last."""
        from aisle.engine.embedded.impacts import Impacts

        with self._writing:
            if name not in self._sparse:
                self._sparse[name] = Impacts.empty(generation=self.generation)
            self._sparse[name].put(rows, bags)

    def save_sparse(self, name: str) -> None:
        """Merge all bags of a model and, for an engine with a folder, write them there."""
        with self._writing:
            index = self.sparse(name)
            index.compact()
            if self._folder is not None:
                self._sparse[name] = index.saved(self._folder / "sparse" / folder_name(name))

    def sparse(self, name: str) -> Impacts:
        """The bags of a named model.  Raises UnknownName when none were put."""
        if name not in self._sparse:
            hint = nearest(name, self._sparse)
            raise UnknownName(f"no bags of a model {name!r}{hint}; make them for the catalogue and call put_sparse")
        return self._sparse[name]

    def compile(self, requests: Requests) -> Requests:
        """The same requests with ``allowed``: each distinct filter once, live rows only."""
        return replace(requests, allowed=compile_filters(requests.filters, self._fields))

    def facets(
        self, requests: Requests, match: Sequence[Array | None], fields: Sequence[str]
    ) -> list[Mapping[str, Any]]:
        """Facet counts of each request over its match set (None: every row), by products.

        Each facet is counted without its own selection.  Raises SettingError for a field that no item has.
        """
        count = self._facet_counter.count
        return [count(filter, rows, fields) for filter, rows in zip(requests.filters, match, strict=True)]

    def num_groups(self, rows_I: Array) -> int:
        """Products (variants counted once) among these rows, bool[I]."""
        return self._facet_counter.num_groups(rows_I)

    def order(self, rows: Array, sort: Sort | None) -> Array:
        """``rows`` (int32[N]) by a column, missing last, ties by row; without a sort by popularity (review count).

        Raises SettingError for a field that no item has.
        """
        if sort is None:
            return rows[np.lexsort((rows, -self._popularity[rows]))]
        if sort.field not in self._ranks:
            self._ranks[sort.field] = self._rank(sort.field)
        key = self._ranks[sort.field][rows]
        # A missing value is NaN, and NaN sorts last either way.
        return rows[np.lexsort((rows, -key if sort.descending else key))]

    def _rank(self, field: str) -> Array:
        """float64[I] that orders as the field does, NaN where missing; a text by its first label, in any case."""
        if field == "active" or self._fields.is_numeric(field):
            return self._fields.number(field)
        codes, labels = self._fields.codes(field)
        in_order = sorted(range(len(labels)), key=lambda code: labels[code].casefold())
        rank = np.empty(len(labels))
        rank[np.array(in_order, np.int64)] = np.arange(len(labels))
        out = np.full(len(codes), np.nan)
        first = codes.splits[:-1]
        some = np.diff(codes.splits) > 0
        out[some] = rank[codes.values[first[some]]]
        return out

    def _follow(self, items: Items) -> None:
        self._items = items
        self._fields = Fields(items)
        self._facet_counter = FacetCounter(self._fields)
        self._ranks: dict[str, Array] = {}
        self._popularity = np.nan_to_num(items.number("rating_count"))

    def _known(self, encoder: str) -> Vectors:
        if encoder not in self._vectors:
            hint = nearest(encoder, self._vectors)
            raise UnknownName(f"no vectors of encoder {encoder!r}{hint}; encode the catalogue and call put_vectors")
        return self._vectors[encoder]


def _open_sparse(folder: Path | None, generation: int) -> dict[str, Impacts]:
    """The bags kept in a generation's folder; where there are none, their compiled loops are not loaded."""
    stored = sorted(p for p in (folder / "sparse").glob("[!.]*") if p.is_dir()) if folder is not None else []
    if not stored:
        return {}
    from aisle.engine.embedded.impacts import Impacts

    return {encoder_name(p.name): Impacts.open(p, generation) for p in stored}
