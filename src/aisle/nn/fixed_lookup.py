"""Vectors of ids whose whole range is known beforehand: one ``nn.Embedding`` a table, learned with the dense parameters.

For comparisons of networks and for small models; tables that grow with the ids they meet are ``aisle.sparse``.

Legend: B rows, L places, d width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

from aisle.nn.sequences import masked_mean


class IdField(NamedTuple):
    """What a lookup must know of an id field: its table, and its places (0: one id a row).

    keep: the vectors of the places stay apart; else they become their mean.
    """

    table: str
    length: int = 0
    keep: bool = False


class FixedLookup(nn.Module):
    """field -> codes int64[B] or int64[B, L], -1 for none  ->  float32[B, d], or [B, L, d] of a field that is kept."""

    def __init__(self, fields: Mapping[str, IdField], sizes: Mapping[str, int], dim: int, *, std: float = 0.01) -> None:
        super().__init__()
        self.fields, self.dim = dict(fields), dim
        # Code -1 is stored at row 0, which stays 0.
        self.tables = nn.ModuleDict({t: nn.Embedding(sizes[t] + 1, dim, padding_idx=0) for t in sorted(sizes)})
        for table in self.tables.values():
            nn.init.normal_(table.weight[1:], std=std)

    def forward(self, columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: self._vectors(self.fields[name], codes) for name, codes in columns.items()}

    def _vectors(self, field: IdField, codes: Tensor) -> Tensor:
        vectors = self.tables[field.table](codes + 1)
        return masked_mean(vectors, codes >= 0) if field.length and not field.keep else vectors
