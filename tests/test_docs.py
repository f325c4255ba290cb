"""The documentation tells the truth: its code runs, its commands exist, its tables are fresh, its links lead somewhere.

Python blocks of one page run in order, as one program, in an empty folder; a block with a title is first written to
that file.
A block marked ``python no-run`` is only parsed.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from functools import cache, reduce
from importlib.util import module_from_spec, spec_from_file_location
from itertools import pairwise
from operator import getitem
from pathlib import Path
from typing import NamedTuple

import pytest

from aisle.cli._console import plan_named
from aisle.core import registry
from aisle.core.errors import SettingError

ROOT = Path(__file__).parent.parent
PAGES = sorted(p for p in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")


class Block(NamedTuple):
    language: str
    title: str
    flags: frozenset[str]
    body: str


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page."""
    found = []
    for match in FENCE.finditer(text):
        title = re.search(r'title="([^"]*)"', match["info"])
        words = re.sub(r'title="[^"]*"', "", match["info"]).split() or [""]
        found.append(Block(words[0], title[1] if title else "", frozenset(words[1:]), match["body"]))
    return found


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def runnable(page: Path) -> list[Block]:
    return [b for b in blocks(page.read_text()) if b.language == "python" and not b.title and "no-run" not in b.flags]


def install(project: Path) -> None:
    """What ``pip install -e`` records of a package: its name, version and entry points."""
    table = tomllib.loads(project.read_text())["project"]
    info = project.parent / f"{table['name'].replace('-', '_')}-{table['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {table['name']}\nVersion: {table['version']}\n")
    groups = table.get("entry-points", {})
    lines = [f"[{group}]\n" + "".join(f"{n} = {v}\n" for n, v in entries.items()) for group, entries in groups.items()]
    (info / "entry_points.txt").write_text("".join(lines))


def run_page(page: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the page's program in ``folder``."""
    for block in blocks(page.read_text()):
        if block.title:
            (folder / block.title).write_text(block.body)
    if (folder / "pyproject.toml").exists():
        install(folder / "pyproject.toml")
    (folder / "_page.py").write_text("\n".join(b.body for b in runnable(page)))
    return python(folder, "_page.py")


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in ``folder``, which it can import from."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{folder}", "COLUMNS": "120"}
    program = [sys.executable, *arguments]
    return subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, timeout=100)


@pytest.mark.parametrize("page", [p for p in PAGES if runnable(p)], ids=name)
def test_python_blocks_run(page: Path, tmp_path: Path) -> None:
    done = run_page(page, tmp_path)
    assert done.returncode == 0, f"{page}\n{done.stdout}\n{done.stderr}"
    if list(tmp_path.glob("test_*.py")):
        done = python(tmp_path, "-m", "pytest", "-q", "--rootdir", str(tmp_path), "-p", "no:cacheprovider")
        assert done.returncode == 0, f"{page}\n{done.stdout}\n{done.stderr}"


def test_every_python_block_parses() -> None:
    for page in PAGES:
        for block in blocks(page.read_text()):
            if block.language == "python":
                ast.parse(block.body)


def commands(text: str) -> list[list[str]]:
    """The ``$ aisle ...`` lines of a page's shell blocks, and its inline `` `aisle ...` ``, as words."""
    shell = [b.body for b in blocks(text) if b.language in ("console", "sh", "bash", "shell")]
    lines = [line[2:] for body in shell for line in body.replace("\\\n", " ").splitlines() if line.startswith("$ ")]
    lines += re.findall(r"`(aisle [a-z][^`]*)`", FENCE.sub("", text))
    return [shlex.split(line, comments=True) for line in lines if line.startswith("aisle ")]


@cache
def help_of(command: str) -> str:
    """What ``aisle COMMAND --help`` prints; "" when there is no such command."""
    code = f"import sys; sys.argv = ['aisle', {command!r}, '--help']; from aisle.cli import main; main()"
    wide = {"COLUMNS": "250", "TERM": "dumb", "NO_COLOR": "1", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | wide, capture_output=True, text=True, timeout=60
    )
    return done.stdout if done.returncode == 0 else ""


@pytest.mark.parametrize("page", [p for p in PAGES if commands(p.read_text())], ids=name)
def test_commands_exist(page: Path) -> None:
    for words in commands(page.read_text()):
        if words[1].startswith("-"):
            continue
        text = help_of(words[1])
        assert text, f"{page}: no command {words[1]!r} in {shlex.join(words)}"
        for word in words[2:]:
            if word.startswith("--"):
                option = word.partition("=")[0]
                assert re.search(rf"(?<![\w-]){option}(?![\w-])", text), f"{page}: {words[1]} has no option {option}"


def fits(text: str) -> list[tuple[str, list[str]]]:
    """(plan or method, its settings) of every ``aisle fit SHOP NAME --set ...`` of a page, those under torchrun as well."""
    shell = "\n".join(b.body for b in blocks(text) if b.language == "console").replace("\\\n", " ")
    found = []
    for line in re.findall(r"\baisle fit .*", shell):
        words = shlex.split(line, comments=True)
        if len(words) > 3 and not words[3].startswith("-"):
            found.append((words[3], [word for before, word in pairwise(words) if before == "--set"]))
    return found


def teaches_a_method(page: Path) -> bool:
    """Its method and files are the page's own, and not here."""
    return any(block.title == "pyproject.toml" for block in blocks(page.read_text()))


WITH_SETTINGS = [p for p in PAGES if any(sets for _, sets in fits(p.read_text())) and not teaches_a_method(p)]


@pytest.mark.parametrize("page", WITH_SETTINGS, ids=name)
def test_settings_exist(page: Path) -> None:
    for plan, sets in fits(page.read_text()):
        plan_named(plan, sets)


def stated(text: str) -> list[tuple[str, str]]:
    """(setting, default) of a page's tables with the columns ``setting`` and ``default``."""
    tables = re.findall(r"^\| setting \| default \|.*\n\|[ |:-]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [pair for table in tables for pair in re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|", table, re.MULTILINE)]


@pytest.mark.parametrize("page", [p for p in PAGES if stated(p.read_text())], ids=name)
def test_stated_defaults_are_the_defaults(page: Path) -> None:
    (method,) = [m for m in registry.names() if m.partition(".")[2] == page.stem]
    settings = registry.build(method).model_dump(mode="json")
    for setting, default in stated(page.read_text()):
        value = reduce(getitem, setting.split("."), settings)
        said = default if isinstance(value, str) and not default.startswith('"') else json.loads(default)
        assert said == value, f"{page}: {setting} is {value!r}"


def test_files_and_records_that_are_named_exist() -> None:
    for page in PAGES:
        text = page.read_text()
        files = (
            [] if teaches_a_method(page) else re.findall(r"`((?:src|tests|benchmarks|docs)/[\w/-]+(?:\.\w+)?/?)`", text)
        )
        for path in files:
            assert (ROOT / path).exists(), f"{page} names {path}"
        for words in commands(text):
            if words[1] == "bench" and words[2:] and not words[2].startswith("-"):
                record = ROOT / "benchmarks" / words[2].replace(".", "/")
                assert record.is_dir() or record.with_suffix(".toml").exists(), f"{page} names the record {words[2]}"


def test_lines_are_short() -> None:
    for page in [*ROOT.glob("docs/methods/*.md"), *ROOT.glob("docs/guides/*.md")]:
        for number, line in enumerate(page.read_text().splitlines(), 1):
            assert len(line) <= 130 or line.startswith("|"), f"{page}:{number} has {len(line)} letters"


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        named = re.findall(r"(?:\$ |`)make ([a-z]+)", page.read_text())
        assert set(named) <= targets, f"{page}: {set(named) - targets}"


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for groups in LINK.findall(COMMENT.sub("", FENCE.sub("", page.read_text()))):
            target = (groups[0] or groups[1]).partition("#")[0]
            if target and "://" not in target and not target.startswith("mailto:"):
                assert (page.parent / target).exists(), f"{page} links to {target}"


def test_generated_pages_are_fresh() -> None:
    spec = spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    assert [name(p) for p in module.stale()] == [], "write them again with: python docs/generate.py"


def test_site_builds_without_warnings(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed; make docs installs it")
    program = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "guides" / "add-a-method" / "index.html").exists()


def test_a_page_that_lies_is_caught(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nassert 1 + 1 == 3\n```\n\n```console\n$ aisle nonsense --wrong\n```\n")
    (tmp_path / "run").mkdir()
    assert run_page(page, tmp_path / "run").returncode != 0
    assert commands(page.read_text()) == [["aisle", "nonsense", "--wrong"]]
    assert help_of("nonsense") == ""
    text = "```console\n$ AISLE_DEVICE=cuda torchrun -m aisle fit SHOP ranking.fusion \\\n      --set nonsense=1\n```\n"
    assert fits(text) == [("ranking.fusion", ["nonsense=1"])]
    with pytest.raises(SettingError, match="nonsense"):
        plan_named("ranking.fusion", ["nonsense=1"])
    assert stated("| setting | default | |\n| --- | --- | --- |\n| `kind` | `rrf` | how |\n") == [("kind", "rrf")]
