"""Tables: the contract between what trains (loop, rankers) and embedding tables that grow with the ids they meet.

A ranker names its tables in its settings (``sparse.recis``), gets them by ``registry.build(name, settings)`` and calls them
with the id columns of a batch; torch is only in the tensors, never here.

    part = registry.build("sparse.recis", {"embeddings": {"brand": {"dim": 16}}})
    tables = part.build(env)                       # grows while ``tables.training``
    vectors = tables({"brand": Ids(brand_B)})      # {"brand": float32[B, 16]}, joined to autograd
    loss.backward()                                # gradients wait in the tables, by row
    tables.step()                                  # the optimiser, on touched rows only

    files = tables.export(folder)                  # what a stage saves: State(files=files)
    served = part.open(files)                      # read-only, memory-mapped

Legend: B samples, P ids in all, U rows, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from pydantic import Field

from aisle.core.errors import ContractError
from aisle.core.method import Settings

Tensor = Any
"""A torch tensor, or on the way in a numpy array."""


@dataclass(frozen=True, slots=True, eq=False)
class Ids:
    """One id column of a batch; arrays or tensors, never changed in place.

    id      int64[P]    its low 52 bits tell ids apart; 0 is an id like any other
    splits  int64[B+1]  sample b owns ``id[splits[b]:splits[b+1]]``; None when every sample has exactly one (P = B)
    weight  float32[P]  factors of the vectors, or None for 1

    Raises ContractError when lengths disagree.
    """

    id: Tensor
    splits: Tensor | None = None
    weight: Tensor | None = None

    def __post_init__(self) -> None:
        if self.weight is not None and len(self.weight) != len(self.id):
            raise ContractError(f"{len(self.id)} ids have {len(self.weight)} weights; give one an id, or None")
        if self.splits is not None and (len(self.splits) == 0 or int(self.splits[-1]) != len(self.id)):
            raise ContractError(f"splits end at {self.splits[-1:]}, there are {len(self.id)} ids; they end there")

    def __len__(self) -> int:
        """Number of samples, B."""
        return len(self.id) if self.splits is None else len(self.splits) - 1


class Embedding(Settings):
    """How one id feature becomes numbers.

    dim        width of a vector
    combiner   how a sample's vectors become one: their sum, their mean (by count, weights or not), or ``tile``: the
               first ``tile_len`` side by side, padded with 0, as [B, tile_len, dim]
    table      features of the same table share vectors; None for a table of the feature's own
    init_std   of the bell-shaped first values of a new id, cut off at 3.5 times it; 0 starts at 0
    trainable  False: vectors are read and not learned
    admit      ``all``: an id enters when met in training; ``read_only``: never, unknown ids are 0
    min_count  an id enters when it has been met this often (1: at once); before, its vector is 0
    keep_steps an id that was not met for more steps than this leaves; None: none leaves
    max_rows   most ids the table keeps: the longest unmet leave; None: no limit
    reduce     how occurrences of an id join: ``worker`` their sum over the number of processes, as data-parallel dense
               gradients do; ``id`` their mean
    dtype      of the stored vector; moments are float32 always
    """

    dim: int = Field(16, ge=1, le=4096)
    combiner: Literal["sum", "mean", "tile"] = "sum"
    tile_len: int = Field(0, ge=0)
    table: str | None = None
    init_std: float = Field(0.01, ge=0)
    trainable: bool = True
    admit: Literal["all", "read_only"] = "all"
    min_count: int = Field(1, ge=1)
    keep_steps: int | None = Field(None, ge=1)
    max_rows: int | None = Field(None, ge=1)
    reduce: Literal["worker", "id"] = "worker"
    dtype: Literal["float32", "bfloat16"] = "float32"


@dataclass(frozen=True, slots=True, eq=False)
class RowGradient:
    """What waits for the next step in one physical table: each row once.

    row    int64[U]
    value  float32[U, D]  sum over all that was accumulated; may be changed in place (clipping)
    """

    table: str
    row: Tensor
    value: Tensor


class Tables(Protocol):
    """Embedding tables of many features.  A torch module without parameters, so ``train()`` and ``eval()`` of the model
    around it reach it: in ``eval`` nothing is inserted and unknown ids are 0."""

    training: bool

    def __call__(self, columns: Mapping[str, Any]) -> dict[str, Tensor]:
        """Feature -> float32[B, D] (``tile``: [B, tile_len, D]); gradients flow back into the rows.

        ``columns`` holds an ``Ids`` or a plain int64[B] for every declared feature, or the raw columns from which the
        declared feature chains make them.
        """
        ...

    def gradients(self) -> Sequence[RowGradient]:
        """What waits, rows merged over accumulated batches."""
        ...

    def step(self, parts: int = 1, lr: float | None = None) -> None:
        """Apply what waits, divided by ``parts`` (accumulated batches), and forget it.  ``lr`` replaces the setting."""
        ...

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget what waits."""
        ...

    def save(self, folder: Path) -> None:
        """Everything, optimiser included, into a folder that this process shares with the other ranks."""
        ...

    def load(self, folder: Path) -> None:
        """The inverse of ``save``, written by any number of processes.  Raises StateError when damaged."""
        ...

    def export(self, folder: Path) -> dict[str, Path]:
        """Files for serving: ids and vectors without optimiser; name -> path, fit for ``State(files=...)``."""
        ...


class TablesPart(Protocol):
    """The settings object that makes tables."""

    def build(self, env: Any) -> Tables: ...

    def open(self, files: Mapping[str, Path]) -> Tables:
        """The exported tables, memory-mapped and read-only."""
        ...

    def with_setting(self, assignment: str) -> Self: ...
