"""The shop with two tastes, and an environment over its items."""

from __future__ import annotations

import pytest

from aisle.core.env import Env
from aisle.data.view import View
from aisle.recipes.environment import memory_env
from aisle.simulate.known import two_tastes


@pytest.fixture(scope="module")
def view() -> View:
    return two_tastes()


@pytest.fixture(scope="module")
def env(view: View) -> Env:
    return memory_env(view.items)
