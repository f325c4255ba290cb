"""The command line as a careless person meets it: one line an error, clean stdout, quick help."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aisle.cli import run
from aisle.cli._console import plan_named, progress
from aisle.core.env import in_words
from aisle.core.errors import SettingError
from aisle.data.shop import Shop
from aisle.simulate.world import simulate


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("line") / "shop"
    simulate(folder, 200, 1, 0)
    return folder


def error_of(words: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    """The one line that a refused command line leaves on stderr."""
    assert run(words) == 2
    said = capfd.readouterr()
    assert said.out == ""
    lines = said.err.strip().splitlines()
    assert len(lines) == 1, said.err
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["serch", "x"], "'search'"),
        (["search", "SHOP", "x", "--plann", "lexical"], "--plan"),
        (["search"], "aisle search --help"),
        (["search", "SHOP", "x", "--limit", "many"], "--limit"),
        (["search", "nowhere", "x"], "aisle ingest"),
        (["search", "SHOP", "x", "--plan", "lexicl"], "'lexical'"),
        (["search", "SHOP", "x", "--plan", "gone.json"], "gone.json is no plan file"),
        (["search", "SHOP", "x", "--filter", "{brand"], "not JSON"),
        (["search", "SHOP", "x", "--filter", "[1]"], '{"brand": ["A"]}'),
        (["search", "SHOP", "x", "--filter", '{"brnd": ["A"]}'], "'brand'"),
        (["search", "SHOP", "x", "--sort", "ratng"], "'rating'"),
        (["search", "SHOP", "x", "--set", "depth=3"], "depth.rank=3"),
        (["search", "SHOP", "x", "--set", "collapse=perhaps"], "collapse=true"),
        (["search", "SHOP", "x", "--set", "retrieval.bm26.k=3"], "retrieval.bm25"),
        (["fit", "SHOP", "learnd"], "'learned'"),
        (["evaluate", "SHOP", "--plan", "lexical", "--judgments", "gone.csv"], "gone.csv does not exist"),
        (["ingest", "gone.csv", "--into", "new"], "gone.csv does not exist"),
        (["ingest", "SHOP/CURRENT.json", "--into", "SHOP", "--kind", "product"], "'products'"),
    ],
)
def test_a_mistake_is_one_line_with_a_remedy(
    shop: Path, tmp_path: Path, words: list[str], expected: str, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert expected in error_of([word.replace("SHOP", str(shop)) for word in words], capfd)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "products.csv").write_text("sku,name\n1,One\n")
    (tmp_path / "file").write_text("")
    assert run(["ingest", str(tmp_path / "products.csv"), "--into", str(tmp_path / "file" / "shop")]) == 2
    said = capfd.readouterr().err
    assert "Traceback" not in said
    assert str(tmp_path / "file") in said.splitlines()[-1]


@pytest.mark.parametrize(
    "words",
    [
        ["search", "SHOP", "shirt", "--json", "--explain"],
        ["evaluate", "SHOP", "--plan", "lexical", "--json"],
        ["fit", "SHOP", "retrieval.popular", "--json"],
        ["methods", "--json"],
    ],
)
def test_json_stands_alone_on_stdout(shop: Path, words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run([word.replace("SHOP", str(shop)) for word in words]) == 0
    json.loads(capfd.readouterr().out)


def test_a_fit_says_which_plan_it_chose(shop: Path) -> None:
    assert run(["fit", str(shop), "lexical", "--json"]) == 0
    assert Shop.open(shop).pointer()["plan"] == "lexical"


def test_a_step_of_a_fit_in_words() -> None:
    said = {"pairs": 120, "macro_f1": 0.61234, "curve": [[1, 0.5]], "f1": [0.1], "kept": "all", "second": None}
    assert in_words(said) == "pairs 120, macro f1 0.6123"
    assert in_words({"macro_f1": 0.5, "taken_back": True}) == "macro f1 0.5, taken back"


def test_a_plan_that_is_not_there_leaves_no_shop_behind(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["fit", "lexicall", "--data", "esci:nowhere", "--into", str(tmp_path / "shop")]) == 2
    assert "did you mean 'lexical'" in capfd.readouterr().err
    assert not (tmp_path / "shop").exists()


def test_titles_with_square_brackets_are_printed_as_they_are(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "products.csv").write_text("sku,name\n1,Lamp [red] [/b]\n2,Chair\n")
    assert run(["ingest", str(tmp_path / "products.csv"), "--into", str(tmp_path / "shop")]) == 0
    assert run(["search", str(tmp_path / "shop"), "lamp", "--explain"]) == 0
    assert "Lamp [red] [/b]" in capfd.readouterr().out


def test_alone_it_prints_help_and_knows_its_version(capfd: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    assert "aisle demo" in capfd.readouterr().out
    assert run(["--version"]) == 0
    assert capfd.readouterr().out.startswith("aisle 0.")


@pytest.mark.parametrize(
    "name", ["demo", "serve", "ingest", "search", "evaluate", "fit", "bench", "methods", "simulate"]
)
def test_every_help_has_an_example_within_80_columns(
    name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run([name, "--help"]) == 0
    said = capfd.readouterr().out
    assert f"Example:  aisle {name}" in said
    assert max(map(len, said.splitlines())) <= 80


def test_help_loads_nothing_heavy() -> None:
    code = "import sys; from aisle.cli import run; run(['--help']); print([m for m in HEAVY if m in sys.modules])"
    heavy = "HEAVY = ('numpy', 'torch', 'polars', 'pyarrow', 'fastapi'); "
    said = subprocess.run([sys.executable, "-c", heavy + code], capture_output=True, text=True, check=True).stdout
    assert said.strip().endswith("[]")


def test_no_bar_is_drawn_where_nobody_watches_and_lines_are_said(capfd: pytest.CaptureFixture[str]) -> None:
    for quiet, said in ((False, "half is done\n"), (True, "")):
        with progress(quiet=quiet) as report:
            report("reading", 1, 2)
            report.say("half is done")
        assert capfd.readouterr() == ("", said)


def test_a_setting_of_a_slot_that_is_not_there_names_the_nearest() -> None:
    with pytest.raises(SettingError, match=r"did you mean 'retrieval\.bm25'"):
        plan_named("lexical", ["retrieval.bm2.k=1"])


def test_a_setting_that_a_single_method_lacks_names_the_nearest() -> None:
    with pytest.raises(SettingError, match="did you mean 'dim'"):
        plan_named("ranking.dnn", ["dimm=16"])


def test_a_setting_of_a_single_method_needs_no_slot():
    long = plan_named("ranking.fusion", ["ranking.kind=rrf", "depth.rank=50"])
    assert plan_named("ranking.fusion", ["kind=rrf", "depth.rank=50"]) == long
    assert plan_named("retrieval.bm25", ["weights.title=2"]) == plan_named(
        "retrieval.bm25", ["retrieval.bm25.weights.title=2"]
    )
    with pytest.raises(SettingError, match="kin"):
        plan_named("ranking.fusion", ["kin=rrf"])


def test_ctrl_c_leaves_one_word_and_no_half_made_shop(tmp_path: Path) -> None:
    rows = "".join(f"{n},Product number {n} of many\n" for n in range(400_000))
    (tmp_path / "products.csv").write_text("sku,name\n" + rows)
    command = [sys.executable, "-m", "aisle", "ingest", "products.csv", "--into", "shop"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env={**os.environ}) as process:
        until = time.monotonic() + 20
        while not (tmp_path / "shop").exists() and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 130, said
    assert said.strip().splitlines()[-1] == "stopped"
    assert "Traceback" not in said
    assert not (tmp_path / "shop").exists()


def test_a_narrow_terminal_shortens_titles_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "products.csv").write_text(f"sku,name,brand,price\nB07R22YVNP,{'Lamp ' * 40},Hasbro Gaming,1204.50\n")
    assert run(["ingest", str(tmp_path / "products.csv"), "--into", str(tmp_path / "shop")]) == 0
    assert run(["search", str(tmp_path / "shop"), "lamp", "--explain"]) == 0
    said = capfd.readouterr().out
    (row,) = [line for line in said.splitlines() if "Lamp" in line]
    assert "B07R22YVNP" in row
    assert "Hasbro Gaming  1,204.50" in row
    assert max(map(len, said.splitlines())) <= 80


def test_a_demo_on_a_taken_port_is_refused_before_any_work(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = error_of(["demo", "--port", str(taken.getsockname()[1])], capfd)
    assert said.count("127.0.0.1") == 1
    assert "--port" in said
