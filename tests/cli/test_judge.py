"""aisle judge: a model's grades beside people's."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aisle.cli import run
from aisle.cli._agreement import agreement
from aisle.cli._judged_parts import JudgedParts
from aisle.cli._judging import TOGETHER, Order, _depends, read_queries
from aisle.core.errors import DataError, StateError
from aisle.core.lists import Array, ItemLists
from aisle.core.shop import Items, Judgments
from aisle.core.workplaces import Workplace
from aisle.data.shop import Shop
from aisle.recipes.environment import memory_env
from aisle.relevance._scale import scale_of
from aisle.relevance._serving import Reader, ServedMethod, ServingStage
from aisle.relevance.cross_encoder import CrossEncoder
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


KILLED = """
import os, signal, sys
from aisle.cli import _judged_parts as parts, run
write = parts.write_file

def last(path, work):
    write(path, work)
    os.kill(os.getpid(), signal.SIGKILL)

parts.write_file = last
run(sys.argv[1:])
"""
"""``aisle``, killed as soon as the grades of a first part are kept."""


def test_killed_midway_it_goes_on_where_it_stood(
    shop: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Shop.open(shop)
    (tmp_path / "q.txt").write_text("\n".join(read_queries(shop / "queries.txt")[: TOGETHER + 2]))
    asked = ["judge", str(shop), str(tmp_path / "q.txt"), *QUICK, "--depth", "1", "--json", "--name"]
    assert run([*asked, "whole"]) == 0
    assert json.loads(capfd.readouterr().out)["judged_before"] == 0
    assert not list(opened.work_folder.glob("judge-*")), "nothing stays of a run that ended"
    killed = subprocess.run([sys.executable, "-c", KILLED, *asked, "again"], check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = opened.work_folder.glob("judge-*")
    monkeypatch.setattr(CrossEncoder, "fit", None)  # the model that was fitted is read again
    assert run([*asked, "again"]) == 0
    said = json.loads(capfd.readouterr().out)
    assert 0 < said["judged_before"] < said["pairs"]
    assert not left.exists()
    assert opened.judgments_table("again")[0].equals(opened.judgments_table("whole")[0])


def test_another_order_and_other_judgments_begin_anew(tmp_path: Path) -> None:
    simulate(tmp_path / "shop", 20, 0, 0, num_queries=4, budget=8)
    shop, order = Shop.open(tmp_path / "shop"), Order(["lamp", "rug"], "relevance.lref", ("batch=8",))
    known = json.dumps(_depends(shop, order))
    assert json.dumps(_depends(shop, replace(order, queries=("lamp", "rug")))) == known
    others: list[dict[str, Any]] = [
        {"queries": ["lamp"]}, {"model": "relevance.taosr1"}, {"settings": ["batch=9"]}, {"plan": "hybrid"}, {"depth": 5},
        {"seed": 1},
    ]  # fmt: skip
    for changes in others:
        assert json.dumps(_depends(shop, replace(order, **changes))) != known, changes
    shop.point(funnel="another")
    served = json.dumps(_depends(shop, order))
    assert served != known
    table, gains = shop.judgments_table()
    shop.write_judgments(table.slice(0, len(table) // 2), gains)
    assert json.dumps(_depends(shop, order)) != served


class Letters(Reader):
    """Reads titles letter by letter, and takes long ones for good."""

    scale = scale_of([1, 2, 3])

    def __init__(self, *titles: str) -> None:
        self.titles, self.passes = titles, 0

    def heads(self, queries: Sequence[str]) -> list[Array]:
        return [np.frombuffer(query.encode(), np.uint8).astype(np.int64) for query in queries]

    def tails(self, items: Items, rows: Array) -> list[Array]:
        return self.heads([self.titles[row] for row in rows])

    def chances_of(self, heads: Sequence[Array], tails: Sequence[Array]) -> Array:
        self.passes += 1
        return np.eye(3, dtype=np.float32)[[min(len(tail) // 4, 2) for tail in tails]]


def test_an_item_that_changed_meanwhile_is_judged_anew(tmp_path: Path) -> None:
    """Grades are found again by what the model reads, not by where it stands."""
    reader = Letters("rug", "velvet sofa")
    stage = ServingStage(ServedMethod(), memory_env(two_tastes().items), reader, 0.5)
    lists = ItemLists(np.array([0, 1], np.int32), np.array([0, 2]), {})
    parts = JudgedParts(Workplace.of(tmp_path, "judge", []))
    assert [parts.grades(stage, ["rug"], lists).tolist() for _ in range(2)] == [[0, 2], [0, 2]]
    assert (reader.passes, parts.num_before) == (1, 2)
    reader.titles = ("wool rug", "velvet sofa")
    assert parts.grades(stage, ["rug"], lists).tolist() == [2, 2]
    assert (reader.passes, parts.num_before) == (2, 2)
    for path in tmp_path.rglob("*.npy"):
        path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(StateError, match="judged again"):
        parts.grades(stage, ["rug"], lists)


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
