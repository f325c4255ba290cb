"""Several processes over the files of one index: none loses what another has put."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from aisle.core.bags import Bags
from aisle.engine.embedded.impacts import Impacts
from aisle.engine.embedded.vectors import Vectors
from aisle.engine.embedded.vectors_files import prepare_version
from aisle.engine.embedded.versions import WORK, Work, current, publish, writing

WRITERS, PUTS, SAVES, DIM = 3, 12, 4, 8

WRITER = """
import sys
import numpy as np
from pathlib import Path
from aisle.engine.embedded.vectors import Vectors

folder, number, puts, saves, dim = Path(sys.argv[1]), *map(int, sys.argv[2:])
index = Vectors.open(folder, 0)
for n in range(puts):
    row = number * puts + n
    index.put(np.array([row]), np.full((1, dim), row + 1, np.float32))
    if n % saves == 0:
        index._fold(index._state)
"""


def test_what_several_processes_put_is_all_there(tmp_path: Path) -> None:
    Vectors.empty(DIM).saved(tmp_path)
    arguments = [str(PUTS), str(SAVES), str(DIM)]
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(number), *arguments])
        for number in range(WRITERS)
    ]
    assert [writer.wait(timeout=60) for writer in writers] == [0] * WRITERS
    rows = np.arange(WRITERS * PUTS)
    found = Vectors.open(tmp_path, 0)
    assert found.has(rows).all()
    np.testing.assert_array_equal(found.vectors(rows)[:, 0], rows + 1)


def test_a_version_in_the_making_is_left_alone_by_another_writer(tmp_path: Path) -> None:
    index = Vectors.empty(DIM)
    index.put(np.arange(3), np.eye(3, DIM, dtype=np.float32))
    index.train()
    slow = prepare_version(tmp_path, index._state.base, 0)
    index.saved(tmp_path)
    with writing(tmp_path):
        publish(slow)
    assert current(tmp_path) == "v2"
    np.testing.assert_array_equal(Vectors.open(tmp_path, 0).vectors(np.arange(3)), np.eye(3, DIM))


def test_what_a_writer_gave_up_or_was_killed_over_is_cleared_away(tmp_path: Path) -> None:
    Work(tmp_path).discard()
    assert not list(tmp_path.glob(f"{WORK}*"))
    (tmp_path / f"{WORK}killed").mkdir()
    Vectors.empty(DIM).saved(tmp_path)
    assert not list(tmp_path.glob(f"{WORK}*"))


def test_a_put_after_another_process_has_saved_is_kept_in_the_new_version(tmp_path: Path) -> None:
    bags = Impacts.empty()
    bags.put(np.array([0]), Bags.of([{1: 1.0}]))
    ours, theirs = bags.saved(tmp_path), Impacts.open(tmp_path, 0)
    theirs.put(np.array([1]), Bags.of([{2: 1.0}]))
    theirs.saved(tmp_path)
    ours.put(np.array([2]), Bags.of([{3: 1.0}]))
    for index in (ours, Impacts.open(tmp_path, 0)):
        assert [index.bag(row) for row in range(3)] == [{1: 1.0}, {2: 1.0}, {3: 1.0}]
