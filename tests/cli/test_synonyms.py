from __future__ import annotations

import json

import pytest

from aisle.cli import run
from aisle.data.shop import Shop
from aisle.simulate.known import two_kinds


@pytest.fixture
def shop(tmp_path):
    shop = Shop.create(tmp_path / "shop")
    shop.write_generation([two_kinds(10)])
    return str(shop.folder)


def test_rules_are_checked_installed_and_printed(shop, tmp_path, capsys):
    assert run(["synonyms", shop, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_text("couch, sofa\nsneaker => trainer\n")
    bad.write_text("couch\n")
    assert run(["synonyms", shop, str(good)]) == 0
    assert "sneaker => trainer" in capsys.readouterr().out
    assert run(["synonyms", shop, str(bad)]) == 2
    assert "line 1" in capsys.readouterr().err
    assert run(["synonyms", shop, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0] == {"asked": "couch", "found": ["sofa"]}
