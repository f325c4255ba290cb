"""Tables spread over 2 and 4 processes (gloo) against one process, and checkpoints that change their number of processes."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from aisle.core.errors import AisleError
from aisle.core.tables import Ids
from aisle.sparse.recis import shared
from aisle.sparse.recis.id_map import Distinct, IdMap
from aisle.sparse.recis.spread import SLICES, owner_of, slice_of

WORKER = Path(__file__).with_name("distributed_worker.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Trained with 1, 2 and 4 processes, and what was saved by 4 loaded by 1, 2 and 3."""
    folder = tmp_path_factory.mktemp("distributed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "4"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, str(WORKER), str(folder)], env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return folder


def losses(folder: Path, num: int, mode: str = "train") -> np.ndarray:
    """The mean over ranks, step by step."""
    return np.mean([np.load(folder / f"{mode}_{r}_of_{num}.npz")["loss"] for r in range(num)], axis=0)


def content(path: Path) -> dict:
    """Table -> slot -> values by rising id, of a saved folder written by any number of processes."""
    import json

    from safetensors.numpy import load_file

    parts: dict = {}
    for index in path.glob("index_*.json"):
        for name, entry in json.loads(index.read_text()).items():
            parts.setdefault(entry["table"], []).append(load_file(path / name))
    out = {}
    for table, found in parts.items():
        order = np.argsort(np.concatenate([f["id"] for f in found]))
        out[table] = {slot: np.concatenate([f[slot] for f in found])[order] for slot in found[0]}
    return out


@pytest.mark.parametrize("num", [2, 4])
def test_same_losses(folder, num):
    """To 1e-6: first values follow from ids, gradients are averaged as data-parallel training averages them.

    Where an id's occurrences span ranks, the mean by id is the mean over all of them.
    """
    np.testing.assert_allclose(losses(folder, num), losses(folder, 1), rtol=1e-6, atol=1e-6)


def test_memory_and_sockets_carry_the_same(folder):
    assert np.array_equal(losses(folder, 2), losses(folder, 2, "sockets"))


@pytest.mark.parametrize("rank", range(4))
def test_messages_arrive_whole(folder, rank):
    """Of any length, and two under way at once."""
    right = np.load(folder / f"messages_{rank}.npz")
    here = sys.platform == "linux" and platform.machine() == "x86_64"
    assert set(right) == ({"Shared", "Collectives"} if here else {"Collectives"})
    assert all(right[way].shape == (15, 4) and right[way].all() for way in right)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is shared on Linux")
def test_a_process_that_ended_is_told(monkeypatch):
    monkeypatch.setattr(shared, "CHECK_S", 0.01)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    box = SimpleNamespace(number=np.array([3]), address=shared.Address(0, ended.pid, 0, 0))
    shared._wait(box, 1, 3)
    with pytest.raises(AisleError, match=rf"process {ended.pid} \(rank 1\) has ended"):
        shared._wait(box, 1, 4)


@pytest.mark.parametrize("num", [2, 4])
def test_rows_are_shared_out(folder, num):
    sizes = [int(np.load(folder / f"train_{r}_of_{num}.npz")["size"]) for r in range(num)]
    assert sum(sizes) == int(np.load(folder / "train_0_of_1.npz")["size"])
    assert min(sizes) > 0


@pytest.mark.parametrize("num", [1, 2, 3])
def test_saved_by_four_loaded_by_others(folder, num):
    """The same id -> vector map, and the same next update."""
    before, after, one = content(folder / "saved_4"), content(folder / f"next_{num}"), content(folder / "next_1")
    assert before.keys() == after.keys() == one.keys()
    for table in one:
        assert np.array_equal(one[table]["id"], after[table]["id"])
        for slot in one[table]:
            np.testing.assert_allclose(
                one[table][slot], after[table][slot], rtol=1e-5, atol=1e-7, err_msg=f"{table}.{slot}"
            )
        kept = np.isin(before[table]["id"], one[table]["id"])
        assert kept.all()
        untouched = ~np.isin(one[table]["id"], _met_in_step_10(table))
        same = np.isin(before[table]["id"], one[table]["id"][untouched])
        assert untouched.any()
        assert np.array_equal(before[table]["vector"][same], one[table]["vector"][untouched])


def _met_in_step_10(table: str) -> np.ndarray:
    sys.path.insert(0, str(WORKER.parent))
    try:
        from distributed_worker import STEPS, share
    finally:
        sys.path.pop(0)
    columns, _ = share(STEPS, 0, 1)
    of = {"item": ("item", "seen", "look"), "brand": ("brand",), "rare": ("rare",)}[table]
    return np.concatenate([c.id if isinstance(c := columns[f], Ids) else c for f in of])


@pytest.mark.parametrize("num", [1, 2, 3, 4, 7])
def test_ranks_own_ranges_of_slices(num):
    key = np.arange(200_000, dtype=np.int64)
    owner = owner_of(key, num)
    sizes = np.bincount(np.arange(SLICES) * num // SLICES, minlength=num)
    assert sizes.max() - sizes.min() <= 1
    assert np.array_equal(owner, slice_of(key) * num // SLICES)
    assert np.bincount(owner, minlength=num).min() > 0.97 * len(key) / num, "neighbouring ids are spread evenly"


def test_a_rank_spreads_its_keys_over_its_map():
    """Owners and places come from different bits of the hash."""
    key = np.arange(200_000, dtype=np.int64)
    own = key[owner_of(key, 8) == 3]
    ids = IdMap()
    ids.put(own, np.arange(len(own), dtype=np.int32))
    filled = ids.entry[::2].reshape(64, -1) != 0
    share = filled.mean(1)
    assert share.max() < 1.5 * share.mean()


def test_distinct():
    rng = np.random.default_rng(0)
    distinct = Distinct()
    for _ in range(3):  # the map is left clean
        key = rng.integers(0, 50, 300)
        index, key_U = distinct(key)
        assert np.array_equal(key_U[index], key)
        assert len(np.unique(key_U)) == len(key_U) == len(np.unique(key))
