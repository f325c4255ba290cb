"""Feature chains: the same ids fused and one by one, and what each operation gives."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from aisle.core.errors import ContractError, SettingError, UnknownName
from aisle.core.tables import Ids
from aisle.sparse.recis import Recis
from aisle.sparse.recis.compiled import FeatureEngine
from aisle.sparse.recis.features import (
    Bucketize,
    FeatureCross,
    Hash,
    IDMultiHash,
    Mod,
    SelectField,
    SequenceTruncate,
)

COLUMNS = {
    "brand": ["acme", "", "zürich", None],
    "words": pa.array([["red", "shoe"], [], ["shoe"], ["a", "b", "c"]]),
    "item": np.array([5, -1, 7, 1 << 60]),
    "price": np.array([0.5, np.nan, 10.0, 99.0]),
    "seen": Ids(np.arange(6), np.array([0, 4, 4, 5, 6]), np.arange(6, dtype=np.float32)),
}
CHAINS = {
    "brand": [SelectField(field="brand"), Hash()],
    "words": [SelectField(field="words"), Hash(), Mod(divisor=1000)],
    "words_again": [SelectField(field="words"), Hash(), Mod(divisor=1000)],
    "item": [SelectField(field="item"), Mod(divisor=1 << 40)],
    "price": [SelectField(field="price"), Bucketize(boundaries=(1, 10, 50))],
    "seen": [SelectField(field="seen"), SequenceTruncate(length=2)],
    "first": [SelectField(field="seen"), SequenceTruncate(length=2, keep="first")],
    "item_words": [SelectField(field="item"), FeatureCross(field="words"), Mod(divisor=1 << 30)],
    "small": [SelectField(field="item"), IDMultiHash(num_buckets=(100, 200))],
}


def test_fused_equals_one_by_one():
    engine = FeatureEngine(CHAINS)
    fused, single = engine(COLUMNS), engine(COLUMNS, fused=False)
    assert fused.keys() == single.keys() == CHAINS.keys() - {"small"} | {"small_0", "small_1"}
    for name in fused:
        assert np.array_equal(fused[name].value, single[name].value), name
        assert np.array_equal(fused[name].splits, single[name].splits), name


def test_equal_chains_run_once():
    engine = FeatureEngine(CHAINS)
    assert engine.num_operations == 15
    out = engine(COLUMNS)
    assert out["words"] is out["words_again"]


def test_what_operations_give():
    out = FeatureEngine(CHAINS)(COLUMNS)
    assert out["item"].value.tolist() == [5, (2**64 - 1) % (1 << 40), 7, 0], "read as unsigned"
    assert out["price"].value.tolist() == [0, 4, 2, 3]
    assert out["seen"].value.tolist() == [2, 3, 4, 5]
    assert out["seen"].splits.tolist() == [0, 2, 2, 3, 4]
    assert out["seen"].weight.tolist() == [2, 3, 4, 5]
    assert out["first"].value.tolist() == [0, 1, 4, 5]
    assert out["brand"].value[1] == out["brand"].value[3], "missing text is empty text"
    assert out["item_words"].splits.tolist() == [0, 2, 2, 3, 6]
    assert len(set(out["item_words"].value.tolist())) == 6


def test_multi_hash_by_hand():
    op = IDMultiHash(num_buckets=(10, 100, 7, 3))
    assert op.primes == (283, 4691, 467, 241)
    out = FeatureEngine({"f": [SelectField(field="item"), op]})({"item": np.array([12345, -3])})
    for i, (m, p, n) in enumerate(zip((1, 3, 5, 7), op.primes, op.num_buckets, strict=True)):
        assert out[f"f_{i}"].value.tolist() == [(m * 12345) % p % n, (m * -3) % p % n]


@pytest.mark.parametrize(
    ("text", "full"),
    [(b"", 0), (b"a", 0x071717D2D36B6B11), (b"abcdefgh", None)],
)
def test_murmur(text, full):
    """MurmurHash64A written with Python's own integers."""
    mask, m = 2**64 - 1, 0xC6A4A7935BD1E995
    h = (len(text) * m) & mask
    for at in range(0, len(text) - 7, 8):
        k = int.from_bytes(text[at : at + 8], "little") * m & mask
        h = ((h ^ (((k ^ (k >> 47)) * m) & mask)) * m) & mask
    rest = text[len(text) & ~7 :]
    if rest:
        h = ((h ^ int.from_bytes(rest, "little")) * m) & mask
    h = ((h ^ (h >> 47)) * m) & mask
    h ^= h >> 47
    if full is not None:
        assert h == full
    out = FeatureEngine({"f": [SelectField(field="t"), Hash()]})({"t": [text.decode()]})
    assert out["f"].value.tolist() == [h & (2**52 - 1)]


def test_slices_of_arrow_columns_are_read_where_they_stand():
    whole = pa.array([["x"], ["red", "shoe"], ["shoe"]])
    engine = FeatureEngine({"f": [SelectField(field="t"), Hash()]})
    assert engine({"t": whole.slice(1)})["f"].value.tolist() == engine({"t": whole})["f"].value.tolist()[1:]
    text = pa.array(["x", "red"])
    assert engine({"t": text.slice(1)})["f"].value.tolist() == engine({"t": ["red"]})["f"].value.tolist()


def test_chains_are_settings():
    part = Recis(embeddings={"brand": {"dim": 4}}, features={"brand": CHAINS["brand"], "price": CHAINS["price"][:1]})
    again = Recis(**part.model_dump(mode="json"))
    assert again == part
    out = again.build()({"brand": COLUMNS["brand"], "price": COLUMNS["price"]})
    assert out["brand"].shape == (4, 4)
    assert out["price"].shape == (4, 1), "a declared feature without an embedding passes through"


def test_errors_say_what_to_do():
    with pytest.raises(SettingError, match="begin with SelectField"):
        FeatureEngine({"f": [Hash()]})
    with pytest.raises(SettingError, match="ends a chain"):
        FeatureEngine({"f": [SelectField(field="a"), IDMultiHash(num_buckets=(3,)), Mod(divisor=2)]})
    with pytest.raises(UnknownName, match="did you mean 'brand'"):
        FeatureEngine({"f": [SelectField(field="brnd"), Hash()]})(COLUMNS)
    with pytest.raises(ContractError, match="use Bucketize"):
        FeatureEngine({"f": [SelectField(field="price"), Hash()]})(COLUMNS)
    with pytest.raises(ContractError, match="end its chain with Hash"):
        Recis(embeddings={"f": {}}, features={"f": [SelectField(field="brand")]}).build()(COLUMNS)
    with pytest.raises(SettingError, match="must rise"):
        Bucketize(boundaries=(2, 1))
