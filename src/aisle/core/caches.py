"""The user's cache: where things are kept between runs that belong to no shop and can be made again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """``AISLE_CACHE``, ``$XDG_CACHE_HOME/aisle`` or ``~/.cache/aisle``; it need not be there."""
    named = os.environ.get("AISLE_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aisle"
