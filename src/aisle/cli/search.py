"""aisle search: ask a shop from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from aisle.core.env import Env
    from aisle.core.lists import ItemLists

BRAND = 20
"""Widest brand that is printed whole."""


def search(
    shop: Annotated[Path, typer.Argument(metavar="SHOP", help="Folder of the shop.")],
    query: Annotated[
        str,
        typer.Argument(metavar="QUERY", help="What a shopper would type, -word to leave a word out; '' for the feed."),
    ],
    plan: Annotated[str, typer.Option("--plan", help="A recipe, a method or a plan file.")] = "lexical",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change one setting of the plan.")
    ] = None,
    filters: Annotated[str, typer.Option("--filter", help="""JSON, such as '{"brand": ["Acme"]}'.""")] = "",
    sort: Annotated[str, typer.Option("--sort", help="A column, '-' in front for descending.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Rows to print.")] = 10,
    explain: Annotated[bool, typer.Option("--explain", help="Say why each item stands where it does.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the page as JSON.")] = False,
) -> None:
    """Search a shop and print the page.

    Example:  aisle search SHOP "red dress" --filter '{"brand": ["Acme"]}'
    """
    from aisle.cli._console import json_filter, plan_named, progress
    from aisle.core.filters import Sort, parse_filter
    from aisle.core.requests import Requests
    from aisle.data.shop import Shop
    from aisle.recipes.environment import encode_items, open_env

    wanted, order = parse_filter(json_filter(filters)), Sort.parse(sort)
    opened = Shop.open(shop)
    chosen = plan_named(plan, settings or ())
    with progress(quiet=as_json) as report:
        env = open_env(opened, progress=report)
        for encoder in sorted(chosen.encoders()):
            encode_items(env, opened, encoder, progress=report)
        funnel = chosen.fit(opened.view(), env)
    requests = Requests.make([query], filters=wanted, sort=order, limit=limit)
    page = funnel.serve(requests, strict=True)
    reasons = funnel.explain(requests, page.lists) if explain else None
    rows = _rows(env, page.lists)
    for row, why in zip(rows, reasons or [], strict=False):
        row["why"] = [reason.words for reason in why]
    if as_json:
        typer.echo(
            json.dumps(
                {"total": int(page.total[0]), "suggestion": page.suggestion[0], "items": rows}, ensure_ascii=False
            )
        )
        return
    _print(rows, int(page.total[0]), page.suggestion[0])


def _rows(env: Env, lists: ItemLists) -> list[dict[str, Any]]:
    items = env.engine.items
    names = ("item_id", "title", "brand", "price_cents", "score")
    price = items.number("price_cents", lists.item)
    columns = (
        items.ids(lists.item),
        items.text("title", lists.item),
        items.text("brand", lists.item),
        [None if p != p else int(p) for p in price],
        [None if s != s else round(float(s), 4) for s in lists["score"]],
    )
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _print(rows: list[dict[str, Any]], total: int, suggestion: str | None) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if suggestion:
        console.print(f"did you mean [bold]{escape(suggestion)}[/bold]?")
    table = Table("", "item", box=None, pad_edge=False, header_style="bold")
    # Titles give way on a narrow terminal; ids, brands and prices stay whole.
    others = max((len(row["item_id"]) + min(len(row["brand"]), BRAND) for row in rows), default=0)
    table.add_column("title", no_wrap=True, max_width=max(console.width - others - 20, 20))
    table.add_column("brand", no_wrap=True, max_width=BRAND)
    table.add_column("price", justify="right", no_wrap=True)
    for place, row in enumerate(rows, 1):
        price = "" if row["price_cents"] is None else f"{row['price_cents'] / 100:,.2f}"
        table.add_row(str(place), *map(escape, (row["item_id"], row["title"], row["brand"])), price)
        for words in row.get("why", ()):
            table.add_row("", "", f"[dim]{escape(words)}[/dim]")
    if rows:
        console.print(table)
    console.print(f"[dim]{total:,} found[/dim]")
