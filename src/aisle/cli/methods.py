"""aisle methods: what can stand in which slot of the funnel."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from inspect import cleandoc
from typing import Annotated, Any

import typer

REQUIRED = "(to be given)"
"""What stands for a setting without a default."""


def methods(
    name: Annotated[
        str, typer.Argument(metavar="METHOD", help="One of them: each of its settings, its default, what it means.")
    ] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="One object a method: name, summary, settings, reads, writes.")
    ] = False,
) -> None:
    """List every method there is, or the settings of one.

    Example:  aisle methods relevance.lref
    """
    if name:
        _print_settings(name, as_json)
        return
    rows = [_described(each) for each in _names()]
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("method", "what it does", "settings", box=None, pad_edge=False, header_style="bold")
    for row in rows:
        settings = ", ".join(f"{n}={v}" for n, v in row["settings"].items()) if row["settings"] else ""
        table.add_row(row["name"], row["summary"], settings if len(settings) < 90 else settings[:87] + "...")
    Console().print(table)


def _names() -> list[str]:
    from aisle.core import registry

    return registry.names()


def _described(name: str) -> dict[str, Any]:
    from aisle.core import registry
    from aisle.core.errors import AisleError

    try:
        cls = registry.method(name)
    except AisleError as error:
        return {"name": name, "summary": str(error), "settings": {}, "reads": [], "writes": []}
    module = first_line(cls)
    made = None if any(field.is_required() for field in cls.model_fields.values()) else cls()
    return {
        "name": name,
        "summary": module,
        "settings": {n: REQUIRED for n, f in cls.model_fields.items() if f.is_required()}
        if made is None
        else made.model_dump(mode="json"),
        "reads": sorted(getattr(made, "reads", ())),
        "writes": sorted(getattr(made, "writes", ())),
    }


def first_line(cls: type) -> str:
    """First sentence of the file that defines a method."""
    import sys

    text = (sys.modules[cls.__module__].__doc__ or cls.__doc__ or "").strip()
    return text.splitlines()[0] if text else ""


# -- the settings of one method ----------------------------------------------------------------------------------------


def _print_settings(name: str, as_json: bool) -> None:
    """Raises UnknownName for a name that nobody registered."""
    from aisle.core import registry

    cls = registry.method(name)
    rows = list(settings_of(cls))
    if as_json:
        told = [{"setting": path, "default": value, "meaning": meaning} for path, value, meaning in rows]
        typer.echo(json.dumps({"name": name, "summary": first_line(cls), "settings": told}, indent=1))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    console.print(f"{name}: {first_line(cls)}", markup=False)
    table = Table("setting", "default", "meaning", box=None, pad_edge=False, header_style="bold")
    for path, value, meaning in rows:
        table.add_row(path, "" if value is None else escape(json.dumps(value)), escape(meaning.replace("``", "'")))
    console.print(table)
    console.print(f"change one with: aisle fit SHOP {name} --set {rows[0][0] if rows else 'NAME'}=VALUE", markup=False)


def settings_of(cls: type, made: Any = None, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """(dotted name, default as JSON value, meaning) of each setting; parts of a part follow it."""
    from pydantic import BaseModel

    told = meanings(cls)
    for name, field in cls.model_fields.items():  # type: ignore[attr-defined]
        if made is None and field.is_required():
            value: Any = REQUIRED
        else:
            value = field.get_default(call_default_factory=True) if made is None else getattr(made, name)
        if isinstance(value, BaseModel):
            yield prefix + name, None, told.get(name, "")
            yield from settings_of(type(value), value, f"{prefix}{name}.")
        else:
            yield prefix + name, json.loads(json.dumps(value, default=str)), told.get(name, "")


def meanings(cls: type) -> Mapping[str, str]:
    """Setting -> what the docstrings of a class and its bases say of it: ``name, other  text`` and indented lines."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        names: list[str] = []
        for line in cleandoc(base.__dict__.get("__doc__") or "").splitlines():
            entry = re.fullmatch(r"(\w+(?:, \w+)*) {2,}(\S.*)", line)
            if entry:
                names = entry[1].split(", ")
                found |= dict.fromkeys(names, entry[2])
            elif line.startswith("  ") and names:
                found |= {name: f"{found[name]} {line.strip()}" for name in names}
            else:
                names = []
    return found
