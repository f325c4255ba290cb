"""aisle simulate: writes a shop and says what it wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import typer
from click.testing import Result
from typer.testing import CliRunner

from aisle.cli.simulate import simulate
from aisle.data.shop import Shop
from aisle.simulate.knobs import premises
from aisle.simulate.world import World

STAMPED = {"CURRENT.json"}
"""What may hold the time at which it was written."""


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
    assert not list(shop.folder.glob("*.parquet")), "texts are written when asked for"
    assert len(shop.judgments_table()[0]) == written["judgments"]


def run(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(simulate)
    return CliRunner().invoke(app, list(arguments))


def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        done = run(
            "--items", "300", "--days", "2", "--seed", "7", "--queries", "30", "--texts", "--into", str(tmp_path / name)
        )
        assert done.exit_code == 0, done.output
    for name in ("reviews.parquet", "external.parquet"):
        texts = pq.read_table(tmp_path / "one" / name, columns=["item_id", "text"])
        assert set(texts["item_id"].to_pylist()) <= set(World.make(items=300, seed=7).items["item_id"].to_pylist())
        assert len(texts) > 300
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(tmp_path / "two") for p in (tmp_path / "two").rglob("*") if p.is_file())
    differ = [str(f) for f in files if (tmp_path / "one" / f).read_bytes() != (tmp_path / "two" / f).read_bytes()]
    assert not set(differ) - STAMPED, "these hold more than the seed decides"


def test_worlds_are_named_listed_and_refused_with_the_nearest(tmp_path: Path) -> None:
    listed = run("--worlds")
    assert listed.exit_code == 0
    assert all(premise in listed.output for premise in premises())
    small = ("--items", "200", "--days", "0", "--queries", "5", "--budget", "50")
    done = run(*small, "--world", "null:gap", "--set", "hard=0.5", "--into", str(tmp_path / "s"), "--json")
    assert done.exit_code == 0, done.output
    said = json.loads((tmp_path / "s" / "world.json").read_text())
    assert (said["knobs"]["gap"], said["knobs"]["hard"]) == (0.0, 0.5)
    assert said["version"] == json.loads(done.output)["version"]
    for wrong, match in (
        (("--world", "null:gpa"), "did you mean 'null:gap'"),
        (("--set", "gpa=1"), "did you mean 'gap'"),
        (("--set", "gap"), "write NAME=NUMBER"),
    ):
        refused = run(*small, *wrong, "--into", str(tmp_path / "never"))
        assert match in str(refused.exception)
        assert not (tmp_path / "never").exists()


def test_items_must_be_positive(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(simulate)
    assert CliRunner().invoke(app, ["--items", "0", "--into", str(tmp_path / "s")]).exit_code == 2
