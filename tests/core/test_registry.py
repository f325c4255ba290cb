from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aisle.core import registry
from aisle.core.errors import SettingError, UnknownName
from aisle.ranking.fusion import Fusion

SOURCE = Path(__file__).parents[2] / "src"


def test_names_are_found_without_importing_a_method():
    code = (
        "import json, sys; from aisle.core import registry; names = registry.names();"
        "print(json.dumps([names, [m for m in sys.modules if m.startswith(('torch', 'lightgbm', 'aisle.retrieval.'))]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        timeout=60,
    )
    names, loaded = json.loads(done.stdout)
    assert {"retrieval.bm25", "ranking.fusion", "reranking.mmr"} <= set(names)
    assert loaded == []


def test_a_file_with_a_leading_underscore_is_no_method():
    assert not [n for n in registry.names() if n.partition(".")[2].startswith("_")]
    assert (SOURCE / "aisle" / "ranking" / "_scores.py").exists(), "there is such a file to be left out"


def test_names_lead_to_methods_and_back():
    for name in registry.names():
        assert registry.name_of(registry.method(name)) == name
        assert registry.folder_of(name) in registry.FOLDERS


def test_an_unknown_name_gives_the_nearest():
    with pytest.raises(UnknownName, match=r"no method 'ranking.fussion'; did you mean 'ranking.fusion'\?"):
        registry.method("ranking.fussion")


def test_build_takes_settings():
    assert registry.build("ranking.fusion", {"kind": "rrf"}) == Fusion(kind="rrf")
    assert registry.build("ranking.fusion") == Fusion()
    with pytest.raises(SettingError, match="did you mean 'kind'"):
        registry.build("ranking.fusion", {"knid": "rrf"})
