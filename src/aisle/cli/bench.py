"""aisle bench: run the records of ``benchmarks/`` and say which figures hold."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from aisle.evaluate.records import Row


def bench(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="RECORD|FOLDER", help="Such as ranking.fusion, ranking, a file.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also records that take 5 minutes or longer.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one object a figure.")] = False,
) -> None:
    """Run records and say which figures hold: OK, OKish, FAIL or SKIPPED.

    Exits with 1 when one fails.

    Example:  aisle bench ranking.fusion
    """
    from aisle.cli._console import progress
    from aisle.evaluate import records, records_run

    root = project_root()
    wanted = records.chosen(records.read_all(root / "benchmarks"), names or (), everything=everything)
    rows: list[Row] = []
    with progress(quiet=as_json) as report:
        for record in wanted:
            rows += records_run.run(record, root, say=lambda line: print(line, file=sys.stderr), progress=report)
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
    else:
        _print(rows)
    raise typer.Exit(1 if any(row["verdict"] == "FAIL" for row in rows) else 0)


def project_root() -> Path:
    """The folder that holds ``benchmarks/``: here, else the checkout that this package runs from.  Raises DataError."""
    from aisle.core.errors import DataError

    for folder in (Path.cwd(), Path(__file__).resolve().parents[3]):
        if any((folder / "benchmarks").glob("*/*.toml")):
            return folder
    raise DataError(
        f"{Path.cwd()} has no benchmarks/ folder with records; run 'aisle bench' in a checkout of the project"
    )


def _print(rows: list[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    colour = {"OK": "green", "OKish": "yellow", "FAIL": "bold red", "SKIPPED": "dim"}
    table = Table("record", "figure", box=None, pad_edge=False, header_style="bold")
    for name in ("value", "interval", "expected", ""):
        table.add_column(name, justify="right")
    last = ""
    for row in rows:
        value = "-" if row["value"] is None else f"{row['value']:.4g}"
        both = row["low"] is not None and row["high"] is not None
        interval = f"{row['low']:.4g} to {row['high']:.4g}" if both else ""
        expected = "" if row["expected"] is None else f"{row['expected']:.4g} ± {row['tolerance']:.2g}"
        verdict = f"[{colour[row['verdict']]}]{row['verdict']}[/]"
        table.add_row("" if row["record"] == last else row["record"], row["metric"], value, interval, expected, verdict)
        last = row["record"]
    Console().print(table)
