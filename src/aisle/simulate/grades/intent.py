"""What a shopper means: a shelf, and wants that an item of it should answer."""

from __future__ import annotations

from dataclasses import dataclass

CORE_FIELDS = frozenset({"brand", "gender", "use", "age", "shoe size", "size"})
"""Wants that a shopper does not trade away; the others are secondary, unless a query says so ("not leather")."""


@dataclass(frozen=True, slots=True)
class Want:
    """A constraint: a text (``family`` is the one it belongs to), a number, or a highest price.

    negated: an item must *not* be so.  core: contradicting it makes the item an answer to another wish.
    """

    field: str
    text: str = ""
    family: str = ""
    number: float = float("nan")
    negated: bool = False
    core: bool = False

    @property
    def is_core(self) -> bool:
        return self.core or self.negated or self.field in CORE_FIELDS

    @property
    def said(self) -> str:
        """The want in plain words: 'colour blue', 'not material leather', 'price up to 60'."""
        if self.field == "price_cents":
            return f"price up to {self.number / 100:g}"
        value = self.text or f"{self.number:g}"
        return f"{'not ' if self.negated else ''}{self.field} {value}"


@dataclass(frozen=True, slots=True)
class Intent:
    """A shelf (the core of the wish), other shelves that answer as well, and any number of wants."""

    leaf: int
    wants: tuple[Want, ...] = ()
    also: tuple[int, ...] = ()

    @property
    def leaves(self) -> tuple[int, ...]:
        return (self.leaf, *self.also)
