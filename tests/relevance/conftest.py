from __future__ import annotations

import pytest

from aisle.testing.case import _env_over, planted


@pytest.fixture(scope="module")
def shop():
    return planted()


@pytest.fixture(scope="module")
def env(shop):
    return _env_over(shop.items)
