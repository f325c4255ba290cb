"""How many processor threads a fit takes, and whose random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def threads(count: int) -> Iterator[None]:
    """torch on so many processor threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def seeded(seed: int, count: int) -> Iterator[None]:
    """First weights that follow from the seed, on so many threads; the caller's random numbers stay as they were."""
    with threads(count), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
