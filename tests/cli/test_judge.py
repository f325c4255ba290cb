"""aisle judge: a model's grades beside people's."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from aisle.cli import run
from aisle.cli._agreement import agreement
from aisle.cli._judging import read_queries
from aisle.core.errors import DataError
from aisle.core.lists import ItemLists
from aisle.core.shop import Judgments
from aisle.data.shop import Shop
from aisle.relevance._scale import scale_of
from aisle.simulate.known import two_tastes
from aisle.simulate.world import simulate

QUICK = ["--model", "relevance.cross_encoder"] + [
    word
    for setting in ("encoder=scratch", "scratch.width=16", "scratch.layers=1", "scratch.heads=2", "train.max_steps=5")
    for word in ("--set", setting)
]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judge") / "shop"
    simulate(folder, 150, 0, 0, num_queries=40, budget=240)
    return folder


def test_pairs_are_graded_kept_and_compared(shop: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "pairs.csv"
    assert (
        run(["judge", str(shop), str(shop / "queries.txt"), *QUICK, "--depth", "3", "--out", str(out), "--json"]) == 0
    )
    said = json.loads(capfd.readouterr().out)
    opened = Shop.open(shop)
    table, gains = opened.judgments_table("judge")
    human, human_gains = opened.judgments_table()
    assert said["pairs"] == len(table) == sum(said["grades"].values()) >= len(human)
    assert gains == human_gains
    with out.open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(table)
    told = said["agreement"]
    held = set(opened.view().judgments("validation").query)
    assert told["queries"] == len(held)
    assert told["pairs"] == sum(query in held for query in human["query"].to_pylist())
    assert np.array(told["confusion"]).sum() == told["pairs"]


def test_the_words_for_a_person(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["judge", str(shop), str(shop / "queries.txt"), *QUICK, "--depth", "1", "--name", "again"]) == 0
    said = capfd.readouterr().out
    assert "kappa" in said
    assert "people \\ model" in said
    assert "did not learn from" in said


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "--model relevance.cross_encoder"),
        (["--model", "ranking.fusion"], "relevance.lref"),
        ([*QUICK, "--name", "default"], "--name"),
    ],
)
def test_a_mistake_is_one_line(shop: Path, words: list[str], expected: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["judge", str(shop), str(shop / "queries.txt"), *words]) == 2
    assert expected in capfd.readouterr().err


def test_a_file_without_queries(tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text("\n \n")
    with pytest.raises(DataError, match="one a line"):
        read_queries(tmp_path / "q.txt")
    (tmp_path / "q.txt").write_text("a\n b \na\n")
    assert read_queries(tmp_path / "q.txt") == ["a", "b"]


def test_agreement_is_of_queries_that_were_not_learned_from() -> None:
    lists = ItemLists(np.arange(4), np.array([0, 2, 4]), {"grade": np.array([1, 4, 2, 4], np.int32)})
    human = Judgments(["seen", "new"], lists)
    said = ItemLists(np.arange(4), np.array([0, 2, 4]), {"place": np.array([3, 3, 1, 0])})
    told = agreement(scale_of([1, 2, 3, 4]), two_tastes().items, ["seen", "new"], said, human, {"seen"})
    assert told is not None
    assert told.num_pairs == 2
    assert told.confusion[1, 1] == told.confusion[3, 0] == 1
    assert told.optimism == -0.5
    assert told.interval is None, "of a single query"
    assert told.commonest == 0.5
    assert [(apart.query, apart.people, apart.model) for apart in told.furthest] == [("new", "excellent", "irrelevant")]
