"""Three ways to read a page: the stated chances are those of the drawn clicks."""

from __future__ import annotations

import numpy as np
import pytest

from aisle.core.errors import UnknownName
from aisle.simulate.shoppers.examination import FALL, MODELS, Reader

PLACES = 5
ATTRACTION = np.array([[0.5, 0.1, 0.4, 0.3, 0.6], [0.2, 0.7, 0.0, 0.5, 0.1]], np.float32)


def reader(pages: int, *, eye: float = 1.0, patience: float = 1.0) -> Reader:
    """The two pages of ATTRACTION, over and over."""
    attraction = np.tile(ATTRACTION, (pages // 2, 1))
    return Reader(
        attraction,
        np.full(attraction.shape, 0.4, np.float32),
        np.full(attraction.shape, eye, np.float32),
        np.full(len(attraction), patience, np.float32),
    )


@pytest.mark.parametrize("model", MODELS)
def test_the_chance_of_a_click_is_how_often_it_happens(model: str) -> None:
    many = reader(40_000)
    rng = np.random.default_rng(0)
    drawn = many.read(model, rng.random(many.attraction.shape), rng.random(many.attraction.shape)).clicked
    expected = reader(2).read(model).examined * ATTRACTION
    for page in (0, 1):
        assert np.abs(drawn[page::2].mean(0) - expected[page]).max() < 0.01
    assert not drawn[many.attraction == 0].any()


@pytest.mark.parametrize("model", MODELS)
def test_whoever_is_patient_sees_more(model: str) -> None:
    hasty, patient = (reader(2, patience=p).read(model).examined for p in (0.5, 2.0))
    assert (patient[:, 1:] > hasty[:, 1:]).all()
    assert np.allclose(patient[:, 0], 1)


def test_a_picture_draws_the_eye_to_its_place() -> None:
    drawn, dull = (reader(2, eye=e).read("position").examined for e in (0.6, 1.6))
    assert (drawn[:, 1:] > dull[:, 1:]).all()
    assert np.allclose(reader(2).read("position").examined, (1.0 + np.arange(PLACES)) ** -FALL)


def test_in_a_cascade_a_click_above_costs_those_below_and_elsewhere_not() -> None:
    better = ATTRACTION.copy()
    better[:, 0] = 0.9
    two = reader(2)
    examined = {m: two._replace(attraction=better).read(m).examined - two.read(m).examined for m in MODELS}
    assert (examined["cascade"][:, 1:] < 0).all()
    assert np.allclose(examined["position"], 0)
    assert (examined["dependent"][:, 1] >= -1e-6).all()


def test_the_distance_to_the_last_click_matters_in_the_dependent_model() -> None:
    sure = np.array([[1, 0, 0, 0, 0], [0, 0, 0, 0, 0]], np.float32)
    examined = reader(2)._replace(attraction=sure).read("dependent").examined
    assert (examined[0, 1:] > examined[1, 1:] + 0.02).all()


def test_an_unknown_model_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownName, match="cascade"):
        reader(2).read("cascades")
