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
    assert told["kappa_interval"][0] <= told["kappa"] <= told["kappa_interval"][1]
    assert all(pair["query"] in held and pair["people"] != pair["model"] for pair in told["furthest"])
    learned = opened.view().judgments("train")
    assert said["origin"] == f"fitted on {len(learned.lists.item)} graded pairs of {len(learned.query)} queries"


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
        (["--model", "cross_encoder"], "did you mean 'relevance.cross_encoder'"),
        ([*QUICK, "--name", "default"], "--name"),
        ([*QUICK, "--name", "a judge"], "--name"),
        ([*QUICK, "--out", "no/such/folder/pairs.csv"], "no folder"),
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


def test_where_nothing_is_found_what_was_kept_before_stays(
    shop: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    opened = Shop.open(shop)
    opened.write_judgments(*opened.judgments_table(), "kept")
    (tmp_path / "q.txt").write_text("qqzzqq\n")
    assert run(["judge", str(shop), str(tmp_path / "q.txt"), *QUICK, "--name", "kept"]) == 2
    assert "finds nothing for any of 1 queries, such as 'qqzzqq'" in capfd.readouterr().err
    assert len(opened.judgments_table("kept")[0]) == len(opened.judgments_table()[0])


def test_queries_that_people_did_not_grade_name_some_that_they_did(
    shop: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    word = Shop.open(shop).items().text("title", np.array([0], np.int32))[0]
    (tmp_path / "q.txt").write_text(word + "\n")
    assert run(["judge", str(shop), str(tmp_path / "q.txt"), *QUICK, "--json"]) == 0
    said = json.loads(capfd.readouterr().out)
    assert said["agreement"] is None
    assert Shop.open(shop).view().judgments("validation").query[0] in said["not_compared"]


def test_without_human_grades_the_remedy_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    simulate(tmp_path / "shop", 20, 0, 0, num_queries=4, budget=8)
    for path in (tmp_path / "shop" / "judgments").iterdir():
        path.unlink()
    assert run(["judge", str(tmp_path / "shop"), str(tmp_path / "shop" / "queries.txt"), *QUICK]) == 2
    assert "aisle ingest judgments.csv --into SHOP" in capfd.readouterr().err


def test_a_funnel_with_a_setting_of_another_aisle_is_fitted_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "shop"
    simulate(folder, 20, 0, 0, num_queries=4, budget=8)
    assert run(["fit", str(folder), "lexical"]) == 0
    (path,) = (folder / "funnels").glob("*.json")
    record = json.loads(path.read_text())
    record["plan"]["retrieval"]["bm25"]["settings"]["boldness"] = 3
    path.write_text(json.dumps(record))
    assert run(["judge", str(folder), str(folder / "queries.txt")]) == 2
    said = capfd.readouterr().err
    assert "boldness" in said
    assert "fit it again with 'aisle fit SHOP PLAN'" in said


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
