"""Running a record: its command as a process of its own, once a seed, and the verdict on what it printed.

The command prints rows of JSON with ``metric``, ``value`` and, where they apply, ``plan``, ``low``, ``high``.  A record that
compares plans passes ``--scores FILE``, where the command keeps the score of every query (``Experiment.save_scores``).

Legend: Q queries, S seeds.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np

from aisle.core.env import Progress, silent
from aisle.core.errors import AisleError, DataError
from aisle.core.lists import Array
from aisle.data.sets import parse_place
from aisle.evaluate import records
from aisle.evaluate.records import LONGEST_MINUTES, Ablation, Beat, Measured, Record, Row
from aisle.evaluate.significance import Difference, Resampling, bootstrap_mean, paired_difference

ABLATION_LEVEL = 0.9
"""Of the two-sided interval that must exclude 0 for a sign to count."""
RUNS = ".runs.jsonl"
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "NUMBA_NUM_THREADS")


class CommandFailed(AisleError):
    """The command of a record ended with an error."""


@dataclass(frozen=True, eq=False)
class Run:
    """One process: what it printed and, by (plan, metric), the score of each (query, stratum)."""

    rows: Sequence[Mapping[str, Any]]
    scores: Mapping[tuple[str, str], Mapping[tuple[str, str], float]]


def why_skipped(record: Record) -> str | None:
    """What the record needs and this machine lacks; None when it can run."""
    for place in record.data:
        try:
            parse_place(place)
        except DataError as error:
            return str(error)
    for library in record.needs:
        if find_spec(library) is None:
            return f"the library {library!r} is not installed"
    for program in record.programs:
        if shutil.which(program) is None:
            return f"the program {program!r} is not installed"
    for peer in record.peers:
        variable = f"AISLE_PEER_{peer.upper()}"
        if not Path(os.environ.get(variable, "")).is_file():
            return f"{variable} names no Python; make one with pip install -r benchmarks/peers/{peer}.txt"
    if record.gpu and not _has_gpu():
        return "it needs a GPU"
    return None


def run(
    record: Record,
    root: Path,
    *,
    say: Callable[[str], None] = lambda line: None,
    progress: Progress = silent,
) -> list[Row]:
    """The lines of a record.  ``root`` is the folder that holds ``benchmarks/``; each process adds a line to its log of runs."""
    why = why_skipped(record)
    if why is not None:
        say(f"{record.name}: SKIPPED, {why}")
        return records.rows_without_values(record, "SKIPPED")
    try:
        with TemporaryDirectory(prefix="aisle-bench-") as scratch:
            for command in record.prepare:
                _called(_filled(command, scratch), root, record.threads)
            runs = []
            seeds: Sequence[int | None] = record.seeds or (None,)
            for done, seed in enumerate(seeds):
                progress(record.name, done, len(seeds))
                runs.append(_one_run(record, seed, Path(scratch), root))
            progress(record.name, len(seeds), len(seeds))
        return verdicts(record, runs)
    except CommandFailed as error:
        say(f"{record.name}: FAIL, {error}")
        return records.rows_without_values(record, "FAIL")


def verdicts(record: Record, runs: Sequence[Run]) -> list[Row]:
    """The lines of a record from its runs (one a seed).  Raises CommandFailed when a value was not printed."""
    lines = []
    for figure in record.metric:
        found = _measured(runs, figure.name, figure.plan)
        baseline = _measured(runs, figure.name, figure.baseline).value if figure.baseline else None
        lines.append(records.row(record, figure.label, found, records.judge(figure, found.value, baseline), figure))
    for beat in record.must_beat:
        # Both ends of an interval of level 2c - 1 are one-sided bounds of confidence c.
        d = _difference(runs, beat, 2 * beat.confidence - 1)
        verdict = records.judge_beat(beat, d.low, d.value)
        lines.append(records.row(record, beat.label, Measured(d.value, d.low, d.high), verdict, beat))
    for ablation in record.ablation:
        d = _difference(runs, ablation, ABLATION_LEVEL)
        verdict = records.judge_ablation(ablation, d.low, d.high)
        lines.append(records.row(record, ablation.label, Measured(d.value, d.low, d.high), verdict, None))
    return lines


def _measured(runs: Sequence[Run], metric: str, plan: str) -> Measured:
    """The mean over seeds; its interval from scores where there are any, else what was printed, or the range over seeds."""
    rows = [_row(run, metric, plan) for run in runs]
    values = [float(row["value"]) for row in rows]
    mean = float(np.mean(values))
    if len(rows) == 1:
        return Measured(mean, rows[0].get("low"), rows[0].get("high"))
    if all((plan, metric) in run.scores for run in runs):
        score_SQ, strata = _crossed([run.scores[plan, metric] for run in runs])
        interval = bootstrap_mean(score_SQ, strata)
        return Measured(mean, interval.low, interval.high)
    return Measured(mean, min(values), max(values))


def _row(run: Run, metric: str, plan: str) -> Mapping[str, Any]:
    for row in run.rows:
        if row.get("metric") == metric and (not plan or row.get("plan") == plan) and row.get("value") is not None:
            return row
    printed = sorted({f"{r.get('metric')} {r.get('plan', '')}".strip() for r in run.rows})
    raise CommandFailed(f"its command printed no {f'{metric} {plan}'.strip()}, but {', '.join(printed) or 'nothing'}")


def _difference(runs: Sequence[Run], pair: Beat | Ablation, level: float) -> Difference:
    for run in runs:
        for name in (pair.plan, pair.baseline):
            if (name, pair.metric) not in run.scores:
                raise CommandFailed(
                    f"its command kept no scores of {pair.metric} {name}; it must write them to --scores FILE"
                )
    mine, strata = _crossed([run.scores[pair.plan, pair.metric] for run in runs])
    its, _ = _crossed([run.scores[pair.baseline, pair.metric] for run in runs])
    return paired_difference(mine, its, strata, Resampling(level=level))


def _crossed(scores: Sequence[Mapping[tuple[str, str], float]]) -> tuple[Array, list[str]]:
    """float64[S, Q] where every seed measured the same queries, else float64[1, S * Q] with the seeds as strata."""
    keys = [sorted(part) for part in scores]
    if all(part == keys[0] for part in keys):
        values = np.array([[part[key] for key in keys[0]] for part in scores])
        return values, [stratum for _, stratum in keys[0]]
    values = np.array([[part[key] for part, own in zip(scores, keys, strict=True) for key in own]])
    return values, [f"{seed} {stratum}" for seed, own in enumerate(keys) for _, stratum in own]


def _one_run(record: Record, seed: int | None, scratch: Path, root: Path) -> Run:
    command = list(_filled(record.command, str(scratch)))
    if seed is not None:
        command += ["--seed", str(seed)]
    kept = scratch / f"scores-{seed}.parquet"
    asked = command + (["--scores", str(kept)] if record.pairs else [])
    start = perf_counter()
    printed = _called(asked, root, record.threads)
    seconds = perf_counter() - start
    try:
        rows = json.loads(printed)
        values = {f"{r['metric']} {r.get('plan', '')}".strip(): r["value"] for r in rows}
    except (ValueError, TypeError, KeyError) as error:
        raise CommandFailed(f"its command printed no rows of JSON ({error}): {printed[:200]!r}") from None
    _remember(
        root, {"command": command, "commit": commit(root), "seed": seed, "seconds": round(seconds, 2), "values": values}
    )
    return Run(rows, read_scores(kept) if kept.exists() else {})


def read_scores(path: Path) -> dict[tuple[str, str], dict[tuple[str, str], float]]:
    """(plan, metric) -> (query, stratum) -> score, of a file of ``Experiment.save_scores``; NaN where there is none."""
    import pyarrow.parquet as pq

    found: dict[tuple[str, str], dict[tuple[str, str], float]] = {}
    columns = pq.read_table(path).to_pydict()
    names = ("plan", "metric", "query", "stratum", "score")
    for plan, metric, query, stratum, score in zip(*(columns[name] for name in names), strict=True):
        found.setdefault((plan, metric), {})[query, stratum] = np.nan if score is None else float(score)
    return found


def _filled(command: Sequence[str], scratch: str) -> list[str]:
    """``aisle`` and ``python`` become this interpreter; ``{scratch}`` is the folder that is thrown away."""
    head, *rest = [part.replace("{scratch}", scratch) for part in command]
    if head == "aisle":
        return [sys.executable, "-c", "from aisle.cli import main; main()", *rest]
    return [sys.executable if head == "python" else head, *rest]


def _called(command: Sequence[str], root: Path, threads: int = 0) -> str:
    """What a process prints.  Raises CommandFailed with its last words when it fails or takes over 30 minutes."""
    here = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(p for p in (here, os.environ.get("PYTHONPATH", "")) if p)
    env = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": path}
    env |= dict.fromkeys(THREADS, str(threads)) if threads else {}
    try:
        code, out, told = _ended(command, root, env)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandFailed(f"its command did not end well: {error}") from None
    if code:
        words = (told.strip() or out.strip() or "nothing said").splitlines()[-1]
        raise CommandFailed(f"its command ended with {code}: {words}")
    return out


def _ended(command: Sequence[str], root: Path, env: Mapping[str, str]) -> tuple[int, str, str]:
    """Exit status, output and errors of a command.  However it ends, nothing that it started runs on: a server left behind would
    slow what is measured next.  Raises OSError and TimeoutExpired."""
    with subprocess.Popen(
        command, cwd=root, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            out, told = process.communicate(timeout=60 * LONGEST_MINUTES)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, out, told


def _remember(root: Path, line: Mapping[str, Any]) -> None:
    folder = root / "benchmarks"
    if folder.is_dir():
        with (folder / RUNS).open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")


def commit(root: Path) -> str | None:
    """The commit that is checked out, ``-dirty`` when files differ from it; None outside a repository."""
    try:
        words = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude", "*"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _has_gpu() -> bool:
    """Asked of the driver, so that torch need not load."""
    try:
        return subprocess.run(["nvidia-smi", "-L"], capture_output=True, timeout=10, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
