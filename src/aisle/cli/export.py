"""aisle export: what a shop holds, as Parquet files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def export(
    shop: Annotated[Path, typer.Argument(metavar="SHOP", help="Folder of the shop.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the files go; made when it is not there.")],
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            "--kind", metavar="KIND", help="products, events, requests, prices, judgments, log; all by default."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print rows by kind as JSON.")] = False,
) -> None:
    """Write catalogue (with everything the log has accepted), behaviour, requests and judgments as Parquet.

    Example:  aisle export myshop exported
    Example:  aisle export myshop exported --kind products --kind events
    """
    from aisle.cli._console import progress
    from aisle.data.shop import Shop
    from aisle.engine.embedded.export import export as write

    with progress(quiet=as_json) as report:
        rows = write(Shop.open(shop), folder, kinds or (), progress=report)
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), "rows": rows}))
        return
    for kind, count in rows.items():
        typer.echo(f"{count:>10,} {kind}" + (f"  {folder / kind}.parquet" if count else ""))
