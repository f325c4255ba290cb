"""The generated world: frozen, honest, and hard where it should be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from aisle.core.errors import AisleError, SettingError
from aisle.data.schema import CATALOGUE
from aisle.data.shop import Shop
from aisle.simulate.catalogue.items import catalogue, shown
from aisle.simulate.catalogue.taxonomy import KINDS, LEAVES
from aisle.simulate.grades.rules import GAINS
from aisle.simulate.judgments.annotator import annotate
from aisle.simulate.language.queries import HARD
from aisle.simulate.lexical import Bm25, best
from aisle.simulate.world import World, digest, simulate
from aisle.simulate.worlds import names

FROZEN = "default@2-4fa65f10a5e8"
"""The default world of 300 items and seed 0.  A change of the catalogue or of a default knob changes it; whoever means that
raises ``world.RULES`` and writes the new name here, since figures of records hold for the world that they name."""


def ndcg_of_kinds(world: World, n: int = 300) -> dict[str, float]:
    """Mean nDCG@10 of the plain BM25 by query kind."""
    discount = 1 / np.log2(np.arange(2, 12))
    values: dict[str, list[float]] = {}
    for query in world.queries(n):
        gain = np.array([0.0, *GAINS.values()])[world.grades(query)]
        found = gain[world.bm25.top(query.text, 10)]
        ideal = np.sort(gain)[::-1][:10]
        values.setdefault(query.kind, []).append(float(found @ discount[: len(found)] / (ideal @ discount)))
    return {kind: float(np.mean(v)) for kind, v in values.items()} | {
        "all": float(np.mean(np.concatenate(list(values.values()))))
    }


def test_catalogue_is_as_rich_as_promised(world: World) -> None:
    table = world.items
    assert table.schema.equals(CATALOGUE)
    assert table.num_rows == len(set(table["item_id"].to_pylist())) == 2500
    paths = {path for paths in table["category"].to_pylist() for path in paths}
    assert len(paths) >= 40
    assert len({p.split(" > ")[0] for p in paths}) >= 8
    assert all(len(p.split(" > ")) == 3 for p in paths)
    sizes = pc.value_counts(table["group_id"]).field("counts").to_numpy()
    assert 0.10 < sizes[sizes > 1].sum() / 2500 < 0.22
    stock = table["stock"].to_numpy()
    assert 0.03 < (stock == 0).mean() < 0.07
    reviews = np.sort(table["rating_count"].to_numpy())[::-1]
    assert reviews[:250].sum() > 0.5 * reviews.sum()
    assert pc.all(pc.greater_equal(table["list_price_cents"], table["price_cents"])).as_py()


def test_variants_share_a_product_and_differ_in_one_attribute(world: World) -> None:
    groups: dict[str, list[int]] = {}
    for row, group in enumerate(world.items["group_id"].to_pylist()):
        groups.setdefault(group, []).append(row)
    several = [rows for rows in groups.values() if len(rows) > 1]
    assert len(several) > 50
    for rows in several:
        leaf = LEAVES[world.truth.leaf[rows[0]]]
        values = [{e["name"]: e["text"] or e["number"] for e in shown(world.truth, row)} for row in rows]
        differ = {name for name in values[0] if len({v[name] for v in values}) > 1}
        assert differ == {KINDS[leaf.variant].name}
        assert len(set(world.truth.brand[rows])) == len(set(world.truth.leaf[rows])) == 1


def test_no_truth_stands_in_the_catalogue(world: World) -> None:
    assert set(world.items.column_names) == set(CATALOGUE.names)
    shown = {a["name"] for row in world.items["attributes"].to_pylist() for a in row}
    assert not shown & {"use", "grade", "tier", "quality", "leaf"}


def test_same_seed_gives_the_same_bytes_in_another_process() -> None:
    code = (
        "from aisle.simulate.world import World, digest;from aisle.simulate.loop.log import log;"
        "from aisle.simulate.judgments.annotator import annotate;w=World.make(400, 5);q=w.queries(40);"
        "print(w.version, digest(log(w, 2)), digest(annotate(w, q, 800)[0]), hash('a'));print([x.text for x in q])"
    )
    src = str(Path(__file__).parents[2] / "src")
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": src},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        for seed in ("1", "2")
    ]
    (first, *texts), (second, *others) = runs
    assert first.split()[:3] == second.split()[:3]
    assert first.split()[3] != second.split()[3]
    assert texts == others
    assert len({first.split()[0], World.make(400, 6).version, World.make(400, 5, noise=0.5).version}) == 3


def test_the_default_world_is_frozen() -> None:
    assert World.make(300, 0).version == FROZEN


def test_every_named_world_is_another_and_says_its_name() -> None:
    made = {name: World.make(60, 0, name).version for name in names()}
    assert len(set(made.values())) == len(made)
    for name, version in made.items():
        assert version.startswith(f"{name}@")
    assert World.make(60, 0, gap=0.123).version.startswith("custom@")


def test_bm25_does_not_solve_the_world_and_the_gap_is_why(world: World) -> None:
    values = ndcg_of_kinds(world)
    assert 0.45 < values["all"] < 0.75
    plain = np.mean([values[k] for k in ("head", "brand", "attribute", "tail")])
    assert np.mean([values[k] for k in ("synonym", "misspelling", "use")]) < plain - 0.05
    assert np.mean([values[k] for k in HARD]) < plain - 0.25
    closed = ndcg_of_kinds(World.make(2500, 0, "null:words"))
    assert closed["all"] > values["all"] + 0.08
    assert closed["synonym"] > values["synonym"] + 0.2
    assert ndcg_of_kinds(World.make(2500, 0, "adverse:words"))["all"] < values["all"] - 0.15


def test_simulate_writes_a_shop(tmp_path: Path) -> None:
    seen: list[str] = []
    written = simulate(
        tmp_path / "shop",
        300,
        2,
        1,
        num_queries=30,
        budget=600,
        progress=lambda task, done, total: seen.append(task),
    )
    shop = Shop.open(tmp_path / "shop")
    assert shop.items().num_rows == 300
    assert len(shop.events()) == written["events"] > 0
    assert len((tmp_path / "shop" / "queries.txt").read_text().splitlines()) == 30
    assert json.loads((tmp_path / "shop" / "world.json").read_text())["version"] == World.make(300, 1).version
    view = shop.view()
    assert len(view.judgments("train")) > len(view.judgments("validation"))
    assert {"catalogue", "judgments", "days"} == set(seen)
    with pytest.raises(AisleError, match="is a shop already"):
        simulate(tmp_path / "shop", 10, 0, 1)


@pytest.mark.parametrize("bad", [{"gap": 1.5}, {"noise": -0.1}])
def test_knobs_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(SettingError, match="from 0"):
        World.make(10, 0, **bad)


def test_tiny_worlds(world: World) -> None:
    assert catalogue(1, 3).num_rows == 1
    with pytest.raises(SettingError, match="give 1 or more"):
        catalogue(0)
    with pytest.raises(SettingError, match="raise it"):
        annotate(world, world.queries(20), budget=5)


def test_lexical_scorer() -> None:
    bm25 = Bm25(["red mugs", "blue mug", "red red pan", ""])
    assert bm25.top("mug", 5).tolist() == [0, 1]
    assert bm25.top("red pan", 5).tolist() == [2, 0]
    assert len(bm25.top("sofa", 5)) == 0
    score = np.array([1, 3, 3, 0, 2] * 9, np.float32)
    assert best(score, 3).tolist() == [1, 2, 6]


def test_digest_does_not_depend_on_chunks(world: World) -> None:
    parts = pa.concat_tables([world.items.slice(0, 100), world.items.slice(100)])
    assert digest(parts) == digest(world.items)
