"""Errors that a person can act on: the value, what was expected, and the remedy."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class AisleError(Exception):
    """Base of every error that aisle raises on purpose; its message says value, expectation and remedy."""


class SettingError(AisleError, ValueError):
    """A setting that does not exist or is out of range."""


class UnknownName(AisleError, LookupError):
    """A method, column, plan or encoder that nobody registered."""


class ContractError(AisleError, ValueError):
    """A stage broke its contract: wrong dtype, wrong rows, an excluded item."""


class GenerationError(AisleError, ValueError):
    """Rows of one catalogue generation met rows of another; row numbers mean different items there."""


class StateError(AisleError, ValueError):
    """A saved stage that cannot be read: wrong hash, unknown format, missing file."""


class DataError(AisleError, ValueError):
    """A file or record that cannot be used."""


class Busy(DataError):
    """Another process writes to the shop at this moment."""


class DeadlinePassed(AisleError, TimeoutError):
    """The request ran out of time; the funnel answers with what it has."""


def nearest(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` when something close is known, else the list of what there is."""
    known = sorted(known)
    near = get_close_matches(name, known, 1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; there are {', '.join(known)}" if known else ""
