"""Named worlds: ``default``, ``null:NAME`` takes one premise away, ``adverse:NAME`` turns it against the methods."""

from __future__ import annotations

from dataclasses import asdict

from aisle.core.errors import UnknownName, nearest
from aisle.simulate.knobs import Knobs, checked, premises

DEFAULT = "default"
LEXICAL = ("gap", "morphology", "slips", "foreign", "drift")
"""What ``null:words`` and ``adverse:words`` set together: with every one of them null, shoppers type sellers' words."""


def names() -> tuple[str, ...]:
    """All named worlds, the default first."""
    return (DEFAULT, *(f"{side}:{premise}" for side in ("null", "adverse") for premise in ("words", *premises())))


def settings_of(world: str) -> dict[str, float]:
    """What a named world sets; nothing for the default.  Raises UnknownName with the nearest name."""
    if world not in names():
        raise UnknownName(f"there is no world {world!r}{nearest(world, names())}")
    side, _, premise = world.partition(":")
    known = premises()
    chosen = LEXICAL if premise == "words" else (premise,) if premise else ()
    return {name: getattr(known[name], side) for name in chosen}


def name_of(knobs: Knobs) -> str:
    """The name of the world with these knobs; ``custom`` when nobody named it."""
    found = asdict(knobs)
    for name in names():
        if asdict(checked(settings_of(name))) == found:
            return name
    return "custom"
