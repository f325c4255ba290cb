"""aisle synonyms: look at a shop's synonyms, or replace them while it serves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def synonyms(
    shop: Annotated[Path, typer.Argument(metavar="SHOP", help="Folder of the shop.")],
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="New rules; without it the present ones are printed.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rules as JSON.")] = False,
) -> None:
    """Print a shop's synonyms, or replace them: checked first, and used by the next search of every process.

    Example:  aisle synonyms SHOP synonyms.txt
    """
    from aisle.core.atomic import write_file
    from aisle.data.shop import Shop
    from aisle.engine.embedded.synonyms import NAME, parse_synonyms

    place = Shop.open(shop).rules_folder / NAME
    if file is not None:
        text = file.read_text(encoding="utf-8")
        rules = parse_synonyms(text)
        write_file(place, lambda path: path.write_text(text, encoding="utf-8"))
    else:
        rules = parse_synonyms(place.read_text(encoding="utf-8") if place.exists() else "")
    if as_json:
        typer.echo(json.dumps([rule._asdict() for rule in rules], ensure_ascii=False))
        return
    for rule in rules:
        typer.echo(f"{rule.asked} => {', '.join(rule.found)}")
    typer.echo(f"{len(rules)} rules in {place}")
