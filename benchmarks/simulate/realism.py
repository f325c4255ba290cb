"""The default world beside real shops: what is alike and what is not, as figures, a table and plots.

    python benchmarks/simulate/realism.py              prints the figures as rows of JSON
    python benchmarks/simulate/realism.py --write      writes the table into docs/simulate.md and the plots into docs/images

Real data is read from ``AISLE_DATA`` (ESCI, Icecat, Amazon Beauty and Sports 5-core).  Only descriptive statistics are
taken from it: nothing is fitted.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parent))

import _statistics as st

from _svg import Axis, lines

from aisle.core.lists import Array
from aisle.data.sets import open_set
from aisle.simulate.judgments.annotator import annotate
from aisle.simulate.judgments.bayes import ceiling, judged_pairs, posterior, written
from aisle.simulate.language.queries import traffic
from aisle.simulate.loop.log import log
from aisle.simulate.world import World

ROOT = Path(__file__).parents[2]
PAGE, IMAGES = ROOT / "docs" / "simulate.md", ROOT / "docs" / "images"
MARK = re.compile(r"(<!-- realism: written by .*? -->\n).*?(<!-- end of realism -->)", re.DOTALL)

ITEMS, DAYS, QUERIES = 20_000, 7, 300

# Google, 80 million keywords: clicks on the first, second, third, fourth and tenth organic result (Sistrix, July 2020).
WEB_POSITIONS, WEB_RATES = np.array([1, 2, 3, 4, 10]), np.array([0.285, 0.157, 0.110, 0.080, 0.025])

Figures = dict[tuple[str, str], float]
"""(metric, source) -> value."""


def world_shop(world: World) -> st.Shop:
    table, gains = annotate(world, world.queries(QUERIES))
    return st.Shop("world", world.items, table, gains)


def real_shop(kind: str, folder: str) -> st.Shop:
    found = open_set(f"{kind}:{folder}")
    assert found.products is not None
    assert found.judgments is not None
    return st.Shop(kind, found.products, found.judgments, found.gains)


def of_shop(shop: st.Shop, out: Figures) -> dict[str, Array]:
    """Figures of one shop's language and judgments; the per-query nDCG of both retrievers comes back."""
    name = shop.name
    queries = list(dict.fromkeys(shop.judgments["query"].to_pylist()))
    for metric, value in st.spread([len(st.words_of(q)) for q in queries]).items():
        out[f"query words {metric}", name] = value
    titles = shop.texts("title")
    for metric, value in st.spread([len(st.words_of(t)) for t in titles]).items():
        out[f"title words {metric}", name] = value
    for metric, value in st.words(titles).items():
        out[f"title {metric}", name] = value
    for metric, value in st.lexical_gap(shop).items():
        out[f"gap {metric}", name] = value
    grade = shop.judgments["grade"].to_numpy()
    ranks = sorted(shop.gains)
    for place, value in zip(("lowest", "second", "third", "highest"), ranks, strict=True):
        out[f"grade {place}", name] = float((grade == value).mean())
    if name != "icecat":  # which names none
        for metric, value in st.categories(shop.products).items():
            out[f"categories {metric}", name] = value
    ndcg = st.retrieval(shop)
    out["ndcg bm25", name], out["ndcg minilm", name] = (float(ndcg[n].mean()) for n in ("bm25", "minilm"))
    out["ndcg gap", name] = out["ndcg minilm", name] - out["ndcg bm25", name]
    out["ndcg correlation", name] = float(np.corrcoef(ndcg["bm25"], ndcg["minilm"])[0, 1])
    return ndcg


def of_sequences(name: str, user: Array, item: Array, out: Figures) -> None:
    for metric, value in st.sequences(user, item).items():
        out[f"sequences {metric}", name] = value


def world_events(world: World, events: pa.Table, out: Figures) -> Array:
    """Figures of the log; clicks over impressions by position in searches comes back."""
    action = np.array(events["action"].to_pylist())
    search = np.array(events["scene"].to_pylist()) == "search"
    shopped = (action == "click") | (action == "order")
    user = np.unique(events["user_id"].to_numpy(zero_copy_only=False)[shopped], return_inverse=True)[1]
    item = np.array([int(i[1:]) for i in events["item_id"].filter(pa.array(shopped)).to_pylist()])
    of_sequences("world", *st.five_core(user, item), out)
    ordered = np.unique(events["item_id"].filter(pa.array(action == "order")).to_numpy(zero_copy_only=False))
    out["items sold in a week", "world"] = len(ordered) / world.num_items
    out["items with reviews", "world"] = float((world.items["rating_count"].to_numpy() > 0).mean())
    position = events["position"].fill_null(-1).to_numpy()
    return st.clicks_by_position(action[search], position[search])


def measured() -> tuple[Figures, dict[str, str]]:
    """Every figure, and the plots by file name."""
    out: Figures = {}
    world = World.make(ITEMS, 0)
    shops = [world_shop(world), real_shop("esci", "esci-us-150"), real_shop("icecat", "icecat-electronics")]
    ndcg = {shop.name: of_shop(shop, out) for shop in shops}
    out["items with reviews", "esci"] = float(
        np.mean([(n or 0) > 0 for n in shops[1].products["rating_count"].to_pylist()])
    )
    for name in ("beauty", "sports"):
        lists = open_set(f"amazon_5core:amazon-{name}").sequences
        assert lists is not None
        of_sequences(name, lists.owner, lists.item, out)
    by_position = world_events(world, log(world, DAYS, seed=0), out)
    for place in (2, 3, 4, 10):
        out[f"clicks at {place} over 1", "world"] = float(by_position[place - 1] / by_position[0])
        out[f"clicks at {place} over 1", "web search"] = float(WEB_RATES[place == WEB_POSITIONS][0] / WEB_RATES[0])
    out |= of_ceiling()
    return out, plots(world, shops, ndcg, by_position)


def of_ceiling() -> Figures:
    """The best macro-F1 on the default world of 2,500 products, of true grades and of grades as written."""
    world = World.make(2500, 0)
    asked = world.queries(QUERIES)
    rows = judged_pairs(annotate(world, asked)[0], asked)
    chances = np.concatenate([posterior(world, q, r) for q, r in zip(asked, rows, strict=True)])
    return {
        ("ceiling of grades as written", "world"): ceiling(written(world, chances)).macro_f1,
        ("ceiling of true grades", "world"): ceiling(chances).macro_f1,
    }


def plots(world: World, shops: list[st.Shop], ndcg: dict[str, dict[str, Array]], by_position: Array) -> dict[str, str]:
    words = {}
    for shop in shops:
        share = st.frequencies(shop.texts("title"))
        at = np.unique(np.geomspace(1, len(share), 120).astype(int)) - 1
        words[shop.name] = (at + 1, share[at])
    lengths = {}
    for shop in shops:
        count = np.bincount(
            [len(st.words_of(q)) for q in dict.fromkeys(shop.judgments["query"].to_pylist())], minlength=11
        )
        lengths[shop.name] = (np.arange(1, 11), count[1:11] / count.sum())
    share = np.sort(traffic(world.queries(QUERIES)))[::-1]
    sorted_gap = {
        name: (np.linspace(0, 1, len(n["bm25"])), np.sort(n["minilm"] - n["bm25"])) for name, n in ndcg.items()
    }
    positions = np.arange(1, st.K + 1)
    curves = {
        "world": (positions, by_position / by_position[0]),
        "web search": (WEB_POSITIONS, WEB_RATES / WEB_RATES[0]),
    }
    return {
        "simulate-words.svg": lines("Words of titles", words, Axis("rank", log=True), Axis("share of words", log=True)),
        "simulate-query-length.svg": lines("Length of queries", lengths, Axis("words"), Axis("share of queries")),
        "simulate-clicks.svg": lines("Clicks by position", curves, Axis("position"), Axis("over position 1")),
        "simulate-gap.svg": lines(
            "MiniLM minus BM25, query by query", sorted_gap, Axis("queries, sorted"), Axis("nDCG@10")
        ),
        "simulate-traffic.svg": lines(
            "Traffic of queries", {"world": (1 + np.arange(len(share)), share)}, Axis("rank", log=True),
            Axis("share of searches", log=True),
        ),
    }  # fmt: skip


TABLE = (
    ("words of a query, mean", "query words mean"),
    ("words of a query, 90th percentile", "query words p90"),
    ("words of a title, mean", "title words mean"),
    ("words of a title, 90th percentile", "title words p90"),
    ("different words in 50,000 of titles", "title vocabulary"),
    ("slope of word frequencies, ranks 10 to 1,000", "title slope"),
    ("share of words that occur once", "title once"),
    ("words of a query that a full answer's title lacks", "gap title"),
    ("... that its title and description lack", "gap text"),
    ("full answers whose title shares no word", "gap nothing"),
    ("nDCG@10, plain BM25 on titles", "ndcg bm25"),
    ("nDCG@10, MiniLM on titles", "ndcg minilm"),
    ("... correlation over queries", "ndcg correlation"),
    ("grades of judged pairs: lowest", "grade lowest"),
    ("... second", "grade second"),
    ("... third", "grade third"),
    ("... highest", "grade highest"),
    ("leaf categories", "categories number"),
    ("items in the largest tenth of them", "categories largest tenth"),
    ("items with reviews", "items with reviews"),
    ("items sold in a week", "items sold in a week"),
    ("5-core: interactions a user, mean", "sequences length mean"),
    ("... 90th percentile", "sequences length p90"),
    ("... with an item the user had before", "sequences repeats"),
    ("... on the busiest tenth of items", "sequences busiest tenth"),
    ("clicks at position 2 over position 1", "clicks at 2 over 1"),
    ("... 4 over 1", "clicks at 4 over 1"),
    ("... 10 over 1", "clicks at 10 over 1"),
    ("best macro-F1, grades as written", "ceiling of grades as written"),
    ("best macro-F1, true grades", "ceiling of true grades"),
)


def table(figures: Figures, version: str) -> str:
    sources = ("world", "esci", "icecat", "beauty", "sports", "web search")
    heads = ("world", "ESCI", "Icecat", "Amazon Beauty", "Amazon Sports", "web search")
    rows = [f"| | {' | '.join(heads)} |", "| --- |" + " ---: |" * len(heads)]
    for label, metric in TABLE:
        cells = [_cell(figures.get((metric, source))) for source in sources]
        rows.append(f"| {label} | {' | '.join(cells)} |")
    return f"World `{version}`, {ITEMS:,} products, {QUERIES} queries, {DAYS} days.\n\n" + "\n".join(rows) + "\n"


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--write", action="store_true", help="write docs/simulate.md's table and docs/images/simulate-*"
    )
    args = parser.parse_args()
    figures, pictures = measured()
    if args.write:
        version = World.make(ITEMS, 0).version
        text = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(MARK.sub(lambda m: f"{m[1]}{table(figures, version)}{m[2]}", text), encoding="utf-8")
        for name, picture in pictures.items():
            (IMAGES / name).write_text(picture, encoding="utf-8")
    rows = [{"metric": metric, "plan": source, "value": round(value, 4)} for (metric, source), value in figures.items()]
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
