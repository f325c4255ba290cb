"""What a careful reader can tell of an attribute from an item's list and running text: the posterior of its true value.

A seller errs with probability ``wrong``, to any other value alike, in the list alone or (half of the time) in the text as
well; leaves values out of the list; and never writes some values out ("plain"), so that silence speaks for those.

Legend: N rows of one shelf, M values that an attribute may have there.
"""

from __future__ import annotations

import numpy as np

from aisle.core.lists import Array
from aisle.simulate.catalogue.bank import SILENT
from aisle.simulate.catalogue.taxonomy import CHOICES, CODE, ENTRIES
from aisle.simulate.world import World

EVERYWHERE = 0.5
"""Share of the wrong values that stand in the text as well."""


def place_of(leaf: int, field: str) -> int | None:
    """Which attribute of a shelf has this name."""
    return next((n for n, slot in enumerate(CHOICES[leaf]) if ENTRIES[slot[0]].name == field), None)


def coded(choices: Array) -> tuple[Array, Array, Array]:
    """Codes of the texts and of their families, and the numbers [M], of entries; -1 and NaN where there is none."""
    entries = [ENTRIES[n] for n in choices]
    text, family = (
        np.array([CODE[t] if t else -1 for t in side])
        for side in ([e.text for e in entries], [e.family for e in entries])
    )
    return text, family, np.array([np.nan if e.number is None else e.number for e in entries])


def values(world: World, leaf: int, place: int, rows: Array) -> Array:
    """float64[N, M]: probability of each value of the shelf's attribute, for these rows of the shelf."""
    truth, wrong, choices = world.truth, world.knobs.wrong, CHOICES[leaf][place]
    on_shelf = np.flatnonzero(truth.leaf == leaf)
    index = np.full(len(ENTRIES), -1)
    index[choices] = np.arange(len(choices))
    prior_M = np.bincount(index[truth.entry[on_shelf, place]], minlength=len(choices)) + 0.5
    listed_N = _listed(world, rows, choices)
    written_N = _written(world, place, rows, index[truth.entry[rows, place]], listed_N, len(choices))

    value, listed, written = np.arange(len(choices)), listed_N[:, None], written_N[:, None]
    err = wrong / max(len(choices) - 1, 1)
    in_list, in_text = (listed < 0) | (listed == value), (written < 0) | (written == value)
    shown = np.where(listed >= 0, listed, written)
    right = (1 - wrong) * (in_list & in_text)
    list_errs = (1 - EVERYWHERE) * np.where(listed < 0, wrong, err * (listed != value)) * in_text
    both_err = EVERYWHERE * np.where(shown < 0, wrong, err * (shown != value))
    both_err = both_err * ((listed < 0) | (written < 0) | (listed == written))
    chance = prior_M * (right + list_errs + both_err) * _silence(world, place, on_shelf, choices, written)
    posterior: Array = chance / chance.sum(axis=1, keepdims=True)
    return posterior


def _listed(world: World, rows: Array, choices: Array) -> Array:
    """int64[N]: index into ``choices`` of the value in each item's attribute list, -1 where it is left out."""
    known = {(ENTRIES[c].name, ENTRIES[c].text, ENTRIES[c].number): n for n, c in enumerate(choices)}
    lists = world.items["attributes"].take(rows).to_pylist()
    found = [[known.get((a["name"], a["text"], a["number"]), -1) for a in shown] for shown in lists]
    return np.array([max(places, default=-1) for places in found], np.int64)


def _written(world: World, place: int, rows: Array, true_N: Array, listed_N: Array, count: int) -> Array:
    """int64[N]: index of the value in title or description, -1 where both are silent."""
    told = world.truth.told
    in_text = ((told.titled[rows] | told.described[rows]) >> place) & 1
    mistitled = (told.mistitled[rows] >> place) & 1
    # Where the text errs and the list is silent the wrong value is not recorded: another one stands for it.
    errs_to = np.where(listed_N >= 0, listed_N, (true_N + 1) % count)
    return np.where(in_text == 1, np.where(mistitled == 1, errs_to, true_N), -1)


def _silence(world: World, place: int, on_shelf: Array, choices: Array, written: Array) -> Array:
    """float64[N, M]: likelihood of the text's silence, or of its words, under each value."""
    truth = world.truth
    spoken = np.array([entry.text not in SILENT for entry in ENTRIES])
    told = ((truth.told.titled[on_shelf] | truth.told.described[on_shelf]) >> place) & 1
    could = spoken[truth.entry[on_shelf, place]]
    silent = 1.0 - told[could].mean() if could.any() else 1.0
    return np.where(written < 0, np.where(spoken[choices], max(silent, 1e-6), 1.0), 1.0)
