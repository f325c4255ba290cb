from __future__ import annotations

from typing import Literal

import pytest

from aisle.core.errors import SettingError, UnknownName
from aisle.core.method import Given, Method, Settings


class Train(Settings):
    lr: float = 1e-3
    steps: int = 100


class Toy(Method):
    width: int = 8
    kind: Literal["plain", "deep"] = "plain"
    weights: dict[str, float] = {"title": 1.0}
    parts: tuple[str, ...] = ("a",)
    train: Train = Train()


def test_an_unknown_setting_names_the_nearest():
    with pytest.raises(SettingError, match=r"Toy has no setting 'widht'; did you mean 'width'\?"):
        Toy(widht=3)
    with pytest.raises(SettingError, match=r"Train has no setting 'train.step'; did you mean 'train.steps'\?"):
        Toy(train={"step": 3})
    with pytest.raises(SettingError, match=r"no setting 'zzz'; there are kind, parts, train, weights, width"):
        Toy(zzz=1)


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("width=16", Toy(width=16)),
        ("kind=deep", Toy(kind="deep")),
        ('kind="deep"', Toy(kind="deep")),
        ("train.lr=3e-4", Toy(train=Train(lr=3e-4))),
        ("weights.title=2", Toy(weights={"title": 2.0})),
        ("weights.brand=0.5", Toy(weights={"title": 1.0, "brand": 0.5})),
        ('parts=["b", "c"]', Toy(parts=("b", "c"))),
    ],
)
def test_with_setting(assignment, expected):
    before = Toy()
    assert before.with_setting(assignment) == expected
    assert before == Toy(), "the original stays as it was"


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("width", "sets nothing; write path=value"),
        ("widht=3", "did you mean 'width'"),
        ("train.step=3", r"did you mean 'train\.steps'"),
        ("width.x=3", "'width.x' reaches into 'width', which has no parts"),
        ("width=wide", "Toy: width is 'wide': Input should be a valid integer"),
        ("kind=shallow", "kind is 'shallow': Input should be 'plain' or 'deep'"),
        ("train.steps=many", r"^Toy: train\.steps is 'many': Input should be a valid integer"),
    ],
)
def test_with_setting_refuses_in_words(assignment, words):
    with pytest.raises(SettingError, match=words):
        Toy().with_setting(assignment)


def test_settings_are_frozen_and_equal_by_value():
    toy = Toy(width=3)
    with pytest.raises(ValueError, match="frozen"):
        toy.width = 4
    assert toy == Toy(**toy.model_dump(mode="json"))
    assert toy != Toy()


def test_a_method_without_fit_says_so():
    with pytest.raises(TypeError, match="Toy defines no fit"):
        Toy().fit(None, None)


def test_a_stage_that_was_not_asked_for():
    with pytest.raises(UnknownName, match=r"did you mean 'teacher'.*declare it in needs"):
        Given(stages={"teacher": object()}).stage("teachr")
