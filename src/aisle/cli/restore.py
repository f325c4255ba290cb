"""aisle restore: a backup becomes a shop again."""

from __future__ import annotations

import json
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer


def restore(
    source: Annotated[Path, typer.Argument(metavar="BACKUP", help="A folder or .tar file that aisle backup wrote.")],
    shop: Annotated[Path, typer.Argument(metavar="SHOP", help="Folder of the shop; must not exist yet, or be empty.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print what was restored as JSON.")] = False,
) -> None:
    """Put a backup back; every file is compared with its hash, every record with its checksum.

    Example:  aisle restore backups/monday.tar myshop
    """
    from aisle.cli._console import progress
    from aisle.engine.embedded.backup import restore as put_back

    start = perf_counter()
    with progress(quiet=as_json) as report:
        made = put_back(source, shop, progress=report)
    seconds = round(perf_counter() - start, 2)
    if as_json:
        about = {"generation": made["generation"], "sequence": made["sequence"], "bytes": made["bytes"]}
        typer.echo(json.dumps({"shop": str(shop), **about, "seconds": seconds}))
        return
    typer.echo(
        f"{shop}: generation {made['generation']}, log up to record {made['sequence']}, in {seconds} s.  "
        f"Serve it with: aisle serve {shop}"
    )
