"""Opening a shop to serve it: the catalogue it points to, the one before where that is damaged, and what fits may see."""

from __future__ import annotations

from collections.abc import Callable

from aisle.core.errors import StateError
from aisle.data.rollback import earlier
from aisle.data.schema import EVENTS
from aisle.data.shop import Shop
from aisle.data.view import View
from aisle.serve.standing import Standing

Said = Callable[[str], object]
"""Is told what the operator should know."""


def view_of(shop: Shop, standing: Standing, notice: Said) -> View:
    """What fits may see; without behaviour where its segments are damaged, since a search can do without."""
    try:
        return shop.view(items=standing.items)
    except StateError as damage:
        notice(f"{damage}: serving without what is in it")
        return View(standing.items, EVENTS.empty_table(), {})


def current_or_earlier(shop: Shop, opened: Callable[[int], Standing], notice: Said) -> Standing:
    """The generation that the shop points to; where it is damaged, the one that was served before it."""
    current = shop.generation
    try:
        return opened(current)
    except StateError as damage:
        for entry in earlier(shop):
            if entry["generation"] != current:
                notice(f"generation {current} cannot be served ({damage}): serving {entry['generation']}")
                return opened(entry["generation"])
        raise
