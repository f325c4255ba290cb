"""aisle evaluate: plans side by side on judged queries, with intervals and paired differences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aisle.core.env import Progress
    from aisle.evaluate.results import Experiment
    from aisle.funnel import Plan

METRICS = ("ndcg@10", "recall@100", "mrr", "judged@10")


def evaluate(
    shop: Annotated[
        Path | None, typer.Argument(metavar="SHOP", help="Folder of the shop; leave it out with --data.")
    ] = None,
    plan: Annotated[
        list[str] | None,
        typer.Option("--plan", metavar="[LABEL=]NAME", help="A recipe, a method or a plan file; repeat to compare."),
    ] = None,
    judgments: Annotated[
        Path | None, typer.Option("--judgments", metavar="FILE", help="Graded pairs instead of the shop's own.")
    ] = None,
    folds: Annotated[
        int, typer.Option("--folds", metavar="K", min=0, help="Fit on K-1 parts of the queries, measure the other.")
    ] = 0,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="KIND:DIR", help="A public set, such as esci:DIR; repeat to pool."),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", metavar="METRIC", help="Such as ndcg@10, recall@100, mrr; the first is primary."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="[PLAN:]PATH=VALUE", help="Change a setting of every plan, or of one."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of everything random.")] = 0,
    scores: Annotated[
        Path | None, typer.Option("--scores", metavar="FILE", help="Keep every query's scores as Parquet.")
    ] = None,
    cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="With --data: keep encodings in the user's cache folder.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print rows as JSON.")] = False,
) -> None:
    """Measure plans on judged queries, each against the first.

    Example:  aisle evaluate SHOP --plan lexical --plan hybrid

    A plan that learns from judgments is measured on queries it was not fitted on:
    the shop's validation queries, or with --folds every query out of fold.
    """
    from aisle.cli._console import progress

    plans = named_plans(plan or ["lexical", "hybrid"], settings or [])
    with progress(quiet=as_json) as report:
        experiments, notes = measured(
            plans, shop, data or [], judgments, metric or METRICS, folds=folds, seed=seed, cache=cache, report=report
        )
    found = pooled(experiments)
    if scores is not None:
        found.save_scores(scores)
    if as_json:
        for note in notes:
            typer.echo(note, err=True)
        typer.echo(json.dumps(json_rows(experiments, found), indent=1))
    else:
        _print(experiments, found, notes)


def named_plans(names: Sequence[str], settings: Sequence[str]) -> dict[str, Plan]:
    """Label -> plan.  ``LABEL=NAME`` names a variation; a setting ``LABEL:path=value`` holds for that plan alone.

    Raises SettingError for a label given twice or a setting of a plan that is not there.
    """
    from aisle.cli._console import plan_named
    from aisle.core.errors import SettingError, nearest

    labelled = [_labelled(name) for name in names]
    labels = [label for label, _ in labelled]
    for label in labels:
        if labels.count(label) > 1:
            raise SettingError(f"two plans are called {label!r}; name one, such as --plan other={label}")
    by_label: dict[str, list[str]] = {label: [] for label in labels}
    for setting in settings:
        target, colon, assignment = setting.partition(":")
        if not colon or "=" in target:
            for chosen in by_label.values():
                chosen.append(setting)
        elif target in by_label:
            by_label[target].append(assignment)
        else:
            raise SettingError(
                f"--set {setting!r} is for the plan {target!r}, which is not measured{nearest(target, labels)}"
            )
    return {label: plan_named(name, by_label[label]) for label, name in labelled}


def _labelled(name: str) -> tuple[str, str]:
    label, equals, rest = name.partition("=")
    if equals:
        return label, rest
    return (Path(name).stem if name.endswith(".json") else name), name


def measured(
    plans: Mapping[str, Plan],
    shop: Path | None,
    data: Sequence[str],
    judgments: Path | None,
    metrics: Sequence[str],
    *,
    folds: int,
    seed: int,
    cache: bool,
    report: Progress,
) -> tuple[dict[str, Experiment], list[str]]:
    """Data set -> experiment, and what a reader must know of how it was measured.  Raises SettingError."""
    from aisle.cli import _measure as measure
    from aisle.core.errors import SettingError

    if (shop is None) == (not data):
        raise SettingError("nothing to measure on, or too much: give a SHOP, or --data KIND:DIR (such as esci:DIR)")
    if judgments is not None and data:
        raise SettingError("--judgments goes with a SHOP; a set given by --data brings its own")
    if folds == 1:
        raise SettingError("--folds 1 leaves nothing to fit on; give 2 or more")
    encoders = sorted({encoder for plan in plans.values() for encoder in plan.encoders()})
    found: dict[str, Experiment] = {}
    notes: list[str] = []
    places = [measure.of_shop(shop, judgments, encoders, seed, report)] if shop is not None else []
    places += [measure.of_set(place, encoders, seed, report, cache=cache) for place in data]
    for place in measure.distinct(places):
        experiment, note = measure.run(plans, place, metrics, folds=folds, seed=seed, report=report)
        found[place.name] = experiment
        notes += [f"{place.name}: {note}"] if note else []
    return found, notes


def pooled(experiments: Mapping[str, Experiment]) -> Experiment:
    """All sets as one, resampled within each; a single set is itself."""
    from aisle.evaluate.results import Experiment

    if len(experiments) == 1:
        return next(iter(experiments.values()))
    return Experiment.pooled(experiments)


def json_rows(experiments: Mapping[str, Experiment], found: Experiment) -> list[dict[str, object]]:
    """The rows of the (pooled) experiment; with several sets also those of each, their metric named ``ndcg@10:esci``."""
    rows: list[dict[str, object]] = [dict(row) for row in found.rows()]
    if len(experiments) > 1:
        for name, part in experiments.items():
            rows += [{**row, "metric": f"{row['metric']}:{name}"} for row in part.rows()]
    return rows


def _print(experiments: Mapping[str, Experiment], found: Experiment, notes: Sequence[str]) -> None:
    from rich.console import Console

    from aisle.evaluate.report import report

    console = Console()
    for name, part in experiments.items():
        table = report(part)
        table.title = name
        console.print(table)
        console.print(f"{name}: {counted(part)}", highlight=False)
    if len(experiments) > 1:
        table = report(found)
        table.title = f"{' + '.join(experiments)}, pooled, resampled within each"
        console.print(table)
        console.print(f"all: {counted(found)}", highlight=False)
    for note in notes:
        console.print(note, highlight=False)


def counted(experiment: Experiment) -> str:
    """How many queries count, and how many had no positive grade."""
    primary = experiment.metrics[0]
    left_out, asked = experiment.left_out(primary), len(experiment.query)
    return f"{asked - left_out} of {asked} queries counted, {left_out} without a positive grade left out"
