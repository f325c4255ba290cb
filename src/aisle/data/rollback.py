"""Going back to what a shop served before: one replacement of the pointer, which running servers follow."""

from __future__ import annotations

import json
from typing import Any

from aisle.core.errors import DataError, StateError
from aisle.data.pointed import WAIT_S
from aisle.data.shop import Shop


def earlier(shop: Shop) -> list[dict[str, Any]]:
    """What the pointer pointed to before and can again, newest first: ``generation``, ``sequence``, ``funnel``, ``plan``."""
    there = {g for g in shop.generations() if _can_catch_up(shop, g)}
    return [
        entry
        for entry in reversed(shop.pointer().get("history", []))
        if entry["generation"] in there and (not entry.get("funnel") or shop.funnel_path(entry["funnel"]).is_file())
    ]


def roll_back(shop: Shop, funnel: str | None = None) -> dict[str, Any]:
    """Point to what was served before the last change, or to a saved funnel.  Returns the new pointer.

    Raises DataError when there is nothing to go back to, StateError when the funnel's catalogue is gone.
    """
    with shop.lock(wait_s=WAIT_S):
        if funnel is not None:
            return shop.point(**_of_funnel(shop, funnel))
        known = earlier(shop)
        if not known:
            raise DataError(f"{shop.folder} has served nothing before that is still there; fit or ingest instead")
        history = shop.pointer()["history"]
        kept = history[: len(history) - 1 - history[::-1].index(known[0])]
        return shop.point(**{"funnel": None, "plan": None, **known[0]}, history=kept)


def _can_catch_up(shop: Shop, generation: int) -> bool:
    """Whether the catalogue can be read, and the log still holds what it lacks."""
    try:
        return shop.base_sequence(generation) >= shop.log_bounds()[0]
    except StateError:
        return False


def _of_funnel(shop: Shop, funnel: str) -> dict[str, Any]:
    path = shop.funnel_path(funnel)
    if not path.is_file():
        saved = sorted(p.stem for p in path.parent.glob("*.json"))
        raise DataError(f"no funnel {funnel!r} is saved; there are: {', '.join(saved) or 'none'}")
    try:
        generation = int(json.loads(path.read_text(encoding="utf-8"))["generation"])
    except (ValueError, KeyError, TypeError) as error:
        raise StateError(f"{path} is damaged ({error}); fit the plan again with 'aisle fit SHOP PLAN'") from None
    if generation not in shop.generations():
        raise StateError(
            f"funnel {funnel} was fitted on generation {generation} of the catalogue, which is gone (there are: "
            f"{shop.generations()}); fit it again with 'aisle fit SHOP PLAN'"
        )
    if not _can_catch_up(shop, generation):
        raise StateError(
            f"the log has forgotten what generation {generation} of the catalogue lacks (it begins after record "
            f"{shop.log_bounds()[0]}), or the catalogue is damaged; fit the plan again with 'aisle fit SHOP PLAN'"
        )
    return {"generation": generation, "sequence": shop.base_sequence(generation), "funnel": funnel, "plan": None}
