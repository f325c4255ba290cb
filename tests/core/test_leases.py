from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from aisle.core import leases
from aisle.core.leases import hold, remove_unused


def test_a_held_folder_stays_until_it_is_let_go(tmp_path: Path) -> None:
    used, unused = tmp_path / "used", tmp_path / "unused"
    for folder in (used, unused):
        folder.mkdir()
        (folder / "file").write_text("x")
    first, second = hold(used), hold(used)
    assert remove_unused([used, unused, tmp_path / "never there"]) == [unused]
    assert not unused.exists()
    first.release()
    assert remove_unused([used]) == []
    assert (used / "file").read_text() == "x"
    del second
    assert remove_unused([used]) == [used]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        hold(used)


def test_who_opened_a_folder_just_before_it_was_removed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, locked = tmp_path / "v1", leases.fcntl.flock
    folder.mkdir()

    def lock_after_another_removed_it(handle: int, how: int) -> None:
        monkeypatch.setattr(leases.fcntl, "flock", locked)
        assert remove_unused([folder]) == [folder]
        folder.mkdir()
        locked(handle, how)

    monkeypatch.setattr(leases.fcntl, "flock", lock_after_another_removed_it)
    with pytest.raises(FileNotFoundError, match="v1"):
        hold(folder)
    monkeypatch.setattr(leases.fcntl, "flock", lock_after_another_removed_it)
    assert remove_unused([folder]) == []
    assert folder.is_dir(), "made anew by somebody else"


def test_another_process_holds_it_until_it_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "v1"
    folder.mkdir()
    code = (
        "import sys, time; from pathlib import Path; from aisle.core.leases import hold; "
        "lease = hold(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    assert remove_unused([folder]) == []
    process.kill()
    process.communicate()
    assert remove_unused([folder]) == [folder]
