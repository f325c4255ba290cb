"""RecIS: a sparse training core, id-keyed tables that grow, beside ordinary dense torch models (arXiv:2509.20883).

Card: docs/methods/recis.md.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from aisle.core.method import Part
from aisle.core.tables import Embedding
from aisle.sparse.recis.optimisers import Adam, Optimiser


class Recis(Part):
    """
    embeddings   feature -> how its ids become vectors
    optimiser    Adam, Adagrad or Sgd, on touched rows
    seed         of first values; with the id it decides them, so they do not depend on order, threads or processes
    threads      compute threads; each works on physical tables of its own
    block_rows   rows by which a table grows
    evict_every  steps between two looks for ids to drop
    """

    embeddings: dict[str, Embedding]
    optimiser: Optimiser = Adam()
    seed: int = Field(0, ge=0)
    threads: int = Field(1, ge=1, le=64)
    block_rows: int = Field(10_240, ge=1)
    evict_every: int = Field(100, ge=1)

    def build(self, env: Any = None) -> Any:
        """Tables, spread over the processes of ``torch.distributed`` where it is initialised."""
        from aisle.sparse.recis.engine import RecisTables

        return RecisTables(
            self.embeddings,
            self.optimiser,
            seed=self.seed,
            threads=self.threads,
            block_rows=self.block_rows,
            evict_every=self.evict_every,
        )


METHOD = Recis
