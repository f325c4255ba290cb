"""aisle fit: fit a plan (or a method in its smallest plan) on a shop, store it, and make it what the shop serves."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from aisle.cli._console import Shown
    from aisle.data.shop import Shop
    from aisle.funnel import Funnel, Plan


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
    as_json: Annotated[bool, typer.Option("--json", help="Print versions, seconds and reports as JSON.")] = False,
) -> None:
    """Fit a plan on a shop; 'aisle serve SHOP' then serves it.

    Example:  aisle fit SHOP learned --set ranking.trees=500

    A model in training when a fit was stopped goes on from its last checkpoint
    when the same fit is asked for again, within two weeks (aisle care).
    """
    from aisle.cli._console import plan_named, progress
    from aisle.core.errors import SettingError
    from aisle.data.shop import Shop

    if data and (plan or into is None):
        raise SettingError("with --data give the plan alone and a folder: aisle fit PLAN --data esci:DIR --into SHOP")
    name = shop if data else plan or "hybrid"
    chosen = plan_named(name, settings or ())
    opened = _shop_of(data, into) if data and into is not None else Shop.open(Path(shop))
    start = perf_counter()
    with progress(quiet=as_json) as report:
        fitted = _fitted(opened, chosen, seed, report)
    if fitted is None:
        return
    opened.point(funnel=fitted.version, plan=name)
    _say(fitted, name, opened, round(perf_counter() - start, 2), as_json)


def _fitted(shop: Shop, plan: Plan, seed: int, report: Shown) -> Funnel | None:
    """The stored funnel; None in all but the first of the processes that torchrun started, which fit together."""
    from aisle import funnel as funnels
    from aisle.core.workplaces import sweep
    from aisle.engine.embedded.appliers import take_in_events
    from aisle.engine.embedded.care import DAY_S, Policy
    from aisle.recipes.environment import encode_items, open_env

    kept_s = Policy.of(shop).keep_stopped_days * DAY_S
    is_first = os.environ.get("RANK", "0") == "0"
    if is_first:
        take_in_events(shop)
    env = open_env(shop, seed=seed, progress=report, log=report.say)
    for encoder in sorted(plan.encoders()):
        encode_items(env, shop, encoder, progress=report)
    fitted = funnels.fit(plan, shop.view(), env, stages=funnels.StoredStages(shop))
    if not is_first:
        return None
    funnels.save(fitted, shop)
    # Not before: this very fit may have been stopped long ago.
    sweep(shop.work_folder, kept_s)
    return fitted


def _say(fitted: Funnel, name: str, shop: Shop, seconds: float, as_json: bool) -> None:
    """Versions and seconds, and what stages report of their fit."""
    from aisle.core.env import in_words

    reports = {slot: of.stage.report for slot, of in fitted.fitted.items() if getattr(of.stage, "report", None)}
    if as_json:
        stages = {slot: stage.version for slot, stage in fitted.fitted.items()}
        told = {"funnel": fitted.version, "stages": stages, "seconds": seconds, "reports": reports}
        told |= {} if fitted.loudness is None else {"loudness": asdict(fitted.loudness)}
        typer.echo(json.dumps(told))
        return
    for slot, report in reports.items():
        for step, said in report.items():
            typer.echo(f"{slot}, {step}: {in_words(said)}")
    if fitted.loudness is not None:
        typer.echo(f"relevance, {fitted.loudness}")
    typer.echo(
        f"{name}: funnel {fitted.version} fitted in {seconds} s and chosen.  Serve it with: aisle serve {shop.folder}"
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
