from __future__ import annotations

import pytest

from aisle.core.errors import UnknownName
from aisle.nn import encoders
from aisle.nn.encoders import Encoders


def test_an_encoder_is_made_when_it_is_first_needed_and_once():
    made = []
    known = Encoders(own=lambda: made.append(1) or "own encoder")
    assert "own" in known
    assert made == []
    assert known["own"] == known["own"] == "own encoder"
    assert made == [1]


def test_names_follow_from_what_is_installed(monkeypatch):
    monkeypatch.setattr(encoders, "minilm_is_installed", lambda: False)
    assert list(Encoders()) == []
    assert list(Encoders(own=lambda: None)) == ["own"]
    assert "minilm" not in Encoders()
    monkeypatch.setattr(encoders, "minilm_is_installed", lambda: True)
    assert list(Encoders(own=lambda: None)) == ["minilm", "own"]


def test_what_is_not_there_is_refused_with_what_there_is(tmp_path):
    known = Encoders(own=lambda: None)
    assert str(tmp_path) not in known
    with pytest.raises(UnknownName, match=r"no encoder 'bge'; there are .*own.*paths of model folders"):
        known["bge"]
    (tmp_path / "config.json").write_text("{}")
    assert str(tmp_path) in known
