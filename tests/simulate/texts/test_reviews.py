"""Reviews say what is true of them: aspects, sentiments and the places of their words."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from aisle.simulate.catalogue.items import make_items
from aisle.simulate.catalogue.products import START_S
from aisle.simulate.catalogue.taxonomy import LEAVES
from aisle.simulate.catalogue.truth import Truth
from aisle.simulate.knobs import Knobs
from aisle.simulate.texts.aspects import ASPECTS, OF_LEAF
from aisle.simulate.texts.reviews import NAMES, Reviews, reviews, sentiment


@pytest.fixture(scope="module")
def shop() -> tuple[pa.Table, Truth]:
    return make_items(2000, 3, Knobs())


@pytest.fixture(scope="module")
def made(shop) -> Reviews:
    return reviews(*shop, np.arange(2000))


def test_every_shelf_has_aspects_of_its_own() -> None:
    assert min(map(len, OF_LEAF)) >= 4
    talked = {leaf.shelf: {NAMES[n] for n in aspects} for leaf, aspects in zip(LEAVES, OF_LEAF, strict=True)}
    assert "battery" in talked["Headphones"]
    assert "taste" in talked["Honey"]
    assert "fit" in talked["Jeans"]
    assert "battery" not in talked["Jeans"]
    for aspect in ASPECTS:
        praise, blame = ({word for group in side for word in group} for side in (aspect.praise, aspect.blame))
        assert not praise & blame, aspect.name


def test_mentions_stand_where_the_truth_says(made: Reviews) -> None:
    texts = made.table["text"].to_pylist()
    of_name = {aspect.name: aspect for aspect in ASPECTS}
    denials = 0
    for m in made.mentions.to_pylist():
        text, aspect = texts[m["review"]], of_name[m["aspect"]]
        assert text[m["term_start"] : m["term_end"]].lower() in aspect.terms
        said = text[m["opinion_start"] : m["opinion_end"]]
        side = aspect.praise if (m["sentiment"] > 0) != m["denied"] else aspect.blame
        words = {word for group in side for word in group}
        assert said in words or said[0].lower() + said[1:] in words
        denials += m["denied"]
    assert 0.08 < denials / len(made.mentions) < 0.16


def test_there_are_no_more_reviews_than_the_shop_counts(shop, made: Reviews) -> None:
    items, truth = shop
    row = np.array([int(name[1:]) for name in made.table["item_id"].to_pylist()])
    counted = items["rating_count"].to_numpy()
    assert np.array_equal(np.bincount(row, minlength=2000), np.minimum(counted, 5))
    time_s = made.table["time_s"].to_numpy()
    assert (time_s <= START_S).all()
    assert (time_s >= truth.created_s[row]).all()
    assert len(set(made.table["review_id"].to_pylist())) == len(made.table)


def test_reviews_follow_the_sentiment_of_their_item(shop, made: Reviews) -> None:
    _, truth = shop
    row = np.array([int(name[1:]) for name in made.table["item_id"].to_pylist()])
    mentioned = made.mentions["review"].to_numpy()
    aspect = np.array([NAMES.index(name) for name in made.mentions["aspect"].to_pylist()])
    liked = sentiment(truth, row[mentioned])[np.arange(len(aspect)), aspect]
    assert not np.isnan(liked).any()
    praised = made.mentions["sentiment"].to_numpy() > 0
    assert praised[liked > 1].mean() > 0.85
    assert praised[liked < -1].mean() < 0.35
    stars = made.table["stars"].to_numpy()
    assert stars.min() >= 1
    assert stars.max() <= 5
    good = np.array([praised[mentioned == n].mean() for n in range(300)])
    assert np.corrcoef(good, stars[:300])[0, 1] > 0.8
    dear = (
        truth.price_cents[row[mentioned]] / 100 / np.array([leaf.price for leaf in LEAVES])[truth.leaf[row[mentioned]]]
    )
    price = aspect == NAMES.index("price")
    assert praised[price & (dear < 0.6)].mean() > praised[price & (dear > 1.6)].mean() + 0.15


def test_a_review_does_not_depend_on_what_else_is_asked(shop, made: Reviews) -> None:
    items, truth = shop
    few = reviews(items, truth, np.array([7, 3, 12]))
    everything = {r["review_id"]: r for r in made.table.to_pylist()}
    assert len(few.table) > 0
    assert all(everything[r["review_id"]] == r for r in few.table.to_pylist())
