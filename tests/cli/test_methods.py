"""aisle methods: what there is, and every setting of one method with what it means."""

from __future__ import annotations

import json

import pytest

from aisle.cli import run
from aisle.cli.methods import meanings, settings_of
from aisle.core import registry
from aisle.core.method import Settings


class Inner(Settings):
    """
    rate, floor  where it begins,
                 and where it ends

    Not a setting.
    """

    rate: float = 0.5
    floor: float = 0.1


class Outer(Settings):
    """inner  the rates"""

    inner: Inner = Inner(rate=0.7)
    needed: int


def test_parts_follow_their_part_with_the_defaults_that_hold_there():
    assert list(settings_of(Outer)) == [
        ("inner", None, "the rates"),
        ("inner.rate", 0.7, "where it begins, and where it ends"),
        ("inner.floor", 0.1, "where it begins, and where it ends"),
        ("needed", "(to be given)", ""),
    ]
    assert meanings(Inner).keys() == {"rate", "floor"}


@pytest.mark.parametrize("name", [name for name in registry.names() if name.startswith("relevance.")])
def test_every_setting_of_a_judge_says_what_it_means(name):
    silent = [path for path, _, meaning in settings_of(registry.method(name)) if not meaning]
    assert not silent


def test_for_a_person_and_as_json(capfd: pytest.CaptureFixture[str]):
    assert run(["methods", "relevance.lref"]) == 0
    said = capfd.readouterr().out
    assert "debiasing.beta" in said
    assert "--set top=VALUE" in said
    assert run(["methods", "relevance.lref", "--json"]) == 0
    told = {row["setting"]: row for row in json.loads(capfd.readouterr().out)["settings"]}
    assert told["debiasing.beta"]["default"] == 5.0
    assert told["debiasing.beta"]["meaning"].startswith("of DPO")
    assert run(["methods", "relevance.lreff"]) == 2
    assert "did you mean 'relevance.lref'" in capfd.readouterr().err
