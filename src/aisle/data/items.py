"""ItemTable: the catalogue by row, over an Arrow table that may be memory-mapped.

Updates are pure: ``upserted`` and ``deleted`` return a new table that shares the old one's memory.

Legend: I items (tombstones included), N chosen rows, A attributes of all items together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aisle.core.errors import ContractError, DataError
from aisle.core.lists import Array, Ragged, splits_of
from aisle.data.attribute_columns import Attributes, flat_list, join_lists
from aisle.data.gather import gather, gather_table
from aisle.data.kept import Kept, mended_codes, mended_numbers
from aisle.data.schema import CATALOGUE, CATEGORY_SEPARATOR, complete
from aisle.data.units import in_unit, usual_unit

FACET_COLUMNS = ("category", "brand", "price_cents", "rating")
FACET_ATTRIBUTES = 8
FACET_FILL = 0.1
FACET_VALUES = (2, 200)

DELETED = "deleted"
"""A file's column beside the catalogue's: rows that stay as tombstones."""
BATCH_ROWS = 65_536
SMALL_CHUNK = 4096
FEW_ROWS, FEW_PIECES = 256, 8
MAX_SMALL_CHUNKS = 64


class ItemIds:
    """item_id -> row.  A shared base and a small layer on top, so that an upsert copies only the layer."""

    def __init__(self, base: dict[str, int], added: dict[str, int] | None = None) -> None:
        self._base = base
        self._added = added or {}

    def rows(self, item_ids: Sequence[str]) -> Array:
        """int32[N], -1 where unknown."""
        base, added = self._base, self._added
        if not added:
            return np.fromiter((base.get(i, -1) for i in item_ids), np.int32, len(item_ids))
        return np.fromiter((base.get(i, added.get(i, -1)) for i in item_ids), np.int32, len(item_ids))

    def __len__(self) -> int:
        return len(self._base) + len(self._added)

    def plus(self, item_ids: Sequence[str], first_row: int) -> ItemIds:
        """These ids at rows ``first_row``, ``first_row + 1``, ..."""
        added = {**self._added, **dict(zip(item_ids, range(first_row, first_row + len(item_ids)), strict=True))}
        if len(added) > 1000 + len(self._base) // 10:
            return ItemIds({**self._base, **added})
        return ItemIds(self._base, added)


class ItemTable:
    """The catalogue of one generation; implements ``core.shop.Items``.

    ``place`` is where each row stands in the Arrow table (None: in order): an updated row points at its new version.
    """

    def __init__(
        self,
        stored: pa.Table,
        generation: int = 0,
        *,
        place: Array | None = None,
        tombstones: Array | None = None,
        ids: ItemIds | None = None,
        kept: Kept | None = None,
    ) -> None:
        self._stored = stored
        self._place = place
        self._tombstones = tombstones
        self._generation = generation
        if ids is not None:
            self.__dict__["_ids"] = ids
        self._kept = kept or Kept()
        # Rows that were just asked for: mending one column after the other asks for the same few again.
        self._pieces: dict[tuple[str, bytes], ItemTable] = {}

    @classmethod
    def from_table(cls, table: pa.Table, generation: int = 0) -> ItemTable:
        """The rows of a catalogue table, in order.  Raises DataError on a missing or repeated item_id."""
        table = complete(table, CATALOGUE)
        check_ids(table["item_id"])
        return cls(table, generation)

    @classmethod
    def read(cls, path: Path, generation: int = 0) -> ItemTable:
        """A table that was written as an Arrow IPC file, memory-mapped."""
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
        if DELETED not in table.schema.names:
            return cls(table, generation)
        tombstones: Array = table[DELETED].to_numpy()
        return cls(table.drop_columns([DELETED]), generation, tombstones=tombstones)

    def write(self, path: Path) -> None:
        """An Arrow IPC file of all rows in row order, with a column that marks the deleted ones; ``read`` reads it."""
        schema = CATALOGUE.append(pa.field(DELETED, pa.bool_()))
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for at in range(0, self.num_rows, BATCH_ROWS):
                rows = np.arange(at, min(at + BATCH_ROWS, self.num_rows))
                batch = self.row_table(rows).append_column(DELETED, pa.array(self.tombstones[rows]))
                writer.write_table(batch.combine_chunks().cast(schema))

    @property
    def generation(self) -> int:
        return self._generation

    @property
    def num_rows(self) -> int:
        return self._stored.num_rows if self._place is None else len(self._place)

    def __len__(self) -> int:
        return self.num_rows

    @cached_property
    def table(self) -> pa.Table:
        """All rows in row order, tombstones included."""
        return self._stored if self._place is None else gather_table(self._stored, self._place)

    def row_table(self, rows: Array) -> pa.Table:
        """The given rows, in that order.  Raises ContractError for a row that does not exist."""
        return gather_table(self._stored, self._at(rows))

    @cached_property
    def live(self) -> Array:
        """bool[I]: neither deleted nor inactive."""
        active: Array = self._kept.get("active", self._active, self._mended(self._active), self.num_rows)
        return active if self._tombstones is None else active & ~self._tombstones

    def _active(self, rows: Array | None = None) -> Array:
        active: Array = pc.fill_null(self._column("active", rows), True).to_numpy()
        return active

    @property
    def tombstones(self) -> Array:
        """bool[I]: deleted."""
        return np.zeros(self.num_rows, bool) if self._tombstones is None else self._tombstones

    def ids(self, rows: Array) -> list[str]:
        return strings(self._column("item_id", rows))

    def rows_of(self, item_ids: Sequence[str]) -> Array:
        return self._ids.rows(item_ids)

    def text(self, field: str, rows: Array | None = None) -> list[str]:
        """N strings, "" where missing: a list's texts joined by blanks, a category as the words of its paths,
        ``attributes`` as 'name value unit', an attribute by its name."""
        if field == "attributes":
            return self._attributes(rows).sentences()
        if field not in CATALOGUE.names:
            return self._attribute_text(field, rows)
        column = self._column(field, rows)
        if pa.types.is_list(column.type):
            counts, values = flat_list(column)
            if field == "category":
                values = pc.replace_substring(values, CATEGORY_SEPARATOR, " ")
            return join_lists(counts, values)
        if not pa.types.is_string(column.type):
            column = column.cast(pa.string())
        return strings(pc.fill_null(column, ""))

    def number(self, field: str, rows: Array | None = None) -> Array:
        """float64[N], NaN where missing or not a number; of several attributes of that name the first counts.

        An attribute's numbers are all in its ``unit``.
        """
        unit, column = self._measured(field)
        return column if rows is None else self._number(field, unit, rows)

    def unit(self, field: str) -> str:
        """The unit in which ``number`` gives an attribute, the one that most items use; "" where there is none."""
        return "" if field in CATALOGUE.names else self._measured(field)[0]

    def _measured(self, field: str) -> tuple[str, Array]:
        """Unit and column together, so that they always fit."""

        def make() -> tuple[str, Array]:
            unit = "" if field in CATALOGUE.names else self._usual_unit(field)
            return unit, self._number(field, unit)

        def mend(old: tuple[str, Array], rows: Array) -> tuple[str, Array]:
            unit, column = old
            return unit, mended_numbers(column, rows, self._number(field, unit, rows), self.num_rows)

        found: tuple[str, Array] = self._kept.get(("number", field), make, mend, self.num_rows)
        return found

    def _usual_unit(self, field: str) -> str:
        attributes = self._all_attributes
        at = pa.array(attributes.places(field))
        return usual_unit(attributes.unit.take(at).filter(attributes.number.take(at).is_valid()))

    def _mended(self, values_of: Callable[[Array], Array]) -> Callable[[Array, Array], Array]:
        """How a column of one number a row is brought to date."""
        return lambda old, rows: mended_numbers(old, rows, values_of(rows), self.num_rows)

    def _number(self, field: str, unit: str, rows: Array | None = None) -> Array:
        if field in CATALOGUE.names:
            column = self._column(field, rows)
            if pa.types.is_string(column.type) or pa.types.is_nested(column.type):
                return np.full(len(column), np.nan)
            known: Array = pc.fill_null(column.cast(pa.float64()), np.nan).to_numpy()
            return known
        attributes = self._attributes(rows)
        places = attributes.places(field)
        out = np.full(len(attributes.counts), np.nan)
        values = attributes.number.take(pa.array(places)).to_numpy(zero_copy_only=False)
        values = in_unit(values, attributes.unit.take(pa.array(places)), unit)
        places, values = places[~np.isnan(values)], values[~np.isnan(values)]
        # Written backwards, so that the first value of an item is the one that stays.
        out[attributes.owner[places][::-1]] = values[::-1]
        return out

    def codes(self, field: str) -> tuple[Ragged, list[str]]:
        """int32 codes of all I rows and their labels; the labels are sorted, each row holds a code once."""

        def mend(old: tuple[Ragged, list[str]], rows: Array) -> tuple[Ragged, list[str]]:
            return mended_codes(old, rows, self._only(rows, field)._make_codes(field), self.num_rows)

        found: tuple[Ragged, list[str]] = self._kept.get(
            ("codes", field), lambda: self._make_codes(field), mend, self.num_rows
        )
        return found

    def _only(self, rows: Array, field: str = "attributes") -> ItemTable:
        """A small catalogue of these rows, as rows 0, 1, ..., with nothing but the column that a field stands in."""
        column = field if field in CATALOGUE.names else "attributes"
        key = column, np.asarray(rows, np.int64).tobytes() if len(rows) <= FEW_ROWS else b""
        if key not in self._pieces or not key[1]:
            if len(self._pieces) >= FEW_PIECES:
                self._pieces.clear()
            self._pieces[key] = ItemTable(pa.table({column: self._column(column, rows)}), self._generation)
        return self._pieces[key]

    def group(self) -> Array:
        """int32[I]: variants of one product share a number."""
        column: Array = self._kept.get("group", self._make_groups, self._mended_groups, self.num_rows)[0]
        return column

    def _make_groups(self) -> tuple[Array, ItemIds | list[str]]:
        return indices_of(self._group_names())

    def _mended_groups(self, old: tuple[Array, ItemIds | list[str]], rows: Array) -> tuple[Array, ItemIds]:
        """A group that is new takes the next free number."""
        group_I, names = old
        numbers = names if isinstance(names, ItemIds) else ItemIds(dict(zip(names, range(len(names)), strict=True)))
        mine = strings(self._group_names(rows))
        fresh = [name for name, n in zip(mine, numbers.rows(mine), strict=True) if n < 0]
        numbers = numbers.plus(list(dict.fromkeys(fresh)), len(numbers))
        return mended_numbers(group_I, rows, numbers.rows(mine), self.num_rows), numbers

    def _group_names(self, rows: Array | None = None) -> pa.ChunkedArray:
        group = self._column("group_id", rows)
        return pc.coalesce(pc.if_else(pc.equal(group, ""), None, group), self._column("item_id", rows))

    def kind(self, field: str) -> str | None:
        """``"number"`` or ``"text"``: how a filter or facet treats the field; None when no item has it."""
        if field in CATALOGUE.names:
            kind = CATALOGUE.field(field).type
            return "text" if pa.types.is_string(kind) or pa.types.is_nested(kind) else "number"
        found: str | None = self._kept.get(
            ("kind", field),
            lambda: self._attribute_kind(field),
            lambda old, rows: old or self._only(rows)._attribute_kind(field),
            self.num_rows,
        )
        return found

    def _attribute_kind(self, field: str) -> str | None:
        places = self._all_attributes.places(field)
        if not len(places):
            return None
        numbers = len(places) - self._all_attributes.number.take(pa.array(places)).null_count
        return "number" if 2 * numbers > len(places) else "text"

    def attribute_names(self) -> list[str]:
        """Every attribute that some item has."""
        names: list[str] = self._kept.get(
            "attributes",
            lambda: sorted(self._all_attributes.names),
            lambda old, rows: sorted({*old, *self._only(rows)._all_attributes.names}),
            self.num_rows,
        )
        return names

    def facet_fields(self) -> list[str]:
        """Category, brand, price and rating where filled, then up to 8 attributes, most filled first."""
        # Which attributes are filled most does not change with a few items.
        fields: list[str] = self._kept.get("facets", self._most_filled, lambda old, _: old, self.num_rows)
        return fields

    def _most_filled(self) -> list[str]:
        live = self.live
        columns = [n for n in FACET_COLUMNS if np.any(self._filled(n) & live)]
        a = self._all_attributes
        if not len(a.owner):
            return columns
        name, owner = a.name[a.order], a.owner[a.order]
        seen = distinct_keys((name.astype(np.int64) << 32 | owner)[live[owner]])
        fill = np.bincount(seen >> 32, minlength=len(a.names))
        found: list[str] = []
        for at in np.argsort(-fill, kind="stable"):
            if fill[at] < FACET_FILL * live.sum() or fill[at] == 0 or len(found) == FACET_ATTRIBUTES:
                break
            places = a.places(a.names[at])
            distinct = pc.count_distinct(a.values(places[live[a.owner[places]]])).as_py()
            if FACET_VALUES[0] <= distinct <= FACET_VALUES[1]:
                found.append(a.names[at])
        return columns + found

    def upserted(self, table: pa.Table) -> ItemTable:
        """With these items: a known id keeps its row (and lives again), a new one is appended."""
        table = complete(table, CATALOGUE)
        check_ids(table["item_id"])
        item_ids = table["item_id"].to_pylist()
        rows = self.rows_of(item_ids)
        new = np.flatnonzero(rows < 0)
        size = self.num_rows + len(new)
        place = np.arange(size) if self._place is None else np.concatenate([self._place, np.empty(len(new), np.int64)])
        rows[new] = np.arange(self.num_rows, size)
        place[rows] = self._stored.num_rows + np.arange(len(table))
        tombstones = np.concatenate([self.tombstones, np.zeros(len(new), bool)])
        tombstones[rows] = False
        stored = _merged_tail(pa.concat_tables([self._stored, table]))
        if stored.num_rows > 1.5 * size:
            stored, place = gather_table(stored, place), np.arange(size)
        ids = self._ids.plus([item_ids[n] for n in new], self.num_rows)
        kept = self._kept.after(rows)
        return ItemTable(stored, self._generation, place=place, tombstones=tombstones, ids=ids, kept=kept)

    def deleted(self, item_ids: Sequence[str]) -> ItemTable:
        """Without these items: their rows stay as tombstones.  Unknown ids change nothing."""
        rows = self.rows_of(item_ids)
        return self.hidden(rows[rows >= 0])

    def hidden(self, rows: Array) -> ItemTable:
        """With these rows (numbers or bool[I]) as tombstones."""
        tombstones = self.tombstones.copy()
        tombstones[rows] = True
        ids, kept = self._ids, self._kept
        return ItemTable(self._stored, self._generation, place=self._place, tombstones=tombstones, ids=ids, kept=kept)

    def over(self, table: pa.Table) -> ItemTable:
        """The same rows and tombstones with other contents, given in row order."""
        return ItemTable(table, self._generation, tombstones=self._tombstones, ids=self._ids)

    @cached_property
    def _ids(self) -> ItemIds:
        return ItemIds(dict(zip(self._column("item_id").to_pylist(), range(self.num_rows), strict=True)))

    @cached_property
    def _all_attributes(self) -> Attributes:
        return Attributes.of(self._column("attributes"))

    def _attributes(self, rows: Array | None) -> Attributes:
        return self._all_attributes if rows is None else self._only(rows)._all_attributes

    def _column(self, name: str, rows: Array | None = None) -> pa.ChunkedArray:
        column = self._stored[name]
        if rows is not None:
            return gather(column, self._at(rows))
        return column if self._place is None else gather(column, self._place)

    def _at(self, rows: Array) -> Array:
        """int64[N]: where the rows stand in the stored table."""
        rows = np.asarray(rows, np.int64)
        if len(rows) and (rows.min() < 0 or rows.max() >= self.num_rows):
            bad = rows[(rows < 0) | (rows >= self.num_rows)][0]
            raise ContractError(
                f"row {bad} of a catalogue of {self.num_rows} rows (generation {self._generation}); "
                "rows run from 0 to the last, look ids up with rows_of"
            )
        return rows if self._place is None else self._place[rows]

    def _filled(self, name: str) -> Array:
        column = self._column(name)
        if pa.types.is_list(column.type):
            return flat_list(column)[0] > 0
        if pa.types.is_string(column.type):
            column = pc.if_else(pc.equal(column, ""), None, column)
        filled: Array = pc.is_valid(column).to_numpy()
        return filled

    def _attribute_text(self, name: str, rows: Array | None) -> list[str]:
        attributes = self._attributes(rows)
        places = attributes.places(name)
        counts = np.bincount(attributes.owner[places], minlength=len(attributes.counts))
        return join_lists(counts, attributes.values(places))

    def _make_codes(self, field: str) -> tuple[Ragged, list[str]]:
        if field == "category":
            counts, paths = flat_list(self._column(field))
            return _prefix_codes(np.repeat(np.arange(self.num_rows), counts), paths, self.num_rows)
        if field == "attributes" or field not in CATALOGUE.names:
            a = self._all_attributes
            places = a.order if field == "attributes" else a.places(field)
            return _ragged_codes(a.owner[places], a.values(places), self.num_rows)
        column = self._column(field)
        if pa.types.is_list(column.type):
            counts, values = flat_list(column)
            return _ragged_codes(np.repeat(np.arange(self.num_rows), counts), values, self.num_rows)
        if not pa.types.is_string(column.type):
            column = column.cast(pa.string())
        return _ragged_codes(np.arange(self.num_rows), column, self.num_rows)


def _merged_tail(table: pa.Table) -> pa.Table:
    """The table with the many small chunks that single upserts leave at its end merged into one."""
    sizes = np.array([len(chunk) for chunk in table["item_id"].chunks])
    large = np.flatnonzero(sizes >= SMALL_CHUNK)
    first = int(large[-1]) + 1 if len(large) else 0
    if len(sizes) - first <= MAX_SMALL_CHUNKS:
        return table
    rows = int(sizes[:first].sum())
    return pa.concat_tables([table.slice(0, rows), table.slice(rows).combine_chunks()])


def check_ids(column: pa.ChunkedArray) -> None:
    """Raises DataError when an id is missing or occurs twice."""
    if column.null_count or pc.any(pc.equal(column, "")).as_py():
        row = pc.index(pc.fill_null(pc.equal(column, ""), True), True).as_py()
        raise DataError(f"row {row} has no item_id; every item needs one of its own")
    if pc.count_distinct(column).as_py() < len(column):
        counts = column.value_counts()
        twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
        raise DataError(
            f"item_id {twice[0].as_py()!r} occurs more than once; keep one row an item, or rename the others"
        )


def strings(column: pa.ChunkedArray | pa.Array) -> list[str]:
    """A text column without nulls as Python strings."""
    texts: list[str] = column.to_pylist()
    return texts


def distinct_keys(key: Array) -> Array:
    """The distinct values, sorted; most columns come sorted and without repeats already, which costs one look."""
    return key if np.all(key[1:] > key[:-1]) else np.unique(key)


def indices_of(column: pa.ChunkedArray | pa.Array, keep_empty: bool = False) -> tuple[Array, list[str]]:
    """int32 index of each value in the sorted distinct values (-1 for null and, unless kept, ""), and these values."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    encoded = column.dictionary_encode()
    raw = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    order = pc.array_sort_indices(encoded.dictionary).to_numpy()
    labels = encoded.dictionary.take(pa.array(order)).to_pylist()
    empty = not keep_empty and bool(labels) and labels[0] == ""
    rank = np.empty(len(order) + 1, np.int32)
    rank[order] = np.arange(len(order)) - empty
    rank[-1] = -1
    return rank[raw], labels[empty:]


def _ragged(owner: Array, code: Array, size: int) -> Ragged:
    """Each (row, code) pair once, by row, then by code."""
    key = distinct_keys(owner.astype(np.int64) << 32 | code.astype(np.int64))
    return Ragged((key & 0xFFFFFFFF).astype(np.int32), splits_of(np.bincount(key >> 32, minlength=size)))


def _ragged_codes(owner: Array, values: pa.ChunkedArray | pa.Array, size: int) -> tuple[Ragged, list[str]]:
    code, labels = indices_of(values)
    known = code >= 0
    return _ragged(owner[known], code[known], size), labels


def _prefix_codes(owner: Array, paths: pa.Array, size: int) -> tuple[Ragged, list[str]]:
    """Codes of every prefix of every path: 'Home', 'Home > Kitchen'.  Loops over distinct paths only."""
    code, distinct = indices_of(paths)
    prefixes = []
    for path in distinct:
        parts = [p.strip() for p in path.split(CATEGORY_SEPARATOR.strip())]
        parts = [p for p in parts if p]
        prefixes.append([CATEGORY_SEPARATOR.join(parts[: n + 1]) for n in range(len(parts))])
    labels = sorted({p for path in prefixes for p in path})
    number = {label: n for n, label in enumerate(labels)}
    values = np.array([number[p] for path in prefixes for p in path], np.int32)
    table = Ragged(values, splits_of(np.array([len(p) for p in prefixes], np.int64)))
    known = code >= 0
    expanded = table.take(code[known])
    return _ragged(np.repeat(owner[known], np.diff(expanded.splits)), expanded.values, size), labels
