"""Who may import whom: the table of docs/architecture.md, held for every file, at its top and inside its functions."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "aisle"

FUNNEL_STAGES = frozenset({"understanding", "retrieval", "relevance", "ranking", "reranking", "allocation"})
METHOD_FOLDERS = FUNNEL_STAGES | {"balance", "sparse", "online"}
TOPMOST = frozenset({"recipes", "testing", "serve", "cli"})
BELOW = frozenset({"core", "data", "nn", "training", "engine", "simulate", "funnel", "evaluate"}) | METHOD_FOLDERS

MAY_IMPORT: dict[str, frozenset[str]] = {
    "core": frozenset(),
    **dict.fromkeys(("data", "nn", "balance", "online", "funnel"), frozenset({"core"})),
    **dict.fromkeys(("engine", "simulate"), frozenset({"core", "data"})),
    **dict.fromkeys(("sparse", "training"), frozenset({"core", "data", "nn"})),
    **dict.fromkeys(FUNNEL_STAGES, frozenset({"core", "data", "nn", "training"})),
    "evaluate": frozenset({"core", "data", "funnel"}),
    "recipes": BELOW | {"recipes"},
    "testing": BELOW | {"recipes", "testing"},
    "serve": BELOW | {"recipes", "testing"},
    "cli": BELOW | TOPMOST,
}
"""Folder -> the other folders it may import.  Its own folder is always allowed, except that serve and cli are roots."""

TORCH_FOLDERS = frozenset({"nn", "training"}) | METHOD_FOLDERS
TORCH_NAMES = frozenset({"torch", "transformers", "sentence_transformers", "peft"})
CORE_LIBRARIES = frozenset({"numpy", "pydantic", "safetensors", "pyarrow"})
CORE_LAZY = frozenset({"safetensors", "pyarrow"})
HEAVY = ("torch", "numpy", "polars", "pyarrow", "numba", "tantivy", "lightgbm", "scipy", "fastapi", "pandas", "sklearn")


def folder_of(module: str) -> str:
    """``ranking`` of ``aisle.ranking.hhft``; ``""`` for the package itself."""
    return [*module.split("."), ""][1]


def imports(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """(line, module) of every import anywhere in a file; ``from aisle import data`` counts as ``aisle.data``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package.split(".")[: len(package.split(".")) - node.level + 1], base]).strip(".")
            if base == "aisle":
                yield from ((node.lineno, f"aisle.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, base
        elif isinstance(node, ast.Call) and _is_import_call(node):
            yield node.lineno, str(node.args[0].value)  # type: ignore[attr-defined]


def _is_import_call(node: ast.Call) -> bool:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    literal = bool(node.args) and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)
    return name in ("import_module", "__import__") and literal


def for_types_only(tree: ast.AST) -> set[int]:
    """Lines inside ``if TYPE_CHECKING:``, which are never run."""
    blocks = [n for n in ast.walk(tree) if isinstance(n, ast.If) and getattr(n.test, "id", "") == "TYPE_CHECKING"]
    return {line for block in blocks for part in block.body for line in range(part.lineno, (part.end_lineno or 0) + 1)}


def violations(text: str, module: str) -> list[str]:
    """What a file of this module name breaks, one line each."""
    tree = ast.parse(text)
    folder, package = folder_of(module), module.rpartition(".")[0] if not module.endswith("__init__") else module
    package = package.removesuffix(".__init__")
    types_only, top = for_types_only(tree), {n.lineno for n in getattr(tree, "body", []) if hasattr(n, "lineno")}
    return [
        f"{module}:{line}: {complaint}"
        for line, name in imports(tree, package)
        for complaint in _complaints(folder, name, at_top=line in top and line not in types_only)
    ]


def _complaints(folder: str, name: str, at_top: bool) -> Iterator[str]:
    library, target = name.split(".")[0], folder_of(name)
    if library == "aisle":
        known = target in MAY_IMPORT
        if known and folder in MAY_IMPORT and target != folder and target not in MAY_IMPORT[folder]:
            yield f"{folder} may not import aisle.{target}"
        if known and folder == "":
            yield f"the package itself imports nothing, here aisle.{target}"
    if library in TORCH_NAMES and folder not in TORCH_FOLDERS:
        yield f"{library} is imported only in {', '.join(sorted(TORCH_FOLDERS))}"
    if folder == "core" and library != "aisle" and library not in sys.stdlib_module_names | CORE_LIBRARIES:
        yield f"core stands on numpy and pydantic, not on {library}"
    if folder == "core" and library in CORE_LAZY and at_top:
        yield f"core imports {library} inside the functions that use it"


def files() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)


def test_every_file_keeps_the_layers() -> None:
    found = [line for path in files() for line in violations(path.read_text(), module_of(path))]
    assert not found, "\n" + "\n".join(found)


def test_every_folder_has_a_place_in_the_table() -> None:
    folders = {path.name for path in SOURCE.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert folders <= MAY_IMPORT.keys(), f"no layer for {sorted(folders - MAY_IMPORT.keys())}"


def test_the_architecture_page_shows_this_table() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    for folder, allowed in MAY_IMPORT.items():
        row = re.search(rf"^\| [^|]*`{folder}`[^|]*\|([^|]*)\|", page, re.MULTILINE)
        assert row, f"docs/architecture.md has no row for {folder}"
        if folder not in TOPMOST:
            assert set(re.findall(r"`(\w+)`", row[1])) & MAY_IMPORT.keys() == allowed, row[0]


def test_inner_imports_are_absolute_and_point_at_files() -> None:
    known = {module_of(path).removesuffix(".__init__") for path in files()}
    known |= {module.rpartition(".")[0] for module in known}
    for path in files():
        tree = ast.parse(path.read_text())
        assert not [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level], (
            f"relative import in {path}"
        )
        for line, name in imports(tree, module_of(path)):
            if name.startswith("aisle.") and folder_of(name) in MAY_IMPORT:
                assert name in known, f"{path}:{line} imports {name}, which is no file"


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("aisle.core.lists", "from aisle.data import items"),
        ("aisle.core.lists", "import polars"),
        ("aisle.core.state", "from safetensors.numpy import save_file"),
        ("aisle.ranking.fusion", "def fit(self):\n    from aisle.retrieval.bm25 import Bm25"),
        ("aisle.ranking.fusion", "from aisle import simulate"),
        ("aisle.ranking.fusion", "import aisle.engine.embedded as e"),
        ("aisle.ranking.fusion", "if True:\n    import aisle.serve"),
        ("aisle.ranking.fusion", "import_module('aisle.reranking.mmr')"),
        ("aisle.funnel.serving", "from aisle.evaluate.metrics import ndcg"),
        ("aisle.data.items", "from ..engine import embedded"),
        ("aisle.engine.embedded", "class A:\n    def b(self):\n        import torch.nn"),
        ("aisle.recipes.hybrid", "from aisle.cli import main"),
        ("aisle.testing.checks", "from aisle.serve.app import app"),
        ("aisle", "from aisle.core.lists import ItemLists"),
    ],
)
def test_a_violation_is_caught(module: str, text: str) -> None:
    assert len(violations(text, module)) == 1


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("aisle.core.state", "def save():\n    from safetensors.numpy import save_file"),
        (
            "aisle.ranking.dnn",
            "import torch\nfrom aisle.training.loop import train\nfrom aisle.ranking._features import f",
        ),
        ("aisle.cli.serve", "from aisle.serve.app import app"),
        ("aisle.recipes.lexical", "from aisle.retrieval.bm25 import Bm25"),
    ],
)
def test_what_is_allowed_passes(module: str, text: str) -> None:
    assert violations(text, module) == []


def test_every_library_is_declared() -> None:
    """A module that the code imports belongs to a requirement of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    declared = {re.split(r"[^\w-]", line)[0].lower().replace("-", "_") for line in wanted}
    own_name = {
        "Stemmer": "pystemmer",
        "starlette": "fastapi",
        "anyio": "fastapi",
        "click": "typer",
    }
    for path in files():
        if folder_of(module_of(path)) == "testing":
            continue  # also speaks to pytest
        for line, name in imports(ast.parse(path.read_text()), module_of(path)):
            library = name.split(".")[0]
            if library and library != "aisle" and library not in sys.stdlib_module_names:
                assert own_name.get(library, library) in declared, f"{path}:{line}: {library} is in no requirement"


def test_constraints_pin_every_requirement() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = re.findall(r"^([\w-]+)==[\w.]+$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    wanted = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    missing = {re.split(r"[^\w-]", line)[0].lower() for line in wanted} - set(pins)
    assert not missing, f"constraints.txt has no version of {sorted(missing)}"


def _python(code: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


HELP = "import sys; sys.argv = ['aisle', '--help']; from aisle.cli import main\ntry: main()\nexcept SystemExit: pass\n"


def test_import_aisle_loads_nothing_heavy() -> None:
    out = _python(f"import sys, json, aisle; print(json.dumps([m for m in {HEAVY} if m in sys.modules]))")
    assert json.loads(out) == []


def test_help_loads_nothing_heavy() -> None:
    out = _python(HELP + f"import json; print(json.dumps([m for m in {HEAVY} if m in sys.modules]))")
    assert json.loads(out.splitlines()[-1]) == []


def test_help_is_quick() -> None:
    """Processor seconds, the best of 5, so that a busy machine does not decide."""
    code = HELP + "import time; print(time.process_time())"
    best_s = min(float(_python(code).splitlines()[-1]) for _ in range(5))
    assert best_s < 0.3, f"aisle --help takes {best_s:.2f} s"
