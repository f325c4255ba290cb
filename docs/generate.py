"""The generated pages: the glossary of columns, and the table of methods in README.md and docs/methods/index.md.

``python docs/generate.py`` writes them; ``--check`` only says which are stale, and exits with 1 when any is.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "src"))

from aisle.core import columns, registry  # noqa: E402

BEGIN = "<!-- methods: written by docs/generate.py -->"
END = "<!-- methods: end -->"

GLOSSARY_HEAD = """# Glossary of columns

Every column that crosses the border of a module, under the one name it has everywhere. Units stand in the names. This
page is written by `docs/generate.py` from `aisle.core.columns`.
"""

SECTIONS = (
    (
        "Catalogue",
        "One row a product. Only `item_id` is required; the rest is null where the shop does not say.",
        columns.CATALOGUE,
    ),
    ("Events", "One row an action of a shopper. Maps to and from the UBI schema without loss.", columns.EVENTS),
    ("Judgments", "One row a judged pair; the map from grade to gain stands beside the table.", columns.JUDGMENTS),
    ("Candidates and requests", "Columns that stages of the funnel write and read.", columns.CANDIDATES),
)

METHODS_HEAD = """# Methods

What can stand in a slot of a plan today. `aisle methods` prints the same list with the methods of installed packages;
how to add one is in [Add a method](../guides/add-a-method.md), what comes next in the [roadmap](../roadmap.md).
"""


def glossary() -> str:
    """The whole of docs/glossary.md."""
    parts = [GLOSSARY_HEAD]
    for title, words, rows in SECTIONS:
        cells = ((f"`{c.name}`", f"`{c.dtype}`", c.unit, c.meaning) for c in rows)
        parts.append(f"## {title}\n\n{words}\n\n{table(('column', 'type', 'unit', 'meaning'), cells)}")
    return "\n".join(parts)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    lines = [list(head)]
    lines += [["---"] * len(lines[0])]
    lines += [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def methods(cards: str) -> str:
    """The table of methods that come with aisle; ``cards`` is where their cards lie, seen from the page."""
    own = [name for name in registry.names() if name not in registry.outside()]
    return table(("method", "what it does"), ((_linked(name, cards), summary(name)) for name in own))


def _linked(name: str, cards: str) -> str:
    card = f"{name.partition('.')[2]}.md"
    return f"[`{name}`]({cards}{card})" if (ROOT / "docs" / "methods" / card).exists() else f"`{name}`"


def summary(name: str) -> str:
    """The first sentence of a method's file, read without importing it."""
    path = ROOT / "src" / "aisle" / Path(*name.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    line = " ".join(text.partition("\n\n")[0].split())
    return line.partition(".  ")[0].replace("``", "`").rstrip(".")


def pages() -> dict[Path, str]:
    """Path -> what it should hold."""
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return {
        ROOT / "docs" / "glossary.md": glossary(),
        ROOT / "docs" / "methods" / "index.md": f"{METHODS_HEAD}\n{methods('')}",
        readme: f"{before}{BEGIN}\n\n{methods('docs/methods/')}\n{END}{after}",
    }


def stale() -> list[Path]:
    """Pages that differ from what they should hold."""
    return [p for p, text in pages().items() if not p.exists() or p.read_text(encoding="utf-8") != text]


def main() -> int:
    found = stale()
    if "--check" in sys.argv[1:]:
        for path in found:
            print(f"{path.relative_to(ROOT)} is stale; write it again with: python docs/generate.py")
        return 1 if found else 0
    wanted = pages()
    for path in found:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path], encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
