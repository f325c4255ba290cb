"""aisle judge: let a model grade (query, item) pairs, and tell how far it agrees with people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from aisle.cli._judging import Agreement, Verdicts


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
    name: Annotated[str, typer.Option("--name", help="Of the judgments that are kept in the shop.")] = "judge",
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Also write the pairs as CSV.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Grade what a plan finds for some queries, and compare with human grades.

    Example:  aisle judge SHOP SHOP/queries.txt --model relevance.cross_encoder --depth 20

    A model that is not part of the served funnel is fitted first, on the shop's own
    judgments.  Agreement is measured on human grades of queries it did not learn from.
    """
    from aisle.cli import _judging as judging
    from aisle.cli._console import progress
    from aisle.data.shop import Shop

    judging.refuse_name(name)
    asked = judging.read_queries(queries)
    opened = Shop.open(shop)
    with progress(quiet=as_json) as report:
        judged = judging.judged(opened, asked, model, settings or (), plan, depth, seed, report)
    judging.keep(opened, judged, name, out)
    told = judged.agreement
    if as_json:
        typer.echo(json.dumps(_json(judged, told, name, out)))
        return
    typer.echo(f"{judged.model} graded {len(judged)} pairs of {len(asked)} queries: {_counts(judged)}")
    kept = f"kept as judgments {name!r} of {opened.folder}" + (f" and in {out}" if out else "")
    typer.echo(f"{kept}; measure with: aisle evaluate {opened.folder} --judgments {out}" if out else kept)
    if told is None:
        typer.echo("none of these queries has human grades that the model did not learn from, so nothing is compared")
    else:
        _print(told)


def _counts(judged: Verdicts) -> str:
    counts = judged.counts()
    return ", ".join(f"{n} {name}" for name, n in zip(reversed(judged.names), reversed(counts), strict=True))


def _json(judged: Verdicts, told: Agreement | None, name: str, out: Path | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "model": judged.model,
        "pairs": len(judged),
        "grades": dict(zip(judged.names, judged.counts(), strict=True)),
        "judgments": name,
        "file": None if out is None else str(out),
        "agreement": None,
    }
    if told is not None:
        found["agreement"] = {
            "pairs": told.num_pairs,
            "queries": told.num_queries,
            "kappa": round(told.kappa, 4),
            "quadratic_kappa": round(told.quadratic_kappa, 4),
            "accuracy": round(told.accuracy, 4),
            "macro_f1": round(told.macro_f1, 4),
            "optimism": round(told.optimism, 4),
            "confusion": told.confusion.tolist(),
        }
    return found


def _print(told: Agreement) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(
        f"against {told.num_pairs} human grades of {told.num_queries} queries that it did not learn from: "
        f"kappa {told.kappa:.2f} (quadratic {told.quadratic_kappa:.2f}), {100 * told.accuracy:.0f}% equal, macro-F1 "
        f"{told.macro_f1:.2f}, optimism {told.optimism:+.2f}"
    )
    table = Table("people \\ model", *told.names, box=None, header_style="bold")
    for name, row in zip(told.names, told.confusion.tolist(), strict=True):
        table.add_row(name, *map(str, row))
    console.print(table)
