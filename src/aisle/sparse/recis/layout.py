"""Layout: which logical tables share a physical one, and how their ids become its keys.

Features whose vectors look and are treated alike share one physical table.  Inside it each logical table has a number c,
and an id becomes the key ``c << 52 | (id & (2**52 - 1))``: ids keep their low 52 bits, so two ids that differ above them
only are the same id (hash functions here return 52 bits).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aisle.core.errors import SettingError
from aisle.core.lists import Array
from aisle.core.tables import Embedding

ID_BITS = 52
ID_MASK = (1 << ID_BITS) - 1
MOST_CHILDREN = 4095
"""Below 2**12, so that no key is -1."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What features must have in common to share a physical table.  ``capped`` is the logical table's name when it has a
    cap of its own."""

    dim: int
    dtype: str
    init_std: float
    min_count: int
    keep_steps: int | None
    max_rows: int | None
    reduce: str
    capped: str


@dataclass(frozen=True, slots=True)
class Physical:
    """One physical table.

    children  logical tables; the place is the number c in their keys
    features  feature -> c; those that admit ids stand before those that only read
    """

    name: str
    kind: Kind
    children: tuple[str, ...]
    features: Mapping[str, int]


def kind_of(name: str, embedding: Embedding) -> Kind:
    e = embedding
    capped = (e.table or name) if e.max_rows else ""
    return Kind(e.dim, e.dtype, e.init_std, e.min_count, e.keep_steps, e.max_rows, e.reduce, capped)


def coalesced(embeddings: Mapping[str, Embedding], parts: int) -> list[Physical]:
    """The physical tables of these features, in the order of their first feature; each kind is dealt out over at most
    ``parts`` tables, which threads then work on side by side.

    Raises SettingError when features of one logical table differ in kind.
    """
    kinds: dict[str, Kind] = {}
    for feature, embedding in embeddings.items():
        table, kind = embedding.table or feature, kind_of(feature, embedding)
        if kinds.setdefault(table, kind) != kind:
            raise SettingError(
                f"feature {feature!r} shares table {table!r} with another of a different kind ({kind} and {kinds[table]}); "
                "give both the same settings or tables of their own"
            )
    by_kind: dict[Kind, list[str]] = {}
    for table, kind in kinds.items():
        by_kind.setdefault(kind, []).append(table)
    out = []
    for kind, tables in by_kind.items():
        num = max(min(parts, len(tables)), -(-len(tables) // MOST_CHILDREN))
        for part in range(num):
            children = tables[part::num]
            mine = [f for f, e in embeddings.items() if (e.table or f) in children]
            mine.sort(key=lambda f: embeddings[f].admit == "read_only")
            features = {f: children.index(embeddings[f].table or f) for f in mine}
            out.append(Physical(f"{kind.dim}_{len(out)}", kind, tuple(children), features))
    return out


def child_of(key: Array) -> Array:
    """int64: the logical table of each key."""
    return (key >> ID_BITS) & 0xFFF


def id_of(key: Array) -> Array:
    """int64: the id of each key, from 0 to 2**52 - 1."""
    return key & ID_MASK
