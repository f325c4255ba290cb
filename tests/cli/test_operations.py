"""The commands that look after a running shop, as one types them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from aisle.cli import run
from aisle.data.schema import CATALOGUE
from aisle.data.shop import Shop
from aisle.engine.embedded.log import Log


@pytest.fixture
def shop(tmp_path: Path) -> str:
    made = Shop.create(tmp_path / "shop")
    for word in ("first", "second"):
        made.write_generation([pa.Table.from_pylist([{"item_id": "p1", "title": f"{word} lamp"}], schema=CATALOGUE)])
    with Log.open(made.log_path) as log:
        log.append("upsert", [{"item_id": "p2", "title": "velvet sofa"}])
    return str(made.folder)


def test_back_up_restore_and_search(shop: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["backup", shop, str(tmp_path / "b.tar"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sequence"] == 1
    assert run(["restore", str(tmp_path / "b.tar"), str(tmp_path / "again")]) == 0
    assert f"aisle serve {tmp_path / 'again'}" in capsys.readouterr().out
    assert run(["search", str(tmp_path / "again"), "velvet", "--plan", "lexical"]) == 0
    assert "velvet sofa" in capsys.readouterr().out
    assert run(["restore", str(tmp_path / "b.tar"), shop]) == 2
    assert "not empty" in capsys.readouterr().err


def test_roll_back_says_where_one_is(shop: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rollback", shop, "--show"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "now:    generation 2, no fitted funnel",
        "before: generation 1, no fitted funnel",
    ]
    assert run(["rollback", shop, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["generation"] == 1
    assert run(["rollback", shop]) == 2
    assert "nothing before" in capsys.readouterr().err


def test_export_and_care(shop: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", shop, str(tmp_path / "out"), "--kind", "products", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == {"products": 2}
    assert run(["care", shop, "--set", "keep_records=0", "--set", "most_records=1", "--now", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["policy"]["keep_records"] == 0
    assert told["done"]["snapshot"] == 1
    assert run(["care", shop]) == 0
    assert "keep_records                    0" in capsys.readouterr().out
    assert run(["care", shop, "--set", "keep_record=0"]) == 2
    assert "did you mean 'keep_records'" in capsys.readouterr().err
