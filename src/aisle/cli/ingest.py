"""aisle ingest: product files, behaviour logs and judgments into a shop."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from aisle.data.reading.ingest import IngestReport, Options
    from aisle.data.reading.mapping import Mapping
    from aisle.data.reading.readers import Format
    from aisle.data.shop import Shop

KINDS = ("products", "events", "judgments")


def ingest(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="CSV, TSV, JSON lines, JSON array or Parquet; plain, gzip or zstd."),
    ],
    into: Annotated[
        Path, typer.Option("--into", metavar="SHOP", help="Folder of the shop; made when it is not there.")
    ],
    kind: Annotated[
        str, typer.Option(help="products, events or judgments; guessed from the columns when not given.")
    ] = "",
    maps: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="NAME=COLUMN[:HOW]",
            help="Read a catalogue column from this file column, such as price=cost:cents.",
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option("--ignore", metavar="COLUMN", help="Leave a column out; 'img_*' for all that start so."),
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option("--mapping", metavar="JSON", help="Use a mapping saved before (SHOP/mapping.json).")
    ] = None,
    encoding: Annotated[str | None, typer.Option(help="Such as utf-8 or cp1252; guessed when not given.")] = None,
    delimiter: Annotated[str | None, typer.Option(help="Of delimited text; guessed when not given.")] = None,
    queries: Annotated[
        Path | None, typer.Option(help="For judgments that name queries by id: the file of their texts.")
    ] = None,
    locale: Annotated[str | None, typer.Option(help="For ESCI judgments: take this locale only, such as us.")] = None,
    split: Annotated[str | None, typer.Option(help="For ESCI judgments: take this split only, such as test.")] = None,
    show: Annotated[bool, typer.Option("--show", help="Show how the file would be read and write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Read product files, a behaviour log or judgments into a shop.

    Shows which column becomes what.  Bad rows go to SHOP/quarantine with reasons;
    when most rows are bad, the shop stays as it was.

    Example:  aisle ingest products.csv --into myshop
    Example:  aisle ingest feed.jsonl.gz --into myshop --map title=product_name
    Example:  aisle ingest clicks.parquet --into myshop --kind events
    """
    from rich.console import Console

    _run(
        Console(stderr=True),
        paths,
        into,
        kind,
        _options(maps, ignore, encoding, delimiter),
        mapping,
        queries,
        locale,
        split,
        show,
        as_json,
    )


def _options(maps: list[str] | None, ignore: list[str] | None, encoding: str | None, delimiter: str | None) -> Options:
    from aisle.core.errors import SettingError
    from aisle.data.reading.ingest import Options

    if encoding:
        try:
            "".encode(encoding)
        except LookupError:
            raise SettingError(
                f"--encoding {encoding!r} is not known; expected a name such as utf-8, cp1252 or latin-1"
            ) from None
    delimiter = {"tab": "\t", "\\t": "\t"}.get(delimiter or "", delimiter)
    if delimiter and len(delimiter) != 1:
        raise SettingError(f"--delimiter {delimiter!r} must be one character, such as ';' (or 'tab')")
    return Options(maps=tuple(maps or ()), ignore=tuple(ignore or ()), encoding=encoding, delimiter=delimiter)


def _run(
    console: Console, paths: list[Path], into: Path, kind: str, options: Options, mapping: Path | None,
    queries: Path | None, locale: str | None, split: str | None, show: bool, as_json: bool,
) -> None:  # fmt: skip
    from aisle.core.errors import SettingError, nearest
    from aisle.data.reading.ingest import ProductReader, guess_kind

    if kind and kind not in KINDS:
        raise SettingError(f"--kind {kind!r} is none of {', '.join(KINDS)}{nearest(kind, KINDS)}")
    chosen = kind or guess_kind(paths[0])
    if not as_json:
        console.print(
            f"Reading {', '.join(p.name for p in paths)} as [bold]{chosen}[/bold]"
            + ("" if kind else " (by its columns; --kind says otherwise)"),
            highlight=False,
        )
    saved = _saved_mapping(mapping)
    if show and chosen == "products":
        readers = [ProductReader(path, mapping=saved, options=options) for path in paths]
        for reader in readers:
            if as_json:
                typer.echo(json.dumps(reader.mapping.model_dump()))
            else:
                print_mapping(console, reader.path, reader.format, reader.mapping)
        return
    if show:
        raise SettingError(f"--show is for products; {paths[0]} would be read as {chosen}: leave --show out")
    report = _with_bars(console, as_json, chosen, paths, into, saved, options, queries, locale, split)
    if as_json:
        typer.echo(json.dumps(report.as_json()))
    else:
        print_report(console, report, into)


def _with_bars(
    console: Console, quiet: bool, kind: str, paths: list[Path], into: Path, mapping: Mapping | None, options: Options,
    queries: Path | None, locale: str | None, split: str | None,
) -> IngestReport:  # fmt: skip
    from aisle.cli._console import progress
    from aisle.data.reading import ingest as steps

    with _made(into) as shop, progress(quiet=quiet) as report:
        if kind == "events":
            return steps.ingest_events(paths, shop, progress=report)
        if kind == "judgments":
            if len(paths) != 1:
                from aisle.core.errors import SettingError

                raise SettingError(
                    f"{len(paths)} judgment files given; ingest them one at a time, since each replaces the last"
                )
            return steps.ingest_judgments(paths[0], shop, queries=queries, locale=locale, split=split)

        def mapped(path: Path, form: Format, found: Mapping) -> None:
            if not quiet:
                print_mapping(console, path, form, found)

        return steps.ingest(paths, shop, mapping, options=options, progress=report, on_mapping=mapped)


@contextmanager
def _made(folder: Path) -> Iterator[Shop]:
    """The shop of a folder; one made for this command is taken away again when the command fails or is stopped."""
    from aisle.data.shop import Shop

    is_new = not folder.exists()
    try:
        yield Shop.at(folder)
    except BaseException:
        if is_new:
            import shutil

            shutil.rmtree(folder, ignore_errors=True)
        raise


def _saved_mapping(path: Path | None) -> Mapping | None:
    if path is None:
        return None
    from aisle.core.errors import DataError
    from aisle.data.reading.mapping import Mapping

    try:
        return Mapping.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"--mapping {path} is no saved mapping ({str(error).splitlines()[0]}); expected a file such as SHOP/mapping.json"
        ) from None


def _plain(text: str) -> str:
    """Square brackets as they are, not as markup."""
    from rich.markup import escape

    return escape(text)


def print_mapping(console: Console, path: Path, form: Format, mapping: Mapping) -> None:
    """The mapping as a table, with the way to change it."""
    from rich.table import Table

    table = Table(title=f"{path.name}: {form}", title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("catalogue", "from", "read as", "because"):
        table.add_column(name, overflow="fold", max_width=60)
    for row in mapping.rows():
        table.add_row(*map(_plain, row), style="dim" if row[0] == "(ignored)" else "")
    console.print(table)
    console.print("Change it with --map NAME=COLUMN[:HOW] and --ignore COLUMN.", style="dim", markup=False)


def print_report(console: Console, report: IngestReport, into: Path) -> None:
    """What was taken, what was not and why, and the next command."""
    rate = f" ({report.rows / report.seconds:,.0f} a second)" if report.seconds >= 0.1 else ""
    console.print(
        f"[green]{report.rows:,} {report.kind}[/green] in {report.seconds:.1f} s{rate} into {_plain(str(into))}",
        highlight=False,
    )
    if report.quarantined:
        console.print(f"[yellow]{report.quarantined:,} rows were not taken:[/yellow]", highlight=False)
        for reason, count in report.reasons.items():
            console.print(f"  {count:>8,}  {_plain(reason)}", highlight=False)
        console.print(f"They stand in {_plain(', '.join(report.quarantine))}", highlight=False, soft_wrap=True)
    if report.kind == "products":
        console.print(f"Serve it with: aisle serve {_plain(str(into))}", highlight=False)
