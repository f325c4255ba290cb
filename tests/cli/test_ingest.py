"""``aisle ingest`` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aisle.cli import app
from aisle.core.errors import DataError, SettingError
from aisle.data.shop import Shop

run = CliRunner().invoke


@pytest.fixture
def products(tmp_path: Path) -> Path:
    path = tmp_path / "products.csv"
    path.write_text("sku,name,price,margin\n1,One,$5.00,3\n2,Two,free,4\n3,Three,$7.00,5\n")
    return path


def test_shows_the_mapping_and_the_reasons(products: Path, tmp_path: Path) -> None:
    result = run(app, ["ingest", str(products), "--into", str(tmp_path / "shop"), "--ignore", "margin"])
    assert result.exit_code == 0
    assert "price_cents" in result.output
    assert "price: not a price" in result.output
    assert "2 products" in result.output
    assert Shop.open(tmp_path / "shop").items().num_rows == 2


def test_json_is_all_of_stdout(products: Path, tmp_path: Path) -> None:
    result = run(
        app, ["ingest", str(products), "--into", str(tmp_path / "shop"), "--json", "--map", "description=margin"]
    )
    report = json.loads(result.stdout)
    assert (report["kind"], report["rows"], report["quarantined"]) == ("products", 2, 1)
    assert report["mapping"]["fields"]["description"]["columns"] == ["margin"]
    assert Path(report["quarantine"][0]).exists()


def test_show_writes_nothing(products: Path, tmp_path: Path) -> None:
    result = run(app, ["ingest", str(products), "--into", str(tmp_path / "shop"), "--show"])
    assert result.exit_code == 0
    assert "product" in result.output
    assert not (tmp_path / "shop").exists()


def test_a_failed_command_leaves_no_shop(tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("sku,name,price\n1,One,free\n2,Two,free\n")
    result = run(app, ["ingest", str(bad), "--into", str(tmp_path / "shop")])
    assert isinstance(result.exception, DataError)
    assert not (tmp_path / "shop").exists()


def test_a_saved_mapping_reads_the_next_file(products: Path, tmp_path: Path) -> None:
    run(app, ["ingest", str(products), "--into", str(tmp_path / "a"), "--map", "price=price:cents"])
    again = ["ingest", str(products), "--into", str(tmp_path / "b"), "--mapping", str(tmp_path / "a" / "mapping.json")]
    assert run(app, again).exit_code == 0
    assert Shop.open(tmp_path / "b").items().table["price_cents"].to_pylist() == [5, 7]


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        (["--kind", "product"], SettingError, "did you mean 'products'"),
        (["--encoding", "utf-9"], SettingError, "is not known"),
        (["--delimiter", ";;"], SettingError, "one character"),
        (["--map", "titel=name"], SettingError, "did you mean 'title'"),
        (["--mapping", "no.json"], DataError, "is no saved mapping"),
    ],
)
def test_mistakes(products: Path, tmp_path: Path, more: list[str], error: type[Exception], message: str) -> None:
    result = run(app, ["ingest", str(products), "--into", str(tmp_path / "shop"), *more])
    assert isinstance(result.exception, error)
    assert message in str(result.exception)
