"""Checkpoints on disks that are full and folders that are damaged."""

from __future__ import annotations

import pytest
import torch
from tests.training.small_disk import small_disk

from aisle.core.errors import StateError
from aisle.training.checkpoint import Checkpoint, latest, save


def point(step: int, size: int = 10) -> Checkpoint:
    return Checkpoint(step, {"module/w": torch.full((size,), float(step))}, {"step": step})


def test_a_full_disk_is_told_by_its_file_and_leaves_the_checkpoint_before(tmp_path):
    save(point(1), tmp_path, 2)
    with small_disk(20_000), pytest.raises(OSError, match="too large") as error:
        save(point(2, size=100_000), tmp_path, 2)
    assert error.value.filename.endswith("state.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001"]
    found = latest(tmp_path)
    assert found is not None
    assert found.step == 1
    save(point(2, size=100_000), tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000002"]


@pytest.mark.parametrize("name", ["state.safetensors", "checkpoint.json"])
def test_a_damaged_checkpoint_names_the_folder_to_remove(tmp_path, name):
    save(point(1), tmp_path, 2)
    path = tmp_path / "step-000000001" / name
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(StateError, match=r"step-000000001.*remove"):
        latest(tmp_path)
