"""What a fit borrows of the process: its threads and its random numbers."""

from __future__ import annotations

import torch

from aisle.training.threads import seeded, threads


def test_threads_are_given_back():
    before = torch.get_num_threads()
    with threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_random_numbers_follow_from_the_seed_and_the_callers_go_on():
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    drawn = []
    for _ in range(2):
        with seeded(1, 1):
            drawn.append(torch.rand(3))
    assert torch.equal(*drawn)
    assert torch.equal(torch.rand(2), expected)
