"""aisle simulate: a generated shop with its log, judgments and queries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def simulate(
    into: Annotated[Path, typer.Option("--into", metavar="SHOP", help="Folder of the new shop.")],
    items: Annotated[int, typer.Option(min=1, help="Number of products.")] = 2500,
    days: Annotated[int, typer.Option(min=0, help="Days of shoppers' behaviour.")] = 7,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same shop, byte for byte.")] = 0,
    gap: Annotated[float, typer.Option(min=0, max=1, help="How far shoppers' words are from sellers'.")] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Generate a shop: products, days of behaviour, graded queries.

    Example:  aisle simulate --items 2500 --days 7 --seed 0 --into shop
    """
    from aisle.cli._console import progress
    from aisle.simulate.world import simulate as fill

    with progress(quiet=as_json) as report:
        written = fill(into, items, days, seed, progress=report, gap=gap)
    if as_json:
        typer.echo(json.dumps(written))
    else:
        typer.echo(
            f"{into}: {written['items']} products, {written['events']} events, {written['queries']} queries "
            f"with {written['judgments']} judgments (world {written['version']}).\nServe it with: aisle serve {into}"
        )
