"""Every column that crosses a module border, named once.  ``docs/glossary.md`` is generated from here."""

from __future__ import annotations

from typing import NamedTuple


class Column(NamedTuple):
    name: str
    dtype: str
    unit: str
    meaning: str


CATALOGUE = (
    Column("item_id", "string", "", "the shop's own id; unique"),
    Column("group_id", "string", "", "variants of one product share it; item_id where the shop has no variants"),
    Column("title", "string", "", "what the product is called on its page"),
    Column("description", "string", "", "long text, plain"),
    Column("brand", "string", "", "brand as displayed"),
    Column("category", "list<string>", "", "category paths, each written 'Department > Aisle > Shelf'"),
    Column(
        "attributes", "list<struct<name, text, number, unit>>", "", "typed attributes: a text, or a number with unit"
    ),
    Column("price_cents", "int64", "cents", "price now; null when unknown"),
    Column("list_price_cents", "int64", "cents", "price before reduction; null when unknown"),
    Column("currency", "string", "", "ISO 4217 code"),
    Column("rating", "float32", "stars, 0 to 5", "mean review rating; null when unknown"),
    Column("rating_count", "int64", "reviews", "number of reviews; null when unknown"),
    Column("images", "list<string>", "", "image addresses, the main one first"),
    Column("locale", "string", "", "language of the texts, such as 'en' or 'en-US'"),
    Column("merchant", "string", "", "who sells it"),
    Column("created_s", "float64", "unix seconds", "when the item entered the shop; null when unknown"),
    Column("stock", "int64", "pieces", "pieces on stock; null when the shop does not count"),
    Column("active", "bool", "", "false: kept, but not shown"),
)

EVENTS = (
    Column("time_s", "float64", "unix seconds", "when it happened"),
    Column("user_id", "string", "", "the shop's user id; empty when anonymous"),
    Column("session_id", "string", "", "visit id"),
    Column("request_id", "string", "", "joins a click to the page it was made on (UBI: query_id)"),
    Column("scene", "string", "", "search, feed or similar"),
    Column("query", "string", "", "what was typed; empty in a feed"),
    Column("item_id", "string", "", "the item acted on; empty for a page without one"),
    Column("position", "int32", "places, from 0", "place on the page; null when unknown"),
    Column("action", "string", "", "impression, click, cart, order, return, remove"),
    Column("quantity", "int32", "pieces", "pieces carted or ordered; null otherwise"),
    Column("price_cents", "int64", "cents", "price at that moment; null when unknown"),
    Column("propensity", "float64", "probability", "of the item at its position under the policy that showed it"),
    Column("extra", "string", "JSON", "whatever else the source record held, so that a round trip loses nothing"),
)

JUDGMENTS = (
    Column("query", "string", "", "the query as typed"),
    Column("item_id", "string", "", "the judged item"),
    Column("grade", "int32", "", "ordinal grade; its gain stands in the gain map saved beside the table"),
)

CANDIDATES = (
    Column("score", "float32", "", "the score by which a stage orders, higher first"),
    Column("score_<retriever>", "float32", "", "a retriever's own score, completed for every candidate where it can"),
    Column("found_<retriever>", "bool", "", "the retriever proposed this item itself"),
    Column("rank_<retriever>", "int32", "places, from 0", "place in the retriever's own list; -1 where not found"),
    Column("relevance", "float32", "0 to 1", "calibrated relevance of item to query"),
    Column("tier", "int8", "", "what a judge makes of it: 2 good, 1 middle, 0 bad, -1 not judged"),
    Column("ctr", "float32", "probability", "of a click, given that the item is seen"),
    Column("<task>_rate", "float32", "probability", "of a cart, order, return or removal, given that the item is seen"),
    Column("propensity", "float32", "probability", "of the item at its position; 1 in a deterministic plan"),
    Column("action", "int8", "Action", "in histories: what the user did"),
    Column("time_s", "float64", "unix seconds", "in histories: when"),
    Column(
        "emb_<encoder>", "float32[Q, D]", "", "request column: the query's embedding, computed at most once a request"
    ),
)
