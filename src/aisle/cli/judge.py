"""aisle judge: let a model grade (query, item) pairs, and tell how far it agrees with people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from aisle.cli._agreement import Agreement
    from aisle.cli._judging import Verdicts
    from aisle.data.shop import Shop


def judge(
    shop: Annotated[Path, typer.Argument(metavar="SHOP", help="Folder of the shop.")],
    queries: Annotated[Path, typer.Argument(metavar="QUERIES", help="Text file, one query a line.")],
    model: Annotated[
        str,
        typer.Option("--model", metavar="METHOD", help="Such as relevance.lref; the served funnel's own without."),
    ] = "",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Change a setting of the model; fits it anew."),
    ] = None,
    plan: Annotated[
        str, typer.Option("--plan", help="Who finds the items of a query: a recipe, a method or a plan file.")
    ] = "lexical",
    depth: Annotated[int, typer.Option("--depth", min=1, max=1000, help="Items of each query.")] = 20,
    name: Annotated[str, typer.Option("--name", help="Of the judgments in the shop; replaces those there.")] = "judge",
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Also write the pairs as CSV.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Grade what a plan finds for some queries, and compare with human grades.

    Example:  aisle judge SHOP SHOP/queries.txt --model relevance.cross_encoder --depth 20

    A model that is not part of the served funnel is fitted first, on the shop's own
    judgments.  Agreement is measured on human grades of queries it did not learn from:
    kappa with its 95% interval over queries, and the pairs where the two are furthest apart.

    A run that was stopped goes on where it stood when the same command is given again.
    """
    from aisle.cli import _judging as judging
    from aisle.cli._console import progress
    from aisle.data.shop import Shop

    judging.refuse_places(name, out)
    order = judging.Order(judging.read_queries(queries), model, settings or (), plan, depth, seed)
    opened = Shop.open(shop)
    with progress(quiet=as_json) as report:
        verdicts = judging.judged(opened, order, report)
    judging.keep(opened, verdicts, name, out)
    if as_json:
        typer.echo(json.dumps(_json(verdicts, name, out)))
    else:
        _say(verdicts, name, out, opened)


def _json(verdicts: Verdicts, name: str, out: Path | None) -> dict[str, Any]:
    told = verdicts.agreement
    return {
        "model": verdicts.judge.name,
        "origin": verdicts.judge.origin,
        "queries": len(verdicts.queries),
        "empty_queries": verdicts.num_empty,
        "pairs": len(verdicts),
        "judged_before": verdicts.parts.num_before,
        "grades": verdicts.counts(),
        "judgments": name,
        "file": None if out is None else str(out),
        "agreement": None if told is None else told.as_dict(),
        "not_compared": verdicts.why_not or None,
    }


def _say(verdicts: Verdicts, name: str, out: Path | None, shop: Shop) -> None:
    counts = ", ".join(f"{count} {grade}" for grade, count in verdicts.counts().items())
    empty = f" ({verdicts.num_empty} found nothing)" if verdicts.num_empty else ""
    typer.echo(f"{verdicts.judge.name}, {verdicts.judge.origin}")
    typer.echo(f"{_many(len(verdicts), 'pair')} of {_many(len(verdicts.queries), 'query', 'queries')}{empty}: {counts}")
    if verdicts.parts.num_before:
        typer.echo(f"{_many(verdicts.parts.num_before, 'pair')} of these were judged by a run that was stopped")
    kept = f"kept as judgments {name!r} of {shop.folder}"
    if out is None:
        typer.echo(f"{kept}; with --out FILE also as a file for: aisle evaluate {shop.folder} --judgments FILE")
    else:
        typer.echo(f"{kept} and in {out}; measure with: aisle evaluate {shop.folder} --judgments {out}")
    if verdicts.agreement is None:
        typer.echo(f"nothing is compared: {verdicts.why_not}")
    else:
        _say_agreement(verdicts.agreement)


def _say_agreement(told: Agreement) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    between = "" if told.interval is None else f", 95% between {told.interval[0]:.2f} and {told.interval[1]:.2f}"
    console.print(
        f"against {_many(told.num_pairs, 'human grade')} of {_many(told.num_queries, 'query', 'queries')} that it did not learn "
        f"from: kappa {told.kappa:.2f}"
        f"{between} (quadratic {told.quadratic_kappa:.2f}); {100 * told.accuracy:.0f}% equal ({100 * told.commonest:.0f}% by the "
        f"commonest grade alone); macro-F1 {told.macro_f1:.2f}; optimism {told.optimism:+.2f}"
    )
    names = list(reversed(told.names))
    table = Table("people \\ model", *names, box=None, header_style="bold")
    for name, row in zip(names, told.confusion[::-1, ::-1].tolist(), strict=True):
        table.add_row(name, *map(str, row))
    console.print(table)
    if told.furthest:
        table = Table("furthest apart", "item", "people", "model", box=None, header_style="bold")
        for apart in told.furthest:
            shown = f"{apart.item_id} {apart.title}"
            table.add_row(escape(apart.query[:40]), escape(shown[:60]), apart.people, apart.model)
        console.print(table)


def _many(count: int, one: str, more: str = "") -> str:
    return f"{count} {one if count == 1 else more or f'{one}s'}"
