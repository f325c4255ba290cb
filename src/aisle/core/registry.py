"""Methods by name.  The folder tree is the register: ``ranking.hhft`` is ``aisle/ranking/hhft.py``, attribute ``METHOD``."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any

from aisle.core.errors import AisleError, UnknownName, nearest
from aisle.core.method import Method, Part

FOLDERS = (
    "understanding",
    "retrieval",
    "relevance",
    "ranking",
    "reranking",
    "allocation",
    "balance",
    "sparse",
    "online",
)
GROUP = "aisle.methods"


def outside() -> dict[str, EntryPoint]:
    """Methods of installed packages, by the name they registered."""
    return {e.name: e for e in entry_points(group=GROUP)}


def names() -> list[str]:
    """Every method there is, found without importing any of them."""
    found = []
    for folder in FOLDERS:
        spec = find_spec(f"aisle.{folder}")
        where = spec.submodule_search_locations if spec else None
        found += [f"{folder}.{m.name}" for m in pkgutil.iter_modules(where) if not m.name.startswith("_")]
    return sorted({*found, *outside()})


def method(name: str) -> type[Method] | type[Part]:
    """The class called ``name``.  Raises UnknownName, or AisleError when its library is not installed."""
    entry = outside().get(name)
    if entry is None and name not in names():
        raise UnknownName(f"no method {name!r}{nearest(name, names())}")
    try:
        if entry is not None:
            cls: Any = entry.load()
            cls._registered = name
            return cls  # type: ignore[no-any-return]
        return import_module(f"aisle.{name}").METHOD  # type: ignore[no-any-return]
    except ModuleNotFoundError as error:
        raise AisleError(
            f"method {name!r} needs the library {error.name!r}, which is not installed; pip install 'aisle[neural]'"
        ) from error


def name_of(method: Method | Part | type[Method] | type[Part]) -> str:
    """The name under which a method is registered."""
    cls = method if isinstance(method, type) else type(method)
    registered = cls.__dict__.get("_registered")
    if registered:
        return str(registered)
    parts = cls.__module__.split(".")
    if parts[0] == "aisle":
        return ".".join(parts[1:3])
    # Its module is loaded already, so looking the class up there imports nothing.
    mine = (name for name, entry in outside().items() if entry.module == cls.__module__ and entry.load() is cls)
    return next(mine, f"{cls.__module__}:{cls.__qualname__}")


def folder_of(name: str) -> str:
    """``ranking`` of ``ranking.hhft``."""
    return name.partition(".")[0]


def build(name: str, settings: Mapping[str, Any] | None = None) -> Any:
    """The method called ``name`` with these settings, the rest at their defaults."""
    return method(name)(**(settings or {}))
