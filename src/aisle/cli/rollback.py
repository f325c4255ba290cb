"""aisle rollback: serve again what was served before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def rollback(
    shop: Annotated[Path, typer.Argument(metavar="SHOP", help="Folder of the shop.")],
    to: Annotated[
        str | None, typer.Option("--to", metavar="FUNNEL", help="A saved funnel; else what was served before.")
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Show what one can go back to and change nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Go back to the catalogue and funnel that were served before; running servers follow without a failed request.

    What the log has accepted since is applied to the older catalogue too.

    Example:  aisle rollback myshop
    Example:  aisle rollback myshop --show
    """
    from aisle.data.rollback import earlier, roll_back
    from aisle.data.shop import Shop

    opened = Shop.open(shop)
    if show:
        known = [{"current": True, **_plain(opened.pointer())}, *map(_plain, earlier(opened))]
        if as_json:
            typer.echo(json.dumps(known))
            return
        for entry in known:
            typer.echo(("now:    " if entry.pop("current", False) else "before: ") + _words(entry))
        return
    pointer = _plain(roll_back(opened, to))
    typer.echo(json.dumps(pointer) if as_json else f"now: {_words(pointer)}")


def _plain(pointer: dict[str, Any]) -> dict[str, Any]:
    return {name: pointer.get(name) for name in ("generation", "sequence", "funnel", "plan")}


def _words(entry: dict[str, Any]) -> str:
    funnel = f"funnel {entry['funnel']}" if entry["funnel"] else "no fitted funnel"
    return f"generation {entry['generation']}, {funnel}" + (f" ({entry['plan']})" if entry["plan"] else "")
