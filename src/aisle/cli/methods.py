"""aisle methods: what can stand in which slot of the funnel."""

from __future__ import annotations

import json
from typing import Annotated

import typer

REQUIRED = "(to be given)"
"""What stands for a setting without a default."""


def methods(
    as_json: Annotated[
        bool, typer.Option("--json", help="One object a method: name, summary, settings, reads, writes.")
    ] = False,
) -> None:
    """List every method there is, with its settings.

    Example:  aisle methods
    """
    rows = [_described(name) for name in _names()]
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


def _described(name: str) -> dict[str, object]:
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
