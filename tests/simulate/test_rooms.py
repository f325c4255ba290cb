"""The rooms of ``simulate/``: imports go one way, in the order of the table in docs/architecture.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOUSE = ROOT / "src" / "aisle" / "simulate"
PACKAGE = "aisle.simulate"


def rooms() -> list[str]:
    """The rooms in the order of the table, the ground first."""
    section = (ROOT / "docs" / "architecture.md").read_text().partition("## The virtual shop")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`(\w+)/?`", cell)]


def room_of(path: Path) -> str:
    """``loop`` of ``loop/town.py``, ``world`` of ``world.py``."""
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def entered(node: ast.AST) -> Iterator[str]:
    """The rooms that a piece of code imports from, those for types alone left out."""
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    if isinstance(node, ast.ImportFrom) and node.module == PACKAGE:
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{PACKAGE}."):
        yield str(node.module).split(".")[2]
    elif isinstance(node, ast.Import):
        yield from (a.name.split(".")[2] for a in node.names if a.name.startswith(f"{PACKAGE}."))
    for child in ast.iter_child_nodes(node):
        yield from entered(child)


def upward(code: str, room: str, order: list[str]) -> list[str]:
    """The rooms above ``room`` that the code enters; a world may do so inside its functions."""
    tree = ast.parse(code)
    if room == "world":
        tree.body = [n for n in tree.body if not isinstance(n, ast.FunctionDef | ast.ClassDef)]
    return [other for other in entered(tree) if order.index(other) > order.index(room)]


def test_every_room_stands_in_the_table() -> None:
    there = {room_of(path) for path in HOUSE.rglob("*.py")} - {"__init__"}
    assert sorted(there) == sorted(rooms())


def test_imports_go_one_way() -> None:
    order = rooms()
    files = [path for path in HOUSE.rglob("*.py") if path != HOUSE / "__init__.py"]
    found = {str(path): upward(path.read_text(), room_of(path), order) for path in files}
    assert not {path: names for path, names in found.items() if names}


@pytest.mark.parametrize(
    ("room", "code", "names"),
    [
        ("catalogue", "from aisle.simulate.loop.town import Town", ["loop"]),
        ("catalogue", "def f():\n    from aisle.simulate import world", ["world"]),
        ("catalogue", "import aisle.simulate.grades.rules", ["grades"]),
        ("catalogue", "if TYPE_CHECKING:\n    from aisle.simulate.world import World", []),
        ("world", "from aisle.simulate.loop.town import Town", ["loop"]),
        ("world", "def f():\n    from aisle.simulate.loop.town import Town", []),
        ("loop", "from aisle.simulate.world import World", []),
    ],
)
def test_a_way_up_is_seen(room: str, code: str, names: list[str]) -> None:
    assert upward(code, room, rooms()) == names
