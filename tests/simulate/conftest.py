"""One default world for the tests of this folder that only read it."""

from __future__ import annotations

import pytest

from aisle.simulate.world import World


@pytest.fixture(scope="package")
def world() -> World:
    return World.make(2500, 0)
