"""Amazon Video Games, 5-core, with a title for every item, as published with LLMRank.

Source      github.com/RUCAIBox/LLMRank
Licence     MIT
Citation    Hou et al., Large Language Models are Zero-Shot Rankers for Recommender Systems, arXiv:2305.08845
Rows        50,546 users, 16,859 items, 440,264 interactions (histories are cut to 49)

``item.tsv`` and ``valid.inter.tsv``, ``test.inter.tsv`` (user, blank-separated history oldest first, target).  A user's
sequence is the test history followed by the test target; leave-one-out on it gives the validation file back.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from aisle.core.errors import DataError
from aisle.core.lists import ItemLists, splits_of
from aisle.data.schema import CATALOGUE
from aisle.data.sets._dataset import Dataset, check_counts, check_hashes, find, open_text

ROWS = {"products": 16_859, "users": 50_546, "interactions": 440_264}
HASHES = {
    "item.tsv.gz": "1b0a0fb07aed44d21e5c88bd9d963a3caa3cf7f638a5af10bdd5cf9b00010d7b",
    "valid.inter.tsv.gz": "de63ccd9a363ec6b6dd881ce0437eddc043cfd8f29e016aaf3ddc43ee6472a1a",
    "test.inter.tsv.gz": "d6284e86d807c97718084449a76e7be616a48e7f14c569d8f44381fe67692686",
}
CUT = 49


def load(folder: Path) -> Dataset:
    """The whole set; item n of the files is catalogue row n."""
    titles = _rows(folder, "item.tsv")
    if [row[0] for row in titles] != [str(n) for n in range(len(titles))]:
        raise DataError(f"{folder}: item.tsv does not number its items 0, 1, 2, ...; fetch it again")
    products = pa.Table.from_pylist(
        [{"item_id": number, "title": title, "locale": "en-US", "active": True} for number, title in titles],
        schema=CATALOGUE,
    )
    users, sequences = _interactions(folder, "test.inter.tsv")
    return Dataset("amazon_games", products, sequences=sequences, users=users)


def check(folder: Path) -> dict[str, int]:
    """Row counts.  Raises DataError when counts or hashes differ, or the validation file does not fit the test file."""
    dataset = load(folder)
    check_counts(folder, dataset.counts(), ROWS)
    check_hashes(folder, HASHES)
    assert dataset.sequences is not None
    users, before = _interactions(folder, "valid.inter.tsv")
    whole = dataset.sequences
    kept = whole.take(whole.position < np.repeat(whole.counts - 1, whole.counts))
    last = before.take(before.position >= np.repeat(before.counts - CUT, before.counts))
    if (
        users != dataset.users
        or not np.array_equal(kept.item, last.item)
        or not np.array_equal(kept.splits, last.splits)
    ):
        raise DataError(f"{folder}: test histories are not the validation sequences; fetch both files again")
    return dataset.counts()


def _rows(folder: Path, name: str) -> list[list[str]]:
    """The fields of each line after the header."""
    with open_text(find(folder, name)) as file:
        next(file)
        return [line.rstrip("\r\n").split("\t") for line in file]


def _interactions(folder: Path, name: str) -> tuple[tuple[str, ...], ItemLists]:
    """Users, and history plus target as one list each."""
    rows = _rows(folder, name)
    items = [f"{history} {target}".split() for _, history, target in rows]
    splits = splits_of(np.array([len(i) for i in items], np.int64))
    flat = np.array([n for i in items for n in i], np.int32)
    return tuple(row[0] for row in rows), ItemLists(flat, splits)
