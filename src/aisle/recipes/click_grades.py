"""Graded judgments read from a log: a click model takes the position out, and what is left is graded.

Legend: N rows of pages, P query-item pairs, Q queries.
"""

from __future__ import annotations

import numpy as np

from aisle.core.errors import DataError
from aisle.core.lists import ItemLists, splits_of
from aisle.core.requests import Scene
from aisle.core.shop import Events, Judgments
from aisle.evaluate.click_models import Pbm, pages_of

CUTS = (0.7, 1.3, 2.2)
"""An item's attraction over the mean one of its query: below the first it is graded 1, above the last 4."""

GAINS = {1: 0.0, 2: 1.0, 3: 3.0, 4: 7.0}


def click_grades(events: Events, *, least_shown: int = 3, strength: float = 4.0) -> Judgments:
    """Grades 1 to 4 of the items that were shown for each query.

    An item's attraction is that of a position-based model fitted by EM (``evaluate.click_models.Pbm``), drawn to the prior by
    ``strength`` impressions; its grade says how it stands to the other items of its query, so that what makes a query as a
    whole be clicked more does not count.  Pairs shown fewer than ``least_shown`` times are left out.

    Raises DataError when no pair was shown that often.
    """
    searches = events.take(np.flatnonzero(events["scene"] == Scene.SEARCH))
    pages = pages_of(searches)
    pair_P, shown_P = np.unique(pages["pair"], return_counts=True)
    pair_P = pair_P[shown_P >= least_shown]
    if not len(pair_P):
        raise DataError(
            f"no item was shown {least_shown} times for one query in {len(pages)} pages; read grades from a longer log"
        )
    attraction_P = Pbm.fit(pages, strength=strength).attractiveness(pair_P)
    # As pages_of numbers them: the query plus 1 in the upper half, the item in the lower.
    query_P, item_P = (pair_P >> 32) - 1, (pair_P & 0xFFFFFFFF).astype(np.uint32).view(np.int32)
    queries, owner_P = np.unique(query_P, return_inverse=True)
    mean_Q = np.bincount(owner_P, attraction_P) / np.bincount(owner_P)
    grade_P = 1 + np.searchsorted(CUTS, attraction_P / mean_Q[owner_P]).astype(np.int32)
    lists = ItemLists(item_P, splits_of(np.bincount(owner_P, minlength=len(queries))), {"grade": grade_P})
    return Judgments([searches.queries[int(q)] for q in queries], lists, dict(GAINS))
