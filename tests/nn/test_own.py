from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from aisle.core.errors import DataError
from aisle.data.items import ItemTable
from aisle.nn.encoders.own import OwnEncoder, features_of, train_own
from aisle.simulate.catalogue.items import catalogue
from aisle.simulate.known import two_kinds


@pytest.fixture(scope="module")
def items():
    return ItemTable.from_table(catalogue(400, seed=1))


@pytest.fixture(scope="module")
def encoder(items):
    return train_own(items)


def test_a_misspelling_is_nearer_than_an_unrelated_word():
    encoder = train_own(ItemTable.from_table(two_kinds(40)))
    right, wrong, other = encoder.encode(["bedside lamp", "bedsidde lmap", "tennis ball"])
    assert right @ wrong > 0.8
    assert right @ other < 0.3


def test_every_title_finds_itself(encoder, items):
    titles = items.text("title")[:200]
    emb_ND = encoder.encode(titles)
    likeness_NN = emb_ND @ emb_ND.T
    assert [titles[i].lower() for i in likeness_NN.argmax(1)] == [t.lower() for t in titles]


def test_unit_rows_and_zero_for_what_says_nothing(encoder, items):
    emb_ND = encoder.encode([*items.text("title")[:5], "", "   ", "!?", "\u2603\u2603"])
    assert emb_ND.dtype == np.float32
    assert emb_ND.shape == (9, encoder.dim)
    np.testing.assert_allclose(np.linalg.norm(emb_ND[:5], axis=1), 1, rtol=1e-5)
    assert not emb_ND[5:].any()
    assert encoder.encode([]).shape == (0, encoder.dim)


def test_a_text_is_encoded_alike_alone_and_in_a_batch(encoder, items):
    titles = items.text("title")[:20]
    np.testing.assert_allclose(encoder.encode(titles), np.concatenate([encoder.encode([t]) for t in titles]), atol=1e-6)


def test_saved_and_loaded_it_is_the_same(encoder, items, tmp_path):
    encoder.save(tmp_path)
    again = OwnEncoder.load(tmp_path)
    titles = items.text("title")[:50]
    assert again.dim == encoder.dim
    np.testing.assert_allclose(again.encode(titles), encoder.encode(titles), atol=2e-3)
    again.save(tmp_path / "twice")
    np.testing.assert_array_equal(OwnEncoder.load(tmp_path / "twice").encode(titles), again.encode(titles))
    assert isinstance(json.loads((tmp_path / "features.json").read_text()), list)


def test_a_seed_names_an_encoder(items, encoder):
    titles = items.text("title")[:10]
    np.testing.assert_array_equal(train_own(items).encode(titles), encoder.encode(titles))


def test_features_mark_the_ends_of_a_word():
    assert features_of("lamp") == ("lamp", "#<lam", "#amp>", "#lamp")
    assert features_of("tv") == ("tv",)


def test_a_shop_of_one_item_and_one_without_words():
    one = train_own(ItemTable.from_table(two_kinds(1)))
    assert np.linalg.norm(one.encode(["Alder desk lamp white"])) == pytest.approx(1, rel=1e-5)
    wordless = two_kinds(6)
    for name in ("title", "brand", "description"):
        at = wordless.column_names.index(name)
        wordless = wordless.set_column(at, wordless.schema.field(at), [[""] * 6])
    at = wordless.column_names.index("category")
    wordless = wordless.set_column(at, wordless.schema.field(at), pa.array([[]] * 6, pa.list_(pa.string())))
    with pytest.raises(DataError, match="an encoder cannot be trained on this shop's text"):
        train_own(ItemTable.from_table(wordless))


def test_texts_of_every_script_are_words():
    items = two_kinds(6)
    at = items.column_names.index("title")
    items = items.set_column(
        at, items.schema.field(at), [["настольная лампа", "настольная лампа", "мяч", "мяч", "卓上ランプ", "卓上ランプ"]]
    )
    encoder = train_own(ItemTable.from_table(items))
    lamp, ball = encoder.encode(["лампа", "мяч"])
    assert np.linalg.norm(lamp) == pytest.approx(1, rel=1e-5)
    assert lamp @ ball < 0.5
