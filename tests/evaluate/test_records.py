"""Records: what a file may say, the verdicts, and a run through a real process."""

from __future__ import annotations

import json
import runpy
import time
from pathlib import Path

import numpy as np
import pytest

from aisle.core.errors import DataError, SettingError, UnknownName
from aisle.evaluate import records, records_run
from aisle.evaluate.records import Ablation, Beat, Figure, Record
from aisle.evaluate.records_run import Run

SCRIPT = """
import argparse, json
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--scores")
args = parser.parse_args()
rng = np.random.default_rng(args.seed)
base = rng.random(40)
scores = {"a": base, "b": base + 0.2 + 0.01 * rng.random(40), "c": base + rng.normal(0, 0.5, 40)}
if args.scores:
    rows = [(p, "ndcg@10", f"q{i}", "", s) for p, v in scores.items() for i, s in enumerate(v)]
    names = ("plan", "metric", "query", "stratum", "score")
    pq.write_table(pa.table(dict(zip(names, map(list, zip(*rows))))), args.scores)
print(json.dumps([{"plan": p, "metric": "ndcg@10", "value": float(v.mean())} for p, v in scores.items()]))
"""

RECORD = """
claim = "b beats a"
command = ["python", "benchmarks/toy/toy.py"]
seeds = [0, 1]
minutes = 0.1

[[metric]]
name = "ndcg@10"
plan = "b"
expected = 0.7
tolerance = 0.2

[[must_beat]]
metric = "ndcg@10"
plan = "b"
baseline = "a"
expected = 0.205
tolerance = 0.01

[[ablation]]
metric = "ndcg@10"
plan = "a"
baseline = "b"
sign = "-"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one record and its script."""
    folder = tmp_path / "benchmarks" / "toy"
    folder.mkdir(parents=True)
    (folder / "toy.py").write_text(SCRIPT)
    (folder / "toy.toml").write_text(RECORD)
    return tmp_path


def a_record(**changes: object) -> Record:
    values = {
        "name": "toy.toy",
        "claim": "c",
        "command": ("true",),
        "minutes": 1.0,
        "metric": (Figure(name="ndcg@10"),),
    }
    return Record(**{**values, **changes})


def test_a_record_runs_once_a_seed_and_its_figures_are_judged(project: Path) -> None:
    (record,) = records.read_all(project / "benchmarks")
    rows = {row["metric"]: row for row in records_run.run(record, project)}
    assert [row["verdict"] for row in rows.values()] == ["OK", "OK", "OK"]
    assert set(rows["ndcg@10 b"]) == {"record", "metric", "value", "low", "high", "expected", "tolerance", "verdict"}
    beat = rows["ndcg@10 b - a"]
    assert beat["value"] == pytest.approx(0.205, abs=0.005)
    assert 0.2 < beat["low"] <= beat["value"]
    log = [json.loads(line) for line in (project / "benchmarks" / ".runs.jsonl").read_text().splitlines()]
    assert [line["seed"] for line in log] == [0, 1]
    assert log[0]["values"]["ndcg@10 b"] != log[1]["values"]["ndcg@10 b"]
    assert all(line["seconds"] > 0 and line["command"][-2] == "--seed" for line in log)


def test_a_difference_that_may_be_nothing_does_not_beat(project: Path) -> None:
    (record,) = records.read_all(project / "benchmarks")
    noise = Beat(metric="ndcg@10", plan="c", baseline="a")
    (row,) = [
        r for r in records_run.run(record.model_copy(update={"must_beat": (noise,)}), project) if " - a" in r["metric"]
    ]
    assert row["verdict"] == "FAIL"
    assert row["low"] < 0


def test_a_command_that_fails_fails_every_figure_and_says_why(project: Path) -> None:
    said: list[str] = []
    record = a_record(command=("python", "-c", "raise SystemExit('no such shop')"))
    rows = records_run.run(record, project, say=said.append)
    assert [row["verdict"] for row in rows] == ["FAIL"]
    assert "no such shop" in said[0]


@pytest.mark.parametrize(
    ("needs", "words"),
    [
        ({"data": ("esci:not-there",)}, "not-there"),
        ({"needs": ("no_such_library",)}, "no_such_library"),
        ({"peers": ("absent",)}, "AISLE_PEER_ABSENT"),
    ],
)
def test_what_is_absent_is_skipped_with_a_line(project: Path, needs: dict[str, object], words: str) -> None:
    said: list[str] = []
    rows = records_run.run(a_record(**needs), project, say=said.append)
    assert [row["verdict"] for row in rows] == ["SKIPPED"]
    assert words in said[0]


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(0.7, "OK"), (0.709, "OK"), (0.691, "OK"), (0.715, "OKish"), (0.725, "FAIL"), (float("nan"), "FAIL")],
)
def test_ok_within_the_tolerance_okish_within_twice(value: float, verdict: str) -> None:
    assert records.judge(Figure(name="m", expected=0.7, tolerance=0.01), value) == verdict


def test_okish_may_not_fall_below_the_baseline() -> None:
    figure = Figure(name="m", expected=0.7, tolerance=0.01)
    assert records.judge(figure, 0.685, baseline=0.68) == "OKish"
    assert records.judge(figure, 0.685, baseline=0.69) == "FAIL"
    slower = Figure(name="ms", expected=10.0, tolerance=2.0, better="lower")
    assert records.judge(slower, 13.0, baseline=12.0) == "FAIL"
    assert records.judge(slower, 0.1) == "OK"


def test_bounds_are_never_crossed() -> None:
    assert records.judge(Figure(name="m", at_most=20.0), 20.5) == "FAIL"
    assert records.judge(Figure(name="m", at_most=20.0), 19.5) == "OK"
    assert records.judge(Figure(name="m", at_least=0.5, expected=0.4, tolerance=0.2), 0.45) == "FAIL"


def test_the_sign_of_an_ablation_counts_when_its_interval_excludes_0() -> None:
    worse = Ablation(metric="m", plan="a", baseline="b", sign="-")
    assert records.judge_ablation(worse, -0.2, -0.1) == "OK"
    assert records.judge_ablation(worse, -0.2, 0.1) == "OKish"
    assert records.judge_ablation(worse, 0.1, 0.2) == "FAIL"


def test_seeds_with_the_same_queries_are_crossed_and_others_are_strata() -> None:
    def run(queries: str) -> Run:
        rows = [{"plan": p, "metric": "m", "value": 0.5} for p in "ab"]
        return Run(rows, {(p, "m"): {(q, ""): 0.5 + (p == "b") for q in queries} for p in "ab"})

    record = a_record(metric=(Figure(name="m", plan="b"),), must_beat=(Beat(metric="m", plan="b", baseline="a"),))
    crossed, strata = records_run._crossed([run("xyz").scores["a", "m"], run("zyx").scores["a", "m"]])
    assert crossed.shape == (2, 3)
    apart, strata = records_run._crossed([run("xyz").scores["a", "m"], run("uv").scores["a", "m"]])
    assert apart.shape == (1, 5)
    assert strata == ["0 ", "0 ", "0 ", "1 ", "1 "]
    (row,) = records_run.verdicts(record, [run("xyz"), run("uv")])[1:]
    assert (row["value"], row["low"], row["verdict"]) == (1.0, 1.0, "OK")


def test_a_value_that_was_not_printed_is_named() -> None:
    printed = Run([{"plan": "a", "metric": "mrr", "value": 1.0}], {})
    with pytest.raises(records_run.CommandFailed, match=r"no ndcg@10, but mrr a"):
        records_run.verdicts(a_record(), [printed])


def test_scores_are_read_back_with_the_queries_that_have_none(tmp_path: Path) -> None:
    from aisle.evaluate.results import Experiment

    found = Experiment(
        query=("x", "y"), metrics=("m",), scores={"a": {"m": np.array([[0.5, np.nan]])}}, whole_run={"a": {}},
        milliseconds={"a": 1.0}, baseline="a", strata=("s", "t"),
    )  # fmt: skip
    found.save_scores(tmp_path / "scores.parquet")
    (scores,) = records_run.read_scores(tmp_path / "scores.parquet").values()
    assert scores["x", "s"] == 0.5
    assert np.isnan(scores["y", "t"])


@pytest.mark.parametrize("name", ["toy.toy", "toy", "benchmarks/toy/toy.toml", "benchmarks/toy", "./benchmarks/toy/"])
def test_records_are_chosen_by_name_folder_or_path(project: Path, name: str) -> None:
    found = records.chosen(records.read_all(project / "benchmarks"), [name])
    assert [r.name for r in found] == ["toy.toy"]


def test_without_names_the_short_ones_run() -> None:
    short, long, gpu = a_record(), a_record(minutes=5.0), a_record(gpu=True)
    assert records.chosen([short, long, gpu], []) == [short]
    assert records.chosen([short, long, gpu], [], everything=True) == [short, long, gpu]
    with pytest.raises(UnknownName, match=r"did you mean 'toy\.toy'"):
        records.chosen([short], ["toy.toys"])


def test_what_a_command_started_does_not_outlive_it(tmp_path: Path) -> None:
    started = tmp_path / "started"
    script = (
        "import subprocess, sys, pathlib\n"
        "quiet = dict.fromkeys(('stdout', 'stderr'), subprocess.DEVNULL)\n"
        "server = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], **quiet)\n"
        f"pathlib.Path({str(started)!r}).write_text(str(server.pid))\n"
        'print(\'[{"metric": "ndcg@10", "value": 0.5}]\')'
    )
    rows = records_run.run(a_record(command=("python", "-c", script)), tmp_path)
    assert [row["value"] for row in rows] == [0.5]
    server = int(started.read_text())
    for _ in range(100):  # the signal was sent, and is obeyed when the processor finds time
        if not is_running(server):
            return
        time.sleep(0.1)
    raise AssertionError("the server runs on")


def is_running(pid: int) -> bool:
    """A process that ended and that nobody asked after is a zombie (Z)."""
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize(
    ("text", "error"),
    [("claim = ", DataError), (RECORD.replace("minutes", "minute"), SettingError), ("claim = 'c'", SettingError)],
)
def test_a_wrong_file_is_refused_by_name(project: Path, text: str, error: type[Exception]) -> None:
    path = project / "benchmarks" / "toy" / "toy.toml"
    path.write_text(text)
    with pytest.raises(error, match=r"toy\.toml"):
        records.read(path)


def test_every_record_of_the_project_can_be_read_and_names_files_that_exist(project_root: Path) -> None:
    found = records.read_all(project_root / "benchmarks")
    assert {"ranking.fusion", "ranking.lambdamart"} <= {r.name for r in found}
    for record in found:
        scripts = [part for part in record.command if part.startswith("benchmarks/")]
        assert all((project_root / script).exists() for script in scripts), record.name
        assert record.command[0] in ("aisle", "python")


def test_the_parts_of_a_page_that_are_timed_are_there(project_root: Path) -> None:
    parts = runpy.run_path(str(project_root / "benchmarks" / "speed" / "page_parts.py"))["PARTS"]
    assert [(owner, name) for places in parts.values() for owner, name in places if not hasattr(owner, name)] == []


def test_the_table_in_the_documentation_is_fresh(project_root: Path) -> None:
    page = runpy.run_path(str(project_root / "benchmarks" / "table.py"))
    path = project_root / "docs" / "benchmarks.md"
    assert page["written"](path.read_text(encoding="utf-8")) == path.read_text(encoding="utf-8"), (
        "docs/benchmarks.md is stale; write it again with: python benchmarks/table.py"
    )
