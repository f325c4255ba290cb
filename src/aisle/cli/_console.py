"""What the commands share: progress bars on stderr, settings on a plan, errors in words."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aisle.core.env import Progress
    from aisle.funnel import Plan


@contextmanager
def progress(*, quiet: bool = False) -> Iterator[Progress]:
    """A callback that draws one bar a task on stderr while the block runs; silent when quiet."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description:14}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True), disable=quiet, transient=not sys.stderr.isatty()) as bars:
        tasks: dict[str, Any] = {}

        def report(task: str, done: int, total: int | None) -> None:
            if task not in tasks:
                tasks[task] = bars.add_task(task, total=total)
            bars.update(tasks[task], completed=done, total=total)

        yield report


def plan_named(name: str, settings: Iterable[str] = ()) -> Plan:
    """A recipe, a single method, or a plan file, with ``path=value`` settings applied.  Raises UnknownName."""
    from aisle import recipes
    from aisle.core import registry
    from aisle.core.errors import UnknownName, nearest
    from aisle.funnel import Plan

    if name.endswith(".json"):
        plan = Plan.from_json(json.loads(Path(name).read_text()))
    elif name in recipes.RECIPES:
        plan = recipes.plan(name)
    elif name in registry.names():
        plan = plan_of_method(name)
    else:
        raise UnknownName(f"no plan or method {name!r}{nearest(name, [*recipes.RECIPES, *registry.names()])}")
    for assignment in settings:
        plan = plan.with_setting(assignment)
    return plan


def plan_of_method(name: str) -> Plan:
    """The smallest plan in which a method does its work: a retriever alone, anything else in its slot of ``hybrid``."""
    from aisle import recipes
    from aisle.core import registry
    from aisle.funnel import Plan

    folder, _, short = name.partition(".")
    method = registry.build(name)
    if folder == "retrieval":
        return Plan(retrieval={short: method})
    if folder == "understanding":
        return recipes.hybrid().replace(understanding={short: method})
    return recipes.hybrid().replace(**{folder: method})


def in_words(error: Exception) -> str:
    """An error as one line for a person."""
    return f"error: {error}"
