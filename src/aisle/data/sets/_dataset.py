"""What a public data set gives, and how its files are found and checked."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from aisle.core.atomic import file_hash
from aisle.core.errors import DataError
from aisle.core.lists import ItemLists
from aisle.core.shop import Judgments
from aisle.data.items import ItemTable
from aisle.data.judged import judgments_of


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """
    products   the catalogue (schema CATALOGUE); None for a set without one
    judgments  graded pairs (schema JUDGMENTS); None for a set without any
    gains      grade -> gain of the set's protocol
    sequences  one list a user of catalogue rows, oldest first; None for a set without any
    users      the set's own user ids, one a sequence
    """

    name: str
    products: pa.Table | None = None
    judgments: pa.Table | None = None
    gains: Mapping[int, float] = field(default_factory=dict)
    sequences: ItemLists | None = None
    users: tuple[str, ...] = ()

    def items(self, generation: int = 0) -> ItemTable:
        """The catalogue by row.  Raises DataError for a set without one."""
        if self.products is None:
            raise DataError(f"{self.name} has no products; choose a set that has, such as esci or icecat")
        return ItemTable.from_table(self.products, generation)

    def judged(self, items: ItemTable) -> Judgments:
        """The judgments by row of ``items``.  Raises DataError for a set without any."""
        if self.judgments is None:
            raise DataError(f"{self.name} has no judgments; choose a set that has, such as esci or icecat")
        return judgments_of(self.judgments, self.gains, items)

    def counts(self) -> dict[str, int]:
        """Rows of each part."""
        found: dict[str, int] = {}
        if self.products is not None:
            found["products"] = self.products.num_rows
        if self.judgments is not None:
            found["judgments"] = self.judgments.num_rows
            found["queries"] = len(self.judgments["query"].unique())
        if self.sequences is not None:
            found["users"] = len(self.sequences)
            found["interactions"] = len(self.sequences.item)
        return found


TAG = r"<[^<>]{1,200}>"
"""Mark-up inside descriptions; the catalogue holds plain text."""


def find(folder: Path, *names: str) -> Path:
    """The first of these files that the folder has, plain or gzip.  Raises DataError when it has none."""
    for name in names:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    raise DataError(f"{folder} has no {' or '.join(names)} (also looked for .gz); give the folder that holds the set")


def open_text(path: Path) -> IO[str]:
    """A UTF-8 file, plain or gzip."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Each line as an object.  Raises DataError that names a broken line."""
    with open_text(path) as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}, line {number} is no JSON ({error}); fetch the file again") from error


def check_counts(folder: Path, found: Mapping[str, int], expected: Mapping[str, int]) -> None:
    """Raises DataError when a count is not the published one."""
    for name, count in expected.items():
        if found.get(name) != count:
            raise DataError(f"{folder} has {found.get(name)} {name}, published are {count}; fetch the set again")


def check_hashes(folder: Path, hashes: Mapping[str, str]) -> None:
    """Raises DataError when a file's SHA-256 is not the published one."""
    for name, expected in hashes.items():
        found = file_hash(folder / name)
        if found != expected:
            raise DataError(f"{folder / name} has SHA-256 {found}, expected {expected}; fetch the file again")


def judgments_table(queries: list[str], item_ids: list[str], labels: list[str], grades: Mapping[str, int]) -> pa.Table:
    """A JUDGMENTS table.  Raises DataError for a label without a grade."""
    unknown = sorted(set(labels) - set(grades))
    if unknown:
        raise DataError(f"label {unknown[0]!r} is none of {', '.join(grades)}; correct it or leave the row out")
    grade = pa.array([grades[label] for label in labels], pa.int32())
    return pa.table({"query": queries, "item_id": item_ids, "grade": grade})
