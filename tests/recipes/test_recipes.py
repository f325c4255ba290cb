from __future__ import annotations

import json
from pathlib import Path

import pytest

from aisle.core.errors import UnknownName
from aisle.funnel import Plan
from aisle.recipes import RECIPES, plan

FROZEN = Path(__file__).parent / "frozen"


@pytest.mark.parametrize("name", ["lexical", "hybrid"])
def test_constants_are_frozen(name):
    """The measured figures belong to these settings.  A change is a new recipe: measure again, say so, freeze it again."""
    frozen = json.loads((FROZEN / f"{name}.json").read_text())
    assert plan(name).to_json() == frozen, "the recipe in force: " + json.dumps(plan(name).to_json(), indent=1)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_comes_back_from_json(name):
    made = plan(name)
    assert Plan.from_json(json.loads(json.dumps(made.to_json()))) == made


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(UnknownName, match=r"no plan 'hybird'; did you mean 'hybrid'\?"):
        plan("hybird")


def test_lexical_needs_no_encoder_and_the_own_one_no_torch():
    assert plan("lexical").encoders() == set()
    assert plan("hybrid").encoders() == {"minilm"}
    assert plan("hybrid_own").encoders() == {"own"}
    assert '"minilm"' not in json.dumps([m.model_dump() for m in plan("hybrid_own").slots().values()]).replace(
        '"minilm": 1.0', ""
    ).replace('"late": ["minilm"]', "")


def test_learned_ranks_what_hybrid_finds():
    assert plan("learned").retrieval == plan("hybrid").retrieval
    assert set(plan("learned").ranking.retrievers) == set(plan("hybrid").retrieval)
