"""The engine inside the process: text, vectors, filters, facets and order over one catalogue generation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aisle.engine.embedded.engine import EmbeddedEngine

__all__ = ["EmbeddedEngine"]


def __getattr__(name: str) -> Any:
    if name != "EmbeddedEngine":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from aisle.engine.embedded.engine import EmbeddedEngine

    return EmbeddedEngine
