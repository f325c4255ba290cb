from __future__ import annotations

import os

import numpy as np
import pytest
import tantivy

from aisle.core.errors import StateError
from aisle.core.lists import ItemLists
from aisle.core.requests import RowMasks
from aisle.core.shop import TEXT_FIELDS
from aisle.engine.embedded import text as text_module
from aisle.engine.embedded.analysis import Analyser
from aisle.engine.embedded.compiled import frozen
from aisle.engine.embedded.text import EmbeddedText

from .conftest import generated, table

QUERIES = [
    "wireless lamp",
    "red running shirt",
    "steel",
    '"steel knife" black',
    "lamp -red",
    "the",
    "portabel chair",
    "",
]

ANALYSER = Analyser()


def everything(items, num_queries: int = 1) -> RowMasks:
    return RowMasks(items.live[None], np.zeros(num_queries, np.int64))


def search(index: EmbeddedText, items, query: str, k: int = 10) -> list[str]:
    return items.ids(index.search([query], k, everything(items), {}).item)


@pytest.fixture(scope="module")
def index(items) -> EmbeddedText:
    return EmbeddedText.build(items)


@pytest.fixture(scope="module")
def few():
    return table(
        [
            {"item_id": "B01-X", "title": "Red lamp", "brand": "Acme", "description": "for the desk"},
            {"item_id": "B02-X", "title": "Blue desk lamp", "brand": "Acme", "description": "not red"},
            {"item_id": "B03-X", "title": "Desk", "description": "a lamp is not part of it"},
            {"item_id": "B04-X", "title": "The Who: live", "description": "a record; see also B01-X"},
            {"item_id": "B05-X", "title": "索尼相机", "description": ""},
            {"item_id": "B06-X", "title": "Lamp B01 X spare part B01-X", "description": "B01-X B01-X"},
        ]
    )


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1, 0.01])
def test_search_under_a_mask_equals_filtering_everything(items, index, share):
    rng = np.random.default_rng(1)
    bits = items.live & (rng.random(items.num_rows) < share)
    masks = RowMasks(np.stack([bits, items.live]), np.zeros(len(QUERIES), np.int64))
    whole = index.search(QUERIES, items.num_rows, RowMasks(items.live[None], masks.which), {})
    expected = whole.take(bits[whole.item]).top(20, "score")
    found = index.search(QUERIES, 20, masks, {})
    np.testing.assert_array_equal(found.splits, expected.splits)
    np.testing.assert_array_equal(found.item, expected.item)
    np.testing.assert_array_equal(found["score"], expected["score"])


def test_bm25_is_tantivys(items, index):
    """One field at a time, the library that every figure of ours was measured with before."""
    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("row", fast=True)
    for field in TEXT_FIELDS:
        builder.add_text_field(field, tokenizer_name="en_stem")
    theirs = tantivy.Index(builder.build())
    writer = theirs.writer(15_000_000, 1)
    rows = np.flatnonzero(items.live).astype(np.int32)
    texts = {field: items.text(field, rows) for field in TEXT_FIELDS}
    for n, row in enumerate(rows.tolist()):
        document = tantivy.Document()
        document.add_unsigned("row", row)
        for field in TEXT_FIELDS:
            document.add_text(field, texts[field][n])
        writer.add_document(document)
    writer.commit()
    theirs.reload()
    searcher = theirs.searcher()
    for field in TEXT_FIELDS:
        for word, stem in (("wireless", "wireless"), ("running", "run"), ("lamps", "lamp"), ("brand", "brand")):
            query = tantivy.Query.term_query(theirs.schema, field, stem)
            hits = searcher.search(query, limit=len(rows)).hits
            theirs_by_row = dict(
                zip(searcher.fast_field_values("row", [a for _, a in hits]), [s for s, _ in hits], strict=True)
            )
            ours = index.search([word], items.num_rows, everything(items), {field: 1.0})
            assert set(ours.item.tolist()) == theirs_by_row.keys()
            np.testing.assert_allclose(ours["score"], [theirs_by_row[r] for r in ours.item.tolist()], rtol=1e-5)


def test_a_prefix_finds_every_word_that_begins_so(few):
    index = EmbeddedText.build(few)
    assert set(search(index, few, "la*")) == {"B01-X", "B02-X", "B03-X", "B06-X"}
    assert search(index, few, "des*")[0] == "B03-X", "a title of that word alone"
    assert set(few.ids(np.flatnonzero(index.match("blue la*", {})))) == {"B02-X"}
    assert search(index, few, "zzz*") == []
    assert index.completions("l")[0] == ("lamp", 3)
    assert index.suggest("la*") is None


def test_a_whole_word_counts_more_than_one_it_begins(few):
    items = table([{"item_id": "a", "title": "lampshade"}, {"item_id": "b", "title": "lamp"}])
    assert search(EmbeddedText.build(items), items, "lamp*") == ["b", "a"]


def test_cjk_typing_errors_are_mended():
    items = table(
        [{"item_id": "a", "title": "索尼相机"}, {"item_id": "b", "title": "手机壳"}, {"item_id": "c", "title": "ｶﾒﾗ"}]
    )
    index = EmbeddedText.build(items)
    assert search(index, items, "索泥相机") == ["a"]
    assert index.suggest("索泥相机") == "索尼相机"
    assert search(index, items, "カメラ") == ["c"], "half-width and full-width letters are the same"


def test_did_you_mean_says_how_sure_it_is():
    items = table([{"item_id": str(n), "title": "lamp" if n < 6 else "lamb"} for n in range(8)])
    index = EmbeddedText.build(items)
    assert index.suggestion("lamx") == ("lamp", 0.75)
    assert index.suggestion("lamp") is None
    assert len(search(index, items, "lamx")) == 8, "the second guess is found too"


def test_score_gives_what_search_gave_and_zero_elsewhere(items, index):
    found = index.search(QUERIES, 30, everything(items, len(QUERIES)), {})
    np.testing.assert_array_equal(index.score(QUERIES, found, {}), found["score"])
    rows = np.arange(items.num_rows, dtype=np.int32)
    every = ItemLists(np.tile(rows, 2), np.array([0, len(rows), 2 * len(rows)]))
    score = index.score(["wireless lamp", ""], every, {}).reshape(2, -1)
    hit = np.zeros(items.num_rows, bool)
    hit[index.search(["wireless lamp"], items.num_rows, everything(items), {}).item] = True
    np.testing.assert_array_equal(score[0] > 0, hit)
    assert not score[1].any()


@pytest.mark.parametrize("kind", ["spread", "close", "ties", "equal"])
@pytest.mark.parametrize("k", [1, 10, 700, 5000])
def test_the_best_rows_are_among_those_picked(kind, k):
    rng = np.random.default_rng(k)
    score = {
        "spread": rng.gamma(1, 5, 3000),
        "close": 1e6 + rng.random(3000),
        "ties": rng.integers(0, 6, 3000),
        "equal": np.full(3000, 2.5),
    }[kind].astype(np.float32)
    rows, allowed = np.sort(rng.choice(9000, 3000, replace=False)).astype(np.int32), rng.random(8000) < 0.5
    picked, scores = text_module.kernels.best_rows(frozen(rows), frozen(score), frozen(allowed), k)
    order = np.lexsort((picked, -scores))[:k]
    inside = (rows < 8000) & allowed[np.minimum(rows, 7999)]
    expected = np.lexsort((rows[inside], -score[inside]))[:k]
    assert picked[order].tolist() == rows[inside][expected].tolist()
    assert kind != "spread" or len(picked) <= 1.2 * k + 20


def test_a_batch_answers_as_each_query_alone(items, index):
    batch = index.search(QUERIES, 15, everything(items, len(QUERIES)), {})
    for q, query in enumerate(QUERIES):
        alone = index.search([query], 15, everything(items), {})
        np.testing.assert_array_equal(alone.item, batch.list_of(q).item)
        np.testing.assert_array_equal(alone["score"], batch.list_of(q)["score"])


def test_weights_choose_the_fields(few):
    index = EmbeddedText.build(few)
    only = index.search(["lamp"], 10, everything(few), {"title": 1.0})
    assert set(few.ids(only.item)) == {"B01-X", "B02-X", "B06-X"}


def test_syntax_stop_words_ids_and_cjk(few):
    index = EmbeddedText.build(few)
    assert search(index, few, '"desk lamp"') == ["B02-X"]
    assert sorted(search(index, few, "lamp -red")) == ["B03-X", "B06-X"]
    assert search(index, few, "the")[0] == "B04-X"
    assert search(index, few, " b01-x ")[0] == "B01-X"
    assert search(index, few, "相机") == ["B05-X"]
    assert search(index, few, "") == []


def test_match_set(few):
    index = EmbeddedText.build(few)

    def matched(query: str) -> set[str]:
        return set(few.ids(np.flatnonzero(index.match(query, {}))))

    assert len(matched("")) == 6
    assert matched("desk lamp") == {"B01-X", "B02-X", "B03-X"}
    assert matched("blue desk lamp acme") == {"B01-X", "B02-X"}, "three of four words"
    assert matched("desk spaceship") == {"B01-X", "B02-X", "B03-X"}, "one word less until something matches"
    assert matched("-lamp") == {"B04-X", "B05-X"}
    assert matched('"the who"') == {"B04-X"}
    assert matched("spaceship") == set()


def test_match_set_counts_words_as_promised(items, index):
    query = "wireless steel lamp red"
    rows = np.flatnonzero(items.live)
    wanted = set(index.terms(query))
    held = [len(wanted & words) for words in words_of(items, rows)]
    needed = next(n for n in (3, 2, 1) if max(held) >= n)
    np.testing.assert_array_equal(index.match(query, {})[rows], np.array(held) >= needed)


def words_of(items, rows) -> list[set[str]]:
    """The terms of each row, over all its fields."""
    fields = ("title", "brand", "category", "attributes", "description")
    texts = zip(*(items.text(field, rows) for field in fields), strict=True)
    return [{term for text in of_row for term in ANALYSER.terms(text)} for of_row in texts]


def test_typos_are_corrected_and_suggested(items, index):
    assert index.suggest("wirless  Kettel") == "wireless kettle"
    assert index.suggest("wireless kettle") is None
    assert search(index, items, "wirless kettel") == search(index, items, "wireless kettle")
    np.testing.assert_array_equal(index.match("wirless kettel", {}), index.match("wireless kettle", {}))


def test_explanations_name_the_fields(few):
    index = EmbeddedText.build(few)
    assert index.matched_fields("red lamps desk", 0) == {"title": ("red", "lamps"), "description": ("desk",)}


def test_refresh_follows_changes_additions_and_deletions_on_disk(tmp_path):
    items = table(generated(60))
    index = EmbeddedText.build(items, tmp_path / "v1")
    fresh = table([{"item_id": "SKU-5", "title": "unicorn blanket"}, {"item_id": "NEW", "title": "unicorn mug"}]).table
    items = items.upserted(fresh).deleted(["SKU-7"])
    changed = items.rows_of(["SKU-5", "NEW", "SKU-7"])
    for _ in range(2):
        index.refresh(items, changed)
    for now in (index, index.saved(tmp_path / "v2"), EmbeddedText.open(items, tmp_path / "v2")):
        assert sorted(search(now, items, "unicorn")) == ["NEW", "SKU-5"]
        assert now.num_docs == items.live.sum()
        assert now.suggest("unicron") == "unicorn"
        old_mask = RowMasks(np.ones((1, 60), bool), np.zeros(1, np.int64))
        assert items.ids(now.search(["unicorn"], 5, old_mask, {}).item) == ["SKU-5"], "rows beyond a mask are refused"


def test_a_failed_build_leaves_nothing(tmp_path, few, monkeypatch):
    def stop(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(text_module, "sync_tree", stop)
    with pytest.raises(KeyboardInterrupt):
        EmbeddedText.build(few, tmp_path / "text" / "v1")
    assert os.listdir(tmp_path / "text") == []
    with pytest.raises(StateError, match="build the indexes again"):
        EmbeddedText.open(few, tmp_path / "text" / "v1")


@pytest.mark.parametrize("name", ["text.json", "words.txt", "terms.txt", "docs.npy", "lengths.npy", "term_W.npy"])
def test_a_file_that_is_cut_off_or_missing_is_refused(few, tmp_path, name):
    EmbeddedText.build(few, tmp_path / "v1")
    path = tmp_path / "v1" / name
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(StateError, match="build the indexes again"):
        EmbeddedText.open(few, tmp_path / "v1")
    path.unlink()
    with pytest.raises(StateError, match="build the indexes again"):
        EmbeddedText.open(few, tmp_path / "v1")


def test_an_empty_catalogue_answers_nothing():
    items = table([{"item_id": "a", "title": "lamp", "active": False}])
    index = EmbeddedText.build(items)
    assert len(index.search(["lamp"], 5, everything(items), {}).item) == 0
    assert not index.match("lamp", {}).any()


@pytest.mark.parametrize(
    "query", ["\ud800 lamp", "lamp " * 5000, '"', "-", "a" * 100_000, "\x00", "((lamp", "lamp OR *:*"]
)
def test_whatever_is_typed_is_answered(items, index, query):
    index.search([query], 5, everything(items), {})
    index.match(query, {})
    index.suggest(query)
