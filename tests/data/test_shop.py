"""A shop's folder: whole or unchanged, whoever stops whenever."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from aisle.core.errors import DataError, StateError
from aisle.data import shop as shop_module
from aisle.data.items import ItemTable
from aisle.data.shop import Shop


def products(*names: str) -> pa.Table:
    return pa.table(
        {"item_id": list(names), "title": [f"title of {n}" for n in names], "price_cents": [100] * len(names)}
    )


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop.create(tmp_path / "shop")
    made.write_generation([products("a", "b")])
    return made


def names(shop: Shop) -> list[str]:
    items = shop.items()
    return items.ids(np.arange(items.num_rows))


def test_a_new_shop_is_empty_and_says_how_to_fill_it(tmp_path: Path) -> None:
    shop = Shop.create(tmp_path / "new" / "shop")
    assert shop.generation == 0
    assert shop.pointer() == {"format": 1, "generation": 0, "sequence": 0, "funnel": None}
    assert len(shop.events()) == len(shop.prices()) == 0
    with pytest.raises(DataError, match=r"has no products yet.*aisle ingest"):
        shop.items()
    with pytest.raises(DataError, match="has no judgments 'default'"):
        shop.judgments()


def test_create_never_overwrites(shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a shop already"):
        Shop.create(shop.folder)
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="not empty"):
        Shop.create(tmp_path / "papers")
    assert names(Shop.at(shop.folder)) == ["a", "b"]
    assert Shop.at(tmp_path / "fresh").generation == 0


def test_open_refuses_what_is_no_shop(shop: Shop, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError, match=r"is no shop.*aisle ingest FILE --into"):
            Shop.open(folder)
    pointer = shop.folder / "CURRENT.json"
    pointer.write_text(json.dumps({"format": 99, "generation": 1}))
    with pytest.raises(StateError, match="format 99, this aisle reads format 1"):
        Shop.open(shop.folder)
    for broken in ("{", "[1]", ""):
        pointer.write_text(broken)
        with pytest.raises(StateError):
            Shop.open(shop.folder)


def test_generations_follow_each_other(shop: Shop) -> None:
    first = shop.items()
    batches = (products(*(f"i{n}" for n in range(at, at + 1000))) for at in range(0, 5000, 1000))
    assert shop.write_generation(batches) == 2
    assert shop.generation == 2
    assert shop.items().num_rows == 5000
    assert shop.items().generation == 2
    assert shop.items().rows_of(["i4999"]).tolist() == [4999]
    # A reader that opened the old generation goes on with it.
    assert first.text("title") == ["title of a", "title of b"]
    assert names(Shop.open(shop.folder))[:2] == ["i0", "i1"]
    about = {"format": 1, "generation": 2, "rows": 5000, "sequence": 0, "items": "items.arrow"}
    assert about.items() <= json.loads((shop.generation_folder() / "generation.json").read_text()).items()


def test_a_repeated_id_leaves_the_old_generation(shop: Shop) -> None:
    with pytest.raises(DataError, match="'x' occurs more than once"):
        shop.write_generation([products("x"), products("y", "x")])
    assert names(shop) == ["a", "b"]
    assert shop.generations() == [1]
    assert len(list((shop.folder / "generations").iterdir())) == 1


def test_indexes_are_built_before_anyone_sees_the_generation(shop: Shop) -> None:
    def build(items: ItemTable, folder: Path) -> None:
        assert shop.generation == 1
        (folder / "text").mkdir()
        (folder / "text" / "size").write_text(str(items.num_rows))

    shop.write_generation([products("a", "b", "c")], build)
    assert (shop.generation_folder() / "text" / "size").read_text() == "3"


def test_prune_keeps_the_newest(shop: Shop) -> None:
    for n in range(4):
        shop.write_generation([products(f"p{n}")])
    (shop.folder / "generations" / ".writing-dead").mkdir()
    (shop.folder / "generations" / "9").mkdir()  # renamed by a writer that was stopped before it could point to it
    assert shop.prune(keep=2) == [1, 2, 3, 9]
    assert shop.generations() == [4, 5]
    assert names(shop) == ["p3"]
    assert not list((shop.folder / "generations").glob(".*"))
    with pytest.raises(DataError):
        shop.prune(keep=0)


class Killed(BaseException):
    """Stands for the process ending at this call: no cleanup of ours can run after it either."""


def kill_at(monkeypatch: pytest.MonkeyPatch, step: int) -> list[str]:
    """Let every file operation from number ``step`` on fail.  Returns the list of those that were asked for."""
    asked: list[str] = []
    for module, name in ((os, "fsync"), (os, "rename"), (os, "replace"), (os, "unlink"), (os, "rmdir"), (os, "open")):
        real = getattr(module, name)

        def guarded(*args: object, _real: object = real, _name: str = name, **kwargs: object) -> object:
            asked.append(_name)
            if len(asked) > step:
                raise Killed
            return _real(*args, **kwargs)  # type: ignore[operator]

        monkeypatch.setattr(module, name, guarded)
    return asked


def test_stopping_at_any_step_leaves_a_whole_shop(tmp_path: Path) -> None:
    """Every file operation of a write in turn is the one at which the writer dies."""
    seen = set()
    for step in range(200):
        folder = tmp_path / str(step)
        shop = Shop.create(folder)
        shop.write_generation([products("a")])
        with pytest.MonkeyPatch.context() as patch:
            asked = kill_at(patch, step)
            with contextlib.suppress(Killed):
                shop.write_generation([products("new", "ones")])
        if shop._depth:  # the dead writer's lock goes with its process
            os.close(shop._handle)
        after = Shop.open(folder)
        seen.add(tuple(names(after)))
        assert names(after) in (["a"], ["new", "ones"])
        after.write_generation([products("next")])
        assert names(after) == ["next"]
        assert not list((folder / "generations").glob(".*"))
        if len(asked) <= step:
            break
    assert step > 10
    assert seen == {("a",), ("new", "ones")}


def test_everything_is_on_disk_before_the_pointer_turns(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order that makes a power cut harmless: contents, their folder, the rename, its folder, then the pointer."""
    done: list[tuple[str, str]] = []
    paths: dict[int, str] = {}
    real_open, real_sync, real_rename, real_replace = os.open, os.fsync, os.rename, os.replace

    def opened(path: str, *args: int, **kwargs: object) -> int:
        handle = real_open(path, *args)
        paths[handle] = str(path)
        return handle

    def synced(handle: int) -> None:
        done.append(("sync", paths[handle]))
        real_sync(handle)

    def renamed(source: str, target: str) -> None:
        done.append(("rename", str(target)))
        real_rename(source, target)

    def replaced(source: str, target: str) -> None:
        done.append(("replace", str(target)))
        real_replace(source, target)

    for name, function in (("open", opened), ("fsync", synced), ("rename", renamed), ("replace", replaced)):
        monkeypatch.setattr(os, name, function)
    shop.write_generation([products("c")])
    monkeypatch.undo()
    generations = str(shop.folder / "generations")
    rename = done.index(("rename", f"{generations}/2"))
    before = [Path(path) for what, path in done[:rename] if what == "sync"]
    assert {"items.arrow", "generation.json"} <= {p.name for p in before}
    assert before[-1].name.startswith(".writing-")
    after = done[rename + 1 :]
    assert after[0] == ("sync", generations)
    assert [what for what, _ in after] == ["sync", "sync", "replace", "sync"]
    assert after[2] == ("replace", str(shop.folder / "CURRENT.json"))
    assert after[3] == ("sync", str(shop.folder))


def test_a_create_that_was_stopped_can_be_repeated(tmp_path: Path) -> None:
    for step in range(10):
        folder = tmp_path / str(step)
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
            asked = kill_at(patch, step)
            Shop.create(folder)
        if len(asked) > step and not (folder / "CURRENT.json").exists():
            Shop.create(folder)
        assert Shop.open(folder).generation == 0


@pytest.mark.parametrize("what", ["events", "judgments", "point"])
def test_stopping_smaller_writes(tmp_path: Path, what: str) -> None:
    def write(shop: Shop, mark: int) -> None:
        if what == "events":
            shop.add_events(pa.table({"time_s": [float(mark)], "action": ["click"]}))
        elif what == "judgments":
            shop.write_judgments(pa.table({"query": ["q"], "item_id": ["a"], "grade": [mark]}), {mark: mark * 1.5})
        else:
            shop.point(sequence=mark)

    def state(shop: Shop) -> object:
        if what == "events":
            return shop.events()["time_s"].to_pylist()
        if what == "judgments":
            judged = shop.judgments()
            return (judged.lists["grade"].tolist(), judged.gain().tolist())
        return shop.pointer()["sequence"]

    for step in range(50):
        shop = Shop.create(tmp_path / str(step))
        shop.write_generation([products("a")])
        write(shop, 1)
        before = state(shop)
        with pytest.MonkeyPatch.context() as patch:
            asked = kill_at(patch, step)
            with contextlib.suppress(Killed):
                write(shop, 2)
        found = state(Shop.open(shop.folder))
        assert found in (before, [1.0, 2.0], ([2], [3.0]), 2)
        if len(asked) <= step:
            assert found != before
            return
    pytest.fail("the write never ended")


WRITER = """
import sys
from itertools import count
import pyarrow as pa
from aisle.data.shop import Shop
shop = Shop.open(sys.argv[1])
with shop.lock():
    for n in count():
        names = [f"{n}-{m}" for m in range(2000)]
        shop.write_generation(pa.table({"item_id": names[at:at+200]}) for at in range(0, 2000, 200))
        shop.prune(3)
        print(n, flush=True)
"""


def test_a_killed_process_leaves_a_whole_shop(shop: Shop) -> None:
    command = [sys.executable, "-c", WRITER, str(shop.folder)]
    environment = {**os.environ, "PYTHONPATH": str(Path(shop_module.__file__).parents[2])}
    for wait in (1, 4):
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert writer.stdout is not None
        for _ in range(wait):
            writer.stdout.readline()
        with pytest.raises(DataError, match="another writer has"), shop.lock():
            pass
        assert shop.items().num_rows in (2, 2000)  # reading needs no lock
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        items = Shop.open(shop.folder).items()
        found = items.ids(np.arange(items.num_rows))
        assert len(found) == 2000
        assert len({name.split("-")[0] for name in found}) == 1
    shop.write_generation([products("x")])  # the lock went with the process
    assert names(shop) == ["x"]


def test_one_writer(shop: Shop) -> None:
    other = Shop.open(shop.folder)
    with shop.lock(), shop.lock():
        shop.point(sequence=3)
        with pytest.raises(DataError, match="another writer has"), other.lock():
            pass
        assert other.pointer()["sequence"] == 3
    with other.lock():
        other.point(funnel="f1")
    was = {"generation": 1, "sequence": 3, "funnel": None}
    assert shop.pointer() == {"format": 1, "generation": 1, "sequence": 3, "funnel": "f1", "history": [was]}


def test_events_and_prices_come_back_in_order(shop: Shop) -> None:
    assert shop.add_events(pa.table({"time_s": [5.0, 1.0], "action": ["click", "order"], "item_id": ["a", "b"]})) == 1
    assert shop.add_events(pa.table({"time_s": [2.0], "action": ["cart"], "extra": ['{"k": 1}']})) == 2
    assert shop.events()["time_s"].to_pylist() == [5.0, 1.0, 2.0]
    assert shop.events()["extra"].to_pylist() == [None, None, '{"k": 1}']
    shop.add_prices(pa.table({"item_id": ["a"], "time_s": [1.0], "price_cents": [70]}))
    view = shop.view(until_s=5.0)
    assert view.events["time_s"].tolist() == [1.0, 2.0]
    np.testing.assert_array_equal(view.items.number("price_cents"), [70, np.nan])
    assert shop.view().items.number("price_cents").tolist() == [100, 100]


def test_judgments_by_name(shop: Shop) -> None:
    queries = [f"query {n}" for n in range(50)]
    table = pa.table({"query": queries, "item_id": ["a", "b"] * 25, "grade": [1, 2] * 25})
    shop.write_judgments(table, {1: 0.5, 2: 1.0})
    shop.write_judgments(table.slice(0, 1), {1: 7.0}, name="small")
    assert shop.judgment_names() == ["default", "small"]
    assert shop.judgments().query == queries
    assert shop.judgments("small").gain().tolist() == [7.0]
    assert json.loads((shop.folder / "judgments" / "small.gains.json").read_text()) == {"1": 7.0}
    with pytest.raises(DataError, match=r"cannot be named '../x'"):
        shop.write_judgments(table, {}, name="../x")
    view = shop.view()
    train, validation = view.judgments(), view.judgments("validation")
    assert sorted([*train.query, *validation.query]) == sorted(queries)
    assert 3 <= len(validation) <= 20
    assert list(shop.view(seed=1).judgments("validation").query) != list(validation.query)


def test_places_of_what_comes_later(shop: Shop) -> None:
    assert shop.stage_folder("bm25", "v1") == shop.folder / "stages" / "bm25" / "v1"
    assert shop.funnel_path("f1") == shop.folder / "funnels" / "f1.json"
    assert shop.rules_folder.is_dir()
    assert shop.log_path == shop.folder / "log.sqlite"
    assert shop.mapping() == {}
    shop.write_mapping({"title": "name"})
    assert Shop.open(shop.folder).mapping() == {"title": "name"}
