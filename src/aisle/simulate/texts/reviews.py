"""Reviews of generated items, and what is true of them: which aspect each mentions, with which sentiment, in which words.

Reviews are made on request for the rows that are asked for: the same review comes out whichever rows it is asked with.
What shoppers think of an aspect follows from the quality of the product, its price and its merchant, and from chance.

Legend: N rows, R reviews, M mentions, A aspects, S sentences of a review.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aisle.core.draws import key_of, mixed, normal, uniform
from aisle.core.lists import Array
from aisle.simulate.catalogue.products import START_S
from aisle.simulate.catalogue.taxonomy import LEAVES
from aisle.simulate.catalogue.truth import Truth
from aisle.simulate.texts.aspects import ASPECTS, CLOSERS, DENIED, OF_LEAF, OPENERS, PLAIN

MOST_MENTIONS = 3
DENIALS = 0.12
"""Share of mentions that deny the opposite instead."""

NAMES = [aspect.name for aspect in ASPECTS]


@dataclass(frozen=True, eq=False)
class Reviews:
    """
    table     R reviews as displayed: item_id, review_id, time_s, stars, text, helpful (votes)
    mentions  M mentions, truth: review (row of ``table``), aspect (name), sentiment (+1 or -1), denied (the words say
              the opposite and are denied), term_start, term_end, opinion_start, opinion_end (characters of the text)
    """

    table: pa.Table
    mentions: pa.Table


def sentiment(truth: Truth, rows: Array) -> Array:
    """float32[N, A]: how well each aspect of these items is liked, about normal; NaN where nobody talks of it."""
    out = np.full((len(rows), len(ASPECTS)), np.nan, np.float32)
    leaf = truth.leaf[rows]
    usual = np.array([leaf.price for leaf in LEAVES])[leaf]
    dear = np.log(truth.price_cents[rows] / 100 / usual)
    talked = _talked()[leaf]
    for n, name in enumerate(NAMES):
        chance = normal(mixed(truth.key[rows], key_of(f"aspect {name}")))
        if name == "price":
            liked = 0.7 * truth.quality[rows] - 1.2 * dear + 0.4 * chance
        elif name == "delivery":
            liked = normal(mixed(truth.merchant[rows], key_of("delivery"))) + 0.3 * chance
        else:
            liked = 0.6 * truth.quality[rows] + 0.8 * chance
        out[talked[:, n], n] = liked[talked[:, n]]
    return out


def reviews(items: pa.Table, truth: Truth, rows: Array, most: int = 5) -> Reviews:
    """Up to ``most`` reviews of each of these rows, as many as its ``rating_count`` allows."""
    count = np.minimum(items["rating_count"].to_numpy()[rows], most)
    row = np.repeat(rows, count)
    number = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    key = mixed(truth.key[row], truth.member[row], key_of("review"), number)
    aspect, positive, denied = _opinions(truth, row, key)
    sentences = _sentences(truth.leaf[row], aspect, positive, denied, key)
    bank = _bank()
    columns = [bank.texts.take(pa.array(column, mask=column < 0)) for column in sentences.T]
    text = pc.binary_join_element_wise(*columns, " ", null_handling="skip")
    ids = items["item_id"].combine_chunks().take(pa.array(row))
    created = truth.created_s[row]
    balance = np.where(aspect >= 0, np.where(positive, 1.0, -1.0), 0.0).sum(axis=1) / np.maximum(
        (aspect >= 0).sum(axis=1), 1
    )
    stars = np.clip(np.rint(3.4 + 1.3 * balance + 0.5 * normal(mixed(key, key_of("stars")))), 1, 5)
    table = pa.table(
        {
            "item_id": ids,
            "review_id": pc.binary_join_element_wise(ids, pa.array(number).cast(pa.string()), "-r"),
            "time_s": np.floor(created + uniform(mixed(key, key_of("time"))) * np.maximum(START_S - created, 0)),
            "stars": stars.astype(np.int8),
            "text": text,
            "helpful": np.floor(-3 * np.log1p(-uniform(mixed(key, key_of("helpful"))))).astype(np.int32),
        }
    )
    return Reviews(table, _mentions(sentences, aspect, positive, denied))


def _opinions(truth: Truth, row: Array, key: Array) -> tuple[Array, Array, Array]:
    """int64[R, 3] aspect of each mention, -1 none; bool[R, 3] whether it praises; bool[R, 3] by denial."""
    liked = sentiment(truth, row)
    draw = np.stack([uniform(mixed(key, key_of(f"rank {name}"))) for name in NAMES], axis=1)
    order = np.argsort(np.where(np.isnan(liked), 2.0, draw), axis=1)[:, :MOST_MENTIONS]
    wanted = 1 + (MOST_MENTIONS * uniform(mixed(key, key_of("mentions")))).astype(np.int64)
    aspect = np.where(np.arange(MOST_MENTIONS) < wanted[:, None], order, -1)
    chance = np.stack([uniform(mixed(key, key_of("praise")), n + 1) for n in range(MOST_MENTIONS)], axis=1)
    praised = 1 / (1 + np.exp(-(0.6 + 1.7 * np.take_along_axis(liked, order, 1))))
    denial = np.stack([uniform(mixed(key, key_of("denied")), n + 1) for n in range(MOST_MENTIONS)], axis=1)
    return aspect, chance < praised, denial < DENIALS


class _Bank(NamedTuple):
    """
    texts     string[B]: every sentence
    spans     int32[B, 4]: where its term and its opinion begin and end
    first     int64[A, 2, 2]: (aspect, whether the sentence praises, whether by denial) -> its first sentence
    num       int64[A, 2, 2]: and how many there are
    opener    int64: the first opener of the first shelf; closer: the first closer
    """

    texts: pa.Array
    spans: Array
    first: Array
    num: Array
    opener: int
    closer: int


@lru_cache(maxsize=1)
def _bank() -> _Bank:
    texts: list[str] = []
    spans: list[tuple[int, int, int, int]] = []
    first = np.zeros((len(ASPECTS), 2, 2), np.int64)
    count = np.zeros_like(first)
    for n, aspect in enumerate(ASPECTS):
        for praises in (0, 1):
            for denied, templates in enumerate((PLAIN, DENIED)):
                first[n, praises, denied] = len(texts)
                side = aspect.praise if praises != denied else aspect.blame
                for template in templates:
                    for term in aspect.terms:
                        for opinion in (word for group in side for word in group):
                            text, span = _spoken(template, term, opinion)
                            texts.append(text)
                            spans.append(span)
                count[n, praises, denied] = len(texts) - first[n, praises, denied]
    opener = len(texts)
    texts += [opener.format(noun=leaf.nouns[0]) for leaf in LEAVES for opener in OPENERS]
    closer = len(texts)
    texts += CLOSERS
    return _Bank(pa.array(texts), np.array(spans, np.int32), first, count, opener, closer)


def _spoken(template: str, term: str, opinion: str) -> tuple[str, tuple[int, int, int, int]]:
    """A sentence, and where its term and its opinion stand in it."""
    opinion_at, term_at = template.lower().index("{opinion}"), template.index("{term}")
    written = opinion[0].upper() + opinion[1:]
    text = template.format(term=term, opinion=opinion, Opinion=written)
    opinion_shift = len(term) - len("{term}") if term_at < opinion_at else 0
    term_shift = len(opinion) - len("{opinion}") if opinion_at < term_at else 0
    start, other = term_at + term_shift, opinion_at + opinion_shift
    return text, (start, start + len(term), other, other + len(opinion))


def _sentences(leaf: Array, aspect: Array, positive: Array, denied: Array, key: Array) -> Array:
    """int64[R, S] into the bank, -1 none: an opener, the mentions, a closer."""
    bank = _bank()
    draw = np.stack([uniform(mixed(key, key_of("sentence")), n + 1) for n in range(aspect.shape[1])], axis=1)
    which = (np.maximum(aspect, 0), positive.astype(np.int64), denied.astype(np.int64))
    said = np.where(aspect >= 0, bank.first[which] + (draw * bank.num[which]).astype(np.int64), -1)
    opens, closes = uniform(mixed(key, key_of("opens"))), uniform(mixed(key, key_of("closes")))
    opener = bank.opener + leaf * len(OPENERS) + (opens / 0.35 * len(OPENERS)).astype(np.int64)
    closer = bank.closer + (closes / 0.25 * len(CLOSERS)).astype(np.int64)
    return np.column_stack([np.where(opens < 0.35, opener, -1), said, np.where(closes < 0.25, closer, -1)])


def _mentions(sentences: Array, aspect: Array, positive: Array, denied: Array) -> pa.Table:
    bank = _bank()
    length = np.where(sentences >= 0, pc.utf8_length(bank.texts).to_numpy()[sentences] + 1, 0)
    start = np.cumsum(length, axis=1) - length
    review, place = np.nonzero(aspect >= 0)
    spans = bank.spans[sentences[review, 1 + place]] + start[review, 1 + place, None]
    return pa.table(
        {
            "review": review,
            "aspect": pa.array(NAMES).take(pa.array(aspect[review, place])),
            "sentiment": np.where(positive[review, place], 1, -1).astype(np.int8),
            "denied": denied[review, place],
            **{name: spans[:, n] for n, name in enumerate(("term_start", "term_end", "opinion_start", "opinion_end"))},
        }
    )


@lru_cache(maxsize=1)
def _talked() -> Array:
    """bool[S, A]: shoppers of a shelf talk about an aspect."""
    talked = np.zeros((len(LEAVES), len(ASPECTS)), bool)
    for leaf, aspects in enumerate(OF_LEAF):
        talked[leaf, list(aspects)] = True
    return talked
