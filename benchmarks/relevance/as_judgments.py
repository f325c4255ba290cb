"""Pairs of a generated data set as a shop keeps them.

Legend: N pairs.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from aisle.core.lists import ItemLists, splits_of
from aisle.core.shop import Judgments
from aisle.relevance._pairs import Pairs


def as_judgments(pairs: Pairs, gains: Mapping[int, float] | None = None) -> Judgments:
    """A list for each query that has pairs; ``gains`` of the grades, 2^place - 1 where none are given."""
    groups = pairs.by_query()
    place_N = np.concatenate([places for _, places in groups])
    splits = splits_of(np.array([len(places) for _, places in groups]))
    grade_N = np.array(pairs.scale.grades, np.int32)[pairs.label[place_N]]
    usual = {grade: 2.0**place - 1 for place, grade in enumerate(pairs.scale.grades)}
    lists = ItemLists(pairs.row[place_N], splits, {"grade": grade_N})
    return Judgments([query for query, _ in groups], lists, gains or usual)
