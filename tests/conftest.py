"""Settings and fixtures of the whole suite."""

from __future__ import annotations

import os

# Before any test module imports numpy, torch or polars: workers share the processors, so each computes on one thread.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
os.environ["HF_HUB_OFFLINE"] = "1"  # a test that would download fails instead

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples every time: a suite that fails by chance teaches people to ignore it.
settings.register_profile("fixed", derandomize=True)
settings.load_profile("fixed")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The folder that holds pyproject.toml."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """``real_data("esci-us-150")``: the folder of a public data set; the test skips where it is absent."""

    def folder(name: str) -> Path:
        from aisle.data.sets import data_root

        path = Path(data_root()) / name
        if not path.exists():
            pytest.skip(f"the data set {name} is not in {path.parent}; set AISLE_DATA to the folder that holds it")
        return path

    return folder


@pytest.fixture(scope="session")
def browser_path() -> str:
    """The installed Chromium; the test skips where there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        if found:
            return found
    pytest.skip("no browser is installed; on Debian: apt-get install chromium")
