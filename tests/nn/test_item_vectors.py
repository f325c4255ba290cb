from __future__ import annotations

import numpy as np
import pytest

from aisle.core.env import Env
from aisle.data.items import ItemTable
from aisle.engine.embedded.engine import EmbeddedEngine
from aisle.nn import item_vectors
from aisle.nn.item_vectors import EncodingCache, file_name, fill, item_texts, missing_rows
from aisle.simulate.known import grown, two_kinds

DIM = 3


class Counting:
    """An encoder that keeps what it was asked for; a text's vector follows from its letters."""

    name, dim = "counting", DIM

    def __init__(self):
        self.asked = []

    def encode(self, texts):
        self.asked += texts
        emb_ND = np.array([[len(t), sum(map(ord, t)) % 97, 1] for t in texts], np.float32).reshape(-1, DIM)
        return emb_ND / np.linalg.norm(emb_ND, axis=1, keepdims=True)


@pytest.fixture
def coder():
    return Counting()


@pytest.fixture
def env(coder):
    items = ItemTable.from_table(two_kinds(40))
    return Env(engine=EmbeddedEngine.build(items), encoders={"counting": coder})


def test_a_text_is_encoded_once(tmp_path, coder):
    cache = EncodingCache(tmp_path, "counting", DIM)
    first = cache.encode(coder.encode, ["a", "b", "a", ""])
    again = cache.encode(coder.encode, ["b", "c", "a"])
    assert coder.asked == ["a", "b", "", "c"]
    np.testing.assert_array_equal(first[0], first[2])
    np.testing.assert_array_equal(again[[2, 0]], first[:2])
    assert len(cache) == 4
    assert cache.encode(coder.encode, []).shape == (0, DIM)


def test_two_processes_over_one_cache_keep_both(tmp_path, coder):
    one, other = (EncodingCache(tmp_path, "counting", DIM) for _ in range(2))
    one.encode(coder.encode, ["a"])
    other.encode(coder.encode, ["b"])
    one.encode(coder.encode, ["c"])
    coder.asked.clear()
    made = EncodingCache(tmp_path, "counting", DIM).encode(coder.encode, ["a", "b", "c"])
    assert not coder.asked
    np.testing.assert_array_equal(made, Counting().encode(["a", "b", "c"]))


def test_a_cache_goes_on_where_it_stopped(tmp_path, coder):
    EncodingCache(tmp_path, "counting", DIM).encode(coder.encode, ["a", "b"])
    cache = EncodingCache(tmp_path, "counting", DIM)
    assert len(cache) == 2
    made = cache.encode(coder.encode, ["b", "c"])
    assert coder.asked == ["a", "b", "c"]
    np.testing.assert_array_equal(made, Counting().encode(["b", "c"]))
    assert len(EncodingCache(tmp_path, "counting", DIM)) == 3


def test_half_a_segment_is_not_read(tmp_path, coder):
    cache = EncodingCache(tmp_path, "counting", DIM)
    cache.encode(coder.encode, ["a"])
    (tmp_path / "counting" / "000001.part").write_bytes(b"half")
    again = EncodingCache(tmp_path, "counting", DIM)
    assert len(again) == 1
    again.encode(coder.encode, ["b"])
    assert len(EncodingCache(tmp_path, "counting", DIM)) == 2


def test_a_damaged_segment_is_encoded_again_and_harms_no_other(tmp_path, coder):
    cache = EncodingCache(tmp_path, "counting", DIM)
    for text in "abc":
        cache.encode(coder.encode, [text])
    (tmp_path / "counting" / "000001.safetensors").write_bytes(b"\x00" * 7)
    again = EncodingCache(tmp_path, "counting", DIM)
    made = again.encode(coder.encode, ["a", "b", "c"])
    assert coder.asked == ["a", "b", "c", "b"]
    np.testing.assert_array_equal(made, Counting().encode(["a", "b", "c"]))
    assert len(EncodingCache(tmp_path, "counting", DIM)) == 3, "no good segment was written over"


def test_encoders_keep_apart_on_disk(tmp_path):
    names = ["minilm", "own", "/models/bge", "/other/bge", "models-bge"]
    assert len({file_name(n) for n in names}) == len(names)
    assert all("/" not in file_name(n) for n in names)
    assert file_name("minilm") == "minilm"
    EncodingCache(tmp_path, "a", DIM).encode(Counting().encode, ["x"])
    assert len(EncodingCache(tmp_path, "b", DIM)) == 0


def test_fill_encodes_live_rows_without_a_vector(env, coder):
    assert fill(env, "counting")
    rows = np.arange(40, dtype=np.int32)
    assert coder.asked == item_texts(env.engine.items, rows)
    np.testing.assert_allclose(env.engine.vectors("counting").vectors(rows), Counting().encode(coder.asked), atol=3e-4)
    coder.asked.clear()
    assert fill(env, "counting")
    assert coder.asked == []


def test_fill_encodes_what_came_later_alone(env, coder):
    fill(env, "counting")
    coder.asked.clear()
    more = env.engine.items.upserted(grown(env.engine.items.table, 0.1)).deleted(["new-0"])
    env.engine.refresh(more, np.arange(40, 44, dtype=np.int32))
    assert missing_rows(env, "counting").tolist() == [41, 42, 43], "a deleted item needs no vector"
    assert fill(env, "counting")
    assert len(coder.asked) == 3


def test_fill_stops_and_goes_on(env, coder, tmp_path, monkeypatch):
    monkeypatch.setattr(item_vectors, "CHUNK", 16)
    cache = EncodingCache(tmp_path, "counting", DIM)
    assert not fill(env, "counting", cache=cache, should_stop=lambda: len(coder.asked) >= 16)
    assert len(coder.asked) == 16
    assert len(missing_rows(env, "counting")) == 40, "what is not whole is not searched"
    seen = []
    cache = EncodingCache(tmp_path, "counting", DIM)
    assert fill(env, "counting", cache=cache, progress=lambda task, done, total: seen.append((done, total)))
    assert len(coder.asked) == 40
    assert len(set(coder.asked)) == 40, "no text was encoded twice"
    assert seen == [(0, 40), (16, 40), (32, 40), (40, 40)]
    assert len(missing_rows(env, "counting")) == 0


def test_a_brand_in_the_title_is_not_repeated():
    items = ItemTable.from_table(two_kinds(4))
    assert item_texts(items, np.array([0]))[0].lower().count("alder") == 1 + items.text("description")[0].lower().count(
        "alder"
    )
