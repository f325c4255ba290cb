"""aisle: an open e-commerce search and recommendation platform, from a product file to a ranked, explained page.

Importing the package loads nothing heavy; ``from aisle.core.lists import ItemLists`` and its like load what they need.
"""

from __future__ import annotations

import os

__version__ = "0.1.0"

# Two spinning OpenMP threads beside other work turn an 8 ms query encoding into 500 ms.  OpenMP reads this when it is
# loaded, so it is set here, before any library; whoever set it already keeps their choice.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
