"""Which plan a shop is served with: the one asked for, the funnel that was fitted and chosen, or the best there is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aisle.core.env import Env
from aisle.data.shop import Shop
from aisle.data.view import View

if TYPE_CHECKING:
    from aisle.funnel import Funnel
    from aisle.funnel.plan import Plan

FIRST_PLAN = "lexical"


def best_plan() -> str:
    """``hybrid``, on the pre-trained encoder where it is installed, else on one trained on the shop's own text."""
    from aisle.nn.encoders import minilm_is_installed

    return "hybrid" if minilm_is_installed() else "hybrid_own"


@dataclass(frozen=True, slots=True)
class Choice:
    """
    name      how the plan is called to people
    recipe    what is fitted when no funnel was saved
    version   the saved funnel to load, or None
    encoders  whose vectors it reads
    bags      models whose bags of items its stages make
    notice    what the operator should know of the choice
    """

    name: str
    recipe: str
    version: str | None
    encoders: tuple[str, ...]
    bags: tuple[str, ...] = ()
    notice: str | None = None


def chosen(shop: Shop, generation: int, asked: str | None, fallback: str) -> Choice:
    """What to serve a catalogue generation with: the plan ``asked`` for; else the funnel that the shop points to; else
    ``fallback``.

    A funnel of another catalogue generation is passed over: its row numbers name other items.
    """
    pointer = shop.pointer()
    version = None if asked else pointer.get("funnel")
    if version is None:
        return _recipe(asked or fallback)
    name = f"{pointer.get('plan') or 'funnel'} ({version})"
    record = _record(shop, version)
    found = record.get("generation", generation)
    if found == generation:
        encoders, bags = (tuple(sorted(record.get(what, []))) for what in ("encoders", "bags"))
        return Choice(name, fallback, version, encoders, bags)
    notice = (
        f"the plan {name} was fitted on generation {found} of the catalogue, which is at {generation} now: "
        f"serving {fallback} instead; fit it again with 'aisle fit {shop.folder} {pointer.get('plan') or 'PLAN'}'"
    )
    return _recipe(fallback, notice)


def _recipe(name: str, notice: str | None = None) -> Choice:
    from aisle.recipes import plan

    made = plan(name)
    return Choice(name, name, None, tuple(sorted(made.encoders())), tuple(sorted(made.bags())), notice)


def funnel_of(shop: Shop, choice: Choice, env: Env, view: View, count: Callable[[Plan], None]) -> Funnel:
    """The funnel of a choice, loaded or fitted; ``count`` is told the plan before its stages may ask for counters."""
    from aisle.funnel.storing import load
    from aisle.recipes import plan

    if choice.version:
        funnel = load(shop, choice.version, env)
        count(funnel.plan)
        return funnel
    wanted = plan(choice.recipe)
    count(wanted)
    return wanted.fit(view, env)


def _record(shop: Shop, version: str) -> dict[str, Any]:
    """What a saved funnel says of itself; what cannot be read is left to ``load`` to refuse."""
    try:
        return dict(json.loads(shop.funnel_path(version).read_text()))
    except (OSError, ValueError):
        return {}
