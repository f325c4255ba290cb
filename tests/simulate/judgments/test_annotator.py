"""The annotator errs as stated, within its budget, and the same for everybody."""

from __future__ import annotations

import numpy as np
import pytest

from aisle.core.errors import SettingError
from aisle.simulate.grades.rules import GAINS
from aisle.simulate.judgments.annotator import CONFUSION, annotate, confusion
from aisle.simulate.world import World


def test_it_errs_as_stated_and_stays_within_budget(world: World) -> None:
    asked = world.queries(300)
    table, gains = annotate(world, asked, budget=20_000)
    assert 19_000 < len(table) <= 20_000
    assert gains == GAINS
    pairs = list(zip(table["query"].to_pylist(), table["item_id"].to_pylist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    of_text = {q.text: world.grades(q) for q in asked}
    true = np.array([of_text[text][int(item[1:])] for text, item in pairs])
    written = table["grade"].to_numpy()
    assert set(written.tolist()) == {1, 2, 3, 4}
    stated = confusion(world.knobs.noise)
    for grade in (1, 2, 3, 4):
        seen = np.bincount(written[true == grade], minlength=5)[1:] / (true == grade).sum()
        assert np.abs(seen - stated[grade - 1]).max() < 0.03


def test_the_matrix_is_one_of_chances_and_the_diagonal_leads() -> None:
    for noise in (0.0, 0.5, 1.0):
        matrix = confusion(noise)
        assert np.allclose(matrix.sum(axis=1), 1)
        assert (matrix.argmax(axis=1) == np.arange(4)).all()
    assert (confusion(1.0) == CONFUSION).all()


def test_without_noise_it_writes_the_truth() -> None:
    small = World.make(300, 1, "null:noise")
    asked = small.queries(5)
    grades = {q.text: small.grades(q) for q in asked}
    rows = annotate(small, asked, 100)[0].to_pylist()
    assert all(grades[r["query"]][int(r["item_id"][1:])] == r["grade"] for r in rows)


def test_a_budget_of_nothing_is_refused(world: World) -> None:
    with pytest.raises(SettingError, match="raise it"):
        annotate(world, world.queries(20), budget=5)
