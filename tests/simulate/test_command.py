"""aisle simulate: writes a shop and says what it wrote."""

from __future__ import annotations

import json
from pathlib import Path

import typer
from typer.testing import CliRunner

from aisle.cli.simulate import simulate
from aisle.data.shop import Shop


def test_simulate_writes_what_it_says(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(simulate)
    arguments = ["--items", "400", "--days", "1", "--seed", "4", "--into", str(tmp_path / "shop"), "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    written = json.loads(result.output)
    shop = Shop.open(tmp_path / "shop")
    assert shop.items().num_rows == written["items"] == 400
    assert len(shop.events()) == written["events"]
    assert len(shop.judgments_table()[0]) == written["judgments"]


def test_items_must_be_positive(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(simulate)
    assert CliRunner().invoke(app, ["--items", "0", "--into", str(tmp_path / "s")]).exit_code == 2
