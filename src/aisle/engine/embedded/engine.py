"""EmbeddedEngine: every index of one catalogue generation, in this process.

Folder of a generation: ``text/<version>``, ``vectors/<encoder>``, ``sparse/<model>``, and ``engine.json``, which names the
text index in use and the log record up to which what stands on disk holds the log.

``refresh`` changes memory only, so that any number of processes may follow the log over the same folder; ``save``, in
the one process that writes, makes a new version on disk, and ``reopen`` lets the others go over to it.

Legend: I items, N chosen rows, Q requests, D width.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from aisle.core.atomic import folder_hashes, write_json
from aisle.core.bags import Bags
from aisle.core.env import Progress, silent
from aisle.core.errors import StateError, UnknownName, nearest
from aisle.core.filters import Sort
from aisle.core.leases import hold, remove_unused
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
REBUILD = "remove the generation's engine.json, and the indexes are built again from the catalogue"
NO_ROWS = np.zeros(0, np.int32)


class _Saved(NamedTuple):
    """``engine.json``: the text version in use, the sequence of what stands on disk, SHA-256 of the version's files."""

    text: str | None
    sequence: int
    hashes: Mapping[str, str]

    @classmethod
    def read(cls, folder: Path) -> _Saved:
        """Raises StateError when there is none or it cannot be read."""
        try:
            pointer = json.loads((folder / POINTER).read_text())
            return cls(pointer["text"], int(pointer["sequence"]), pointer.get("hashes", {}))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StateError(f"{folder} holds no indexes ({error}); build them with EmbeddedEngine.build") from None

    def write(self, folder: Path) -> None:
        write_json(folder / POINTER, self._asdict())


class EmbeddedEngine:
    """Implements ``core.shop.Engine``.  Made by ``build`` or ``open``; ``refresh`` brings every index up to date."""

    def __init__(
        self,
        items: Items,
        text: TantivyText,
        vectors: Mapping[str, Vectors],
        folder: Path | None,
        sequence: int = 0,
        *,
        saved: _Saved | None = None,
    ) -> None:
        self._text = text
        self._vectors = dict(vectors)
        self._sparse = _open_sparse(folder, items.generation)
        self._folder = folder
        self._sequence = sequence
        self._saved = saved or _Saved(None, sequence, {})
        self._leases = [] if folder is None else [hold(folder)]
        self._touched: list[tuple[int, Array]] = []
        self._pointers = self._stamps()
        self._writing, self._saving = Lock(), Lock()
        self._follow(items, NO_ROWS)

    @classmethod
    def build(
        cls, items: Items, folder: Path | None = None, *, sequence: int = 0, progress: Progress = silent
    ) -> EmbeddedEngine:
        """Index a catalogue, in memory or in ``folder`` (its generation's); vectors that stand there are kept."""
        if folder is None:
            return cls(items, TantivyText.build(items, progress=progress), {}, None, sequence)
        version = _next_version(folder / "text")
        TantivyText.build(items, folder / "text" / version, progress=progress)
        _Saved(version, sequence, folder_hashes(folder / "text" / version)).write(folder)
        _tidy(folder / "text", version)
        return cls.open(items, folder)

    @classmethod
    def open(cls, items: Items, folder: Path, *, check: bool = False) -> EmbeddedEngine:
        """The engine saved in a generation's folder; ``check`` compares the text index with its hashes first.

        Raises StateError when there is none, when it is damaged or belongs to another generation.
        """
        saved = _Saved.read(folder)
        place = folder / "text" / str(saved.text)
        if check and folder_hashes(place) != saved.hashes:
            raise StateError(f"{place} is damaged (its files do not match their hashes); {REBUILD}")
        text = TantivyText.open(items, place)
        stored = sorted(p for p in (folder / "vectors").glob("[!.]*") if p.is_dir())
        vectors = {encoder_name(p.name): Vectors.open(p, items.generation) for p in stored}
        return cls(items, text, vectors, folder, saved.sequence, saved=saved)

    @property
    def generation(self) -> int:
        return self._items.generation

    @property
    def sequence(self) -> int:
        """The last log record that every index has applied."""
        return self._sequence

    @property
    def saved_sequence(self) -> int:
        """The last log record that the indexes on disk hold; those after it are applied again when they are opened."""
        return self._saved.sequence

    @property
    def num_unsaved(self) -> int:
        """Rows that differ between the text index on disk and the one that answers, some counted twice."""
        return sum(len(rows) for _, rows in self._touched)

    @property
    def items(self) -> Items:
        return self._items

    @property
    def text(self) -> TantivyText:
        return self._text

    def refresh(self, items: Items, changed_rows: Array, *, sequence: int | None = None) -> None:
        """Bring every index to this catalogue: rows that are new, different or gone; found by the next search.

        Applying it twice is harmless.  Nothing is written: ``save`` does.
        """
        rows = np.asarray(changed_rows, np.int32)
        with self._writing:
            if items is not self._items or len(rows):
                self._text.refresh(items, rows)
                self._follow(items, rows)
            self._sequence = self._sequence if sequence is None else sequence
            if len(rows):
                self._touched.append((self._sequence, rows))

    def save(self) -> int:
        """Write what was applied into the folder, as a new version of the text index where rows changed.

        Returns the sequence that a reopened engine starts from.  Searches and ``refresh`` go on meanwhile.
        """
        if self._folder is None:
            raise StateError("an engine in memory cannot be saved; build it with a folder")
        with self._saving:
            with self._writing:
                text, sequence, touched = self._text, self._sequence, len(self._touched)
            if not touched:
                if sequence != self._saved.sequence:
                    self._saved = self._saved._replace(sequence=sequence)
                    self._saved.write(self._folder)
                    self._pointers[POINTER] = _stamp(self._folder / POINTER)
                return sequence
            version = _next_version(self._folder / "text")
            place = self._folder / "text" / version
            saved = text.saved(place)
            self._go_over(saved, sequence, version, folder_hashes(place))
            self._saved.write(self._folder)
            self._pointers[POINTER] = _stamp(self._folder / POINTER)
            _tidy(self._folder / "text", version)
            return sequence

    def reopen(self) -> bool:
        """Go over to versions that another process has saved, once everything they hold was applied here too.

        Returns whether something was opened.  Raises StateError when it is damaged; what was open then stays.
        """
        if self._folder is None:
            return False
        opened = False
        for name, stamp in self._stamps().items():
            if self._pointers.get(name) == stamp or (name == POINTER and not self._open_text_again()):
                continue
            if name != POINTER:
                self._open_again(self._folder / name)
            self._pointers[name] = stamp
            opened = True
        return opened

    def _open_text_again(self) -> bool:
        """False when the saved index holds records that were not applied here yet."""
        assert self._folder is not None
        saved = _Saved.read(self._folder)
        if saved.sequence > self._sequence:
            return False
        if saved.text != self._saved.text:
            text = TantivyText.open(self._items, self._folder / "text" / str(saved.text))
            self._go_over(text, saved.sequence, saved.text, saved.hashes)
        self._saved = saved
        return True

    def _go_over(self, text: TantivyText, sequence: int, version: str | None, hashes: Mapping[str, str]) -> None:
        """Answer with this text index, made from the catalogue at ``sequence``."""
        with self._writing:
            later = [(s, rows) for s, rows in self._touched if s > sequence]
            if later:
                text.refresh(self._items, np.unique(np.concatenate([rows for _, rows in later])))
            self._text, self._touched = text, later
            self._saved = _Saved(version, sequence, dict(hashes))

    def _open_again(self, folder: Path) -> None:
        """Vectors or bags of which another process saved a new version."""
        name = encoder_name(folder.name)
        if folder.parent.name == "vectors":
            self._vectors[name] = Vectors.open(folder, self.generation)
        else:
            from aisle.engine.embedded.impacts import Impacts

            self._sparse[name] = Impacts.open(folder, self.generation)

    def _stamps(self) -> dict[str, tuple[int, int]]:
        """Path of each pointer in the folder -> what changes whenever it is replaced."""
        if self._folder is None:
            return {}
        found = {}
        for path in [*self._folder.glob("vectors/[!.]*/CURRENT"), *self._folder.glob("sparse/[!.]*/CURRENT")]:
            with suppress(FileNotFoundError):
                found[str(path.parent.relative_to(self._folder))] = _stamp(path)
        with suppress(FileNotFoundError):
            found[POINTER] = _stamp(self._folder / POINTER)
        return found

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

    def _follow(self, items: Items, rows: Array) -> None:
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


def _next_version(folder: Path) -> str:
    built = [int(p.name[1:]) for p in folder.glob("v*")]
    return f"v{1 + max(built, default=0)}"


def _tidy(folder: Path, current: str) -> None:
    """Remove the versions that nobody has open, but for the one before, which a reader may be about to open."""
    numbers = sorted(int(p.name[1:]) for p in folder.glob("v*"))
    remove_unused(folder / f"v{n}" for n in numbers if n < int(current[1:]) - 1)


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def _open_sparse(folder: Path | None, generation: int) -> dict[str, Impacts]:
    """The bags kept in a generation's folder; where there are none, their compiled loops are not loaded."""
    stored = sorted(p for p in (folder / "sparse").glob("[!.]*") if p.is_dir()) if folder is not None else []
    if not stored:
        return {}
    from aisle.engine.embedded.impacts import Impacts

    return {encoder_name(p.name): Impacts.open(p, generation) for p in stored}
