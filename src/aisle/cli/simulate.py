"""aisle simulate: a generated shop with its log, judgments and queries."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer


def _list_worlds(asked: bool) -> None:
    """The table of premises; each names a null and an adverse world."""
    if not asked:
        return
    from rich.console import Console
    from rich.table import Table

    from aisle.simulate.knobs import premises
    from aisle.simulate.worlds import LEXICAL

    table = Table("premise", "null", "default", "adverse", "says", box=None, header_style="bold")
    for name, premise in premises().items():
        table.add_row(name, f"{premise.null:g}", f"{premise.default:g}", f"{premise.adverse:g}", premise.says)
    table.add_row("words", "", "", "", f"{', '.join(LEXICAL)} together")
    Console().print(table)
    raise typer.Exit


def simulate(
    into: Annotated[Path, typer.Option("--into", metavar="SHOP", help="Folder of the new shop.")],
    items: Annotated[int, typer.Option(min=1, help="Number of products.")] = 2500,
    days: Annotated[int, typer.Option(min=0, help="Days of shoppers' behaviour.")] = 7,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same shop, byte for byte.")] = 0,
    world: Annotated[
        str,
        typer.Option(
            metavar="WORLD",
            help="default; null:PREMISE takes a premise away; adverse:PREMISE turns it against the methods.",
        ),
    ] = "default",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KNOB=VALUE", help="Set one knob of the world, from 0 to 1.")
    ] = None,
    queries: Annotated[int, typer.Option(min=1, help="Number of queries with graded products.")] = 300,
    budget: Annotated[int, typer.Option(min=1, help="Pairs that the annotator grades in all.")] = 20_000,
    texts: Annotated[
        bool,
        typer.Option(
            "--texts", help="Also write reviews.parquet and external.parquet: what others say about the products."
        ),
    ] = False,
    worlds: Annotated[
        bool, typer.Option("--worlds", callback=_list_worlds, is_eager=True, help="List the premises and stop.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Generate a shop: products, days of behaviour, graded queries.

    Example:  aisle simulate --items 2500 --days 7 --seed 0 --into shop
    """
    from aisle.cli._console import progress
    from aisle.simulate.world import simulate as fill

    knobs = _knobs(settings or ())
    with progress(quiet=as_json) as report:
        written = fill(
            into,
            items,
            days,
            seed,
            world=world,
            num_queries=queries,
            budget=budget,
            texts=texts,
            progress=report,
            **knobs,
        )
    if as_json:
        typer.echo(json.dumps(written))
    else:
        typer.echo(
            f"{into}: {written['items']} products, {written['events']} events, {written['queries']} queries "
            f"with {written['judgments']} judgments (world {written['version']}).\nServe it with: aisle serve {into}"
        )


def _knobs(settings: Iterable[str]) -> dict[str, float]:
    """Knobs of ``name=value`` words.  Raises SettingError for a word that is not one."""
    from aisle.core.errors import SettingError

    knobs = {}
    for word in settings:
        name, _, value = word.partition("=")
        try:
            knobs[name.strip()] = float(value)
        except ValueError as error:
            raise SettingError(f"--set {word!r} sets no knob; write NAME=NUMBER, such as gap=0.5") from error
    return knobs
