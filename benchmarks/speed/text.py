"""Text search over 200,000 generated products: words, typing errors, prefixes, filters, facets, sort orders, changes.

One thread, one query at a time, the arms taking turns query by query, 3 rounds.  Nothing is remembered between the arms.
Searches and changes are timed by the processor time of the thread, which other processes do not stretch; on a quiet machine
the clock says the same.  Tantivy's changes, which wait for its threads and files, are timed by the clock.
Tantivy is asked the same as ``fields``: BM25 of the same words in the same fields with the same weights, 100 best, in an
index of the same process with its defaults; its change is a delete, an add, a commit and a reload.
"""

from __future__ import annotations

import argparse
import json
import resource
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, thread_time
from typing import Any

import numpy as np
import pyarrow as pa
import tantivy

from aisle.core.filters import In, Range, Sort
from aisle.core.lists import Array
from aisle.core.requests import Requests, RowMasks
from aisle.core.shop import TEXT_FIELDS, TEXT_WEIGHTS
from aisle.data.items import ItemTable
from aisle.engine.embedded.columns import Columns
from aisle.engine.embedded.text import EmbeddedText
from aisle.simulate.catalogue.items import catalogue

K, QUERIES, ROUNDS, CHANGES = 100, 200, 3, 300
FIELD_WEIGHTS = {field: TEXT_WEIGHTS[field] for field in TEXT_FIELDS}


def queries_of(items: ItemTable, rng: np.random.Generator) -> list[str]:
    """One to four neighbouring words of titles, in equal parts."""
    titles = items.text("title", rng.choice(items.num_rows, QUERIES).astype(np.int32))
    out = []
    for n, title in enumerate(titles):
        words = [w for w in title.replace("-", " ").split() if w.isalnum()]
        start = int(rng.integers(0, max(1, len(words) - n % 4)))
        out.append(" ".join(words[start : start + 1 + n % 4]).lower())
    return [q for q in out if q]


def mistyped(query: str, rng: np.random.Generator) -> str:
    """The longest word with two neighbouring letters swapped."""
    words = query.split()
    at = max(range(len(words)), key=lambda n: len(words[n]))
    word = words[at]
    if len(word) > 4:
        n = int(rng.integers(1, len(word) - 2))
        words[at] = word[:n] + word[n + 1] + word[n] + word[n + 2 :]
    return " ".join(words)


def begun(query: str) -> str:
    """The last word as it stands after its first three letters."""
    head, _, last = query.rpartition(" ")
    return f"{head} {last[:3]}*".strip()


class Peer:
    """Tantivy over the same texts."""

    def __init__(self, items: ItemTable, analyser: Any) -> None:
        builder = tantivy.SchemaBuilder()
        builder.add_unsigned_field("row", fast=True, indexed=True)
        for field in TEXT_FIELDS:
            builder.add_text_field(field, tokenizer_name="en_stem")
        self.schema = builder.build()
        self.index, self.analyser = tantivy.Index(self.schema), analyser
        self.put(items, np.flatnonzero(items.live).astype(np.int32), replace=False)

    def put(self, items: ItemTable, rows: Array, replace: bool = True) -> None:
        writer = self.index.writer(200_000_000, 1)
        texts = {field: items.text(field, rows) for field in TEXT_FIELDS}
        for n, row in enumerate(rows.tolist()):
            if replace:
                writer.delete_documents_by_query(tantivy.Query.term_query(self.schema, "row", row))
            document = tantivy.Document()
            document.add_unsigned("row", row)
            for field in TEXT_FIELDS:
                document.add_text(field, texts[field][n])
            writer.add_document(document)
        writer.commit()
        writer.wait_merging_threads()
        self.index.reload()
        self.searcher = self.index.searcher()

    def search(self, query: str) -> Array:
        hits = self.searcher.search(self.query(query), limit=K, count=False).hits
        return np.array(self.searcher.fast_field_values("row", [address for _, address in hits]), np.int32)

    def search_and_set(self, query: str) -> Array:
        """And every row with one of the words, which a page counts facets and totals in."""
        self.search(query)
        hits = self.searcher.search(
            self.query(query), limit=self.searcher.num_docs, count=False, order_by_field="row"
        ).hits
        return np.fromiter((row for row, _ in hits), np.int32, len(hits))

    def query(self, query: str) -> tantivy.Query:
        term, boost = tantivy.Query.term_query, tantivy.Query.boost_query
        words = self.analyser.query(query).scoring
        parts = [
            (tantivy.Occur.Should, boost(term(self.schema, f, w.term), FIELD_WEIGHTS[f]))
            for w in words
            for f in TEXT_FIELDS
        ]
        return tantivy.Query.boolean_query(parts)


class Arms:
    """What is timed, each arm a function of a query."""

    def __init__(self, items: ItemTable, text: EmbeddedText, peer: Peer, rng: np.random.Generator) -> None:
        self.items, self.text, self.columns = items, text, Columns(items)
        self.all = RowMasks(items.live[None], np.zeros(1, np.int64))
        self.facet_fields = items.facet_fields()
        self.price = Range("price_cents", None, float(np.nanpercentile(items.number("price_cents"), 10)))
        every = self.columns.count(self.columns.compile(Requests.make([""])), [None], ["brand"])[0]
        brands = every.facets["brand"]["values"]
        self.brand = In("brand", (brands[len(brands) // 2]["value"],))
        self.calls: dict[str, Callable[[str], Any]] = {
            "search": lambda q: self.search(q),
            "fields": lambda q: self.search(q, FIELD_WEIGHTS),
            "tantivy": peer.search,
            "search and match set": self.search_and_set,
            "tantivy, search and match set": peer.search_and_set,
            "typing error": lambda q: self.search(mistyped(q, rng)),
            "prefix": lambda q: self.search(begun(q)),
            "search, 10% by price": lambda q: self.filtered(q, self.price),
            "search, one brand": lambda q: self.filtered(q, self.brand),
            "match set": lambda q: text.match(q, {}),
            "facets": self.facets,
            "facets of all products": self.facets_of_all,
            "sort the match set": self.sort,
        }

    def search(self, query: str, weights: dict[str, float] | None = None) -> Array:
        return self.text.search([query], K, self.all, weights or {}).item

    def search_and_set(self, query: str) -> Array:
        self.search(query)
        return self.text.match(query, {})

    def filtered(self, query: str, filter: Any) -> Array:
        # A filter that was not asked for before, over columns that were.
        fresh = self.columns.followed(self.items, np.zeros(0, np.int32))
        requests = fresh.compile(Requests.make([query], filters=filter))
        return self.text.search([query], K, requests.masks(), {}).item

    def facets(self, query: str) -> Any:
        requests = self.columns.compile(Requests.make([query]))
        return self.columns.count(requests, [self.matched], self.facet_fields)

    def facets_of_all(self, query: str) -> Any:
        """As after a change, before anything is remembered."""
        fresh = self.columns.followed(self.items, np.zeros(0, np.int32))
        return fresh.count(fresh.compile(Requests.make([""])), [None], self.facet_fields)

    def sort(self, query: str) -> Array:
        return self.columns.order(np.flatnonzero(self.matched).astype(np.int32), Sort("price_cents"))

    def run(self, queries: list[str], rounds: int = ROUNDS) -> dict[str, list[float]]:
        """Milliseconds of every call, by arm."""
        taken: dict[str, list[float]] = defaultdict(list)
        for n in range(rounds + 1):
            for query in queries:
                self.matched = self.text.match(query, {})
                for name, call in self.calls.items():
                    self.text.forget()
                    start = thread_time()
                    call(query)
                    if n:  # the first round warms up
                        taken[name].append((thread_time() - start) * 1e3)
        return taken


def changes(items: ItemTable, text: EmbeddedText, rng: np.random.Generator) -> tuple[ItemTable, list[float]]:
    """Milliseconds from the changed catalogue to a search that finds the change, one product at a time."""
    source = items.row_table(rng.choice(items.num_rows, CHANGES).astype(np.int32))
    title, taken = source.schema.get_field_index("title"), []
    for n in range(CHANGES):
        one = source.slice(n, 1)
        one = one.set_column(title, "title", pa.array([f"{one['title'][0].as_py()} changed{n}x"]))
        items = items.upserted(one)
        rows = items.rows_of(one["item_id"].to_pylist())
        start = thread_time()
        text.refresh(items, rows)
        found = text.match(f"changed{n}x", {})
        taken.append((thread_time() - start) * 1e3)
        assert np.flatnonzero(found).tolist() == rows.tolist()
    return items, taken


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    items = ItemTable.from_table(catalogue(args.items, seed=3))
    items.live, items.rows_of(["p0"])
    EmbeddedText.build(ItemTable.from_table(catalogue(50, seed=3)))  # compiles
    rows: list[dict[str, Any]] = []

    def say(metric: str, plan: str, value: float) -> None:
        rows.append({"metric": metric, "plan": plan, "value": round(value, 3)})

    with TemporaryDirectory() as folder:
        before, start = resident_mb(), perf_counter()
        built = EmbeddedText.build(items)
        say("build_s", "text", perf_counter() - start)
        say("memory_mb", "text", resident_mb() - before)
        start = perf_counter()
        text = built.saved(Path(folder) / "a" / "b" / "c" / "v1")
        say("save_s", "text", perf_counter() - start)
        say("disk_mb", "text", sum(p.stat().st_size for p in text.folder.rglob("*")) / 1e6)
        start = perf_counter()
        text = EmbeddedText.open(items, text.folder)
        say("open_s", "text", perf_counter() - start)
        del built
        start = perf_counter()
        peer = Peer(items, text.analyser)
        say("build_s", "tantivy", perf_counter() - start)
        queries = queries_of(items, rng)
        arms = Arms(items, text, peer, rng)
        taken = arms.run(queries, args.rounds)
        same = [np.isin(peer.search(q), arms.search(q, FIELD_WEIGHTS)) for q in queries]
        say("overlap@100", "fields", float(np.concatenate(same).mean()))
        items, taken["upsert to visible"] = changes(items, text, rng)
        after = Arms(items, text, peer, rng)
        after.calls = {"search after changes": after.calls["search"]}
        taken |= after.run(queries, args.rounds)
        peer_changes = []
        for row in rng.choice(items.num_rows, 20):
            start = perf_counter()
            peer.put(items, np.array([row], np.int32))
            peer_changes.append((perf_counter() - start) * 1e3)
        taken["tantivy, upsert to visible"] = peer_changes
    for name, times in taken.items():
        say("p50_ms", name, float(np.percentile(times, 50)))
        say("p99_ms", name, float(np.percentile(times, 99)))
    for arm, theirs in (("fields", "tantivy"), ("search and match set", "tantivy, search and match set")):
        say("ratio_to_tantivy", arm, float(np.percentile(taken[theirs], 50) / np.percentile(taken[arm], 50)))
    ratio = np.percentile(taken["tantivy, upsert to visible"], 50) / np.percentile(taken["upsert to visible"], 50)
    say("ratio_to_tantivy", "upsert to visible", float(ratio))
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
