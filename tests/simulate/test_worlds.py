"""Worlds by name: which there are, what they set, and that records name the world that their figures hold for."""

from __future__ import annotations

from pathlib import Path

import pytest

from aisle.core.errors import UnknownName
from aisle.evaluate import records
from aisle.simulate.knobs import Knobs, checked, premises
from aisle.simulate.world import World
from aisle.simulate.worlds import LEXICAL, name_of, names, settings_of


def test_every_premise_has_a_world_without_it_and_one_against_it() -> None:
    assert names()[0] == "default"
    assert settings_of("default") == {}
    for name, premise in premises().items():
        assert settings_of(f"null:{name}") == {name: premise.null}
        assert settings_of(f"adverse:{name}") == {name: premise.adverse}
        assert len({premise.null, premise.default, premise.adverse}) == 3, name
        assert premise.says
    assert set(settings_of("adverse:words")) == set(LEXICAL)


def test_a_world_is_recognised_by_its_knobs() -> None:
    assert name_of(Knobs()) == "default"
    assert name_of(checked({"gap": 0.0})) == "null:gap"
    assert name_of(checked(settings_of("null:words"))) == "null:words"
    assert name_of(checked({"gap": 0.123})) == "custom"


@pytest.mark.parametrize(("wrong", "match"), [("null:gpa", "null:gap"), ("nul:gap", "null:gap"), ("best", "there are")])
def test_an_unknown_world_is_refused_with_the_nearest_or_the_list(wrong: str, match: str) -> None:
    with pytest.raises(UnknownName, match=match):
        World.make(10, 0, wrong)


def test_an_unknown_knob_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'morphology'"):
        checked({"morfology": 0.5})


def test_records_name_the_world_that_is_made_today(project_root: Path) -> None:
    named = [record for record in records.read_all(project_root / "benchmarks") if record.world]
    assert named
    for record in named:
        world = record.world
        assert world is not None
        made = World.make(world.items, world.seed, world.name).version
        assert made == world.version, f"{record.name} holds for another world; run it again and write {made} into it"
