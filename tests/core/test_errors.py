from __future__ import annotations

import pytest

from aisle.core import errors
from aisle.core.errors import AisleError, nearest


def test_nearest_proposes_or_lists_or_is_silent():
    assert nearest("bm52", ["bm25", "popular"]) == "; did you mean 'bm25'?"
    assert nearest("zzz", ["b", "a"]) == "; there are a, b"
    assert nearest("zzz", []) == ""


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("SettingError", ValueError),
        ("UnknownName", LookupError),
        ("StateError", ValueError),
        ("DeadlinePassed", TimeoutError),
    ],
)
def test_errors_are_caught_as_ours_and_as_the_usual_kind(name, builtin):
    kind = getattr(errors, name)
    assert issubclass(kind, AisleError)
    assert issubclass(kind, builtin)
