"""Public data sets by kind: ``open_set("esci:DIR")``.  Nothing is downloaded; one file of this folder is one set."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from aisle.core.errors import DataError, UnknownName, nearest
from aisle.data.sets._dataset import Dataset

KINDS = tuple(sorted(module.name for module in iter_modules(__path__) if not module.name.startswith("_")))

__all__ = ["KINDS", "Dataset", "check_set", "data_root", "open_set"]


def data_root() -> Path:
    """Where the real data stands: the folder ``AISLE_DATA``, else ``../shared/data`` beside the project."""
    named = os.environ.get("AISLE_DATA")
    return Path(named) if named else Path(__file__).resolve().parents[4].parent / "shared" / "data"


def open_set(place: str) -> Dataset:
    """The data set at ``KIND:DIR``; a relative DIR is looked up from here, then under ``data_root()``.

    Raises UnknownName for another kind, DataError for a folder that does not hold this set.
    """
    kind, folder = parse_place(place)
    return _module(kind).load(folder)  # type: ignore[no-any-return]


def check_set(place: str) -> dict[str, int]:
    """Row counts of the set at ``KIND:DIR``.  Raises DataError when counts or hashes are not the published ones."""
    kind, folder = parse_place(place)
    return _module(kind).check(folder)  # type: ignore[no-any-return]


def parse_place(place: str) -> tuple[str, Path]:
    """(kind, folder) of ``KIND:DIR``."""
    kind, colon, name = place.partition(":")
    kind = kind.strip().lower().replace("-", "_")
    if kind not in KINDS:
        raise UnknownName(f"no kind of data {kind!r} in {place!r}, expected KIND:DIR{nearest(kind, KINDS)}")
    if not colon or not name:
        raise DataError(f"{place!r} names no folder; write KIND:DIR, such as {kind}:FOLDER")
    for folder in (Path(name).expanduser(), data_root() / name):
        if folder.is_dir():
            return kind, folder
    raise DataError(f"{name!r} is no folder, neither here nor in {data_root()}; give the folder that holds {kind}")


def _module(kind: str) -> Any:
    return import_module(f"aisle.data.sets.{kind}")
