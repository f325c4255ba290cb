"""What the commands share: progress bars on stderr, settings on a plan, errors in words."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aisle.core.env import Progress
    from aisle.funnel import Plan

SPEED_S = 600.0
"""The last seconds whose pace tells how long a bar still takes: a step of a large model may take a minute."""


def one_thread() -> None:
    """One compute thread a process, unless the environment says otherwise: small work is slowed down by more.

    Read when the libraries load, so it is called before they are imported.
    """
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")


@dataclass(frozen=True)
class Shown:
    """What a person sees of long work: called with (task, done, total), a bar; ``say`` puts a line above the bars."""

    bar: Progress
    say: Callable[[str], None]

    def __call__(self, task: str, done: int, total: int | None) -> None:
        self.bar(task, done, total)


@contextmanager
def progress(*, quiet: bool = False) -> Iterator[Shown]:
    """One bar a task on stderr while the block runs, and the lines that are said; without a terminal the lines alone, and
    nothing when quiet.

    The bars go when the block ends, so that what a command prints stands alone.
    """
    if quiet or not sys.stderr.isatty():
        from aisle.core.env import silent

        yield Shown(silent, (lambda line: None) if quiet else _on_stderr)
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:24}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        TextColumn("left"),
    )  # fmt: skip
    bars = Bars(*columns, console=Console(stderr=True), transient=True, speed_estimate_period=SPEED_S)
    tasks: dict[str, Any] = {}

    def report(task: str, done: int, total: int | None) -> None:
        if not tasks:
            bars.start()
        if task not in tasks:
            tasks[task] = bars.add_task(task, total=total)
        bars.update(tasks[task], completed=done, total=total)

    try:
        yield Shown(report, lambda line: bars.console.print(line, markup=False, highlight=False, soft_wrap=True))
    finally:
        if tasks:
            bars.stop()


def _on_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def plan_named(name: str, settings: Iterable[str] = ()) -> Plan:
    """A recipe, a single method, or a plan file, with ``path=value`` settings applied.

    Of a single method a setting may be named as the method has it (``dim=16``) or in the plan (``ranking.dim=16``).
    Raises UnknownName.
    """
    from aisle import recipes
    from aisle.core import registry
    from aisle.core.errors import UnknownName, nearest

    if name.endswith(".json"):
        plan = plan_of_file(Path(name))
    elif name in recipes.RECIPES:
        plan = recipes.plan(name)
    elif name in registry.names():
        plan = plan_of_method(name)
        settings = [_in_plan(name, assignment) for assignment in settings]
    else:
        raise UnknownName(f"no plan or method {name!r}{nearest(name, [*recipes.RECIPES, *registry.names()])}")
    for assignment in settings:
        plan = plan.with_setting(assignment)
    return plan


def _in_plan(name: str, assignment: str) -> str:
    """``dim=16`` of the method ``ranking.dnn`` as ``ranking.dim=16``; what names a part of the plan stays as it is.

    Raises SettingError for what names neither.
    """
    from aisle.core import registry
    from aisle.core.method import refuse_unknown
    from aisle.funnel.plan import MANY, Plan

    head = assignment.partition("=")[0].partition(".")[0]
    if head in Plan.__dataclass_fields__:
        return assignment
    refuse_unknown(registry.method(name), {head: None})
    slot = name if registry.folder_of(name) in MANY else registry.folder_of(name)
    return f"{slot}.{assignment}"


def plan_of_file(path: Path) -> Plan:
    """The plan that a JSON file describes.  Raises DataError when it describes none."""
    from aisle.core.errors import AisleError, DataError
    from aisle.funnel import Plan

    try:
        return Plan.from_json(json.loads(path.read_text(encoding="utf-8")))
    except AisleError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(
            f"{path} is no plan file ({why}); give one, or a name such as lexical, hybrid or ranking.fusion"
        ) from None


def json_filter(text: str) -> Any:
    """The value of ``--filter``; None for "".  Raises SettingError when it is not JSON."""
    from aisle.core.errors import SettingError

    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError) as error:
        raise SettingError(
            f'--filter {text!r} is not JSON ({error}); write for example \'{{"brand": ["Acme"]}}\''
        ) from None


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
    """An error as one line for a person; one of the file system with the file that it is about."""
    if isinstance(error, OSError) and error.strerror:
        about = f"{error.filename}: " if error.filename else ""
        return f"error: {about}{error.strerror.lower()}; check that the place exists, is writable and has room"
    return f"error: {' '.join(str(error).split())}"
