"""EmbeddedEngine: every index of one catalogue generation, in this process.

Folder of a generation: ``text/<version>``, ``vectors/<encoder>``, ``sparse/<model>``, and ``engine.json``, which names the
text index in use and the log record up to which what stands on disk holds the log.

``refresh`` changes memory only, so that any number of processes may follow the log over the same folder; ``save``, in
the one process that writes, makes a new version on disk, and ``reopen`` lets the others go over to it.

Legend: I items, N chosen rows, Q requests, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any

import numpy as np

from aisle.core.atomic import folder_hashes
from aisle.core.bags import Bags
from aisle.core.env import Progress, silent
from aisle.core.errors import StateError, UnknownName, nearest
from aisle.core.filters import Sort
from aisle.core.leases import Lease, exclusive, hold
from aisle.core.lists import Array
from aisle.core.requests import Requests
from aisle.core.shop import Items, Tally
from aisle.engine.embedded.columns import Columns
from aisle.engine.embedded.denied import with_denied
from aisle.engine.embedded.engine_files import BAGS, LOCK, POINTER, REBUILD, Saved, next_version, stamp, tidy
from aisle.engine.embedded.text import EmbeddedText
from aisle.engine.embedded.vectors import Vectors, encoder_name, folder_name

if TYPE_CHECKING:
    from aisle.engine.embedded.impacts import Impacts


class EmbeddedEngine:
    """Implements ``core.shop.Engine``.  Made by ``build`` or ``open``; ``refresh`` brings every index up to date."""

    def __init__(
        self,
        items: Items,
        text: EmbeddedText,
        vectors: Mapping[str, Vectors],
        folder: Path | None,
        sequence: int = 0,
        *,
        saved: Saved | None = None,
    ) -> None:
        self.damaged: list[str] = []
        """What could not be opened and was left out; making it again mends it."""
        self._text = text
        self._vectors = dict(vectors)
        self._sparse = _open_sparse(folder, items.generation)
        self._folder = folder
        self._sequence = sequence
        self._saved = saved or Saved(None, sequence, {}, {})
        self._lease = None if folder is None else hold(folder)
        self._text_lease = self._held(self._saved.text)
        self._touched: list[tuple[int, Array]] = []
        self._pointers = self._stamps()
        self._writing, self._saving = Lock(), RLock()
        self._items, self._columns = items, Columns(items)

    @classmethod
    def build(
        cls, items: Items, folder: Path | None = None, *, sequence: int = 0, progress: Progress = silent
    ) -> EmbeddedEngine:
        """Index a catalogue, in memory or in ``folder`` (its generation's); vectors that stand there are kept."""
        if folder is None:
            return cls(items, EmbeddedText.build(items, progress=progress), {}, None, sequence)
        version = next_version(folder / "text")
        EmbeddedText.build(items, folder / "text" / version, progress=progress)
        Saved(version, sequence, folder_hashes(folder / "text" / version), {}).write(folder)
        tidy(folder / "text", version)
        return cls.open(items, folder)

    @classmethod
    def open(cls, items: Items, folder: Path, *, check: bool = False) -> EmbeddedEngine:
        """The engine saved in a generation's folder; ``check`` compares the text index with its hashes first.

        Raises StateError when there is none, when it is damaged or belongs to another generation.
        """
        saved = Saved.read(folder)
        place = folder / "text" / str(saved.text)
        if check and folder_hashes(place) != saved.hashes:
            raise StateError(f"{place} is damaged (its files do not match their hashes); {REBUILD}")
        text = EmbeddedText.open(items, place)
        vectors, damaged = {}, []
        for path in sorted(p for p in (folder / "vectors").glob("[!.]*") if p.is_dir()):
            try:
                vectors[encoder_name(path.name)] = Vectors.open(path, items.generation)
            except StateError as error:
                damaged.append(str(error))
        engine = cls(items, text, vectors, folder, saved.sequence, saved=saved)
        engine.damaged = damaged
        return engine

    @classmethod
    def saved_in(cls, folder: Path) -> int | None:
        """The log record up to which the indexes in a generation's folder hold the log; None where none can be read."""
        try:
            return Saved.read(folder).sequence
        except StateError:
            return None

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
    def encoded(self) -> Mapping[str, int]:
        """Encoder -> the last log record whose texts its saved vectors stand for."""
        return {name: self._saved.encoded.get(name, 0) for name in self._vectors}

    @property
    def bagged(self) -> Mapping[str, int]:
        """Model -> the last log record whose products its saved bags stand for."""
        return {name: self._saved.encoded.get(f"{BAGS}{name}", 0) for name in self._sparse}

    @property
    def num_unsaved(self) -> int:
        """Rows that differ between the text index on disk and the one that answers, some counted twice."""
        return sum(len(rows) for _, rows in self._touched)

    @property
    def items(self) -> Items:
        return self._items

    @property
    def text(self) -> EmbeddedText:
        return self._text

    def at_once(self) -> tuple[Items, int]:
        """The catalogue and the log record up to which it holds the log, which belong together."""
        with self._writing:
            return self._items, self._sequence

    def refresh(self, items: Items, changed_rows: Array, *, sequence: int | None = None) -> None:
        """Bring every index to this catalogue: rows that are new, different or gone; found by the next search.

        Applying it twice is harmless.  Nothing is written: ``save`` does.
        """
        rows = np.asarray(changed_rows, np.int32)
        with self._writing:
            if items is not self._items or len(rows):
                self._text.refresh(items, rows)
                self._items, self._columns = items, self._columns.followed(items, rows)
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
                    self._record(sequence=sequence, encoded=self._saved.encoded)
                return sequence
            version = next_version(self._folder / "text")
            place = self._folder / "text" / version
            self._go_over(text.saved(place), sequence, version)
            hashes = folder_hashes(place)
            self._record(text=version, sequence=sequence, hashes=hashes, encoded=self._saved.encoded)
            tidy(self._folder / "text", version)
            return sequence

    def _record(self, **changes: Any) -> None:
        """Replace entries of ``engine.json``; a fit in another process may have replaced others."""
        assert self._folder is not None
        with exclusive(self._folder / LOCK):
            saved = Saved.read(self._folder)
            encoded = {**saved.encoded, **changes.pop("encoded", {})}
            self._saved = saved._replace(encoded=encoded, **changes)
            self._saved.write(self._folder)
            self._pointers[POINTER] = stamp(self._folder / POINTER)

    def reopen(self) -> bool:
        """Go over to versions that another process has saved, once everything they hold was applied here too.

        Returns whether something was opened.  Raises StateError when it is damaged; what was open then stays.
        """
        if self._folder is None:
            return False
        opened = [index.follow() for index in list(self._vectors.values())]
        opened += [index.follow() for index in list(self._sparse.values())]
        for name, found in self._stamps().items():
            if self._pointers.get(name) == found or (name == POINTER and not self._open_text_again()):
                continue
            if name != POINTER:
                self._open_again(self._folder / name)
            self._pointers[name] = found
            opened.append(True)
        return any(opened)

    def _open_text_again(self) -> bool:
        """False when the saved index holds records that were not applied here yet."""
        assert self._folder is not None
        saved = Saved.read(self._folder)
        if saved.sequence > self._sequence:
            return False
        if saved.text != self._saved.text:
            text = EmbeddedText.open(self._items, self._folder / "text" / str(saved.text))
            self._go_over(text, saved.sequence, saved.text)
        self._saved = saved
        return True

    def _go_over(self, text: EmbeddedText, sequence: int, version: str | None) -> None:
        """Answer with this text index, made from the catalogue at ``sequence``."""
        with self._writing:
            later = [(s, rows) for s, rows in self._touched if s > sequence]
            if later:
                text.refresh(self._items, np.unique(np.concatenate([rows for _, rows in later])))
            self._text, self._touched, self._text_lease = text, later, self._held(version)
            self._saved = self._saved._replace(text=version, sequence=sequence)

    def _held(self, version: str | None) -> Lease | None:
        """Keeps a version of the text index from being removed while it answers here."""
        if self._folder is None or version is None:
            return None
        return hold(self._folder / "text" / version)

    def _open_again(self, folder: Path) -> None:
        """Vectors or bags that another process saved for the first time."""
        name = encoder_name(folder.name)
        if folder.parent.name == "vectors":
            if name not in self._vectors:
                self._vectors[name] = Vectors.open(folder, self.generation)
        elif name not in self._sparse:
            from aisle.engine.embedded.impacts import Impacts

            self._sparse[name] = Impacts.open(folder, self.generation)

    def _stamps(self) -> dict[str, tuple[int, int]]:
        """Path of each pointer in the folder -> what changes whenever it is replaced."""
        if self._folder is None:
            return {}
        found = {}
        for path in [*self._folder.glob("vectors/[!.]*/CURRENT"), *self._folder.glob("sparse/[!.]*/CURRENT")]:
            with suppress(FileNotFoundError):
                found[str(path.parent.relative_to(self._folder))] = stamp(path)
        with suppress(FileNotFoundError):
            found[POINTER] = stamp(self._folder / POINTER)
        return found

    def encoders(self) -> list[str]:
        """Names of the encoders whose vectors are here."""
        return sorted(self._vectors)

    def put_vectors(self, encoder: str, rows: Array, vectors_ND: Array) -> None:
        """Store these rows' vectors, found by the next search.

        ``save_vectors`` makes them last; vectors that were saved once take further ones to disk at once.
        """
        with self._saving:
            if encoder not in self._vectors:
                self._vectors[encoder] = Vectors.empty(vectors_ND.shape[1], generation=self.generation)
            self._vectors[encoder].put(rows, vectors_ND)

    def save_vectors(self, encoder: str, *, sequence: int | None = None) -> None:
        """Index all vectors of an encoder and, for an engine with a folder, write them there.

        sequence  they stand for the texts as of this log record; None: as of what was applied last
        """
        with self._saving:
            sequence = self._sequence if sequence is None else sequence
            index = self._known(encoder)
            index.train()
            if self._folder is not None:
                self._vectors[encoder] = index.saved(self._folder / "vectors" / folder_name(encoder))
                self._pointers = self._stamps()
                self._record(encoded={**self._saved.encoded, encoder: sequence})

    def note_encoded(self, encoder: str, sequence: int) -> None:
        """The saved vectors of an encoder stand for the texts as of this record too; kept by the next ``save``."""
        with self._saving:
            self._saved = self._saved._replace(encoded={**self._saved.encoded, encoder: sequence})

    def note_bags(self, model: str, sequence: int) -> None:
        """The bags of a model stand for the catalogue as of this record too; kept by the next ``save``."""
        self.note_encoded(f"{BAGS}{model}", sequence)

    def vectors(self, encoder: str) -> Vectors:
        """The vectors of a named encoder.  Raises UnknownName when they were not built."""
        return self._known(encoder)

    def put_sparse(self, name: str, rows: Array, bags: Bags) -> None:
        """Store these rows' bags, found by the next search.

        ``save_sparse`` makes them last; bags that were saved once take further ones to disk at once.
        """
        from aisle.engine.embedded.impacts import Impacts

        with self._saving:
            if name not in self._sparse:
                self._sparse[name] = Impacts.empty(generation=self.generation)
            self._sparse[name].put(rows, bags)

    def save_sparse(self, name: str) -> None:
        """Merge all bags of a model and, for an engine with a folder, write them there; what is put later follows at once."""
        with self._saving:
            sequence, index = self._sequence, self.sparse(name)
            index.compact()
            if self._folder is not None:
                self._sparse[name] = index.saved(self._folder / "sparse" / folder_name(name))
                self._pointers = self._stamps()
                self._record(encoded={**self._saved.encoded, f"{BAGS}{name}": sequence})

    def models(self) -> list[str]:
        """Names of the models whose bags are here."""
        return sorted(self._sparse)

    def sparse(self, name: str) -> Impacts:
        """The bags of a named model.  Raises UnknownName when none were put."""
        if name not in self._sparse:
            hint = nearest(name, self._sparse)
            raise UnknownName(f"no bags of a model {name!r}{hint}; make them for the catalogue and call put_sparse")
        return self._sparse[name]

    def compile(self, requests: Requests) -> Requests:
        """The same requests with ``allowed`` (each distinct filter once, live rows, what the query does not exclude) and
        ``unwanted``."""
        return with_denied(self._columns.compile(requests), self._text)

    def prepare(self) -> None:
        """``Columns.prepare``: what the first request after a change would wait for."""
        self._columns.prepare()

    def count(self, requests: Requests, match: Sequence[Array | None], fields: Sequence[str]) -> list[Tally]:
        """``Columns.count``: rows, products and facets of each request's match set."""
        return self._columns.count(requests, match, fields, self._text.also)

    def order(self, rows: Array, sort: Sort | None) -> Array:
        """``Columns.order``: ``rows`` by a column, or by popularity."""
        return self._columns.order(rows, sort)

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
