"""Records: a claim with the command that checks it and the figures it must give.

One file each, ``benchmarks/<folder>/<name>.toml``:

    claim = "hybrid beats rank fusion"
    command = ["aisle", "evaluate", "--data", "esci:esci-us-150", "--plan", "hybrid", ..., "--json"]
    data = ["esci:esci-us-150"]     # absent: SKIPPED
    needs = ["torch"]               # libraries; absent: SKIPPED
    peers = ["seismic"]             # other systems in environments of their own; absent: SKIPPED
    seeds = [0, 1, 2]               # the command runs once a seed, with --seed N
    minutes = 2.0                   # on 2 processors
    gpu = false
    threads = 1                     # compute threads of the command; 0 leaves them as they are
    prepare = [["aisle", "simulate", "--into", "{scratch}/shop"]]   # run once before, in a folder that is thrown away

    [[metric]]                      # expected and tolerance, or at_least / at_most, or both
    [[must_beat]]                   # the paired difference plan - baseline: its lower 90% bound (one-sided) lies above ``above``
    [[ablation]]                    # the paired difference plan - baseline has this sign

Verdicts: OK (within the tolerance), OKish (within twice the tolerance and not below the baseline), FAIL, SKIPPED.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

from pydantic import Field

from aisle.core.errors import DataError, SettingError, UnknownName, nearest
from aisle.core.method import Settings

Verdict = Literal["OK", "OKish", "FAIL", "SKIPPED"]
SHORT_MINUTES = 5.0
LONGEST_MINUTES = 30.0
ROUNDING = 1e-9


class Figure(Settings):
    """One expected value.

    name        the metric as the command prints it
    plan        whose row; "" for the only row of that metric
    expected, tolerance   what the value should be, give or take; ``better`` lets it be any amount better
    at_least, at_most     bounds that are never to be crossed
    baseline    the plan whose value an OKish must not fall below
    """

    name: str
    plan: str = ""
    expected: float | None = None
    tolerance: float = Field(0.0, ge=0)
    at_least: float | None = None
    at_most: float | None = None
    better: Literal["", "higher", "lower"] = ""
    baseline: str = ""

    @property
    def label(self) -> str:
        return f"{self.name} {self.plan}".strip()


class Beat(Settings):
    """A paired difference ``plan - baseline`` whose lower confidence bound must lie above ``above`` (a margin when negative).

    confidence: one-sided; 0.9 means that one resample in ten falls below the bound.
    """

    metric: str
    plan: str
    baseline: str
    above: float = 0.0
    confidence: float = Field(0.9, gt=0.5, lt=1)
    expected: float | None = None
    tolerance: float = Field(0.0, ge=0)

    @property
    def label(self) -> str:
        return f"{self.metric} {self.plan} - {self.baseline}"


class Ablation(Settings):
    """A paired difference ``plan - baseline`` with the sign it must show; undecided (the interval holds 0) is OKish."""

    metric: str
    plan: str
    baseline: str
    sign: Literal["+", "-"]

    @property
    def label(self) -> str:
        return f"{self.metric} {self.plan} - {self.baseline}"


class Record(Settings):
    """One file, read and checked.  ``name`` is ``folder.file``."""

    name: str
    claim: str
    command: tuple[str, ...] = Field(min_length=1)
    prepare: tuple[tuple[str, ...], ...] = ()
    data: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    minutes: float = Field(gt=0, le=LONGEST_MINUTES)
    gpu: bool = False
    threads: int = Field(0, ge=0)
    metric: tuple[Figure, ...] = Field(min_length=1)
    must_beat: tuple[Beat, ...] = ()
    ablation: tuple[Ablation, ...] = ()

    @property
    def pairs(self) -> tuple[Beat | Ablation, ...]:
        """Everything that compares two plans query by query."""
        return (*self.must_beat, *self.ablation)


class Row(TypedDict):
    """One line of ``aisle bench --json``; None stands for "no value"."""

    record: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    expected: float | None
    tolerance: float | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Measured:
    """A value with its interval; bounds are None where there is none."""

    value: float
    low: float | None = None
    high: float | None = None


def read(path: Path) -> Record:
    """The record in a file.  Raises DataError when it is no TOML, SettingError for a wrong entry; both name the file."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no record that can be read ({error}); correct the file") from None
    try:
        return Record(name=f"{path.parent.name}.{path.stem}", **values)
    except SettingError as error:
        raise SettingError(f"{path}: {error}") from None


def read_all(root: Path) -> list[Record]:
    """Every record under ``benchmarks/``, by name."""
    return sorted((read(path) for path in root.glob("*/*.toml")), key=lambda record: record.name)


def chosen(records: Sequence[Record], names: Sequence[str], *, everything: bool = False) -> list[Record]:
    """The records of these names, folders or paths; without names those that are short and need no GPU.

    Raises UnknownName.
    """
    if not names:
        return [r for r in records if everything or (r.minutes < SHORT_MINUTES and not r.gpu)]
    found: dict[str, Record] = {}
    for name in names:
        plain = _plain(name)
        mine = [r for r in records if plain in (r.name, r.name.partition(".")[0])]
        if not mine:
            folders = {r.name.partition(".")[0] for r in records}
            raise UnknownName(f"no record {name!r}{nearest(plain, {r.name for r in records} | folders)}")
        found |= {r.name: r for r in mine}
    return list(found.values())


def _plain(name: str) -> str:
    """``ranking.fusion`` of ``benchmarks/ranking/fusion.toml``."""
    parts = [part for part in Path(name.removesuffix(".toml")).parts if part not in ("benchmarks", "/", ".", "..")]
    return ".".join(parts[-2:])


def judge(figure: Figure, value: float, baseline: float | None = None) -> Verdict:
    """The verdict on a value; ``baseline`` is the value of the plan that an OKish must not fall below."""
    if figure.at_least is not None and not value >= figure.at_least:
        return "FAIL"
    if figure.at_most is not None and not value <= figure.at_most:
        return "FAIL"
    if figure.expected is None:
        return "OK" if value == value else "FAIL"
    gap = value - figure.expected
    if figure.better:
        gap = max(0.0, -gap if figure.better == "higher" else gap)
    if abs(gap) <= figure.tolerance + ROUNDING:
        return "OK"
    below = baseline is not None and (value > baseline if figure.better == "lower" else value < baseline)
    return "OKish" if abs(gap) <= 2 * figure.tolerance + ROUNDING and not below else "FAIL"


def judge_beat(beat: Beat, low: float, value: float) -> Verdict:
    """FAIL unless the lower bound lies above the margin; then as for any expected value."""
    if not low > beat.above:
        return "FAIL"
    return judge(Figure(name=beat.metric, expected=beat.expected, tolerance=beat.tolerance), value)


def judge_ablation(ablation: Ablation, low: float, high: float) -> Verdict:
    """OK when the interval lies on the side of the sign, FAIL when it lies on the other, else undecided: OKish."""
    if low > 0 or high < 0:
        return "OK" if (low > 0) == (ablation.sign == "+") else "FAIL"
    return "OKish"


def row(record: Record, label: str, found: Measured | None, verdict: Verdict, figure: Figure | Beat | None) -> Row:
    """A line of the result; without ``found`` there was no value."""
    expected = None if figure is None else figure.expected
    return Row(
        record=record.name,
        metric=label,
        value=None if found is None else found.value,
        low=None if found is None else found.low,
        high=None if found is None else found.high,
        expected=expected,
        tolerance=None if figure is None or expected is None else figure.tolerance,
        verdict=verdict,
    )


def rows_without_values(record: Record, verdict: Verdict) -> list[Row]:
    """Every line of a record that was skipped or whose command failed."""
    lines = [row(record, f.label, None, verdict, f) for f in record.metric]
    lines += [row(record, b.label, None, verdict, b) for b in record.must_beat]
    return lines + [row(record, a.label, None, verdict, None) for a in record.ablation]


def table(records: Sequence[Record]) -> str:
    """A Markdown table of records and the figures they expect."""
    lines = ["| record | claim | figure | expected |", "| --- | --- | --- | --- |"]
    for record in records:
        for n, (label, figure) in enumerate(_figures(record).items()):
            first = (f"`{record.name}`", record.claim) if n == 0 else ("", "")
            lines.append(f"| {first[0]} | {first[1]} | {label} | {figure} |")
    return "\n".join(lines) + "\n"


def _figures(record: Record) -> Mapping[str, str]:
    found: dict[str, Any] = {f.label: _in_words(f) for f in record.metric}
    for beat in record.must_beat:
        about = "" if beat.expected is None else f"{beat.expected:+g}, "
        found[beat.label] = f"{about}lower {100 * beat.confidence:g}% bound above {beat.above:g}"
    for ablation in record.ablation:
        found[ablation.label] = "above 0" if ablation.sign == "+" else "below 0"
    return found


def _in_words(figure: Figure) -> str:
    parts = []
    if figure.expected is not None:
        side = {"higher": "or more, -", "lower": "or less, +", "": "± "}[figure.better]
        parts.append(f"{figure.expected:g} {side}{figure.tolerance:g}")
    if figure.at_least is not None:
        parts.append(f"at least {figure.at_least:g}")
    if figure.at_most is not None:
        parts.append(f"at most {figure.at_most:g}")
    return ", ".join(parts) or "measured"
