"""Where long work keeps what is done: found again by the same work alone, and swept away when nobody comes back."""

from __future__ import annotations

import os
from pathlib import Path

from aisle.core.leases import REMOVING
from aisle.core.workplaces import Workplace, sweep

DAY_S = 86_400.0


def test_the_same_work_finds_what_it_did_and_other_work_does_not(tmp_path: Path) -> None:
    place = Workplace.of(tmp_path, "fit", ["settings", 1])
    (place.folder / "done").write_text("half")
    assert (Workplace.of(tmp_path, "fit", ["settings", 1]).folder / "done").read_text() == "half"
    for name, depends in (("fit", ["settings", 2]), ("judge", ["settings", 1])):
        assert not list(Workplace.of(tmp_path, name, depends).folder.iterdir())
    place.close()
    assert not place.folder.exists()


def test_what_was_stopped_long_ago_is_swept_and_what_is_at_work_or_fresh_stays(tmp_path: Path) -> None:
    stopped, going, fresh = (Workplace.of(tmp_path, name, []) for name in ("stopped", "going", "fresh"))
    (fresh.folder / "checkpoints").mkdir()
    (stopped.folder / "checkpoints").mkdir()
    (tmp_path / "chat.jsonl").write_text("answers that were paid for")
    (tmp_path / f"{REMOVING}half").mkdir()
    for path in (*tmp_path.rglob("*"), stopped.folder, going.folder):
        os.utime(path, (0, 0))
    os.utime(fresh.folder / "checkpoints")
    expected = stopped.folder
    del stopped
    fresh.lease.release()
    assert sweep(tmp_path, DAY_S) == [expected]
    assert {path.name for path in tmp_path.iterdir()} == {going.folder.name, fresh.folder.name, "chat.jsonl"}
    assert sweep(tmp_path / "nowhere", DAY_S) == []


def test_asked_for_again_it_counts_as_touched(tmp_path: Path) -> None:
    os.utime(Workplace.of(tmp_path, "fit", []).folder, (0, 0))
    Workplace.of(tmp_path, "fit", []).lease.release()
    assert sweep(tmp_path, DAY_S) == []
