"""What ``aisle judge`` keeps until all its verdicts are written: the model that it fitted, and the grades of each part.

A run that was killed goes on from there when the same command is given again.

Legend: N pairs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aisle.core import state
from aisle.core.atomic import write_file
from aisle.core.errors import StateError
from aisle.core.lists import Array, ItemLists
from aisle.core.workplaces import Workplace

if TYPE_CHECKING:
    from aisle.core.env import Env
    from aisle.core.method import Method


class JudgedParts:
    """``num_before``: pairs whose grades a run before this one left here."""

    def __init__(self, place: Workplace) -> None:
        self._place, self.num_before = place, 0

    def model(self, method: Method, env: Env, fit: Callable[[], Any]) -> Any:
        """The stage that ``fit`` returns, or that a run before fitted."""
        folder = self._place.folder / "model"
        if folder.exists():
            return state.load(folder, env)[1]
        stage = fit()
        state.save(method, stage, folder, generation=env.engine.generation)
        return stage

    def grades(self, stage: Any, asked: Sequence[str], lists: ItemLists) -> Array:
        """int64[N]: the place of each pair's grade on the scale.  Raises StateError for a file that is damaged."""
        path = self._place.folder / f"{_as_read(stage, asked, lists)}.npy"
        if path.exists():
            self.num_before += len(lists.item)
            return _read(path)
        place_N: Array = stage.grades(stage.chances(asked, lists))
        write_file(path, lambda work: _write(work, place_N))
        return place_N

    def close(self) -> None:
        """All is written elsewhere: nothing is kept any more."""
        self._place.close()


def _as_read(stage: Any, asked: Sequence[str], lists: ItemLists) -> str:
    """A hash of the tokens that the model reads: an item whose text has changed since is judged anew."""
    tokens = [*stage.reader.heads(asked), *stage.reader.tails(stage.env.engine.items, lists.item)]
    lengths = np.array([len(of) for of in tokens], np.int64)
    digest = hashlib.sha256()
    for array in (lists.splits, lengths, *tokens):
        digest.update(np.ascontiguousarray(array, np.int64).tobytes())
    return digest.hexdigest()[:16]


def _read(path: Path) -> Array:
    try:
        place_N: Array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise StateError(f"{path} is damaged ({error}); remove it, its pairs are then judged again") from None
    return place_N


def _write(path: Path, place_N: Array) -> None:
    with path.open("wb") as file:
        np.save(file, place_N, allow_pickle=False)
