"""The table of records in docs/benchmarks.md.  ``python benchmarks/table.py`` writes it anew."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "src"))

from aisle.evaluate import records  # noqa: E402

PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN = "<!-- records: written by benchmarks/table.py -->"
END = "<!-- records: end -->"


def written(page: str) -> str:
    """The page with its table as the records say it."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{records.table(records.read_all(ROOT / 'benchmarks'))}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
