from __future__ import annotations

import sys
from pathlib import Path

import pytest

from aisle.recipes.environment import memory_env
from aisle.simulate.known import two_tastes

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="module")
def view():
    return two_tastes()


@pytest.fixture
def env(view):
    return memory_env(view.items)
