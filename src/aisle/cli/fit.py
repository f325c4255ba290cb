"""aisle fit: fit a plan (or a method in its smallest plan) on a shop, store it, and make it what the shop serves."""

from __future__ import annotations

import json
import os
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from aisle.data.shop import Shop


def fit(
    shop: Annotated[
        str, typer.Argument(metavar="SHOP|PLAN", help="Folder of the shop; the plan when --data is given.")
    ],
    plan: Annotated[
        str,
        typer.Argument(metavar="PLAN|METHOD", help="A recipe, a method or a plan file; hybrid where none is named."),
    ] = "",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Change one setting; 'aisle methods METHOD' lists them."),
    ] = None,
    data: Annotated[
        str, typer.Option("--data", metavar="KIND:DIR", help="Fit on a public set, such as esci:DIR.")
    ] = "",
    into: Annotated[
        Path | None, typer.Option("--into", metavar="SHOP", help="With --data: folder of the new shop.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print versions and seconds as JSON.")] = False,
) -> None:
    """Fit a plan on a shop; 'aisle serve SHOP' then serves it.

    Example:  aisle fit SHOP learned --set ranking.trees=500

    A model in training when a fit was stopped goes on from its last checkpoint
    when the same fit is asked for again.
    """
    from aisle import funnel as funnels
    from aisle.cli._console import plan_named, progress
    from aisle.core.errors import SettingError
    from aisle.data.shop import Shop
    from aisle.engine.embedded.appliers import take_in_events
    from aisle.recipes.environment import encode_items, open_env

    if data:
        if plan or into is None:
            raise SettingError(
                "with --data give the plan alone and a folder: aisle fit PLAN --data esci:DIR --into SHOP"
            )
        name, opened = shop, _shop_of(data, into)
    else:
        name, opened = plan or "hybrid", Shop.open(Path(shop))
    chosen = plan_named(name, settings or ())
    start = perf_counter()
    is_first = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun started, which fit together
    if is_first:
        take_in_events(opened)
    with progress(quiet=as_json) as report:
        env = open_env(opened, seed=seed, progress=report)
        for encoder in sorted(chosen.encoders()):
            encode_items(env, opened, encoder, progress=report)
        fitted = funnels.fit(chosen, opened.view(), env, stages=funnels.StoredStages(opened))
        if not is_first:
            return
        version = funnels.save(fitted, opened)
    opened.point(funnel=version, plan=name)
    stages = {slot: stage.version for slot, stage in fitted.fitted.items()}
    seconds = round(perf_counter() - start, 2)
    if as_json:
        typer.echo(json.dumps({"funnel": version, "stages": stages, "seconds": seconds}))
        return
    typer.echo(
        f"{name}: funnel {version} fitted in {seconds} s and chosen.  Serve it with: aisle serve {opened.folder}"
    )


def _shop_of(data: str, into: Path) -> Shop:
    """A new shop with a public set's products and judgments."""
    from aisle.data.sets import open_set
    from aisle.data.shop import Shop

    dataset = open_set(data)
    shop = Shop.at(into)
    shop.write_generation([dataset.products])
    if dataset.judgments is not None:
        shop.write_judgments(dataset.judgments, dataset.gains)
    return shop
