"""Two processes on halves of every batch learn what one learns on the whole; started as torchrun starts them."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
from tests.training.test_loop import line, squared, validate, weights
from tests.training.together import LIMIT_S, run_together

from aisle.core.errors import AisleError, SettingError
from aisle.training.batches import RowBatches
from aisle.training.distributed import under_ray, workers
from aisle.training.loop import train
from aisle.training.settings import TrainSettings


def learn() -> list:
    """Train under whatever started this process; returns the weights and the best loss."""
    with workers() as group:
        torch.manual_seed(group.rank)
        # Another start on each rank: rank 0's counts.
        module = line() if group.rank == 0 else torch.nn.Sequential(torch.nn.Dropout(0.0), torch.nn.Linear(5, 1))
        batches = RowBatches(64, 8, torch.as_tensor, rank=group.rank, of=group.size)
        settings = TrainSettings(epochs=3, lr=0.05)
        trained = train(module, batches, squared, settings, validate=validate, workers=group)
        return [weights(module).tolist(), trained.best["loss"]]


@pytest.mark.timeout(LIMIT_S)
def test_two_processes_learn_what_one_learns():
    first, second = run_together(learn)
    alone = learn()
    assert first == second
    assert first[0] == pytest.approx(alone[0], rel=1e-5, abs=1e-6)
    assert first[1] == pytest.approx(alone[1], rel=1e-5)


def test_shares_make_up_the_batch():
    whole = RowBatches(50, 8, lambda rows: rows, seed=3)
    parts = [RowBatches(50, 8, lambda rows: rows, seed=3, rank=r, of=3) for r in range(3)]
    for index in range(len(whole) - 1):
        assert sorted(whole.rows(index)) == sorted(row for part in parts for row in part.rows(index))
    assert len({len(part) for part in parts}) == 1


def test_more_processes_than_rows_are_refused():
    with pytest.raises(SettingError, match="use fewer"):
        RowBatches(50, 2, lambda rows: rows, of=3)


def test_without_ray_the_remedy_is_named():
    if find_spec("ray") is not None:
        pytest.skip("Ray is installed")
    with pytest.raises(AisleError, match="pip install 'aisle\\[cluster\\]'"):
        under_ray(lambda: None, 2)
