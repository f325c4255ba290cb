"""An experiment as a table for people."""

from __future__ import annotations

import re
from math import isnan
from typing import TYPE_CHECKING

from aisle.evaluate.results import Experiment

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def report(experiment: Experiment, baseline: str | None = None) -> Table:
    """A rich table: under each metric a line a plan with mean, interval, difference to the baseline and milliseconds a query.

    n counts the queries.  A star marks a difference whose interval excludes 0; p is corrected (Holm) over the plans
    of one metric.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    other, level = baseline or experiment.baseline, f"{100 * experiment.how.level:g}%"
    caption = _caption(experiment, other, level)
    table = Table(box=SIMPLE_HEAD, caption=caption, caption_justify="left", pad_edge=False, collapse_padding=True)
    table.add_column("plan", overflow="fold")
    compared = ("- " + other, level, "p") if len(experiment.plans) > 1 else ()
    for name in ("mean", level, *compared, "n", "ms"):
        table.add_column(name, justify="right", no_wrap=True)
    for metric in experiment.metrics:
        table.add_row(metric, style="bold")
        for line in _lines(experiment, metric, other):
            table.add_row(*line if compared else [*line[:3], *line[6:]])
    return table


def show(experiment: Experiment, console: Console | None = None, baseline: str | None = None) -> None:
    """Prints ``report``."""
    from rich.console import Console

    (console or Console()).print(report(experiment, baseline))


def _lines(experiment: Experiment, metric: str, other: str) -> list[list[str]]:
    per_query = any(metric in found for found in experiment.scores.values())
    differences = experiment.differences(metric, other) if per_query else {}
    lines = []
    for plan in experiment.plans:
        mean = experiment.mean(plan, metric)
        cells = [f"  {plan}", _number(mean.value), _range(mean.low, mean.high)]
        if plan in differences:
            found = differences[plan]
            star = " *" if found.decided else ""
            cells += [f"{_number(found.value, '+')}{star}", _range(found.low, found.high, "+"), _p(found.p_holm)]
        else:
            cells += ["", "", ""]
        lines.append([*cells, str(mean.num_queries), f"{experiment.milliseconds[plan]:.1f}"])
    return lines


def _caption(experiment: Experiment, other: str, level: str) -> str:
    primary = experiment.metrics[0] if experiment.metrics else ""
    lines = []
    if len(experiment.plans) > 1:
        resamples = f"{experiment.how.resamples:,} resamples"
        lines.append(f"* the {level} interval of the paired difference to {other} excludes 0 ({resamples})")
    left_out = experiment.left_out(primary) if primary else 0
    if left_out:
        lines.append(
            f"{left_out} of {len(experiment.query)} queries have no positive grade and are left out of {primary}"
        )
    if any(primary in found for found in experiment.scores.values()):
        seen = [d.detectable for d in experiment.differences(primary, other).values() if not isnan(d.detectable)]
        if seen:
            lines.append(f"smallest difference in {primary} that these queries show at 80% power: {max(seen):.3f}")
    return "\n".join(lines)


def _number(value: float, sign: str = "-", digits: int = 3) -> str:
    """``.641``: without the 0 before the point."""
    return "-" if isnan(value) else re.sub(r"\b0\.", ".", format(value, f"{sign}.{digits}f"))


def _range(low: float, high: float, sign: str = "-") -> str:
    return "" if isnan(low) else f"[{_number(low, sign)} {_number(high, sign)}]"


def _p(value: float) -> str:
    return "-" if isnan(value) else "<.001" if value < 0.001 else f"{value:.3f}"
