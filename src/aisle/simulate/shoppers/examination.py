"""How shoppers read a page: three click models to choose from; truth.

    position    each place is looked at with a chance of its own      (position-based model)
    cascade     from the top down, until a click satisfies or patience ends   (dynamic Bayesian network)
    dependent   the chance depends on the place and on the last click above   (user browsing model)

P(click) = P(examined) * attraction.  Legend: V pages, K places.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from aisle.core.errors import UnknownName, nearest
from aisle.core.lists import Array

FALL = 0.7
"""Places: the k-th from 0 is examined with chance (k + 1) ** -FALL by a shopper of patience 1."""

ONWARD = 0.85
"""Cascade: the chance to read on after a place that did not satisfy, at patience 1."""

NEAR_FALL, FAR_FALL = 0.45, 0.25
"""Dependent: examination falls with the distance from the last click, and less with the place itself."""


class Read(NamedTuple):
    """``examined`` float32[V, K], the chance; ``clicked`` bool[V, K]."""

    examined: Array
    clicked: Array


class Reader(NamedTuple):
    """
    attraction  float32[V, K]  chance of a click once examined, 0 where a page has no item
    satisfies   float32[V, K]  chance that a click ends the reading (cascade)
    eye         float32[V, K]  about 1; below, the picture draws the eye to the place
    patience    float32[V]     about 1
    """

    attraction: Array
    satisfies: Array
    eye: Array
    patience: Array

    def read(self, model: str, drawn: Array | None = None, ends: Array | None = None) -> Read:
        """Clicks by the uniform numbers ``drawn`` and ``ends`` [V, K], with the chance of examination given the clicks above;
        None: nothing is clicked, and the chance is the mean over all that may happen.

        Raises UnknownName for a model that does not exist.
        """
        if model not in MODELS:
            raise UnknownName(f"no click model {model!r}{nearest(model, MODELS)}")
        return MODELS[model](self, drawn, ends)


def _position(reader: Reader, drawn: Array | None, ends: Array | None) -> Read:
    place = np.arange(reader.attraction.shape[1])
    examined = _powered((place + 1.0) ** -FALL, reader)
    clicked = _none(examined) if drawn is None else drawn < examined * reader.attraction
    return Read(examined, clicked)


def _cascade(reader: Reader, drawn: Array | None, ends: Array | None) -> Read:
    examined: Array = np.zeros(reader.attraction.shape, np.float32)
    clicked = _none(examined)
    onward: Array = (ONWARD ** (1 / reader.patience)).astype(np.float32)
    state: Array = np.ones(len(examined), np.float32)
    for k in range(examined.shape[1]):
        attraction, satisfies = reader.attraction[:, k], reader.satisfies[:, k]
        examined[:, k] = state
        if drawn is None or ends is None:
            state = state * onward * (1 - attraction * satisfies)
        else:
            clicked[:, k] = drawn[:, k] < state * attraction
            # Whoever passes an item over may have passed over it unseen: Bayes' rule.
            passed = state * (1 - attraction) / np.maximum(1 - state * attraction, 1e-6)
            state = onward * np.where(clicked[:, k], ends[:, k] >= satisfies, passed)
    return Read(examined, clicked)


def _dependent(reader: Reader, drawn: Array | None, ends: Array | None) -> Read:
    num_pages, num_places = reader.attraction.shape
    examined: Array = np.zeros(reader.attraction.shape, np.float32)
    clicked = _none(examined)
    last_VJ = np.zeros((num_pages, num_places + 1), np.float32)
    """The chance that the last click was at place j - 1; at 0: that there was none."""
    last_VJ[:, 0] = 1
    for k in range(num_places):
        distance = k + 1 - np.arange(k + 1)
        base = (distance**-NEAR_FALL * (k + 1.0) ** -FAR_FALL)[None, :]
        chance = base ** (reader.eye[:, k] / reader.patience)[:, None]
        examined[:, k] = (last_VJ[:, : k + 1] * chance).sum(1)
        attraction = reader.attraction[:, k]
        if drawn is None:
            last_VJ[:, : k + 1] *= 1 - attraction[:, None] * chance
            last_VJ[:, k + 1] = 1 - last_VJ[:, : k + 1].sum(1)
        else:
            hit = clicked[:, k] = drawn[:, k] < examined[:, k] * attraction
            last_VJ[hit] = 0
            last_VJ[hit, k + 1] = 1
    return Read(examined, clicked)


MODELS: dict[str, Callable[[Reader, Array | None, Array | None], Read]] = {
    "position": _position,
    "cascade": _cascade,
    "dependent": _dependent,
}


def _powered(base_K: Array, reader: Reader) -> Array:
    """float32[V, K]: the base falls faster for the impatient, and slower where a picture draws the eye."""
    power = reader.eye / reader.patience[:, None]
    return np.exp(np.log(base_K).astype(np.float32) * power)


def _none(like: Array) -> Array:
    return np.zeros(like.shape, bool)
