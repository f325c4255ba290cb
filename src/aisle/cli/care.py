"""aisle care: when a shop tidies up, and do it now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def care(
    shop: Annotated[Path, typer.Argument(metavar="SHOP", help="Folder of the shop.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change the policy, such as keep_records=0.")
    ] = None,
    now: Annotated[
        bool, typer.Option("--now", help="Do everything that the policy allows; not while a server runs.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print policy and what was done as JSON.")] = False,
) -> None:
    """Show or change when a server saves its indexes, writes the catalogue anew and shortens the log.

    A server does all of it by itself; it reads a changed policy when it starts.

    Example:  aisle care myshop --set keep_requests_days=30
    Example:  aisle care myshop --now
    """
    from aisle.cli._console import progress
    from aisle.data.shop import Shop
    from aisle.engine.embedded.appliers import open_engine
    from aisle.engine.embedded.care import Carer, Policy
    from aisle.engine.embedded.log import Log

    opened = Shop.open(shop)
    policy = Policy.of(opened)
    if settings:
        policy = policy.changed(settings)
        policy.write(opened)
    done: dict[str, int] = {}
    if now:
        with Log.open(opened.log_path) as log, progress(quiet=as_json) as report:
            engine = open_engine(opened, log, check=True, progress=report)
            done = Carer(opened, log, engine, policy).step(all_of_it=True)
    if as_json:
        typer.echo(json.dumps({"policy": policy.model_dump(), "done": done}))
        return
    values: dict[str, Any] = policy.model_dump()
    for name, about in Policy.model_fields.items():
        typer.echo(f"{name:20} {values[name]:>12,}  {about.description}")
    for name, count in done.items():
        typer.echo(f"done: {name.replace('_', ' ')} {count:,}")
