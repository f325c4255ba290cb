"""The ceiling that displayed text sets: calibrated posteriors, decisions that keep what they promise, and its height."""

from __future__ import annotations

import numpy as np
import pytest

from aisle.simulate.judgments.annotator import annotate
from aisle.simulate.judgments.bayes import ceiling, judged_pairs, posterior, written
from aisle.simulate.world import World


def macro_f1(decided: np.ndarray, true: np.ndarray) -> float:
    counts = [((decided == k) & (true == k)).sum() / ((decided == k).sum() + (true == k).sum()) for k in (1, 2, 3, 4)]
    return float(2 * np.mean(counts))


@pytest.fixture(scope="module")
def pairs(world: World) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Posteriors [P, 4], true grades and written grades of the annotator's pairs."""
    asked = world.queries(300)
    table, _ = annotate(world, asked)
    rows = judged_pairs(table, asked)
    chances = np.concatenate([posterior(world, q, r) for q, r in zip(asked, rows, strict=True)])
    true = np.concatenate([world.grades(q, r) for q, r in zip(asked, rows, strict=True)])
    return chances, true, table["grade"].to_numpy()


def test_posteriors_are_calibrated(pairs: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    chances, true, _ = pairs
    assert np.allclose(chances.sum(axis=1), 1)
    for grade in (2, 3, 4):
        chance = chances[:, grade - 1]
        for low, high in ((0.02, 0.4), (0.4, 0.7), (0.7, 0.98)):
            there = (chance > low) & (chance < high)
            if there.sum() > 100:
                sure = 3 * np.sqrt(0.25 / there.sum()) + 0.02
                assert chance[there].mean() == pytest.approx((true[there] == grade).mean(), abs=sure)
    impossible = chances[np.arange(len(true)), true - 1] == 0
    assert impossible.mean() < 0.001


def test_the_best_reader_scores_what_is_computed(
    pairs: tuple[np.ndarray, np.ndarray, np.ndarray], world: World
) -> None:
    chances, true, labels = pairs
    of_truth, of_labels = ceiling(chances), ceiling(written(world, chances))
    assert macro_f1(of_truth.decided, true) == pytest.approx(of_truth.macro_f1, abs=0.015)
    assert macro_f1(of_labels.decided, labels) == pytest.approx(of_labels.macro_f1, abs=0.015)
    naive = written(world, chances).argmax(axis=1) + 1
    assert of_labels.macro_f1 >= macro_f1(naive.astype(np.int8), labels) - 0.015


def test_the_default_world_is_neither_hopeless_nor_solved(
    pairs: tuple[np.ndarray, np.ndarray, np.ndarray], world: World
) -> None:
    assert 0.75 < ceiling(written(world, pairs[0])).macro_f1 < 0.90
    assert ceiling(pairs[0]).macro_f1 < 0.995


def test_less_text_and_no_noise_move_it() -> None:
    def of(**knobs: float) -> float:
        small = World.make(1200, 4, **knobs)
        asked = small.queries(120)
        rows = judged_pairs(annotate(small, asked, 6000)[0], asked)
        return ceiling(np.concatenate([posterior(small, q, r) for q, r in zip(asked, rows, strict=True)])).macro_f1

    assert of(missing=0.0, wrong=0.0) > of() > of(missing=0.9, wrong=0.2)


def test_decisions_weigh_rare_grades_up() -> None:
    chances = np.tile([0.99, 0.01, 0.0, 0.0], (1000, 1))
    chances[:50] = [0.6, 0.4, 0.0, 0.0]
    chances[-5:], chances[-10:-5] = [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]
    best = ceiling(chances)
    assert (best.decided[:50] == 2).all(), "the likelier grade is 1, and yet 2 gains more"
    assert (best.decided[50:-10] == 1).all()
    assert best.f1[2:].tolist() == [1.0, 1.0]
