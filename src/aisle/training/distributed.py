"""Several processes that train one model together: the same loop, each on its share of every batch.

Started by ``torchrun --nproc-per-node N script.py``, which sets RANK and WORLD_SIZE, or by ``under_ray``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from aisle.core.errors import AisleError


class Workers:
    """The processes that train together; a single one unless a process group is given."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    def reduce_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Every ``.grad`` becomes its mean over the workers; one that only some workers have counts as 0 in the others, one
        that none has stays away (an optimiser leaves such a parameter as it is)."""
        if self.size == 1:
            return
        parameters = [p for p in parameters if p.requires_grad]
        if not parameters:
            return
        there = torch.tensor([p.grad is not None for p in parameters], dtype=torch.int32, device=parameters[0].device)
        dist.all_reduce(there, dist.ReduceOp.MAX)
        reduced = [p for p, used in zip(parameters, there.tolist(), strict=True) if used]
        grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in reduced]
        for parameter, grad in zip(reduced, grads, strict=True):
            parameter.grad = grad
        if not grads:
            return
        flat = torch.cat([g.reshape(-1) for g in grads])
        dist.all_reduce(flat)
        flat /= self.size
        for grad, part in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
            grad.copy_(part.view_as(grad))

    def mean(self, values: Mapping[str, float]) -> Mapping[str, float]:
        """Each value averaged over the workers; all must bring the same names."""
        if self.size == 1 or not values:
            return values
        names = sorted(values)
        sums = torch.tensor([values[name] for name in names], dtype=torch.float64)
        if dist.get_backend() == "nccl":
            sums = sums.cuda()
        dist.all_reduce(sums)
        return dict(zip(names, (sums / self.size).tolist(), strict=True))

    def gather(self, value: int) -> list[int]:
        """The value that each worker has, by rank."""
        if self.size == 1:
            return [value]
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        parts = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(self.size)]
        dist.all_gather(parts, torch.tensor([value], device=device))
        return [int(part) for part in parts]

    def gather_all(self, values: Sequence[int]) -> list[list[int]]:
        """The values that each worker has, any number of them, by rank."""
        if self.size == 1:
            return [list(values)]
        counts = self.gather(len(values))
        filled = torch.zeros(max(counts), dtype=torch.int64)
        filled[: len(values)] = torch.tensor(values, dtype=torch.int64)
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        parts = [torch.zeros_like(filled, device=device) for _ in range(self.size)]
        dist.all_gather(parts, filled.to(device))
        return [part[:count].tolist() for part, count in zip(parts, counts, strict=True)]

    def same_start(self, module: torch.nn.Module) -> None:
        """Every worker takes rank 0's parameters and buffers."""
        if self.size > 1:
            for tensor in [*module.parameters(), *module.buffers()]:
                dist.broadcast(tensor.data, 0)

    def barrier(self) -> None:
        if self.size > 1:
            dist.barrier()


ALONE = Workers()


@contextmanager
def workers() -> Iterator[Workers]:
    """The process group that is there (Ray makes one), or the one that torchrun's environment describes, NCCL with a GPU and
    gloo without; alone outside both."""
    if dist.is_initialized():
        yield Workers(dist.get_rank(), dist.get_world_size())
        return
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Workers(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def under_ray(work: Callable[[], None], num_workers: int, *, use_gpu: bool = False) -> Any:
    """Run ``work`` (which enters ``workers()``) on a Ray cluster.  Returns Ray's result.

    Raises AisleError where Ray is not installed.
    """
    try:
        from ray.train import ScalingConfig  # type: ignore[import-not-found]
        from ray.train.torch import TorchTrainer  # type: ignore[import-not-found]
    except ImportError:
        raise AisleError("Ray is not installed; pip install 'aisle[cluster]', or start with torchrun") from None
    return TorchTrainer(work, scaling_config=ScalingConfig(num_workers=num_workers, use_gpu=use_gpu)).fit()
