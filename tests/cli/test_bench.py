"""aisle bench: which records run, what it prints, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from aisle.cli.bench import bench
from aisle.core.errors import UnknownName

RECORD = """
claim = "one is one"
command = ["python", "-c", "print('[{\\"metric\\": \\"one\\", \\"value\\": 1.0}]')"]
minutes = {minutes}
data = {data}

[[metric]]
name = "one"
expected = {expected}
tolerance = 0.1
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a record that holds, one that does not, and one that takes long."""
    folder = tmp_path / "benchmarks" / "toy"
    folder.mkdir(parents=True)
    for name, minutes, expected, data in (
        ("right", 1, 1.0, []),
        ("long", 6, 1.0, []),
        ("absent", 6, 1.0, ["esci:gone"]),
    ):
        text = RECORD.replace("{minutes}", str(minutes)).replace("{expected}", str(expected))
        (folder / f"{name}.toml").write_text(text.replace("{data}", json.dumps(data)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def called(*words: str) -> tuple[int, str, str]:
    app = typer.Typer()
    app.command()(bench)
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def test_without_names_the_short_records_run(project: Path) -> None:
    code, out, _ = called("--json")
    assert code == 0
    assert json.loads(out) == [
        {
            "record": "toy.right", "metric": "one", "value": 1.0, "low": None, "high": None, "expected": 1.0,
            "tolerance": 0.1, "verdict": "OK",
        }
    ]  # fmt: skip


def test_all_runs_the_rest_and_says_what_was_skipped(project: Path) -> None:
    code, out, err = called("--all", "--json")
    assert code == 0
    assert {row["record"]: row["verdict"] for row in json.loads(out)} == {
        "toy.absent": "SKIPPED", "toy.long": "OK", "toy.right": "OK",
    }  # fmt: skip
    assert "gone" in err


def test_a_figure_that_does_not_hold_fails_the_command(project: Path) -> None:
    path = project / "benchmarks" / "toy" / "right.toml"
    path.write_text(path.read_text().replace("expected = 1.0", "expected = 2.0"))
    code, out, _ = called("toy.right")
    assert code == 1
    assert "FAIL" in out
    assert "2 ± 0.1" in out


def test_an_unknown_record_is_refused_with_the_nearest(project: Path) -> None:
    with pytest.raises(UnknownName, match=r"did you mean 'toy\.right'"):
        called("toy.rihgt")
