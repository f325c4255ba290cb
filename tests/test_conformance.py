"""One suite for every method there is.  A new method is covered the moment its file exists."""

from __future__ import annotations

import pytest

from aisle.core import registry
from aisle.testing import CHECKS, fitted_case

FUNNEL = ("understanding", "retrieval", "relevance", "ranking", "reranking", "allocation")
METHODS = [name for name in registry.names() if registry.folder_of(name) in FUNNEL]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", METHODS)
def test_method(name, check):
    check(fitted_case(name))


def test_every_baseline_is_found():
    expected = {"retrieval.bm25", "retrieval.minilm", "retrieval.popular", "retrieval.item_cf"}
    assert expected | {"ranking.fusion", "ranking.lambdamart", "reranking.mmr"} <= set(METHODS)
