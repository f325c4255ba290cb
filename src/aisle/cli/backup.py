"""aisle backup: a whole shop copied while it runs."""

from __future__ import annotations

import json
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer


def backup(
    shop: Annotated[Path, typer.Argument(metavar="SHOP", help="Folder of the shop.")],
    target: Annotated[Path, typer.Argument(metavar="DIR|FILE.tar", help="A new folder, or a new .tar file.")],
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Without the kept encodings; texts are encoded again when needed.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was copied as JSON.")] = False,
) -> None:
    """Copy a shop while it is served and written to; every file with its hash.

    Example:  aisle backup myshop backups/monday.tar
    """
    from aisle.cli._console import progress
    from aisle.data.shop import Shop
    from aisle.engine.embedded.backup import back_up

    start = perf_counter()
    with progress(quiet=as_json) as report:
        made = back_up(Shop.open(shop), target, cache=not no_cache, progress=report)
    seconds = round(perf_counter() - start, 2)
    about = {"generation": made["generation"], "sequence": made["sequence"], "files": len(made["files"])}
    if as_json:
        typer.echo(json.dumps({"backup": str(target), **about, "bytes": made["bytes"], "seconds": seconds}))
        return
    typer.echo(
        f"{target}: {len(made['files'])} files, {made['bytes'] / 1e6:,.1f} MB, generation {made['generation']}, log up to "
        f"record {made['sequence']}, in {seconds} s.  Put it back with: aisle restore {target} SHOP"
    )
