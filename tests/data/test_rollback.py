from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from aisle.core.errors import DataError, GenerationError, StateError
from aisle.core.leases import hold
from aisle.data.rollback import earlier, roll_back
from aisle.data.shop import Shop


def products(*names: str) -> pa.Table:
    return pa.table({"item_id": list(names), "title": [f"title of {n}" for n in names]})


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Generation 1 with funnels f1 and f2, then generation 2."""
    made = Shop.create(tmp_path / "shop")
    made.write_generation([products("a", "b")])
    for name in ("f1", "f2"):
        made.funnel_path(name).write_text(json.dumps({"generation": 1}))
        made.point(funnel=name, plan=f"plan {name}")
    made.write_generation([products("c")], sequence=5)
    return made


def pointed(shop: Shop) -> tuple[int, int, str | None]:
    pointer = shop.pointer()
    return pointer["generation"], pointer["sequence"], pointer["funnel"]


def test_each_roll_back_goes_one_further(shop: Shop) -> None:
    assert pointed(shop) == (2, 5, "f2")
    assert [e["funnel"] for e in earlier(shop)] == ["f2", "f1", None]
    roll_back(shop)
    assert pointed(shop) == (1, 0, "f2")
    assert shop.items().ids([0, 1]) == ["a", "b"]
    roll_back(shop)
    assert pointed(shop) == (1, 0, "f1")
    assert shop.pointer()["plan"] == "plan f1"
    roll_back(shop)
    assert pointed(shop) == (1, 0, None)
    with pytest.raises(DataError, match="nothing before"):
        roll_back(shop)


def test_a_saved_funnel_can_be_named_and_left_again(shop: Shop) -> None:
    roll_back(shop, "f1")
    assert pointed(shop) == (1, 0, "f1")
    roll_back(shop)
    assert pointed(shop) == (2, 5, "f2")
    with pytest.raises(DataError, match="there are: f1, f2"):
        roll_back(shop, "f9")
    shop.funnel_path("f1").write_text("{")
    with pytest.raises(StateError, match="damaged"):
        roll_back(shop, "f1")


def test_what_is_gone_is_no_choice(shop: Shop) -> None:
    lease = hold(shop.generation_folder(1))
    assert shop.prune(keep=1) == [], "somebody has it open"
    lease.release()
    assert shop.prune(keep=1) == [1]
    assert earlier(shop) == []
    with pytest.raises(StateError, match="which is gone"):
        roll_back(shop, "f1")


def test_a_snapshot_keeps_rows_and_deletions(shop: Shop) -> None:
    items = shop.items().upserted(products("d", "e")).deleted(["c"])
    shop.write_snapshot(items, 9)
    again = Shop.open(shop.folder)
    assert again.base_sequence() == 9
    kept = again.items(check=True)
    assert kept.ids([0, 1, 2]) == ["c", "d", "e"]
    assert kept.tombstones.tolist() == [True, False, False]
    assert kept.live.tolist() == [False, True, True]
    shop.write_snapshot(kept, 8)
    assert shop.base_sequence() == 9, "an older state never takes the place of a newer one"
    later = kept.upserted(products("f"))
    shop.write_snapshot(later, 12)
    assert sorted(p.name for p in shop.generation_folder().glob("items*")) == ["items-12.arrow", "items-9.arrow"]
    assert kept.text("title") == ["title of c", "title of d", "title of e"]
    with pytest.raises(GenerationError, match="the shop is at 2"):
        shop.write_snapshot(shop.items(1), 20)


def test_a_damaged_catalogue_is_refused_with_the_way_back(shop: Shop) -> None:
    path = shop.generation_folder() / "items.arrow"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:])
    with pytest.raises(StateError, match=r"damaged .*aisle rollback"):
        shop.items(check=True)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StateError, match=r"damaged .*aisle restore"):
        shop.items()
    (shop.generation_folder() / "generation.json").write_text("{")
    with pytest.raises(StateError, match="damaged"):
        shop.base_sequence()
    roll_back(shop)
    assert shop.items(check=True).num_rows == 2


def test_a_flipped_bit_in_a_segment_is_noticed(shop: Shop) -> None:
    shop.add_prices(
        pa.table({"item_id": ["a"] * 500, "time_s": [float(n) for n in range(500)], "price_cents": [1] * 500})
    )
    path = shop.folder / "prices" / "000001.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:60] + bytes([whole[60] ^ 1]) + whole[61:])
    with pytest.raises(StateError, match="damaged"):
        shop.prices()
